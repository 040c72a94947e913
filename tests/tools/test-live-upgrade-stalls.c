/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One VM, upgraded again and again, while at random moments one of the three processes stands still
 * for a time, or the tool is killed. Whatever a run says, the guest is in one place, with its
 * memory intact, and the next runs bring it into a new process.
 */
#include "running.h"
#include "tool.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS	    8
#define LONG_ROUNDS 150
#define RUNS	    8 /* of the tool, until one has upgraded the VM */

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

typedef enum Whom { TOOL, OLD, NEW, WHOM_COUNT } Whom;

/* The process that the run has started; 0 if there is none yet. */
static pid_t new_of(const Vm *vm, pid_t old)
{
	g_autofree char *path = g_strdup_printf("/run/qemu-live-upgrade/%d.json", (int)old);
	g_autofree char *text = NULL;
	g_autoptr(JsonNode) journal = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	journal = json_from_string(text, NULL);
	return journal ? (pid_t)qmp_int(journal, "new-pid") : 0;
}

static pid_t pid_of(Whom whom, const Vm *vm, const Run *run, pid_t old)
{
	return whom == TOOL ? run->pid : whom == OLD ? old : new_of(vm, old);
}

/* Something happens in the first 400 ms, which is what an upgrade takes. */
static void disturb(GRand *random, const Vm *vm, const Run *run, pid_t old)
{
	const Whom whom = g_rand_int_range(random, 0, WHOM_COUNT);
	const gboolean kills = whom == TOOL && g_rand_boolean(random);
	const int wait_ms = g_rand_int_range(random, 0, 400);
	const int stall_ms = g_rand_int_range(random, 0, 4000);
	static const char *const names[] = {"the tool", "the old process", "the new process"};
	pid_t pid;

	g_usleep(wait_ms * 1000);
	pid = pid_of(whom, vm, run, old);
	lm_test_note("after %d ms %s, %d, %s %d ms", wait_ms, names[whom], (int)pid,
		     kills ? "is killed, not after" : "stands still for", stall_ms);
	if (pid <= 0 || kill(pid, kills ? SIGKILL : SIGSTOP) < 0 || kills)
		return;
	g_usleep(stall_ms * 1000);
	kill(pid, SIGCONT);
}

static void start(LmTest *test, Run *run, const Vm *vm, gboolean flip)
{
	tool_start(test, run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--way",
		   flip ? "flip" : "auto", NULL);
}

static gboolean is_settled(const Run *run)
{
	if (run->status == 4)
		assert_contains(qmp_str(run->report, "error"), "run this again");
	return run->status == 0;
}

/* The guest's process after it. */
static pid_t upgrade(LmTest *test, GRand *random, Vm *vm, pid_t old)
{
	const gboolean flip = g_rand_boolean(random);

	for (guint i = 0; i < RUNS; i++) {
		g_auto(Run) run = {0};

		start(test, &run, vm, flip);
		if (!i)
			disturb(random, vm, &run, old);
		tool_finish(&run);
		if (!is_settled(&run))
			continue;
		tool_assert_runs_in(vm, run.new_pid);
		assert_int_equal(tool_count_processes(vm->qmp_path), 1);
		return run.new_pid;
	}
	fail_msg("%d runs did not upgrade it", RUNS);
	return -1;
}

static void test_stalls(LmTest *test, const void *arg)
{
	const char *given = g_getenv("LM_SEED");
	guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 10) : g_random_int();
	g_autoptr(GRand) random = g_rand_new_with_seed(seed);
	const guint rounds = g_getenv("LM_LONG") ? LONG_ROUNDS : ROUNDS;
	Vm *vm = tool_vm(test, &plain);
	pid_t pid = vm->pid;

	lm_test_note("LM_SEED=%u", seed);
	g_setenv("QEMU_LIVE_UPGRADE_REPLY_MS", "1000", TRUE);
	for (guint i = 0; i < rounds; i++)
		pid = upgrade(test, random, vm, pid);
	g_unsetenv("QEMU_LIVE_UPGRADE_REPLY_MS");
}

static const LmCase cases[] = {
	LM_CASE(test_stalls),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
