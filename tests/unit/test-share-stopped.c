/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory becomes shared while nobody writes; without userfaultfd, and what it says is missing. */
#include "share-memory.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fault.h"

static void check_stopped(gsize bytes, gsize shift, gsize step, int advice, guint threads)
{
	Memory memory = map_memory(bytes, shift, advice);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, step);
	run_stopped(&run, threads);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(run.done_bytes + run.hole_bytes, bytes);
	assert_int_equal(lm_times_count(&run.chunk_times), 0);
	assert_int_equal(count_mappings(&memory), 1);
	if (advice == MADV_NOHUGEPAGE)
		assert_int_equal(memfd_bytes(share), (bytes / PAGE + step - 1) / step * PAGE);
	check_filled(&memory, 0, step);
	check_memfd(share, &memory);
	end_run(&run);
	unmap_memory(&memory);
}

/* Not looked at afterwards: that would take pages of the memfd. */
static void check_empty(void)
{
	Memory memory = map_memory((gsize)64 << 30, 3 * PAGE, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	run_stopped(&run, 2);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(run.hole_bytes, memory.bytes);
	assert_int_equal(memfd_bytes(share), 0);
	assert_int_equal(count_mappings(&memory), 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void check_all_kinds(void)
{
	check_stopped(64 * MIB, 0, 1, MADV_HUGEPAGE, 2);
	check_stopped(16 * MIB, 0, 1, MADV_NOHUGEPAGE, 4);
	check_stopped(64 * MIB, 0, 700, MADV_NOHUGEPAGE, 3);
	check_stopped(5 * MIB + 3 * PAGE, 7 * PAGE, 2, MADV_NOHUGEPAGE, 2);
	check_stopped(5 * MIB + 3 * PAGE, 7 * PAGE, 1, MADV_HUGEPAGE, 1);
	check_stopped(PAGE, 3 * PAGE, 1, MADV_NOHUGEPAGE, 0);
	check_empty();
}

static void in_threads(void **state)
{
	check_all_kinds();
}

static void huge_pages_are_kept(void **state)
{
	Memory memory = map_memory(32 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	guint64 huge;

	fill(&memory, 0, 1);
	huge = smaps_bytes(&memory, "AnonHugePages");
	run_stopped(&run, 2);
	assert_true(run.huge_bytes * 100 >= huge * 95);
	assert_true(smaps_bytes(&memory, "ShmemPmdMapped") * 100 >= huge * 95);
	end_run(&run);
	unmap_memory(&memory);
}

static void several_shares(void **state)
{
	Memory memory[5];
	LmShareRun run = {.shares = g_ptr_array_new(), .cancel_fd = -1};

	for (guint i = 0; i < 5; i++) {
		memory[i] = map_memory((i * 3 + 1) * MIB, i * PAGE, MADV_NOHUGEPAGE);
		fill(&memory[i], i, i + 1);
		g_ptr_array_add(run.shares, get_share(&memory[i]));
	}
	run_stopped(&run, 3);
	for (guint i = 0; i < 5; i++) {
		assert_int_equal(lm_share_private_bytes(lm_share_find(memory[i].host)), 0);
		check_filled(&memory[i], i, i + 1);
		unmap_memory(&memory[i]);
	}
	end_run(&run);
}

/* ----------------------------------------------------- private over a file */

static int make_file(gsize bytes)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, bytes), 0);
	for (gsize page = 0; page < bytes / PAGE; page++) {
		const guint64 word = mark(page);

		assert_int_equal(pwrite(fd, &word, sizeof(word), page * PAGE), sizeof(word));
	}
	return fd;
}

static Memory map_file(int fd, gsize bytes)
{
	Memory memory = map_memory(bytes, 0, MADV_NORMAL);

	assert_true(mmap(memory.host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			 0) == memory.host);
	return memory;
}

/* The file's pages as well as our own; a live run leaves them alone. */
static void private_over_a_file(void **state)
{
	const gsize bytes = 5 * MIB;
	int fd = make_file(bytes);
	Memory memory = map_file(fd, bytes);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	guint64 word;

	word_at(&memory, 1000)[3] = 5;
	if (live_works()) {
		run_live(&run);
		assert_int_equal(lm_share_private_bytes(share), bytes);
	}
	run_stopped(&run, 2);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(run.done_bytes, bytes);
	for (gsize page = 0; page < bytes / PAGE; page++)
		assert_int_equal(word_at(&memory, page)[0], mark(page));
	assert_int_equal(word_at(&memory, 1000)[3], 5);
	check_memfd(share, &memory);
	word_at(&memory, 7)[0] = 9;
	assert_int_equal(pread(fd, &word, sizeof(word), 7 * PAGE), sizeof(word));
	assert_int_equal(word, mark(7)); /* the file is not ours */
	close(fd);
	end_run(&run);
	unmap_memory(&memory);
}

/* What comes after the file's end cannot be read: an error, not SIGBUS. */
static void after_the_end_of_the_file(void **state)
{
	int fd = make_file(3 * MIB);
	Memory memory = map_file(fd, 5 * MIB);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;

	check_failure(lm_share_stopped(&run, 1, &error), &error, EFAULT, LM_ERROR_FAILED,
		      "cannot read 2097152 bytes of RAM block pc.ram at 2097152");
	assert_int_equal(lm_share_private_bytes(share), 3 * MIB);
	assert_int_equal(memfd_bytes(share), SLOT);
	for (gsize page = 0; page < 3 * MIB / PAGE; page++)
		assert_int_equal(word_at(&memory, page)[0], mark(page));
	close(fd);
	end_run(&run);
	unmap_memory(&memory);
}

/* ------------------------------------------------------------------ errors */

static void cancelled(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;

	fill(&memory, 0, 1);
	run.cancel_fd = eventfd(1, EFD_CLOEXEC);
	check_failure(lm_share_stopped(&run, 2, &error), &error, ECANCELED, LM_ERROR_CANCELLED,
		      "cancelled");
	assert_int_equal(lm_share_private_bytes(share), memory.bytes);
	close(run.cancel_fd);
	run.cancel_fd = -1;
	run_stopped(&run, 2);
	check_filled(&memory, 0, 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void memory_that_went_away(void **state)
{
	Memory memory = map_memory(3 * SLOT, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;

	fill(&memory, 0, 1);
	munmap(memory.host + SLOT, SLOT);
	check_failure(lm_share_stopped(&run, 1, &error), &error, EFAULT, LM_ERROR_FAILED,
		      "pc.ram is no private memory any more at 2097152");
	end_run(&run);
	unmap_memory(&memory);
}

#if LM_FAULT_INJECTION
static void the_memfd_is_full(void **state)
{
	for (guint threads = 1; threads <= 3; threads++) {
		Memory memory = map_memory(16 * MIB, 0, MADV_NOHUGEPAGE);
		LmShare *share = get_share(&memory);
		LmShareRun run = begin_run(share);
		g_autoptr(GError) error = NULL;
		int ret;

		fill(&memory, 0, 1);
		lm_fault_set("fill-share:enospc");
		ret = lm_share_stopped(&run, threads, &error);
		lm_fault_set(NULL);
		check_failure(ret, &error, ENOSPC, LM_ERROR_FAILED, "cannot allocate");
		assert_true(lm_share_private_bytes(share) > 0);
		assert_int_equal(run.done_bytes, memory.bytes - lm_share_private_bytes(share));
		assert_int_equal(memfd_bytes(share), run.done_bytes);
		check_filled(&memory, 0, 1);
		run_stopped(&run, threads);
		check_filled(&memory, 0, 1);
		check_memfd(share, &memory);
		end_run(&run);
		unmap_memory(&memory);
	}
}

static void no_memfd(void **state)
{
	Memory memory = map_memory(SLOT, 0, MADV_NOHUGEPAGE);
	g_autoptr(GError) error = NULL;

	lm_fault_set("memfd-share:enomem");
	assert_null(lm_share_get("pc.ram", memory.host, memory.bytes, &error));
	lm_fault_set(NULL);
	check_failure(-ENOMEM, &error, ENOMEM, LM_ERROR_FAILED, "cannot create a memfd");
	unmap_memory(&memory);
}
#endif

/* ----------------------------------------------- what the kernel forbids */

/* Lets a system call fail; if @request is not 0, with that second argument only. */
typedef struct Denied {
	guint32 call, request;
	int err;
} Denied;

#define FIELD(name)    (guint32) offsetof(struct seccomp_data, name)
#define MAX_DENIED     4
#define RULES_FOR_EACH 5

static void deny(const Denied *denied)
{
	struct sock_filter rule[MAX_DENIED * RULES_FOR_EACH + 1];
	struct sock_fprog filter = {.filter = rule};
	gsize n = 0;

	for (; denied->err; denied++) {
		const guint8 skipped = denied->request ? 1 : 0;

		rule[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(nr));
		rule[n++] =
			(struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied->call, 0, 3);
		rule[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(args[1]));
		rule[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, denied->request,
							 0, skipped);
		rule[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							 SECCOMP_RET_ERRNO | denied->err);
	}
	rule[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter.len = n;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		_exit(100);
}

#define NEW_USERFAULTFD _IO(0xAA, 0x00)
#define SCAN_PAGEMAP	0xc0606610u

static const Denied no_right[] = {
	{SYS_userfaultfd, 0, EPERM}, {SYS_ioctl, NEW_USERFAULTFD, EACCES}, {0}};
static const Denied no_userfaultfd[] = {
	{SYS_userfaultfd, 0, ENOSYS}, {SYS_ioctl, NEW_USERFAULTFD, ENOSYS}, {0}};
static const Denied no_move[] = {{SYS_ioctl, ((guint32)UFFDIO_API), EINVAL}, {0}};
static const Denied no_scan[] = {{SYS_ioctl, SCAN_PAGEMAP, ENOTTY}, {0}};
/* Linux 6.1, as Debian 12 has it. */
static const Denied old_kernel[] = {
	{SYS_ioctl, ((guint32)UFFDIO_API), EINVAL}, {SYS_ioctl, SCAN_PAGEMAP, ENOTTY}, {0}};

/* @check runs in a child; what fails there is the exit code. */
static void with_denied(const Denied *denied, int (*check)(const char *), const char *what)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		setenv("CMOCKA_TEST_ABORT", "1", 1); /* a child is not to go on with the tests */
		deny(denied);
		_exit(check(what));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status)
		fail_msg("\"%s\": status 0x%x", what, status);
}

/* Live does not work and says why. It changes nothing. */
static int check_live_refused(const char *why)
{
	Memory memory = map_memory(4 * MIB, 0, MADV_NOHUGEPAGE);
	LmShareRun run = begin_run(get_share(&memory));
	g_autoptr(GError) error = NULL, same = NULL;
	gboolean right;

	fill(&memory, 0, 1);
	if (lm_share_live_works(&error) >= 0 || lm_share_live(&run, &same) >= 0)
		return 1;
	if (!strstr(error->message, why) || strchr(error->message, '\n'))
		return 2;
	right = error->code == LM_ERROR_REFUSED && strcmp(error->message, same->message) == 0;
	if (!right || lm_share_private_bytes(lm_share_find(memory.host)) != memory.bytes)
		return 3;
	check_filled(&memory, 0, 1);
	end_run(&run);
	return 0;
}

static int check_stopped_works(const char *what)
{
	check_all_kinds();
	return 0;
}

static void what_is_missing_for_live(void **state)
{
	with_denied(no_right, check_live_refused, "CAP_SYS_PTRACE");
	with_denied(no_right, check_live_refused, "vm.unprivileged_userfaultfd");
	with_denied(no_right, check_live_refused, "/dev/userfaultfd");
	with_denied(no_userfaultfd, check_live_refused, "no userfaultfd");
	with_denied(no_move, check_live_refused, "UFFDIO_MOVE (Linux 6.8)");
	if (live_works()) /* a kernel without says first what else it lacks */
		with_denied(no_scan, check_live_refused, "PAGEMAP_SCAN (Linux 6.7)");
}

static void stopped_needs_none_of_that(void **state)
{
	with_denied(no_right, check_stopped_works, "no right to userfaultfd");
	with_denied(old_kernel, check_stopped_works, "old kernel");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(in_threads),
		TEST(huge_pages_are_kept),
		TEST(several_shares),
		TEST(private_over_a_file),
		TEST(after_the_end_of_the_file),
		TEST(cancelled),
		TEST(memory_that_went_away),
#if LM_FAULT_INJECTION
		TEST(the_memfd_is_full),
		TEST(no_memfd),
#endif
		TEST(what_is_missing_for_live),
		TEST(stopped_needs_none_of_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
