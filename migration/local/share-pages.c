/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "share-pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "pagemap.h"

struct LmPagemap {
	int fd;
	gboolean scans;
	union {
		LmScanRange range[LM_SLOT_PAGES];
		guint64 entry[LM_SLOT_PAGES];
	};
};

/* ------------------------------------------------------------------- sets */

void lm_pages_add(LmPages *pages, const LmPageRun *run)
{
	for (guint page = run->first; page < run->first + run->count;) {
		const guint bit = page % 64;
		const guint count = MIN(64 - bit, run->first + run->count - page);

		pages->word[page / 64] |= (~0ull >> (64 - count)) << bit;
		page += count;
	}
}

void lm_pages_subtract(LmPages *pages, const LmPages *less)
{
	for (guint i = 0; i < G_N_ELEMENTS(pages->word); i++)
		pages->word[i] &= ~less->word[i];
}

guint lm_pages_count(const LmPages *pages)
{
	guint count = 0;

	for (guint i = 0; i < G_N_ELEMENTS(pages->word); i++)
		count += __builtin_popcountll(pages->word[i]);
	return count;
}

/* The first page at or after @page that is in the set, or is not, as @in says. */
static guint find_page(const LmPages *pages, guint page, gboolean in)
{
	while (page < LM_SLOT_PAGES) {
		guint64 bits = pages->word[page / 64];

		bits = (in ? bits : ~bits) & (~0ull << (page % 64));
		if (bits)
			return page / 64 * 64 + __builtin_ctzll(bits);
		page = (page / 64 + 1) * 64;
	}
	return LM_SLOT_PAGES;
}

gboolean lm_pages_next(const LmPages *pages, LmPageRun *run)
{
	const guint first = find_page(pages, run->first + run->count, TRUE);

	if (first == LM_SLOT_PAGES)
		return FALSE;
	run->first = first;
	run->count = find_page(pages, first, FALSE) - first;
	return TRUE;
}

/* ---------------------------------------------------------------- pagemap */

/* Up to @room ranges that have something; *@walked: how far it looked. */
static int scan(LmPagemap *pagemap, guint64 start, guint64 end, guint room, guint64 *walked)
{
	LmScan argument = {
		.start = start,
		.end = end,
		.vec = (guint64)(guintptr)pagemap->range,
		.vec_len = room,
		.max_pages = room == 1 ? 1 : 0,
		.category_anyof_mask = LM_SCAN_IS_PRESENT | LM_SCAN_IS_SWAPPED,
		.return_mask = LM_SCAN_IS_PRESENT | LM_SCAN_IS_SWAPPED | LM_SCAN_IS_PFNZERO |
			       LM_SCAN_IS_HUGE,
	};
	const int count = lm_scan(pagemap->fd, &argument);

	*walked = argument.walk_end;
	return count;
}

LmPagemap *lm_pagemap_open(GError **errp)
{
	LmPagemap *pagemap = g_new0(LmPagemap, 1);
	guint64 walked;

	pagemap->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap->fd < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot open /proc/self/pagemap");
		g_free(pagemap);
		return NULL;
	}
	pagemap->scans = scan(pagemap, 0, LM_BASE_PAGE_BYTES, 1, &walked) >= 0;
	return pagemap;
}

void lm_pagemap_close(LmPagemap *pagemap)
{
	if (!pagemap)
		return;
	close(pagemap->fd);
	g_free(pagemap);
}

gboolean lm_pagemap_scans(const LmPagemap *pagemap)
{
	return pagemap->scans;
}

/* The entries of up to a slot's worth of pages. Returns how many it read. */
static gssize read_entries(LmPagemap *pagemap, guint64 start, gsize bytes)
{
	const gsize want = MIN(bytes / LM_BASE_PAGE_BYTES, LM_SLOT_PAGES) * sizeof(guint64);
	const off_t from = start / LM_BASE_PAGE_BYTES * sizeof(guint64);
	ssize_t got;

	do {
		got = pread(pagemap->fd, pagemap->entry, want, from);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return got < (ssize_t)sizeof(guint64) ? -EIO : got / (ssize_t)sizeof(guint64);
}

static void note(LmFound *found, const LmPageRun *run, guint64 categories)
{
	lm_pages_add(&found->any, run);
	if (!(categories & LM_SCAN_IS_PFNZERO))
		lm_pages_add(&found->content, run);
	if (categories & LM_SCAN_IS_SWAPPED)
		lm_pages_add(&found->swapped, run);
	found->huge = found->huge && (categories & LM_SCAN_IS_HUGE);
}

static int find_by_scan(LmPagemap *pagemap, guint64 start, guint64 end, LmFound *found)
{
	while (start < end) {
		const guint64 slot = start & ~(guint64)(LM_SLOT_BYTES - 1);
		guint64 walked;
		const int count = scan(pagemap, start, end, LM_SLOT_PAGES, &walked);

		if (count < 0)
			return count;
		for (int i = 0; i < count; i++) {
			const LmScanRange *range = &pagemap->range[i];
			const LmPageRun run = {
				(range->start - slot) / LM_BASE_PAGE_BYTES,
				(range->end - range->start) / LM_BASE_PAGE_BYTES,
			};

			note(found, &run, range->categories);
		}
		if (walked <= start)
			return -EIO;
		start = walked;
	}
	return 0;
}

static int find_by_entries(LmPagemap *pagemap, guint64 start, guint64 end, LmFound *found)
{
	while (start < end) {
		const guint first = start % LM_SLOT_BYTES / LM_BASE_PAGE_BYTES;
		const gssize count = read_entries(pagemap, start, end - start);

		if (count < 0)
			return count;
		for (gssize i = 0; i < count; i++) {
			const LmPageRun one = {first + i, 1};

			if (pagemap->entry[i] & LM_PAGEMAP_PRESENT)
				note(found, &one, LM_SCAN_IS_PRESENT);
			else if (pagemap->entry[i] & LM_PAGEMAP_SWAPPED)
				note(found, &one, LM_SCAN_IS_SWAPPED);
		}
		start += count * LM_BASE_PAGE_BYTES;
	}
	return 0;
}

int lm_pagemap_find(LmPagemap *pagemap, const void *start, gsize bytes, LmFound *found)
{
	const guint64 address = (guint64)(guintptr)start;

	*found = (LmFound){.huge = TRUE};
	return (pagemap->scans ? find_by_scan : find_by_entries)(pagemap, address, address + bytes,
								 found);
}

static int first_by_scan(LmPagemap *pagemap, guint64 start, guint64 end, guint64 *first)
{
	while (start < end) {
		guint64 walked;
		const int count = scan(pagemap, start, end, 1, &walked);

		if (count < 0)
			return count;
		if (count > 0) {
			*first = pagemap->range[0].start;
			return 0;
		}
		if (walked <= start)
			return -EIO;
		start = walked;
	}
	*first = end;
	return 0;
}

static int first_by_entries(LmPagemap *pagemap, guint64 start, guint64 end, guint64 *first)
{
	while (start < end) {
		const gssize count = read_entries(pagemap, start, end - start);

		if (count < 0)
			return count;
		for (gssize i = 0; i < count; i++) {
			if (pagemap->entry[i] & (LM_PAGEMAP_PRESENT | LM_PAGEMAP_SWAPPED)) {
				*first = start + i * LM_BASE_PAGE_BYTES;
				return 0;
			}
		}
		start += count * LM_BASE_PAGE_BYTES;
	}
	*first = end;
	return 0;
}

int lm_pagemap_first(LmPagemap *pagemap, const void *start, gsize bytes, const guint8 **first)
{
	const guint64 address = (guint64)(guintptr)start;
	guint64 found = address;
	const int ret = (pagemap->scans ? first_by_scan : first_by_entries)(
		pagemap, address, address + bytes, &found);

	*first = (const guint8 *)start + (found - address);
	return ret;
}
