/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One chunk, from blocking it to waking those who wait for it; the theory is in share-live.c.
 *
 * In between nothing is allocated, no lock is taken, and the chunk itself is not touched: the
 * thread that touches it waits for us, and it may hold anything.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "share-run.h"
#include "userfault.h"

/* For how long a page may be about to change before the chunk is given back for now. */
#define AGAIN_US 2000
/* For how long giving back may be refused. Nothing but a lack of memory can refuse it. */
#define GIVE_BACK_US (10 * G_USEC_PER_SEC)

/* What went wrong while others waited: words that need no memory. */
typedef struct Failure {
	const char *what;
	int err;
} Failure;

static int fail_chunk(const LmPiece *chunk, const Failure *failure, GError **errp)
{
	return lm_fail_errno(errp, LM_ERROR_FAILED, failure->err,
			     "cannot %s %" G_GUINT64_FORMAT
			     " bytes of RAM block %s at %" G_GUINT64_FORMAT,
			     failure->what, chunk->range.length_bytes, chunk->share->name,
			     chunk->range.offset_bytes);
}

/* ----------------------------------------------------------------- moving */

static int move_out(const LmLane *lane, const LmPiece *chunk, gsize *moved, Failure *failure)
{
	const gint64 end_us = g_get_monotonic_time() + AGAIN_US;

	*moved = 0;
	while (*moved < chunk->range.length_bytes) {
		const gssize n = lm_userfault_move(
			lane->userfault_fd, lm_staging_at(lane, chunk) + *moved,
			lm_piece_host(chunk) + *moved, chunk->range.length_bytes - *moved);

		if (n > 0) {
			*moved += n;
		} else if (n == -EBUSY || (n == -EAGAIN && g_get_monotonic_time() > end_us)) {
			return LM_BUSY;
		} else if (n != -EAGAIN) {
			*failure = (Failure){"move", -n};
			return n;
		}
	}
	return 0;
}

/* A page that cannot be moved back, or not soon, is put there as a copy. */
static gssize give_back_some(const LmLane *lane, const LmPiece *chunk, gsize given, gsize moved,
			     gint64 us)
{
	guint8 *host = lm_piece_host(chunk) + given;
	const guint8 *staging = lm_staging_at(lane, chunk) + given;
	const gssize n = lm_userfault_move(lane->userfault_fd, host, staging, moved - given);
	int ret;

	if (n > 0)
		return n;
	if (n == -EAGAIN && us < AGAIN_US)
		return 0;
	ret = lm_userfault_copy(lane->userfault_fd, host, staging, LM_BASE_PAGE_BYTES);
	return ret == 0 ? (gssize)LM_BASE_PAGE_BYTES : ret;
}

/* What was moved out goes back where it was, and those who wait go on. */
static void give_back(const LmLane *lane, const LmPiece *chunk, gsize moved)
{
	const gint64 start_us = g_get_monotonic_time();
	gsize given = 0;

	while (given < moved) {
		const gint64 us = g_get_monotonic_time() - start_us;
		const gssize n = give_back_some(lane, chunk, given, moved, us);

		if (n > 0)
			given += n;
		else if (us > GIVE_BACK_US)
			g_error("memory of RAM block %s at %" G_GUINT64_FORMAT
				" was taken out and cannot be put back: %s",
				chunk->share->name, chunk->range.offset_bytes, g_strerror(-n));
	}
	lm_userfault_unwatch(lane->userfault_fd, lm_piece_host(chunk), chunk->range.length_bytes);
}

static void copy(const LmLane *lane, const LmPages *pages)
{
	LmPageRun run = {0};

	while (lm_pages_next(pages, &run))
		memcpy(lane->window + run.first * LM_BASE_PAGE_BYTES,
		       lane->staging + run.first * LM_BASE_PAGE_BYTES,
		       run.count * LM_BASE_PAGE_BYTES);
}

/* The chunk is in the staging slot: from there into the memfd, and that to where it was. */
static int replace(LmLane *lane, const LmPiece *chunk, const LmPages *reserved, LmFound *found,
		   Failure *failure)
{
	LmPages missing;
	int ret;

	failure->what = "find the pages of";
	ret = lm_pagemap_find(lane->pagemap, lm_staging_at(lane, chunk), chunk->range.length_bytes,
			      found);
	if (ret == 0) {
		/* Those that came after we had looked. */
		failure->what = "allocate";
		missing = found->content;
		lm_pages_subtract(&missing, reserved);
		ret = lm_window_reserve(lane, chunk, &missing);
	}
	if (ret == 0) {
		copy(lane, &found->content);
		failure->what = "map the memfd over";
		ret = lm_window_place(lane, chunk);
	}
	failure->err = -ret;
	return ret;
}

int lm_chunk_move(LmLane *lane, const LmPiece *chunk, const LmPages *reserved, LmPages *content,
		  GError **errp)
{
	guint8 *host = lm_piece_host(chunk);
	LmFound found = {0};
	Failure failure = {"block", 0};
	gint64 start_us, us;
	gsize moved = 0;
	int ret = lm_staging_prepare(lane, chunk, errp);

	if (ret < 0)
		return ret;
	start_us = g_get_monotonic_time();
	ret = lm_userfault_watch(lane->userfault_fd, host, chunk->range.length_bytes);
	failure.err = -ret;
	if (ret < 0)
		return fail_chunk(chunk, &failure, errp);
	ret = move_out(lane, chunk, &moved, &failure);
	if (ret == 0)
		ret = replace(lane, chunk, reserved, &found, &failure);
	if (ret != 0)
		give_back(lane, chunk, moved);
	us = g_get_monotonic_time() - start_us;
	/* Who is woken may take the processor from us at once. */
	if (ret == 0)
		lm_userfault_wake(lane->userfault_fd, host, chunk->range.length_bytes);

	/* A huge page leaves no table behind. */
	lm_staging_release(lane, chunk,
			   found.huge && lm_pages_count(&found.any) == LM_SLOT_PAGES && ret == 0);
	if (lane->pace) {
		lm_times_add(&lane->run->chunk_times, us);
		lm_pace_took(lane->pace, lane->run, chunk->range.length_bytes, us);
	}
	if (ret < 0)
		return fail_chunk(chunk, &failure, errp);
	if (ret == 0) {
		lm_share_set_shared(chunk->share, &chunk->range);
		*content = found.content;
	}
	return ret;
}

int lm_chunk_probe(LmLane *lane, const LmPiece *chunk, GError **errp)
{
	Failure failure = {"block", 0};
	const gint64 start_us = g_get_monotonic_time();
	gsize moved = 0;
	int ret = lm_staging_prepare(lane, chunk, errp);

	if (ret < 0)
		return ret;
	ret = lm_userfault_watch(lane->userfault_fd, lm_piece_host(chunk),
				 chunk->range.length_bytes);
	failure.err = -ret;
	if (ret < 0)
		return fail_chunk(chunk, &failure, errp);
	ret = move_out(lane, chunk, &moved, &failure);
	give_back(lane, chunk, moved);
	lm_times_add(&lane->run->chunk_times, g_get_monotonic_time() - start_us);
	lm_staging_release(lane, chunk, FALSE);
	return ret < 0 ? fail_chunk(chunk, &failure, errp) : ret;
}
