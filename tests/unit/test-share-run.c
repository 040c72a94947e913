/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What ends, slows or cuts up a live run; and what happens in between. */
#include "share-memory.h"

#include <sys/eventfd.h>

#include "fault.h"

/* ---------------------------------------------------------- between chunks */

typedef struct Between {
	const Memory *memory;
	guint calls;
	guint act_at;	   /* the call in which to act; 0: never */
	int cancel_fd;	   /* written then */
	const char *fault; /* or set then */
	gsize touch_page;  /* of each slot, in each call; 0: none */
	guint most_mappings;
} Between;

static int look_between(void *opaque, GError **errp)
{
	Between *between = opaque;
	const guint64 one = 1;

	between->calls++;
	assert_non_null(lm_share_find(between->memory->host)); /* not taken for gone */
	between->most_mappings = MAX(between->most_mappings, count_mappings(between->memory));
	for (gsize at = 0; between->touch_page && at < between->memory->bytes / PAGE; at += 512)
		word_at(between->memory, at + between->touch_page)[0] |= 1;
	if (between->calls != between->act_at)
		return 0;
	if (between->fault)
		lm_fault_set(between->fault);
	else if (between->cancel_fd >= 0)
		assert_int_equal(write(between->cancel_fd, &one, sizeof(one)), sizeof(one));
	else {
		g_set_error_literal(errp, LM_ERROR, LM_ERROR_GONE, "enough");
		return -EPIPE;
	}
	return 0;
}

/* Another session may look for it at any time. */
typedef struct Finder {
	const Memory *memory;
	int stop;
	guint missed;
} Finder;

static gpointer find_again(gpointer opaque)
{
	Finder *finder = opaque;

	while (!g_atomic_int_get(&finder->stop))
		finder->missed += lm_share_find(finder->memory->host) == NULL;
	return NULL;
}

static void few_mappings(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_HUGEPAGE);
	Between between = {.memory = &memory, .cancel_fd = -1};
	LmShareRun run = begin_run(get_share(&memory));
	Finder finder = {.memory = &memory};
	GThread *thread = g_thread_new("finder", find_again, &finder);

	fill(&memory, 0, 1);
	run.between_chunks = look_between;
	run.opaque = &between;
	run.max_stall_us = 1;
	run_live(&run);
	g_atomic_int_set(&finder.stop, 1);
	g_thread_join(thread);
	assert_int_equal(finder.missed, 0);
	assert_true(between.calls >= lm_times_count(&run.chunk_times));
	assert_in_range(between.most_mappings, 2, 4);
	assert_int_equal(count_mappings(&memory), 1);
	end_run(&run);
	unmap_memory(&memory);
}

/* A run that ends in the middle leaves all content, in mappings that are in use, and a second one
 * goes on with it. */
static void check_stopped_short(Between *between, int err, LmErrorCode code, const char *part)
{
	Memory memory = map_memory(32 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;
	guint64 left;
	int ret;

	fill(&memory, 0, 1);
	/* cppcheck-suppress autoVariables; it is used while this function runs */
	between->memory = &memory;
	run.between_chunks = look_between;
	run.opaque = between;
	run.cancel_fd = between->cancel_fd;
	ret = lm_share_live(&run, &error);
	lm_fault_set(NULL);
	check_failure(ret, &error, err, code, part);
	left = lm_share_private_bytes(share);
	assert_true(left > 0 && left < memory.bytes);
	assert_int_equal(run.done_bytes, memory.bytes - left);
	assert_true(memfd_bytes(share) == run.done_bytes);
	check_filled(&memory, 0, 1);
	fill(&memory, 0, 1); /* can be written, too */
	end_run(&run);
	share_live(share);
	check_filled(&memory, 0, 1);
	check_memfd(share, &memory);
	unmap_memory(&memory);
}

static void the_caller_stops_it(void **state)
{
	for (guint at = 6; at <= 9; at++) {
		Between between = {.cancel_fd = -1, .act_at = at};

		check_stopped_short(&between, EPIPE, LM_ERROR_GONE, "enough");
	}
}

static void cancelled(void **state)
{
	for (guint at = 6; at <= 7; at++) {
		Between between = {.cancel_fd = eventfd(0, EFD_CLOEXEC), .act_at = at};

		check_stopped_short(&between, ECANCELED, LM_ERROR_CANCELLED, "cancelled");
		close(between.cancel_fd);
	}
}

#if LM_FAULT_INJECTION
static void the_memfd_is_full(void **state)
{
	Between between = {.cancel_fd = -1, .act_at = 6, .fault = "fill-share:enospc"};

	check_stopped_short(&between, ENOSPC, LM_ERROR_FAILED, "No space left on device");
	between = (Between){.cancel_fd = -1, .act_at = 6, .fault = "fill-share:enomem"};
	check_stopped_short(&between, ENOMEM, LM_ERROR_FAILED, "Cannot allocate memory");
}

/* The same where it turns out only after the chunk was moved out, and must be moved back. */
static void the_memfd_is_full_for_a_late_page(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_NOHUGEPAGE);
	Between between = {.memory = &memory,
			   .cancel_fd = -1,
			   .act_at = 1,
			   .fault = "fill-share:enospc",
			   .touch_page = 7};
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;
	int ret;

	fill(&memory, 0, 32);
	run.between_chunks = look_between;
	run.opaque = &between;
	ret = lm_share_live(&run, &error);
	lm_fault_set(NULL);
	check_failure(ret, &error, ENOSPC, LM_ERROR_FAILED, "cannot allocate 2097152 bytes");
	assert_int_equal(lm_times_count(&run.chunk_times), 1);
	assert_int_equal(lm_share_private_bytes(share), memory.bytes);
	assert_int_equal(memfd_bytes(share), 0);
	for (gsize page = 7; page < memory.bytes / PAGE; page += 512) {
		assert_int_equal(word_at(&memory, page)[0], 1);
		word_at(&memory, page)[0] = 0;
	}
	check_filled(&memory, 0, 32);
	end_run(&run);
	share_live(share);
	check_filled(&memory, 0, 32);
	unmap_memory(&memory);
}
#endif

/* Pages that come after we had looked are content as well. */
static void late_pages(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_NOHUGEPAGE);
	Between between = {.memory = &memory, .cancel_fd = -1, .touch_page = 7};
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, 32);
	run.between_chunks = look_between;
	run.opaque = &between;
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(run.done_bytes, memory.bytes / 32 + memory.bytes / 512);
	for (gsize page = 7; page < memory.bytes / PAGE; page += 512) {
		assert_int_equal(word_at(&memory, page)[0], 1);
		word_at(&memory, page)[0] = 0;
	}
	check_filled(&memory, 0, 32);
	end_run(&run);
	unmap_memory(&memory);
}

/* -------------------------------------------------------------------- pace */

static void stalls_that_are_too_long_make_chunks_small(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, 1);
	run.max_stall_us = 1;
	run_live(&run);
	/* 2 MiB, 1 MiB, 512, 256, 128 KiB, and from then on 64 KiB */
	assert_true(lm_times_count(&run.chunk_times) >= (memory.bytes - 4 * MIB) / (64 << 10));
	check_filled(&memory, 0, 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void stalls_that_are_short_leave_chunks_large(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);

	fill(&memory, 0, 1);
	run.max_stall_us = 10 * G_USEC_PER_SEC;
	run_live(&run);
	assert_int_equal(lm_times_count(&run.chunk_times), memory.bytes / SLOT);
	assert_true(lm_times_percentile(&run.chunk_times, 100) > 0);
	end_run(&run);
	unmap_memory(&memory);
}

/* Also asks all the while whether to go on. */
static void the_bandwidth_is_kept(void **state)
{
	Memory memory = map_memory(8 * MIB, 0, MADV_HUGEPAGE);
	Between between = {.memory = &memory, .cancel_fd = -1};
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	const gint64 start_us = g_get_monotonic_time();

	fill(&memory, 0, 1);
	run.bandwidth = 16 * MIB;
	run.between_chunks = look_between;
	run.opaque = &between;
	run_live(&run);
	assert_true(g_get_monotonic_time() - start_us >= 400 * 1000);
	assert_true(between.calls >= 8);
	end_run(&run);
	unmap_memory(&memory);
}

static void cancelled_while_it_sleeps(void **state)
{
	Memory memory = map_memory(4 * MIB, 0, MADV_HUGEPAGE);
	Between between = {.memory = &memory, .cancel_fd = eventfd(0, EFD_CLOEXEC), .act_at = 6};
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	g_autoptr(GError) error = NULL;

	fill(&memory, 0, 1);
	run.bandwidth = 4096; /* for ten minutes */
	run.between_chunks = look_between;
	run.opaque = &between;
	run.cancel_fd = between.cancel_fd;
	check_failure(lm_share_live(&run, &error), &error, ECANCELED, LM_ERROR_CANCELLED,
		      "cancelled");
	assert_int_equal(lm_share_private_bytes(share), SLOT);
	check_filled(&memory, 0, 1);
	close(between.cancel_fd);
	end_run(&run);
	unmap_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(few_mappings),
		TEST(the_caller_stops_it),
		TEST(cancelled),
#if LM_FAULT_INJECTION
		TEST(the_memfd_is_full),
		TEST(the_memfd_is_full_for_a_late_page),
#endif
		TEST(late_pages),
		TEST(stalls_that_are_too_long_make_chunks_small),
		TEST(stalls_that_are_short_leave_chunks_large),
		TEST(the_bandwidth_is_kept),
		TEST(cancelled_while_it_sleeps),
	};

	return need_live() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
