/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a mapping has, and still has when it is the memfd's; pages that others share. */
#include "share-memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------- flags */

static void check_flags(const Memory *memory, gsize offset, guint expected)
{
	const LmMapping mapping = mapping_at(memory, offset);
	const guint flags = mapping.flags & ~(guint)LM_MAPPING_FILE;

	if (flags != (expected | LM_MAPPING_SHARED))
		fail_msg("at %zu: flags 0x%x, not 0x%x", offset, flags, expected);
}

static void madvise_flags(void **state)
{
	Memory memory = map_memory(4 * SLOT, 0, MADV_HUGEPAGE);

	assert_int_equal(madvise(memory.host, 2 * SLOT, MADV_DONTDUMP), 0);
	assert_int_equal(madvise(memory.host, SLOT + MIB, MADV_DONTFORK), 0);
	assert_int_equal(madvise(memory.host + 2 * SLOT, SLOT, MADV_NOHUGEPAGE), 0);
	assert_int_equal(madvise(memory.host + 3 * SLOT, MIB, MADV_RANDOM), 0);
	assert_int_equal(madvise(memory.host + 3 * SLOT + MIB, MIB, MADV_SEQUENTIAL), 0);
	fill(&memory, 0, 2);
	share_live(get_share(&memory));
	check_flags(&memory, 0, LM_MAPPING_HUGEPAGE | LM_MAPPING_DONTDUMP | LM_MAPPING_DONTFORK);
	check_flags(&memory, SLOT + MIB, LM_MAPPING_HUGEPAGE | LM_MAPPING_DONTDUMP);
	check_flags(&memory, 2 * SLOT, LM_MAPPING_NOHUGEPAGE);
	check_flags(&memory, 3 * SLOT, LM_MAPPING_HUGEPAGE | LM_MAPPING_RANDOM);
	check_flags(&memory, 3 * SLOT + MIB, LM_MAPPING_HUGEPAGE | LM_MAPPING_SEQUENTIAL);
	assert_int_equal(count_mappings(&memory), 5);
	check_filled(&memory, 0, 2);
	unmap_memory(&memory);
}

static void flags_of_holes(void **state)
{
	Memory memory = map_memory(8 * SLOT, 0, MADV_HUGEPAGE);

	assert_int_equal(madvise(memory.host, 8 * SLOT, MADV_DONTDUMP), 0);
	share_live(get_share(&memory));
	check_flags(&memory, 0, LM_MAPPING_HUGEPAGE | LM_MAPPING_DONTDUMP);
	assert_int_equal(count_mappings(&memory), 1);
	unmap_memory(&memory);
}

/* What the guest cannot write is left for when it is stopped. */
static void protection(void **state)
{
	Memory memory = map_memory(3 * SLOT, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, 1);
	assert_int_equal(mprotect(memory.host, SLOT, PROT_READ), 0);
	assert_int_equal(mprotect(memory.host + SLOT, SLOT, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), SLOT);
	assert_int_equal(mapping_at(&memory, SLOT).prot, PROT_READ | PROT_WRITE | PROT_EXEC);
	assert_int_equal(mapping_at(&memory, 2 * SLOT).prot, PROT_READ | PROT_WRITE);
	run_stopped(&run, 1);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(mapping_at(&memory, 0).prot, PROT_READ);
	check_flags(&memory, 0, LM_MAPPING_HUGEPAGE);
	check_filled(&memory, 0, 1);
	check_memfd(share, &memory);
	end_run(&run);
	unmap_memory(&memory);
}

/* ------------------------------------------------------------------- mlock */

/* By system calls that libasan does not turn into nothing. */

static void locked(void **state)
{
	Memory memory = map_memory(3 * SLOT, 0, MADV_HUGEPAGE);

	assert_int_equal(mlock2(memory.host, 2 * SLOT, 0), 0);
	fill(&memory, 0, 1);
	share_live(get_share(&memory));
	check_flags(&memory, 0, LM_MAPPING_HUGEPAGE | LM_MAPPING_LOCKED);
	check_flags(&memory, 2 * SLOT, LM_MAPPING_HUGEPAGE);
	assert_int_equal(count_mappings(&memory), 2);
	assert_int_equal(smaps_bytes(&memory, "Locked"), 2 * SLOT);
	check_filled(&memory, 0, 1);
	unmap_memory(&memory);
}

static void locked_on_fault(void **state)
{
	Memory memory = map_memory(64 * SLOT, 0, MADV_NOHUGEPAGE);
	LmShare *share = get_share(&memory);

	assert_int_equal(mlock2(memory.host, memory.bytes, MLOCK_ONFAULT), 0);
	fill(&memory, 5, 40000);
	share_live(share);
	check_flags(&memory, 0,
		    LM_MAPPING_NOHUGEPAGE | LM_MAPPING_LOCKED | LM_MAPPING_LOCK_ON_FAULT);
	assert_int_equal(memfd_bytes(share), PAGE);
	assert_int_equal(count_mappings(&memory), 1);
	check_filled(&memory, 5, 40000);
	unmap_memory(&memory);
}

static void locked_when_stopped(void **state)
{
	Memory memory = map_memory(2 * SLOT, 0, MADV_HUGEPAGE);
	LmShareRun run = begin_run(get_share(&memory));

	assert_int_equal(mlock2(memory.host, memory.bytes, 0), 0);
	fill(&memory, 0, 1);
	run_stopped(&run, 2);
	check_flags(&memory, 0, LM_MAPPING_HUGEPAGE | LM_MAPPING_LOCKED);
	check_filled(&memory, 0, 1);
	end_run(&run);
	unmap_memory(&memory);
}

/* All that is mapped comes out locked and filled: our own mappings must not fill the holes. */
static void all_that_is_mapped_is_locked(void **state)
{
	Memory sparse = map_memory(8 * SLOT, 0, MADV_NOHUGEPAGE);
	Memory full;

	fill(&sparse, 0, 100);
	assert_int_equal(syscall(SYS_mlockall, MCL_FUTURE), 0);
	full = map_memory(2 * SLOT, 0, MADV_HUGEPAGE);
	fill(&full, 0, 1);
	share_live(get_share(&sparse));
	share_live(get_share(&full));
	check_flags(&sparse, 0, LM_MAPPING_NOHUGEPAGE);
	assert_int_equal(memfd_bytes(lm_share_find(sparse.host)), (8 * 512 + 99) / 100 * PAGE);
	check_flags(&full, 0, LM_MAPPING_HUGEPAGE | LM_MAPPING_LOCKED);
	syscall(SYS_munlockall);
	check_filled(&sparse, 0, 100);
	check_filled(&full, 0, 1);
	unmap_memory(&sparse);
	unmap_memory(&full);
}

/* -------------------------------------------------------------------- NUMA */

#define POLICY_BIND 2 /* linux/mempolicy.h */

static int policy_at(const void *address, unsigned long *nodes)
{
	int mode = -1;

	*nodes = 0;
	if (syscall(SYS_get_mempolicy, &mode, nodes, 1024, address, 2 /* MPOL_F_ADDR */) < 0)
		return -1;
	return mode;
}

static void numa_policy(void **state)
{
	Memory memory = map_memory(4 * SLOT, 0, MADV_HUGEPAGE);
	unsigned long nodes[16] = {1}, found[16] = {0};

	if (syscall(SYS_mbind, memory.host, 2 * SLOT, POLICY_BIND, nodes, 1024, 0) < 0) {
		print_message("# no NUMA here: %s\n", g_strerror(errno));
		unmap_memory(&memory);
		return;
	}
	fill(&memory, 0, 5);
	share_live(get_share(&memory));
	assert_int_equal(policy_at(memory.host + 2 * SLOT - PAGE, found), POLICY_BIND);
	assert_int_equal(found[0], 1);
	assert_int_equal(policy_at(memory.host + 2 * SLOT, found), 0);
	check_filled(&memory, 0, 5);
	unmap_memory(&memory);
}

/* ------------------------------------------------- pages that others share */

/* A child that keeps our pages until it is told to look at them. */
static pid_t begin_child(const Memory *memory, int *tell_fd)
{
	int ends[2];
	pid_t child;
	char c;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(ends[1]);
		if (read(ends[0], &c, 1) != 1)
			_exit(2);
		for (gsize page = 0; page < memory->bytes / PAGE; page++)
			if (word_at(memory, page)[0] != mark(page))
				_exit(1);
		_exit(0);
	}
	close(ends[0]);
	*tell_fd = ends[1];
	return child;
}

static void check_fork(int advice)
{
	Memory memory = map_memory(4 * SLOT, 0, advice);
	LmShare *share = get_share(&memory);
	int tell_fd, status;
	pid_t child;

	fill(&memory, 0, 1);
	child = begin_child(&memory, &tell_fd);
	share_live(share);
	for (gsize page = 0; page < memory.bytes / PAGE; page++)
		word_at(&memory, page)[0] = 5;
	assert_int_equal(write(tell_fd, "x", 1), 1);
	close(tell_fd);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	fill(&memory, 0, 1);
	check_filled(&memory, 0, 1);
	check_memfd(share, &memory);
	unmap_memory(&memory);
}

static void pages_of_a_child(void **state)
{
	check_fork(MADV_NOHUGEPAGE);
	check_fork(MADV_HUGEPAGE);
}

/* The child has gone, and nobody has written since. */
static void pages_of_a_former_child(void **state)
{
	Memory memory = map_memory(2 * SLOT, 0, MADV_HUGEPAGE);
	int tell_fd, status;
	pid_t child;

	fill(&memory, 0, 1);
	child = begin_child(&memory, &tell_fd);
	close(tell_fd);
	assert_int_equal(waitpid(child, &status, 0), child);
	share_live(get_share(&memory));
	check_filled(&memory, 0, 1);
	unmap_memory(&memory);
}

#define KSM "/sys/kernel/mm/ksm/"

static gboolean set_ksm(const char *name, const char *value, char *before)
{
	g_autofree char *path = g_strconcat(KSM, name, NULL);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t got;
	gboolean set;

	if (fd < 0)
		return FALSE;
	got = before ? read(fd, before, 31) : 0;
	if (before)
		before[MAX(got, 0)] = 0;
	set = pwrite(fd, value, strlen(value), 0) == (ssize_t)strlen(value);
	close(fd);
	return set;
}

/* ksmd has found that the pages are the same; at most a few seconds. */
static gboolean wait_for_ksm(const Memory *memory)
{
	for (guint i = 0; i < 500; i++) {
		if (smaps_bytes(memory, "KSM") > memory->bytes / 2)
			return TRUE;
		g_usleep(10000);
	}
	return FALSE;
}

/* @memory has the same in all pages. */
static void share_merged(Memory *memory)
{
	LmShare *share = get_share(memory);

	share_live(share);
	for (gsize page = 0; page < memory->bytes / PAGE; page++)
		assert_int_equal(word_at(memory, page)[0], 4711);
	assert_int_equal(memfd_bytes(share), memory->bytes);
}

/* KSM is the host's; this turns it on for a while. */
static void pages_that_ksm_has_merged(void **state)
{
	Memory memory = map_memory(2 * SLOT, 0, MADV_NOHUGEPAGE);
	char run[32], pages[32], sleep[32];
	gboolean merged = FALSE;

	for (gsize page = 0; page < memory.bytes / PAGE; page++)
		word_at(&memory, page)[0] = 4711;
	if (madvise(memory.host, memory.bytes, MADV_MERGEABLE) == 0 && set_ksm("run", "1", run) &&
	    set_ksm("pages_to_scan", "20000", pages) && set_ksm("sleep_millisecs", "1", sleep)) {
		merged = wait_for_ksm(&memory);
		set_ksm("pages_to_scan", pages, NULL);
		set_ksm("sleep_millisecs", sleep, NULL);
		set_ksm("run", run, NULL);
	}
	if (merged)
		share_merged(&memory);
	else
		print_message("# no KSM here\n");
	unmap_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(madvise_flags),
		TEST(flags_of_holes),
		TEST(protection),
		TEST(locked),
		TEST(locked_on_fault),
		TEST(locked_when_stopped),
		TEST(all_that_is_mapped_is_locked),
		TEST(numa_policy),
		TEST(pages_of_a_child),
		TEST(pages_of_a_former_child),
		TEST(pages_that_ksm_has_merged),
	};

	return need_live() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
