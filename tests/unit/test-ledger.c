/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who owns the VM: every order of moves, races between threads and processes, false ledgers. */
#include "test-util.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "ledger.h"

#define ROUNDS 2000
#define SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static LmLedger *new_ledger(void)
{
	g_autoptr(GError) error = NULL;
	LmLedger *ledger = lm_ledger_new(&error);

	assert_null(error);
	assert_non_null(ledger);
	return ledger;
}

static LmLedger *open_ledger(int fd)
{
	g_autoptr(GError) error = NULL;
	LmLedger *ledger = lm_ledger_open(fd, &error);

	assert_null(error);
	assert_non_null(ledger);
	return ledger;
}

static void test_take(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	g_autoptr(LmLedger) theirs = open_ledger(lm_ledger_fd(mine));

	assert_int_equal(lm_ledger_read(mine), LM_LEDGER_OFFERED);
	assert_int_equal(lm_ledger_read(theirs), LM_LEDGER_OFFERED);
	assert_true(lm_ledger_take(theirs));
	assert_true(lm_ledger_take(theirs));
	assert_false(lm_ledger_withdraw(mine));
	assert_false(lm_ledger_withdraw(mine));
	assert_int_equal(lm_ledger_read(mine), LM_LEDGER_TAKEN);
}

static void test_withdraw(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	g_autoptr(LmLedger) theirs = open_ledger(lm_ledger_fd(mine));

	assert_true(lm_ledger_withdraw(mine));
	assert_true(lm_ledger_withdraw(mine));
	assert_false(lm_ledger_take(theirs));
	assert_int_equal(lm_ledger_read(theirs), LM_LEDGER_WITHDRAWN);
}

static void test_descriptor(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	const int fd = lm_ledger_fd(mine);
	LmLedger *theirs = open_ledger(fd);

	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 8192), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	/* The one it was opened from stays its owner's. */
	assert_int_not_equal(lm_ledger_fd(theirs), fd);
	lm_ledger_free(theirs);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	lm_ledger_free(NULL);
}

static gpointer run_take(gpointer data)
{
	return GINT_TO_POINTER(lm_ledger_take(data));
}

/* However close the race, one of the two gets it. */
static void test_race(void **state)
{
	for (guint i = 0; i < ROUNDS; i++) {
		g_autoptr(LmLedger) mine = new_ledger();
		g_autoptr(LmLedger) theirs = open_ledger(lm_ledger_fd(mine));
		GThread *thread = g_thread_new("taker", run_take, theirs);
		const gboolean withdrawn = lm_ledger_withdraw(mine);
		const gboolean taken = GPOINTER_TO_INT(g_thread_join(thread));

		assert_int_not_equal(withdrawn, taken);
		assert_int_equal(lm_ledger_read(mine),
				 taken ? LM_LEDGER_TAKEN : LM_LEDGER_WITHDRAWN);
	}
}

/* The record outlives the process that made it, killed in the next instant. */
static void test_killed_owner(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		LmLedger *theirs = lm_ledger_open(lm_ledger_fd(mine), NULL);

		if (theirs && lm_ledger_take(theirs))
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_false(lm_ledger_withdraw(mine));
	assert_int_equal(lm_ledger_read(mine), LM_LEDGER_TAKEN);
}

/* ----------------------------------------------------------- false ledgers */

static int false_ledger(off_t bytes, guint32 magic, int seals)
{
	const int fd = memfd_create("false", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	if (bytes)
		assert_int_equal(pwrite(fd, &magic, sizeof(magic), 0), sizeof(magic));
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Takes @fd. */
static void check_refused(int fd, LmErrorCode code, const char *part)
{
	g_autoptr(GError) error = NULL;

	assert_null(lm_ledger_open(fd, &error));
	check_failure(0, &error, 0, code, part);
	close(fd);
}

static void test_false_ledgers(void **state)
{
	const guint32 magic = 0x4c4d4c51;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	close(pipes[1]);
	check_refused(pipes[0], LM_ERROR_PROTOCOL, "is no memfd");
	check_refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), LM_ERROR_PROTOCOL, "ledger");
	check_refused(-1, LM_ERROR_PROTOCOL, "cannot examine the ledger");
	check_refused(false_ledger(0, magic, SEALS), LM_ERROR_PROTOCOL, "0 bytes instead of 4096");
	check_refused(false_ledger(4095, magic, SEALS), LM_ERROR_PROTOCOL, "4095 bytes");
	check_refused(false_ledger(8192, magic, SEALS), LM_ERROR_PROTOCOL, "8192 bytes");
	check_refused(false_ledger(4096, magic + 1, SEALS), LM_ERROR_PROTOCOL,
		      "begins with 0x4c4d4c52, not 0x4c4d4c51");
	check_refused(false_ledger(4096, magic, SEALS | F_SEAL_WRITE), LM_ERROR_FAILED,
		      "cannot map the ledger");
}

static void test_missing_seals(void **state)
{
	static const int all[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL};

	for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
		check_refused(false_ledger(4096, 0x4c4d4c51, SEALS & ~all[i]), LM_ERROR_PROTOCOL,
			      "and needs 0x7");
	}
}

/* One that the peer handed over without the right to write. */
static void test_read_only(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", lm_ledger_fd(mine));

	check_refused(open(path, O_RDONLY | O_CLOEXEC), LM_ERROR_FAILED, "cannot map the ledger");
}

/* A word that is none of the three cannot be taken; withdrawn, it is the source's. */
static void test_scribbled(void **state)
{
	g_autoptr(LmLedger) mine = new_ledger();
	const guint32 word = 77;

	assert_int_equal(pwrite(lm_ledger_fd(mine), &word, sizeof(word), 4), sizeof(word));
	assert_false(lm_ledger_take(mine));
	assert_true(lm_ledger_withdraw(mine));
	assert_int_equal(lm_ledger_read(mine), LM_LEDGER_WITHDRAWN);
	assert_false(lm_ledger_take(mine));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_take),	  TEST(test_withdraw),	   TEST(test_descriptor),
		TEST(test_race),	  TEST(test_killed_owner), TEST(test_false_ledgers),
		TEST(test_missing_seals), TEST(test_read_only),	   TEST(test_scribbled),
	};

	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
