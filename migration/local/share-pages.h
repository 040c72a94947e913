/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages a slot of memory has, for share. A slot is 2 MiB, aligned: what a transparent huge
 * page covers, and a table of page entries. Nothing here allocates, but for opening.
 */
#ifndef LM_LOCAL_SHARE_PAGES_H
#define LM_LOCAL_SHARE_PAGES_H

#include <migration/localhost.h>
#include "region.h"

#define LM_SLOT_BYTES LM_WINDOW_BYTES
#define LM_SLOT_PAGES (LM_SLOT_BYTES / LM_BASE_PAGE_BYTES)

static inline gsize lm_slot_offset(const void *address)
{
	return (guintptr)address & (LM_SLOT_BYTES - 1);
}

/* Bit n: page n of the slot. */
typedef struct LmPages {
	guint64 word[LM_SLOT_PAGES / 64];
} LmPages;

/* A run of them. */
typedef struct LmPageRun {
	guint first, count;
} LmPageRun;

void lm_pages_add(LmPages *pages, const LmPageRun *run);
void lm_pages_subtract(LmPages *pages, const LmPages *less);
guint lm_pages_count(const LmPages *pages);
/* The first run at or after @run->first + @run->count; start with {0, 0}. */
gboolean lm_pages_next(const LmPages *pages, LmPageRun *run);

typedef struct LmPagemap LmPagemap;
LmPagemap *lm_pagemap_open(GError **errp);
void lm_pagemap_close(LmPagemap *pagemap);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmPagemap, lm_pagemap_close)
/* Whether it has PAGEMAP_SCAN (Linux 6.7), and can tell the zero page from content. */
gboolean lm_pagemap_scans(const LmPagemap *pagemap);

typedef struct LmFound {
	LmPages any;	 /* something is mapped there, if only the zero page */
	LmPages content; /* what is not the zero page */
	LmPages swapped; /* content that is not in memory */
	gboolean huge;	 /* all that is there is a huge page */
} LmFound;
/* Looks at [@start, @start + @bytes), which is in one slot. 0 or -errno. */
int lm_pagemap_find(LmPagemap *pagemap, const void *start, gsize bytes, LmFound *found);
/* *@first: the first address where something is mapped, or the end. 0 or -errno. */
int lm_pagemap_first(LmPagemap *pagemap, const void *start, gsize bytes, const guint8 **first);

#endif
