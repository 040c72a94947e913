/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shares: made, found, extended, adopted, refused; and what a live run makes of quiet memory. */
#include "share-memory.h"

#include <fcntl.h>
#include <sys/resource.h>

/* ------------------------------------------------------------------ shares */

static void a_new_share_is_private(void **state)
{
	Memory memory = map_memory(3 * MIB, 0, MADV_NOHUGEPAGE);
	LmShare *share;

	assert_null(lm_share_find(memory.host));
	share = get_share(&memory);
	assert_ptr_equal(lm_share_find(memory.host), share);
	assert_ptr_equal(get_share(&memory), share);
	assert_null(lm_share_find(memory.host + PAGE));
	assert_int_equal(lm_share_bytes(share), 3 * MIB);
	assert_int_equal(lm_share_private_bytes(share), 3 * MIB);
	assert_int_equal(memfd_bytes(share), 0);
	unmap_memory(&memory);
}

static void the_memfd_has_a_name_and_does_not_shrink(void **state)
{
	Memory memory = map_memory(MIB, 0, MADV_NOHUGEPAGE);
	LmShare *share = get_share(&memory);
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", lm_share_fd(share));
	char target[64] = "";

	assert_true(readlink(path, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/memfd:pc.ram (deleted)");
	assert_true(fcntl(lm_share_fd(share), F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(lm_share_fd(share), F_GET_SEALS) & F_SEAL_SHRINK);
	assert_int_equal(ftruncate(lm_share_fd(share), PAGE), -1);
	unmap_memory(&memory);
}

static void a_long_name(void **state)
{
	Memory memory = map_memory(PAGE, 0, MADV_NOHUGEPAGE);
	g_autofree char *name = g_strnfill(255, 'x');

	assert_non_null(lm_share_get(name, memory.host, memory.bytes, NULL));
	unmap_memory(&memory);
}

static void other_memory_at_the_same_address(void **state)
{
	Memory memory = map_memory(SLOT, 0, MADV_NOHUGEPAGE);
	LmShare *share = get_share(&memory);

	fill(&memory, 0, 1);
	share_live(share);
	assert_ptr_equal(lm_share_find(memory.host), share);
	assert_true(mmap(memory.host, SLOT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory.host);
	assert_null(lm_share_find(memory.host));
	fill(&memory, 1, 2);
	share = get_share(&memory);
	assert_int_equal(lm_share_private_bytes(share), SLOT);
	share_live(share);
	check_filled(&memory, 1, 2);
	unmap_memory(&memory);
}

/* A part of what was unplugged is enough, wherever it is. */
static void part_of_it_is_other_memory(void **state)
{
	for (gsize at = 0; at < 3 * SLOT; at += SLOT) {
		Memory memory = map_memory(3 * SLOT, 0, MADV_NOHUGEPAGE);
		LmShare *share = get_share(&memory);
		int fd = memfd_create("other", MFD_CLOEXEC);

		share_live(share);
		assert_ptr_equal(lm_share_find(memory.host), share);
		assert_int_equal(ftruncate(fd, SLOT), 0);
		assert_true(mmap(memory.host + at, SLOT, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
				 0) == memory.host + at);
		close(fd);
		assert_null(lm_share_find(memory.host));
		unmap_memory(&memory);
	}
}

static void extended(void **state)
{
	Memory memory = map_memory(7 * MIB + 5 * PAGE, 0, MADV_NOHUGEPAGE);
	Memory begin = memory;
	LmShare *share;

	fill(&memory, 0, 1);
	begin.bytes = 3 * MIB + 7 * PAGE; /* in the middle of a slot, and of 64 KiB */
	share = get_share(&begin);
	share_live(share);
	assert_ptr_equal(get_share(&memory), share);
	assert_int_equal(lm_share_bytes(share), memory.bytes);
	assert_int_equal(lm_share_private_bytes(share), memory.bytes - begin.bytes);
	assert_ptr_equal(get_share(&begin), share);
	assert_int_equal(lm_share_bytes(share), memory.bytes);
	share_live(share);
	check_filled(&memory, 0, 1);
	check_memfd(share, &memory);
	unmap_memory(&memory);
}

static void adopted(void **state)
{
	Memory memory = map_memory(SLOT, 0, MADV_NOHUGEPAGE);
	LmShare *old = get_share(&memory);
	int fd = memfd_create("theirs", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, SLOT), 0);
	assert_true(mmap(memory.host, SLOT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 0) == memory.host);
	assert_null(lm_share_find(memory.host)); /* the memory is not what it was */
	assert_int_equal(lm_share_bytes(old), 0);
	assert_int_equal(lm_share_private_bytes(old), 0);
	lm_share_forget_copies(old);
	assert_int_equal(lm_share_adopt(memory.host, SLOT, fd, NULL), 0);
	assert_ptr_equal(lm_share_find(memory.host), old);
	assert_int_equal(lm_share_private_bytes(old), 0);
	assert_int_equal(lm_share_bytes(old), SLOT);
	assert_int_not_equal(lm_share_fd(old), fd);
	close(fd);
	fill(&memory, 0, 1);
	check_memfd(old, &memory);
	share_live(old); /* has nothing to do */
	unmap_memory(&memory);
}

/* ---------------------------------------------------------------- refusals */

static void check_refused(void *host, guint64 bytes, const char *why)
{
	g_autoptr(GError) error = NULL;
	const guint before = count_fds();

	assert_null(lm_share_get("pc.ram", host, bytes, &error));
	check_failure(-EINVAL, &error, EINVAL, LM_ERROR_REFUSED, why);
	assert_null(lm_share_find(host));
	assert_int_equal(count_fds(), before);
}

static void refused(void **state)
{
	Memory memory = map_memory(2 * SLOT, 0, MADV_NOHUGEPAGE);

	check_refused(memory.host, 0, "0 bytes");
	check_refused(memory.host, PAGE + 1, "4097 bytes");
	check_refused(memory.host + 8, PAGE, "whole pages");
	munmap(memory.host + SLOT, PAGE);
	check_refused(memory.host, memory.bytes, "part of it is not mapped");
	assert_true(mmap(memory.host + SLOT, PAGE, PROT_READ,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	check_refused(memory.host, memory.bytes, "shared memory already");
	assert_true(mmap(memory.host, SLOT, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB | MAP_NORESERVE, -1,
			 0) != MAP_FAILED);
	check_refused(memory.host, SLOT, "hugetlbfs");
	unmap_memory(&memory);
}

/* A process that may not write large files is told so, and not killed by SIGXFSZ. */
static void a_limit_on_the_size_of_files(void **state)
{
	Memory memory = map_memory(4 * MIB, 0, MADV_NOHUGEPAGE);
	g_autoptr(GError) error = NULL;
	struct rlimit limit, low;
	LmShare *share;

	getrlimit(RLIMIT_FSIZE, &limit);
	low = limit;
	low.rlim_cur = MIB;
	setrlimit(RLIMIT_FSIZE, &low);
	share = lm_share_get("pc.ram", memory.host, memory.bytes, &error);
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_null(share);
	check_failure(-EFBIG, &error, EFBIG, LM_ERROR_FAILED, "4194304 bytes: File too large");
	assert_null(lm_share_find(memory.host));
	unmap_memory(&memory);
}

/* ----------------------------------------------------------- what it makes */

static void check_conversion(gsize bytes, gsize shift, gsize first, gsize step, int advice)
{
	Memory memory = map_memory(bytes, shift, advice);
	const guint64 content = bytes / PAGE > first ? (bytes / PAGE - first - 1) / step + 1 : 0;
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, first, step);
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	if (advice == MADV_NOHUGEPAGE) {
		assert_int_equal(run.done_bytes, content * PAGE);
		assert_int_equal(memfd_bytes(share), content * PAGE);
	}
	assert_int_equal(run.done_bytes + run.hole_bytes, bytes);
	assert_int_equal(count_mappings(&memory), 1);
	check_filled(&memory, first, step);
	check_memfd(share, &memory);
	word_at(&memory, 0)[0] = 77; /* through the mapping into the memfd */
	check_memfd(share, &memory);
	end_run(&run);
	unmap_memory(&memory);
}

static void odd_sizes(void **state)
{
	const gsize sizes[] = {PAGE, 3 * PAGE,	  64 << 10,	     SLOT - PAGE,
			       SLOT, SLOT + PAGE, 5 * MIB + 3 * PAGE};
	const gsize shifts[] = {0, PAGE, 3 * PAGE, 64 << 10, MIB, SLOT - PAGE};

	for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
		for (gsize j = 0; j < G_N_ELEMENTS(shifts); j++) {
			check_conversion(sizes[i], shifts[j], 0, 1, MADV_NOHUGEPAGE);
			check_conversion(sizes[i], shifts[j], 1, 3, MADV_NOHUGEPAGE);
			check_conversion(sizes[i], shifts[j], 0, 1, MADV_HUGEPAGE);
		}
	}
}

static void holes_stay_holes(void **state)
{
	check_conversion(64 * MIB, 0, 0, 1000000, MADV_NOHUGEPAGE); /* one page */
	check_conversion(64 * MIB, 0, 16383, 1, MADV_NOHUGEPAGE);   /* the last one */
	check_conversion(64 * MIB, 0, 700, 1100, MADV_NOHUGEPAGE);  /* not in every slot */
	check_conversion(16 * MIB, 0, 0, 2, MADV_NOHUGEPAGE);	    /* 256 runs in each */
	check_conversion(64 * MIB, 0, 1000000, 1, MADV_NOHUGEPAGE); /* none */
}

/*
 * Pages that were read and never written, small or huge, take no page of the memfd. But they are
 * moved out, slot by slot: a write to a zero page that is mapped does not wait for us.
 */
static void what_was_only_read_is_a_hole(void **state)
{
	const int advice[] = {MADV_NOHUGEPAGE, MADV_HUGEPAGE};

	for (gsize i = 0; i < G_N_ELEMENTS(advice); i++) {
		Memory memory = map_memory(8 * MIB, 0, advice[i]);
		LmShare *share = get_share(&memory);
		LmShareRun run = begin_run(share);

		for (gsize page = 0; page < memory.bytes / PAGE; page++)
			assert_int_equal(*(volatile guint64 *)word_at(&memory, page), 0);
		run_live(&run);
		assert_int_equal(run.hole_bytes, memory.bytes);
		assert_int_equal(lm_times_count(&run.chunk_times), memory.bytes / SLOT);
		assert_int_equal(memfd_bytes(share), 0);
		check_filled(&memory, 1000000, 1);
		end_run(&run);
		unmap_memory(&memory);
	}
}

/* 1 TiB of nothing is a few hundred steps, not half a million. */
static void a_huge_empty_block(void **state)
{
	const gsize bytes = (gsize)MIB << 20;
	Memory memory = map_memory(bytes, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	word_at(&memory, bytes / PAGE / 2)[0] = 5;
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_true(lm_times_count(&run.chunk_times) <= 1100);
	assert_int_equal(word_at(&memory, bytes / PAGE / 2)[0], 5);
	assert_true(memfd_bytes(share) <= SLOT);
	assert_int_equal(count_mappings(&memory), 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void check_huge(guint max_stall_us)
{
	Memory memory = map_memory(32 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	guint64 huge;

	run.max_stall_us = max_stall_us;
	fill(&memory, 0, 1);
	huge = smaps_bytes(&memory, "AnonHugePages");
	if (huge < memory.bytes)
		print_message("# only %" PRIu64 " bytes in huge pages\n", huge);
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_true(run.huge_bytes * 100 >= huge * 95);
	assert_true(smaps_bytes(&memory, "ShmemPmdMapped") * 100 >= huge * 95);
	check_filled(&memory, 0, 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void huge_pages_are_kept(void **state)
{
	check_huge(0);
	check_huge(1); /* in chunks of 64 KiB */
}

static void no_huge_pages_where_none_are_wanted(void **state)
{
	Memory memory = map_memory(8 * MIB, 0, MADV_NOHUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, 1);
	run_live(&run);
	assert_int_equal(run.huge_bytes, 0);
	assert_int_equal(smaps_bytes(&memory, "ShmemPmdMapped"), 0);
	end_run(&run);
	unmap_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_share_is_private),
		TEST(the_memfd_has_a_name_and_does_not_shrink),
		TEST(a_long_name),
		TEST(other_memory_at_the_same_address),
		TEST(part_of_it_is_other_memory),
		TEST(extended),
		TEST(adopted),
		TEST(refused),
		TEST(a_limit_on_the_size_of_files),
		TEST(odd_sizes),
		TEST(holes_stay_holes),
		TEST(what_was_only_read_is_a_hole),
		TEST(a_huge_empty_block),
		TEST(huge_pages_are_kept),
		TEST(no_huge_pages_where_none_are_wanted),
	};

	return need_live() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
