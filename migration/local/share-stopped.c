/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rest, while nobody writes: in threads, each of which takes the next piece. So no more than a
 * slot per thread is in memory twice.
 *
 * Nobody but the kernel, that is: a buffer that is registered with io_uring, or pinned by vfio, may
 * be written by whoever resumes, through the pin, when the VM runs on here. UFFDIO_MOVE tells; so
 * where there is one the pieces take the way of the live run, with nobody waiting, and what is busy
 * is copied and stays as well. Without userfaultfd, and in private mappings of a file, nothing
 * tells; then it is copied and remapped.
 */
#include <errno.h>

#include "error.h"
#include "share-run.h"

#define THREADS_MAX 64u

typedef struct Stopped {
	LmShareRun *run;
	GThread *caller; /* asks whether to go on; the others stop when it does */
	GMutex lock;	 /* of all below */
	LmWalk walk;
	gboolean over;
	int ret;
	GError *error;
} Stopped;

static int share_slot(LmLane *lane, const LmPiece *slot, GError **errp)
{
	const gboolean moves = lane->userfault_fd >= 0 && lm_piece_moves(slot);
	const int ret = moves ? lm_slot_move(lane, slot, errp) : LM_BUSY;

	return ret == LM_BUSY ? lm_slot_copy(lane, slot, moves, errp) : ret;
}

/* Nobody writes, so it stays empty; if it does not, the rest goes slot by slot. */
static int share_empty(LmLane *lane, const LmPiece *piece, GError **errp)
{
	const guint64 end = piece->range.offset_bytes + piece->range.length_bytes;
	LmPiece slot = *piece;
	guint64 done_bytes = 0;
	int ret = lm_empty_move(lane, piece, &done_bytes, errp);

	slot.range.length_bytes = done_bytes;
	while (ret == 0 && slot.range.offset_bytes + slot.range.length_bytes < end) {
		slot.range.offset_bytes += slot.range.length_bytes;
		slot.range.length_bytes = MIN(LM_SLOT_BYTES - lm_slot_offset(lm_piece_host(&slot)),
					      end - slot.range.offset_bytes);
		ret = share_slot(lane, &slot, errp);
	}
	return ret;
}

/* 1 and the next piece, 0: no more, or -errno. */
static int take_piece(Stopped *stopped, LmLane *lane, LmPiece *piece, GError **errp)
{
	int ret = g_thread_self() == stopped->caller ? lm_share_ask(stopped->run, errp)
						     : lm_share_check_cancel(stopped->run, errp);

	if (ret < 0)
		return ret;
	g_mutex_lock(&stopped->lock);
	if (!stopped->over)
		ret = lm_walk_next(&stopped->walk, lane->pagemap, piece, errp);
	g_mutex_unlock(&stopped->lock);
	return ret;
}

static int work(Stopped *stopped, LmLane *lane, GError **errp)
{
	LmPiece piece;
	int ret;

	while ((ret = take_piece(stopped, lane, &piece, errp)) > 0) {
		ret = (piece.empty ? share_empty : share_slot)(lane, &piece, errp);
		if (ret < 0)
			break;
	}
	return ret;
}

static gpointer thread_main(gpointer opaque)
{
	Stopped *stopped = opaque;
	GError *error = NULL;
	LmLane lane;
	int ret = lm_lane_open(&lane, stopped->run, FALSE, &error);

	if (ret == 0) {
		ret = work(stopped, &lane, &error);
		lm_lane_close(&lane);
	}
	if (ret == 0)
		return NULL;
	g_mutex_lock(&stopped->lock);
	stopped->over = TRUE;
	if (stopped->ret == 0) {
		stopped->ret = ret;
		stopped->error = g_steal_pointer(&error);
	}
	g_mutex_unlock(&stopped->lock);
	g_clear_error(&error);
	return NULL;
}

/* This thread is one of them; if there cannot be as many as were asked for, fewer do it. */
static void run_threads(Stopped *stopped, guint count)
{
	GThread *thread[THREADS_MAX] = {NULL};

	for (guint i = 1; i < MIN(count, THREADS_MAX); i++)
		thread[i] = g_thread_try_new("lm-share", thread_main, stopped, NULL);
	thread_main(stopped);
	for (guint i = 1; i < THREADS_MAX; i++)
		if (thread[i])
			g_thread_join(thread[i]);
}

int lm_share_stopped(LmShareRun *run, guint threads, GError **errp)
{
	Stopped stopped = {.run = run, .caller = g_thread_self()};
	LmQuiet quiet;
	int ret = lm_walk_begin(&stopped.walk, run, errp);

	if (ret < 0)
		return ret;
	g_mutex_init(&stopped.lock);
	lm_quiet_begin(&quiet);
	run_threads(&stopped, threads);
	lm_quiet_end(&quiet);
	g_mutex_clear(&stopped.lock);
	lm_walk_end(&stopped.walk);
	if (stopped.error)
		g_propagate_error(errp, stopped.error);
	return stopped.ret;
}
