/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages flip between two processes: all kinds of regions, forth and back. */
#include "flip-pair.h"
#include "hugetlb-pool.h"

static void forth_and_back_with(const Setup *setup)
{
	guint fds = count_entries("/proc/self/fd"), tasks = count_entries("/proc/self/task");
	guint64 bytes;
	Pair pair;

	start_mixed(&pair, setup, DEADLINE);
	bytes = bytes_here(&pair);
	assert_true(bytes > 40 * MIB && bytes == bytes_populated(&pair));
	for (int round = 0; round < 2; round++) {
		forth(&pair, bytes);
		assert_all_there(&pair, bytes);
		back(&pair, bytes);
		assert_all_here(&pair, bytes);
	}
	end_pair(&pair);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(count_entries("/proc/self/task"), tasks);
}

static void forth_and_back(void **state)
{
	for (guint i = 0; i < 12; i++) {
		Setup setup = {
			.engine = i % 2 ? LM_ENGINE_PROCESS_VM_READV : LM_ENGINE_VMSPLICE,
			.io_uring = i / 2 % 2,
			.channels = i < 4   ? 1
				    : i < 8 ? 2
					    : 7,
		};

		forth_and_back_with(&setup);
	}
}

static void nothing_to_send(void **state)
{
	Pair pair;

	init_pair(&pair);
	start_pair(&pair, 3, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	forth(&pair, 0);
	back(&pair, 0);
	end_pair(&pair);
}

static void locked_memory_is_released(void **state)
{
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "locked", 4 * MIB, full, 0, 0);
	start_pair(&pair, 1, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	fill_pair(&pair);
	if (mlock(get_region(&pair, 0)->host, 4 * MIB) == 0) {
		forth(&pair, 4 * MIB);
		assert_all_there(&pair, 4 * MIB);
	}
	end_pair(&pair);
}

static void a_region_without_a_map_is_refused(void **state)
{
	Reply reply;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "odd", MIB, full, 0, 0);
	g_clear_pointer(&get_region(&pair, 0)->here, g_free);
	start_pair(&pair, 1, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	reply = send_from_here(&pair);
	assert_int_equal(reply.ret, -EINVAL);
	assert_string_equal(reply.message, "RAM block odd has no map of its pages");
	end_pair(&pair);
}

static void discard_releases(void **state)
{
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", 4 * MIB, every_other, 0, 0);
	fill_pair(&pair);
	get_region(&pair, 0)->way = LM_WAY_PASS;
	assert_int_equal(lm_region_discard(get_region(&pair, 0), NULL), 0);
	get_region(&pair, 0)->way = LM_WAY_FLIP;
	assert_true(bytes_populated(&pair) >= 2 * MIB);
	assert_int_equal(lm_region_discard(get_region(&pair, 0), NULL), 0);
	assert_int_equal(bytes_populated(&pair), 0);
	end_pair(&pair);
}

/* ---------------------------------------------------------------- memory */

/* The sum of a line of smaps over the mappings of @region, in bytes. */
static guint64 smaps_bytes(pid_t pid, const LmRegion *region, const char *key)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/smaps", (int)pid);
	guint64 first = (guintptr)region->host, last = first + region->used_bytes, sum = 0;
	FILE *file = fopen(path, "r");
	gboolean inside = FALSE;
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < last && end > first;
		else if (inside && g_str_has_prefix(line, key))
			sum += strtoull(line + strlen(key) + 1, NULL, 10) * 1024;
	}
	fclose(file);
	return sum;
}

static void huge_pages_stay_huge(void **state)
{
	Pair pair;
	LmRegion *region;

	init_pair(&pair);
	add_region(&pair, "huge", 64 * MIB, full, 0, MADV_HUGEPAGE);
	start_pair(&pair, 2, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	fill_pair(&pair);
	region = get_region(&pair, 0);
	if (smaps_bytes(getpid(), region, "AnonHugePages:") == 64 * MIB) {
		forth(&pair, 64 * MIB);
		assert_true(smaps_bytes(pair.child, region, "AnonHugePages:") >= 60 * MIB);
		assert_int_equal(smaps_bytes(getpid(), region, "Rss:"), 0);
		back(&pair, 64 * MIB);
		assert_true(smaps_bytes(getpid(), region, "AnonHugePages:") >= 60 * MIB);
		assert_int_equal(smaps_bytes(pair.child, region, "Rss:"), 0);
	}
	end_pair(&pair);
}

typedef struct Sampler {
	pid_t child;
	gint ended; /* atomic */
	guint64 peak_bytes;
	guint samples;
} Sampler;

static guint64 resident_bytes(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/statm", (int)pid);
	unsigned long size = 0, resident = 0;
	FILE *file = fopen(path, "r");

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (guint64)PAGE;
}

/* The receiver first: a page that moves between the two looks is missed, not counted twice. */
static guint64 both_resident(pid_t child)
{
	guint64 bytes = resident_bytes(child);

	return bytes + resident_bytes(getpid());
}

static gpointer sample(gpointer opaque)
{
	Sampler *sampler = opaque;

	while (!g_atomic_int_get(&sampler->ended)) {
		sampler->peak_bytes = MAX(sampler->peak_bytes, both_resident(sampler->child));
		sampler->samples++;
		g_usleep(500);
	}
	return NULL;
}

static void memory_is_not_held_twice_with(LmEngine engine)
{
	Sampler sampler = {0};
	guint64 begin_bytes;
	GThread *thread;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", 512 * MIB, full, 0, MADV_HUGEPAGE);
	start_pair(&pair, 2, engine, FALSE, DEADLINE, FALSE);
	fill_pair(&pair);
	sampler.child = pair.child;
	begin_bytes = both_resident(pair.child);
	thread = g_thread_new("sampler", sample, &sampler);
	forth(&pair, 512 * MIB);
	g_atomic_int_set(&sampler.ended, 1);
	g_thread_join(thread);
	assert_true(sampler.samples > 3);
	assert_true(sampler.peak_bytes > begin_bytes - 32 * MIB);
	assert_true(sampler.peak_bytes < begin_bytes + 32 * MIB);
	end_pair(&pair);
}

static void memory_is_not_held_twice(void **state)
{
	memory_is_not_held_twice_with(LM_ENGINE_VMSPLICE);
	memory_is_not_held_twice_with(LM_ENGINE_PROCESS_VM_READV);
}

/* ---------------------------------------------------------------- hugetlb */

static void start_hugetlb(Pair *pair, LmEngine engine, guint deadline_ms)
{
	init_pair(pair);
	add_region(pair, "hugetlb", 8 * LM_WINDOW_BYTES, blocks, MAP_HUGETLB, 0);
	start_pair(pair, 1, engine, FALSE, deadline_ms, TRUE);
	fill_pair(pair);
}

static void hugetlb_flips(void **state)
{
	for (int engine = LM_ENGINE_VMSPLICE; engine <= LM_ENGINE_PROCESS_VM_READV; engine++) {
		guint64 bytes;
		Pair pair;

		if (!set_pool(11))
			return;
		start_hugetlb(&pair, engine, DEADLINE);
		bytes = bytes_here(&pair);
		assert_int_equal(bytes % LM_WINDOW_BYTES, 0);
		forth(&pair, bytes);
		assert_all_there(&pair, bytes);
		back(&pair, bytes);
		assert_all_here(&pair, bytes);
		end_pair(&pair);
	}
}

static void a_short_pool_is_named(void **state)
{
	Reply received, sent;
	guint64 bytes;
	Pair pair;

	if (!set_pool(8))
		return;
	init_pair(&pair);
	add_region(&pair, "hugetlb", 8 * LM_WINDOW_BYTES, full, MAP_HUGETLB, 0);
	start_pair(&pair, 1, LM_ENGINE_VMSPLICE, FALSE, 300, FALSE);
	fill_pair(&pair);
	bytes = bytes_here(&pair);
	tell(&pair, 'R');
	sent = send_from_here(&pair);
	received = answer(&pair);
	assert_int_equal(received.ret, -ENOMEM);
	assert_non_null(strstr(received.message, "no hugetlb page of 2097152 bytes is free for RAM "
						 "block hugetlb at 0"));
	assert_int_equal(sent.ret, -ETIMEDOUT);
	assert_int_equal(bytes_here(&pair), bytes);
	assert_int_equal(pages_wrong(&pair), 0);
	end_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forth_and_back),
		cmocka_unit_test(nothing_to_send),
		cmocka_unit_test(locked_memory_is_released),
		cmocka_unit_test(a_region_without_a_map_is_refused),
		cmocka_unit_test(discard_releases),
		cmocka_unit_test(huge_pages_stay_huge),
		cmocka_unit_test(memory_is_not_held_twice),
		cmocka_unit_test_setup_teardown(hugetlb_flips, take_pool, give_pool_back),
		cmocka_unit_test_setup_teardown(a_short_pool_is_named, take_pool, give_pool_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
