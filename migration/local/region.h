/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM regions: how both sides' match, and the bitmap of pages that are here. */
#ifndef LM_LOCAL_REGION_H
#define LM_LOCAL_REGION_H

#include <migration/localhost.h>
#include "wire.h"

#define LM_BASE_PAGE_BYTES 4096u
#define LM_WINDOW_BYTES	   (2u << 20) /* batches: a transparent huge page goes whole */

/*
 * Matches the destination's regions to the source's, whose way the source has chosen. @mine and
 * @theirs are LmRegion arrays; called on the destination with theirs = the source's list.
 * On success *matched is a new array (not owning its elements) of @mine in the order of @theirs,
 * with way set. Refuses (LM_ERROR_REFUSED), naming the block and both values: a block that only
 * one side has; used sizes that differ where the destination's is not resizable or too small in
 * max_bytes; a block that would be flipped into shared memory, or passed without a descriptor or
 * to other page sizes. What is flipped may have different page sizes; what is passed may be
 * private on the destination, for it is mapped over.
 */
int lm_regions_match(GPtrArray *mine, GPtrArray *theirs, GPtrArray **matched, GError **errp);

/* Allocates @region->here, all clear. Bits are base pages of used_bytes. */
void lm_region_bitmap_reset(LmRegion *region);
/* Ranges are in bytes, multiples of the base page, inside used_bytes. */
/* Returns how many bytes of the range were not set before: each bit is new to one caller only. */
guint64 lm_region_bitmap_set(LmRegion *region, const LmRange *range);
void lm_region_bitmap_clear(LmRegion *region, const LmRange *range);
/* Whether any bit of the range is set. */
gboolean lm_region_bitmap_any(const LmRegion *region, const LmRange *range);
/* A copy of region->here; g_free. */
gulong *lm_region_bitmap_copy(const LmRegion *region);
guint64 lm_region_bitmap_count_bytes(const LmRegion *region);
/*
 * The next run of set bits that starts at or after @from_bytes and before @end_bytes, cut at
 * @end_bytes. FALSE if there is none.
 */
gboolean lm_region_bitmap_next(const LmRegion *region, guint64 from_bytes, guint64 end_bytes,
			       LmRange *run);

#endif
