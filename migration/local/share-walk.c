/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is still to be done, piece by piece. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "share-run.h"

static LmShare *share_at(const LmShareRun *run, guint index)
{
	return g_ptr_array_index(run->shares, index);
}

/* All of the shares' memory lies in [*start, *end). */
static void bounds(const LmShareRun *run, guint64 *start, guint64 *end)
{
	*start = G_MAXUINT64;
	*end = 0;
	for (guint i = 0; i < run->shares->len; i++) {
		const LmShare *share = share_at(run, i);
		const guint64 host = (guint64)(guintptr)share->host;

		if (!lm_share_private_bytes(share))
			continue;
		*start = MIN(*start, host);
		*end = MAX(*end, host + share->bytes);
	}
}

/* A part of a mapping that is a part of the share. */
static int bind(LmShare *share, const LmMapping *mapping, GError **errp)
{
	const guint64 host = (guint64)(guintptr)share->host;
	const guint64 start = MAX(mapping->start, host);
	const guint64 end = MIN(mapping->end, host + share->bytes);
	int ret;

	if (start >= end || (mapping->flags & LM_MAPPING_SHARED))
		return 0;
	ret = lm_mapping_bind(mapping, share->fd, start - host, end - start);
	if (ret < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -ret,
				     "cannot give the memfd of RAM block %s its NUMA policy",
				     share->name);
	return 0;
}

static int bind_all(const LmWalk *walk, GError **errp)
{
	int ret = 0;

	for (guint i = 0; i < walk->run->shares->len && ret == 0; i++) {
		LmShare *share = share_at(walk->run, i);

		for (guint j = 0; j < walk->mappings->len && ret == 0; j++)
			ret = bind(share, &g_array_index(walk->mappings, LmMapping, j), errp);
	}
	return ret;
}

int lm_walk_begin(LmWalk *walk, LmShareRun *run, GError **errp)
{
	guint64 start, end;
	int ret = -EIO;

	*walk = (LmWalk){.run = run};
	for (guint i = 0; i < run->shares->len; i++)
		lm_share_begin_run(share_at(run, i));
	bounds(run, &start, &end);
	walk->mappings = lm_mappings_read(start, end, errp);
	if (walk->mappings)
		ret = bind_all(walk, errp);
	if (ret < 0)
		lm_walk_end(walk);
	return ret;
}

void lm_walk_end(LmWalk *walk)
{
	for (guint i = 0; i < walk->run->shares->len; i++)
		lm_share_end_run(share_at(walk->run, i));
	g_clear_pointer(&walk->mappings, g_array_unref);
}

gboolean lm_piece_moves(const LmPiece *piece)
{
	const guint never =
		LM_MAPPING_FILE | LM_MAPPING_SHARED | LM_MAPPING_HUGETLB | LM_MAPPING_DEVICE;
	const int both = PROT_READ | PROT_WRITE;

	return !(piece->mapping->flags & never) && (piece->mapping->prot & both) == both;
}

/* How much of [@host, @host + @bytes) is slots without a page, from the beginning on. */
static int measure_hole(LmPagemap *pagemap, const guint8 *host, guint64 bytes, guint64 *hole_bytes)
{
	const guint8 *first;
	const int ret = lm_pagemap_first(pagemap, host, bytes, &first);

	if (ret < 0)
		return ret;
	*hole_bytes = first - host;
	/* The slot that has a page is no part of it. */
	if (*hole_bytes < bytes)
		*hole_bytes -= MIN(*hole_bytes, lm_slot_offset(first));
	return 0;
}

/* The beginning of a private run that is in one mapping becomes the piece. */
static int cut(LmPagemap *pagemap, LmPiece *piece, GError **errp)
{
	const guint8 *host = lm_piece_host(piece);
	const guint64 slot_bytes = LM_SLOT_BYTES - lm_slot_offset(host);
	const gboolean locked = piece->mapping->flags & LM_MAPPING_LOCKED;
	guint64 bytes =
		MIN(piece->range.length_bytes, locked ? LM_SHARE_LOCKED_RUN_MAX : LM_SHARE_RUN_MAX);
	guint64 hole_bytes = 0;
	int ret = 0;

	/* What is not mapped may be a page of the file. */
	if (!(piece->mapping->flags & LM_MAPPING_FILE))
		ret = measure_hole(pagemap, host, bytes, &hole_bytes);
	if (ret < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -ret,
				     "cannot find the pages of RAM block %s", piece->share->name);
	piece->empty = hole_bytes > 0;
	piece->range.length_bytes = piece->empty ? hole_bytes : MIN(bytes, slot_bytes);
	return 0;
}

/* The next private run, or the beginning of it: the search for its end is bounded. */
static gboolean next_run(LmWalk *walk, LmPiece *piece)
{
	while (walk->index < walk->run->shares->len) {
		LmShare *share = share_at(walk->run, walk->index);
		const guint64 end = MIN(walk->offset + LM_SHARE_RUN_MAX, share->bytes);

		piece->share = share;
		if (lm_share_private_bytes(share) &&
		    lm_region_bitmap_next(share->private_pages, walk->offset, end, &piece->range))
			return TRUE;
		walk->offset = end;
		if (end == share->bytes || !lm_share_private_bytes(share)) {
			walk->index++;
			walk->offset = 0;
		}
	}
	return FALSE;
}

int lm_walk_next(LmWalk *walk, LmPagemap *pagemap, LmPiece *piece, GError **errp)
{
	guint64 host;
	int ret;

	*piece = (LmPiece){0};
	if (!next_run(walk, piece))
		return 0;
	host = (guint64)(guintptr)lm_piece_host(piece);
	piece->mapping = lm_mappings_at(walk->mappings, host);
	if (!piece->mapping || (piece->mapping->flags & LM_MAPPING_SHARED))
		return lm_fail(errp, LM_ERROR_FAILED, EFAULT,
			       "RAM block %s is no private memory any more at %" G_GUINT64_FORMAT,
			       piece->share->name, piece->range.offset_bytes);
	piece->range.length_bytes = MIN(piece->range.length_bytes, piece->mapping->end - host);
	ret = cut(pagemap, piece, errp);
	if (ret < 0)
		return ret;
	walk->offset = piece->range.offset_bytes + piece->range.length_bytes;
	return 1;
}
