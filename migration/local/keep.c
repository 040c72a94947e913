// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "keep.h"
#include "region.h"

/* Populated pages one after the other, with their place in the copy. */
static void for_each_run(LmRegion *region,
			 void (*visit)(LmRegion *region, const LmRange *run, guint8 *copy))
{
	LmRegion scanned = *region;
	guint64 at = 0, copied_bytes = 0;
	LmRange run;

	scanned.here = region->populated;
	while (lm_region_bitmap_next(&scanned, at, region->used_bytes, &run)) {
		visit(region, &run, region->kept + copied_bytes);
		copied_bytes += run.length_bytes;
		at = run.offset_bytes + run.length_bytes;
	}
}

static void copy_run(LmRegion *region, const LmRange *run, guint8 *copy)
{
	memcpy(copy, region->host + run->offset_bytes, run->length_bytes);
}

static void restore_run(LmRegion *region, const LmRange *run, guint8 *copy)
{
	LmRange page = {run->offset_bytes, LM_BASE_PAGE_BYTES};
	guint64 end = run->offset_bytes + run->length_bytes;

	for (; page.offset_bytes < end; page.offset_bytes += page.length_bytes) {
		if (lm_region_bitmap_any(region, &page))
			continue;
		memcpy(region->host + page.offset_bytes,
		       copy + (page.offset_bytes - run->offset_bytes), page.length_bytes);
		lm_region_bitmap_set(region, &page);
	}
}

static gint by_content(gconstpointer a, gconstpointer b)
{
	const LmRegion *one = *(LmRegion *const *)a, *other = *(LmRegion *const *)b;

	return (one->populated_bytes > other->populated_bytes) -
	       (one->populated_bytes < other->populated_bytes);
}

void lm_keep_small(GPtrArray *regions)
{
	g_autoptr(GPtrArray) sorted = g_ptr_array_copy(regions, NULL, NULL);
	guint64 kept_bytes = 0;

	g_ptr_array_set_free_func(sorted, NULL);
	g_ptr_array_sort(sorted, by_content);
	for (guint i = 0; i < sorted->len; i++) {
		LmRegion *region = g_ptr_array_index(sorted, i);

		if (region->way != LM_WAY_FLIP || !region->populated)
			continue;
		kept_bytes += region->populated_bytes;
		if (kept_bytes > LM_KEEP_BYTES_MAX)
			return;
		region->kept = g_malloc(region->populated_bytes);
		for_each_run(region, copy_run);
	}
}

void lm_keep_restore(GPtrArray *regions)
{
	for (guint i = 0; i < regions->len; i++) {
		LmRegion *region = g_ptr_array_index(regions, i);

		if (region->kept)
			for_each_run(region, restore_run);
	}
}

void lm_keep_forget(GPtrArray *regions)
{
	for (guint i = 0; i < regions->len; i++) {
		LmRegion *region = g_ptr_array_index(regions, i);

		g_clear_pointer(&region->kept, g_free);
	}
}
