/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A slot of private memory becomes the memfd's: what is done before and after its chunks. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "share-run.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* ----------------------------------------------------------------- pieces */

static int fail_piece(const LmPiece *piece, const char *what, int err, GError **errp)
{
	return lm_fail_errno(
		errp, LM_ERROR_FAILED, err,
		"cannot %s %" G_GUINT64_FORMAT " bytes of RAM block %s at %" G_GUINT64_FORMAT, what,
		piece->range.length_bytes, piece->share->name, piece->range.offset_bytes);
}

static int loosen(const LmPiece *piece, GError **errp)
{
	int ret =
		lm_mapping_loosen(piece->mapping, lm_piece_host(piece), piece->range.length_bytes);

	return ret < 0 ? fail_piece(piece, "unlock", -ret, errp) : 0;
}

/* In any case; but an error that was there before counts. */
static int fasten(const LmPiece *piece, int before, GError **errp)
{
	int ret =
		lm_mapping_fasten(piece->mapping, lm_piece_host(piece), piece->range.length_bytes);

	if (ret == 0 || before < 0)
		return before;
	return fail_piece(piece, "lock", -ret, errp);
}

static void count(LmLane *lane, guint64 bytes, const LmPages *content, gboolean huge)
{
	const guint64 done = (guint64)lm_pages_count(content) * LM_BASE_PAGE_BYTES;

	__atomic_fetch_add(&lane->run->done_bytes, done, __ATOMIC_RELAXED);
	__atomic_fetch_add(&lane->run->hole_bytes, bytes - done, __ATOMIC_RELAXED);
	if (huge)
		__atomic_fetch_add(&lane->run->huge_bytes, done, __ATOMIC_RELAXED);
}

/* madvise of each run of @pages of the slot; 0 or -errno. */
static int advise_pages(const LmPiece *slot, const LmPages *pages, int advice)
{
	guint8 *host = lm_piece_host(slot);
	LmPageRun run = {0};

	host -= lm_slot_offset(host);
	while (lm_pages_next(pages, &run))
		if (madvise(host + run.first * LM_BASE_PAGE_BYTES, run.count * LM_BASE_PAGE_BYTES,
			    advice) < 0)
			return -errno;
	return 0;
}

/* ------------------------------------------------------------ preparation */

typedef struct Prepared {
	LmFound found; /* in the slot, when we looked */
	gboolean huge; /* the memfd has a huge page for it */
} Prepared;

/*
 * A slot that is full gets a huge page of the memfd, whether it is one now or 512: it takes no more
 * memory, unlike one that has holes.
 */
static gboolean wants_huge(const LmPiece *slot, const LmFound *found)
{
	return slot->range.length_bytes == LM_SLOT_BYTES &&
	       slot->range.offset_bytes % LM_SLOT_BYTES == 0 &&
	       lm_pages_count(&found->content) == LM_SLOT_PAGES &&
	       !(slot->mapping->flags & LM_MAPPING_NOHUGEPAGE);
}

/* The window, with a page of the memfd for each page that has content. */
static int prepare(LmLane *lane, const LmPiece *slot, Prepared *prepared, GError **errp)
{
	LmFound *found = &prepared->found;
	int ret = lm_pagemap_find(lane->pagemap, lm_piece_host(slot), slot->range.length_bytes,
				  found);

	if (ret < 0)
		return fail_piece(slot, "find the pages of", -ret, errp);
	if (slot->mapping->flags & LM_MAPPING_FILE) {
		const LmPageRun all = {
			lm_slot_offset(lm_piece_host(slot)) / LM_BASE_PAGE_BYTES,
			slot->range.length_bytes / LM_BASE_PAGE_BYTES,
		};

		lm_pages_add(&found->content, &all);
	}
	advise_pages(slot, &found->swapped, MADV_POPULATE_READ);
	if (lm_region_bitmap_any(slot->share->copied, &slot->range))
		lm_share_punch(slot->share, &slot->range);
	ret = lm_window_open(lane, slot);
	if (ret < 0)
		return fail_piece(slot, "map the memfd for", -ret, errp);
	ret = wants_huge(slot, found) ? lm_window_make_huge(lane, slot) : LM_BUSY;
	prepared->huge = ret == 0;
	if (ret == LM_BUSY)
		ret = lm_window_reserve(lane, slot, &found->content);
	if (ret < 0)
		return fail_piece(slot, "allocate", -ret, errp);
	return 0;
}

static int dress(LmLane *lane, const LmPiece *slot, GError **errp)
{
	int ret = lm_window_dress(lane, slot);

	return ret < 0 ? fail_piece(slot, "carry over the flags of", -ret, errp) : 0;
}

/* ---------------------------------------------------------- while it runs */

/*
 * Pages that are shared copy-on-write (with a child, or by KSM) cannot be moved. A write fault
 * makes each our own, without a write.
 */
static void make_own(LmLane *lane, const LmPiece *chunk)
{
	LmFound found;

	if (lm_pagemap_find(lane->pagemap, lm_piece_host(chunk), chunk->range.length_bytes,
			    &found) == 0)
		advise_pages(chunk, &found.content, MADV_POPULATE_WRITE);
}

static int move_chunk(LmLane *lane, const LmPiece *chunk, const Prepared *prepared, GError **errp)
{
	const LmPages *reserved = &prepared->found.content;
	LmPages content;
	int ret = lm_chunk_move(lane, chunk, reserved, &content, errp);

	if (ret == LM_BUSY) {
		make_own(lane, chunk);
		ret = lm_chunk_move(lane, chunk, reserved, &content, errp);
	}
	if (ret == 0)
		count(lane, chunk->range.length_bytes, &content, prepared->huge);
	return ret;
}

/* The next chunk of the slot, after @chunk. */
static gboolean next_chunk(const LmLane *lane, const LmPiece *slot, LmPiece *chunk)
{
	const guint64 size = lane->pace ? lane->pace->chunk_bytes : LM_SLOT_BYTES;
	const guint64 end = slot->range.offset_bytes + slot->range.length_bytes;
	guint64 address;

	chunk->range.offset_bytes += chunk->range.length_bytes;
	if (chunk->range.offset_bytes == end)
		return FALSE;
	address = (guint64)(guintptr)lm_piece_host(chunk);
	chunk->range.length_bytes =
		MIN(size - (address & (size - 1)), end - chunk->range.offset_bytes);
	return TRUE;
}

/*
 * To rest before each chunk, the first as well, makes it unlikely that the scheduler takes the
 * processor away from us while others wait.
 */
static int move_chunks(LmLane *lane, const LmPiece *slot, const Prepared *prepared, GError **errp)
{
	LmPiece chunk = *slot;
	gboolean busy = FALSE;

	chunk.range.length_bytes = 0;
	while (next_chunk(lane, slot, &chunk)) {
		int ret = lane->pace ? lm_pace_between(lane->pace, lane->run, errp) : 0;

		if (ret == 0)
			ret = move_chunk(lane, &chunk, prepared, errp);
		if (ret < 0)
			return ret;
		busy = busy || ret == LM_BUSY;
	}
	/* The window's tables came in pieces: one entry for the whole again. */
	if (prepared->huge && !busy && lane->pace && lane->pace->chunk_bytes < LM_SLOT_BYTES)
		madvise(lm_piece_host(slot), LM_SLOT_BYTES, MADV_COLLAPSE);
	return busy ? LM_BUSY : 0;
}

int lm_slot_move(LmLane *lane, const LmPiece *slot, GError **errp)
{
	Prepared prepared = {0};
	int ret = loosen(slot, errp);

	if (ret == 0)
		ret = prepare(lane, slot, &prepared, errp);
	if (ret == 0)
		ret = dress(lane, slot, errp);
	if (ret == 0)
		ret = move_chunks(lane, slot, &prepared, errp);
	/* What stays private leaves nothing in the memfd. */
	if (ret != 0)
		lm_share_punch(slot->share, &slot->range);
	return fasten(slot, ret, errp);
}

int lm_slot_probe(LmLane *lane, const LmPiece *slot, GError **errp)
{
	int ret = loosen(slot, errp);

	if (ret == 0)
		ret = lm_chunk_probe(lane, slot, errp);
	return fasten(slot, ret, errp);
}

/* ----------------------------------------------------- while nobody writes */

/* What cannot be read (a file's page after its end) is an error, not a signal. */
static int copy_slot(LmLane *lane, const LmPiece *slot, const LmPages *content, GError **errp)
{
	const guint8 *host = lm_piece_host(slot) - lm_slot_offset(lm_piece_host(slot));
	LmPageRun run = {0};
	int ret = advise_pages(slot, content, MADV_POPULATE_READ);

	if (ret < 0)
		return fail_piece(slot, "read", -ret, errp);
	while (lm_pages_next(content, &run)) {
		const gsize at = run.first * LM_BASE_PAGE_BYTES;

		memcpy(lane->window + at, host + at, run.count * LM_BASE_PAGE_BYTES);
	}
	return 0;
}

static int place_slot(LmLane *lane, const LmPiece *slot, GError **errp)
{
	int ret = dress(lane, slot, errp);

	if (ret < 0)
		return ret;
	ret = lm_window_place(lane, slot);
	if (ret < 0)
		return fail_piece(slot, "map the memfd over", -ret, errp);
	lm_share_set_shared(slot->share, &slot->range);
	return fasten(slot, 0, errp);
}

int lm_slot_copy(LmLane *lane, const LmPiece *slot, gboolean stay, GError **errp)
{
	Prepared prepared = {0};
	int ret = prepare(lane, slot, &prepared, errp);

	if (ret == 0)
		ret = copy_slot(lane, slot, &prepared.found.content, errp);
	if (ret == 0 && !stay)
		ret = place_slot(lane, slot, errp);
	if (ret < 0) {
		lm_share_punch(slot->share, &slot->range);
		return ret;
	}
	if (stay)
		lm_share_set_copied(slot->share, &slot->range);
	count(lane, slot->range.length_bytes, &prepared.found.content, prepared.huge);
	return 0;
}
