/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of a region have content of their own. The kernel says: PAGEMAP_SCAN (Linux 6.7,
 * fs/proc/task_mmu.c), else /proc/self/pagemap. A page that was only read (the zero page) has
 * none.
 */
#ifndef LM_LOCAL_POPULATED_H
#define LM_LOCAL_POPULATED_H

#include <migration/localhost.h>

typedef enum LmPopulatedBy {
	LM_POPULATED_AUTO,
	LM_POPULATED_SCAN,
	LM_POPULATED_PAGEMAP
} LmPopulatedBy;

/*
 * Resets region->here and sets the bit of each base page that is present or swapped out and not
 * the zero page; fills populated_bytes and skipped_bytes. A region with LM_REGION_NAMED_FILE has
 * every bit set.
 */
int lm_populated_scan(LmRegion *region, LmPopulatedBy by, GError **errp);

#endif
