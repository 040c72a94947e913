/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Regions: names, matching two machines' lists, and the bitmap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "region.h"

static GPtrArray *list(void)
{
	return g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);
}

static LmRegion *add(GPtrArray *regions, const char *name, guint64 bytes, guint flags)
{
	LmRegion *region = lm_region_new(name);

	region->used_bytes = region->max_bytes = bytes;
	region->flags = flags;
	if (flags & LM_REGION_SHARED)
		region->fd = LM_WIRE_FD_PEER;
	g_ptr_array_add(regions, region);
	return region;
}

static void names(void **state)
{
	g_autoptr(LmRegion) region = lm_region_new("pc.ram");

	assert_string_equal(region->name, "pc.ram");
	assert_int_equal(region->fd, -1);
	assert_int_equal(region->page_bytes, 4096);
	assert_null(region->here);
	assert_string_equal(lm_way_name(LM_WAY_FLIP), "flip");
	assert_string_equal(lm_way_name(LM_WAY_PASS), "pass");
	assert_string_equal(lm_way_name(LM_WAY_SHARE), "share");
	assert_string_equal(lm_way_name((LmWay)77), "unknown");
	assert_string_equal(lm_engine_name(LM_ENGINE_AUTO), "auto");
	assert_string_equal(lm_engine_name(LM_ENGINE_VMSPLICE), "vmsplice");
	assert_string_equal(lm_engine_name(LM_ENGINE_PROCESS_VM_READV), "process-vm-readv");
	assert_string_equal(lm_engine_name((LmEngine)77), "unknown");
	lm_region_free(NULL);
}

static void matches_in_the_order_of_the_source(void **state)
{
	g_autoptr(GPtrArray) mine = list(), theirs = list(), matched = NULL;
	LmRegion *bios = add(mine, "bios", 4096, 0);
	LmRegion *ram = add(mine, "ram", 1 << 20, LM_REGION_SHARED);
	LmRegion *rom = add(mine, "rom", 4096, LM_REGION_RESIZABLE);

	rom->max_bytes = 16384;
	add(theirs, "ram", 1 << 20, LM_REGION_SHARED)->way = LM_WAY_PASS;
	add(theirs, "rom", 16384, LM_REGION_RESIZABLE)->way = LM_WAY_SHARE;
	add(theirs, "bios", 4096, 0);
	assert_int_equal(lm_regions_match(mine, theirs, &matched, NULL), 0);
	assert_int_equal(matched->len, 3);
	assert_ptr_equal(g_ptr_array_index(matched, 0), ram);
	assert_ptr_equal(g_ptr_array_index(matched, 1), rom);
	assert_ptr_equal(g_ptr_array_index(matched, 2), bios);
	assert_int_equal(ram->way, LM_WAY_PASS);
	assert_int_equal(rom->way, LM_WAY_SHARE);
	assert_int_equal(bios->way, LM_WAY_FLIP);
}

static void assert_refused(GPtrArray *mine, GPtrArray *theirs, const char *message)
{
	GPtrArray *untouched = theirs, *matched = untouched;
	g_autoptr(GError) error = NULL;

	assert_int_equal(lm_regions_match(mine, theirs, &matched, &error), -EINVAL);
	assert_true(g_error_matches(error, LM_ERROR, LM_ERROR_REFUSED));
	assert_string_equal(error->message, message);
	assert_ptr_equal(matched, untouched);
	assert_int_equal(lm_regions_match(mine, theirs, &matched, NULL), -EINVAL);
}

static void refuses_sizes(void **state)
{
	g_autoptr(GPtrArray) mine = list(), theirs = list();
	LmRegion *ram = add(mine, "pc.ram", 536870912, 0);

	add(theirs, "pc.ram", 1073741824, LM_REGION_RESIZABLE);
	assert_refused(
		mine, theirs,
		"RAM block pc.ram differs in size: source 1073741824, destination 536870912");
	ram->flags = LM_REGION_RESIZABLE;
	ram->max_bytes = 536874000;
	assert_refused(mine, theirs,
		       "RAM block pc.ram differs in size: source 1073741824, "
		       "destination at most 536874000");
}

static void refuses_ways(void **state)
{
	g_autoptr(GPtrArray) mine = list(), theirs = list();
	LmRegion *here = add(mine, "X", 4096, LM_REGION_SHARED), *there = add(theirs, "X", 4096, 0);

	assert_refused(mine, theirs,
		       "RAM block X is private on the source, shared on the destination");
	there->way = LM_WAY_PASS;
	there->fd = LM_WIRE_FD_NONE;
	assert_refused(mine, theirs, "RAM block X is shared on the source without a descriptor");
	there->way = LM_WAY_SHARE;
	here->page_bytes = 2 << 20;
	assert_refused(mine, theirs,
		       "RAM block X has pages of 4096 bytes on the source, "
		       "of 2097152 on the destination");
}

static void refuses_what_one_side_has(void **state)
{
	g_autoptr(GPtrArray) mine = list(), theirs = list();

	add(mine, "a", 4096, 0);
	add(theirs, "b", 4096, 0);
	assert_refused(mine, theirs,
		       "RAM block b is only on the source; "
		       "RAM block a is only on the destination");
	add(mine, "b", 4096, 0);
	add(mine, "b", 4096, 0);
	add(theirs, "a", 4096, 0);
	assert_refused(mine, theirs, "RAM block b is twice on the destination");
	add(theirs, "a", 4096, 0);
	assert_refused(mine, theirs,
		       "RAM block b is twice on the destination; "
		       "RAM block a is twice on the source");
}

static void names_three_differences(void **state)
{
	g_autoptr(GPtrArray) mine = list(), theirs = list();

	for (char name[2] = "a"; name[0] <= 'e'; name[0]++)
		add(theirs, name, 4096, 0);
	assert_refused(mine, theirs,
		       "RAM block a is only on the source; "
		       "RAM block b is only on the source; "
		       "RAM block c is only on the source; and 2 more");
}

/* -------------------------------------------------------------- bitmap */

#define PAGES 1337u

static void assert_same(const LmRegion *region, const gboolean *want)
{
	guint64 count = 0, at = 0, page = 0;
	LmRange run;

	while (lm_region_bitmap_next(region, at, region->used_bytes, &run)) {
		for (; page < run.offset_bytes / 4096; page++)
			assert_false(want[page]);
		for (; page < (run.offset_bytes + run.length_bytes) / 4096; page++, count++)
			assert_true(want[page]);
		at = run.offset_bytes + run.length_bytes;
	}
	for (; page < PAGES; page++)
		assert_false(want[page]);
	assert_int_equal(lm_region_bitmap_count_bytes(region), count * 4096);
}

static void bitmap_against_an_array(void **state)
{
	g_autoptr(LmRegion) region = lm_region_new("ram");
	gboolean want[PAGES] = {FALSE};

	region->used_bytes = PAGES * 4096;
	lm_region_bitmap_reset(region);
	srand(1);
	for (int step = 0; step < 3000; step++) {
		guint first = rand() % PAGES, count = rand() % (PAGES - first + 1);
		LmRange range = {first * 4096, (step % 3 ? MIN(count, 70) : count) * 4096};
		gboolean any = FALSE, value = rand() % 2;
		guint64 absent = 0;

		for (guint i = 0; i < range.length_bytes / 4096; i++) {
			any = any || want[first + i];
			absent += want[first + i] ? 0 : 4096;
			want[first + i] = value;
		}
		assert_int_equal(lm_region_bitmap_any(region, &range), any);
		if (value)
			assert_int_equal(lm_region_bitmap_set(region, &range), absent);
		else
			lm_region_bitmap_clear(region, &range);
		assert_same(region, want);
	}
	lm_region_bitmap_reset(region);
	assert_int_equal(lm_region_bitmap_count_bytes(region), 0);
}

static void runs_are_cut(void **state)
{
	g_autoptr(LmRegion) region = lm_region_new("ram");
	LmRange all = {0, 200 * 4096}, run = {7, 7};

	region->used_bytes = all.length_bytes;
	lm_region_bitmap_reset(region);
	assert_false(lm_region_bitmap_next(region, 0, all.length_bytes, &run));
	assert_int_equal(run.offset_bytes, 7);
	lm_region_bitmap_set(region, &all);
	assert_true(lm_region_bitmap_next(region, 3 * 4096, 150 * 4096, &run));
	assert_int_equal(run.offset_bytes, 3 * 4096);
	assert_int_equal(run.length_bytes, 147 * 4096);
	assert_true(lm_region_bitmap_next(region, 199 * 4096, G_MAXUINT64, &run));
	assert_int_equal(run.length_bytes, 4096);
	assert_false(lm_region_bitmap_next(region, 200 * 4096, G_MAXUINT64, &run));
	assert_false(lm_region_bitmap_next(region, 5 * 4096, 5 * 4096, &run));
}

static void an_empty_region_has_a_bitmap(void **state)
{
	g_autoptr(LmRegion) region = lm_region_new("ram");
	LmRange nothing = {0, 0}, run;

	lm_region_bitmap_reset(region);
	assert_non_null(region->here);
	lm_region_bitmap_set(region, &nothing);
	assert_int_equal(lm_region_bitmap_count_bytes(region), 0);
	assert_false(lm_region_bitmap_next(region, 0, G_MAXUINT64, &run));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(matches_in_the_order_of_the_source),
		cmocka_unit_test(refuses_sizes),
		cmocka_unit_test(refuses_ways),
		cmocka_unit_test(refuses_what_one_side_has),
		cmocka_unit_test(names_three_differences),
		cmocka_unit_test(bitmap_against_an_array),
		cmocka_unit_test(runs_are_cut),
		cmocka_unit_test(an_empty_region_has_a_bitmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
