/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of a region have content of their own.
 *
 * A guest rarely touches all of its memory, and what it never touched need not be read, sent or
 * received. PAGEMAP_SCAN walks page tables and returns ranges, some tens of GiB a millisecond for
 * holes; /proc/self/pagemap costs eight bytes a page, and cannot tell the zero page (a page that
 * was read, never written) from content, which is merely wasteful.
 */
#include "populated.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "pagemap.h"
#include "region.h"

#define SCAN_VECTORS	1024
#define PAGEMAP_ENTRIES 4096

/* What is not anonymous in a private mapping of a file is the file's, not the guest's. */
static gboolean file_pages_are_content(const LmRegion *region)
{
	return region->fd == -1 || (region->flags & LM_REGION_SHARED);
}

/* An answer that is not of this region costs the handover; believed, it would cost the VM. */
static int set_addresses(LmRegion *region, guint64 start, guint64 end, GError **errp)
{
	const guint64 host = (guintptr)region->host;
	const LmRange range = {.offset_bytes = start - host, .length_bytes = end - start};

	if (start < host || end < start || end - host > region->used_bytes ||
	    (range.offset_bytes | range.length_bytes) % LM_BASE_PAGE_BYTES)
		return lm_fail(errp, LM_ERROR_FAILED, EIO,
			       "the scan of RAM block %s, at 0x%" G_GINT64_MODIFIER
			       "x, found pages at 0x%" G_GINT64_MODIFIER
			       "x to 0x%" G_GINT64_MODIFIER "x",
			       region->name, host, start, end);
	lm_region_bitmap_set(region, &range);
	return 0;
}

/* Takes the @count ranges that a scan has found. */
static int take_found(LmRegion *region, const LmScanRange *found, int count, GError **errp)
{
	int ret = 0;

	if (count > SCAN_VECTORS)
		return lm_fail(errp, LM_ERROR_FAILED, EIO,
			       "the scan of RAM block %s found %d ranges, with room for %d",
			       region->name, count, SCAN_VECTORS);
	for (int i = 0; i < count && ret == 0; i++)
		ret = set_addresses(region, found[i].start, found[i].end, errp);
	return ret;
}

static int scan(LmRegion *region, int pagemap_fd, GError **errp)
{
	g_autofree LmScanRange *found = g_new(LmScanRange, SCAN_VECTORS);
	guint64 start = (guint64)(guintptr)region->host;
	LmScan argument = {
		.start = start,
		.end = start + region->used_bytes,
		.vec = (guint64)(guintptr)found,
		.vec_len = SCAN_VECTORS,
		.category_inverted = LM_SCAN_IS_PFNZERO,
		.category_mask = LM_SCAN_IS_PFNZERO,
		.category_anyof_mask = LM_SCAN_IS_PRESENT | LM_SCAN_IS_SWAPPED,
	};

	if (!file_pages_are_content(region)) {
		argument.category_inverted |= LM_SCAN_IS_FILE;
		argument.category_mask |= LM_SCAN_IS_FILE;
	}
	while (argument.start < argument.end) {
		int count = lm_scan(pagemap_fd, &argument), ret;

		if (count < 0)
			return lm_fail_errno(errp, LM_ERROR_FAILED, -count,
					     "cannot scan the pages of RAM block %s", region->name);
		ret = take_found(region, found, count, errp);
		if (ret < 0)
			return ret;
		if (argument.walk_end <= argument.start)
			return lm_fail(errp, LM_ERROR_FAILED, EIO,
				       "the scan of RAM block %s stopped short", region->name);
		argument.start = argument.walk_end;
	}
	return 0;
}

static int read_pagemap(LmRegion *region, int pagemap_fd, GError **errp)
{
	g_autofree guint64 *entry = g_new(guint64, PAGEMAP_ENTRIES);
	guint64 first = (guint64)(guintptr)region->host / LM_BASE_PAGE_BYTES;
	guint64 pages = region->used_bytes / LM_BASE_PAGE_BYTES;
	guint64 ignore = file_pages_are_content(region) ? 0 : LM_PAGEMAP_FILE;
	guint64 page = 0;

	while (page < pages) {
		gsize want = MIN(pages - page, PAGEMAP_ENTRIES) * sizeof(*entry);
		ssize_t got = pread(pagemap_fd, entry, want, (first + page) * sizeof(*entry));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < (ssize_t)sizeof(*entry))
			return lm_fail_errno(errp, LM_ERROR_FAILED, got < 0 ? errno : EIO,
					     "cannot read the page map of RAM block %s",
					     region->name);
		for (gsize i = 0; i < got / sizeof(*entry); i++, page++) {
			const LmRange here = {page * LM_BASE_PAGE_BYTES, LM_BASE_PAGE_BYTES};

			if ((entry[i] & (LM_PAGEMAP_PRESENT | LM_PAGEMAP_SWAPPED)) &&
			    !(entry[i] & ignore))
				lm_region_bitmap_set(region, &here);
		}
	}
	return 0;
}

static int fill(LmRegion *region, LmPopulatedBy by, GError **errp)
{
	LmRange all = {0, region->used_bytes};
	int pagemap_fd, ret;

	if (region->flags & LM_REGION_NAMED_FILE) {
		lm_region_bitmap_set(region, &all);
		return 0;
	}
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap_fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot open /proc/self/pagemap");
	ret = by == LM_POPULATED_PAGEMAP ? -ENOTTY : scan(region, pagemap_fd, NULL);
	if (ret < 0 && by != LM_POPULATED_SCAN) {
		lm_region_bitmap_reset(region);
		ret = read_pagemap(region, pagemap_fd, errp);
	} else if (ret < 0) {
		ret = lm_fail_errno(errp, LM_ERROR_FAILED, -ret,
				    "cannot scan the pages of RAM block %s", region->name);
	}
	close(pagemap_fd);
	return ret;
}

int lm_populated_scan(LmRegion *region, LmPopulatedBy by, GError **errp)
{
	int ret;

	lm_region_bitmap_reset(region);
	ret = fill(region, by, errp);
	if (ret < 0) {
		lm_region_bitmap_reset(region);
		return ret;
	}
	__atomic_store_n(&region->populated_bytes, lm_region_bitmap_count_bytes(region),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&region->skipped_bytes, region->used_bytes - region->populated_bytes,
			 __ATOMIC_RELAXED);
	return 0;
}
