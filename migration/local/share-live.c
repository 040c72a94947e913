/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private memory becomes a memfd in place, while it is in use.
 *
 * Theory of operation
 *
 * A slot is 2 MiB of addresses, aligned; a chunk is a slot, or a part of it where slots take too
 * long. One chunk at a time:
 *
 *          the guest's addresses                 ours
 *                                            +-----------+   1. map a slot of the memfd; take and
 *                                            |  window   |      clear its pages (one huge page if
 *                                            +-----------+      the slot is full)
 *     +--------+-----------+---------+
 *     | shared |   chunk   | private |                       2. block the chunk (userfaultfd): who
 *     +--------+-----------+---------+                          touches what is not there waits
 *                    |  UFFDIO_MOVE          +-----------+
 *                    +---------------------->|  staging  |   3. move its pages out: page table
 *                                            +-----------+      entries, not bytes
 *                                                  |
 *                                                  | copy    4. see which pages there are; copy
 *                                                  v            them
 *                            mremap          +-----------+
 *                    +-----------------------|  window   |   5. put the window where the chunk
 *                    v                       +-----------+      was, page tables and all; wake
 *     +--------+-----------+---------+                          those who wait
 *     | shared    shared   | private |
 *     +--------------------+---------+       +-----------+
 *                                            |  staging  |   6. free the old pages
 *                                            +-----------+
 *
 * Why no write is lost: after 3 no page of the chunk is mapped, so each access from then on faults
 * and waits, the kernel's own (a read() into the guest's memory) as well. A write that came before
 * is in the page that moved. Blocking alone (2) holds up only accesses to holes; that is why a
 * mapped zero page is not taken for a hole: a write to it is no missing page to userfaultfd.
 *
 * Pages that the kernel has pinned (O_DIRECT under way, registered buffers, vfio) do not move:
 * EBUSY. What had moved goes back, the chunk is unblocked, and tried again later: I/O ends. So do
 * pages that another process shares copy-on-write, or KSM; those are made our own first. What is
 * pinned for good stays private, and lm_share_stopped copies it.
 *
 * UFFDIO_MOVE sees pins, not plain references (FOLL_GET). Kernel code that holds a plain reference
 * and writes through it later writes to a page that nobody maps any more. Some direct I/O does
 * that, and is refused (share-direct.c).
 *
 * While threads wait (2 to 5) nothing is allocated by us and no lock is taken: the thread that
 * waits may be in malloc or hold any lock. All that can fail for want of memory is done in 1.
 *
 * The mappings: neighbours that map the memfd and have the same flags merge, so that there are
 * never more than a few, and one of the staging slot and one of the window.
 *
 * Slots where nothing is mapped take a short cut (share-empty.c). The guest gets the processor back
 * between chunks (share-pace.c).
 */
#include <errno.h>

#include "error.h"
#include "share-run.h"

/* Retries of what is pinned: so long after the last one that succeeded, and so often. */
#define RETRY_US     G_USEC_PER_SEC
#define RETRY_MIN_US 1000
#define RETRY_MAX_US 50000

typedef struct Live {
	LmShareRun *run;
	LmLane lane;
	LmPace pace;
	LmWalk walk;
	gboolean retrying;
	gboolean waiting; /* something was busy in this pass */
} Live;

static int open_lane(LmLane *lane, LmShareRun *run, GError **errp)
{
	int ret = lm_share_check_direct_io(errp);

	return ret < 0 ? ret : lm_lane_open(lane, run, TRUE, errp);
}

int lm_share_live_works(GError **errp)
{
	LmLane lane;
	int ret = open_lane(&lane, NULL, errp);

	if (ret == 0)
		lm_lane_close(&lane);
	return ret;
}

static int move_empty(Live *live, const LmPiece *piece, GError **errp)
{
	guint64 done_bytes;
	int ret = lm_empty_move(&live->lane, piece, &done_bytes, errp);

	/* From where somebody has just written, look again. */
	if (ret == 0)
		live->walk.offset = piece->range.offset_bytes + done_bytes;
	return ret;
}

static int move_piece(Live *live, const LmPiece *piece, GError **errp)
{
	int ret = 0;

	if (!lm_piece_moves(piece))
		return 0;
	if (piece->empty)
		return move_empty(live, piece, errp);
	if (live->retrying)
		ret = lm_slot_probe(&live->lane, piece, errp);
	if (ret == 0)
		ret = lm_slot_move(&live->lane, piece, errp);
	live->waiting = live->waiting || ret == LM_BUSY;
	return MIN(ret, 0);
}

/* All that is private, once. */
static int pass(Live *live, GError **errp)
{
	LmPiece piece;
	int ret = 0;

	live->waiting = FALSE;
	live->walk.index = 0;
	live->walk.offset = 0;
	while (ret == 0) {
		ret = lm_walk_next(&live->walk, live->lane.pagemap, &piece, errp);
		if (ret <= 0)
			break;
		ret = move_piece(live, &piece, errp);
		if (ret == 0)
			ret = lm_pace_between(&live->pace, live->run, errp);
	}
	return ret;
}

static guint64 private_bytes(const LmShareRun *run)
{
	guint64 bytes = 0;

	for (guint i = 0; i < run->shares->len; i++)
		bytes += lm_share_private_bytes(g_ptr_array_index(run->shares, i));
	return bytes;
}

static int move_all(Live *live, GError **errp)
{
	guint64 left = G_MAXUINT64;
	guint64 wait_us = RETRY_MIN_US;
	gint64 end_us = 0;

	for (;;) {
		int ret = pass(live, errp);
		guint64 left_now = private_bytes(live->run);

		if (ret < 0 || !live->waiting)
			return ret;
		if (left_now < left) {
			left = left_now;
			wait_us = RETRY_MIN_US;
			end_us = g_get_monotonic_time() + RETRY_US;
		}
		if (g_get_monotonic_time() >= end_us)
			return 0;
		ret = lm_pace_sleep(live->run, wait_us, errp);
		if (ret < 0)
			return ret;
		wait_us = MIN(wait_us * 2, RETRY_MAX_US);
		live->retrying = TRUE;
	}
}

static int live_run(Live *live, GError **errp)
{
	int ret = lm_walk_begin(&live->walk, live->run, errp);

	if (ret < 0)
		return ret;
	lm_pace_begin(&live->pace, live->run);
	live->lane.pace = &live->pace;
	ret = move_all(live, errp);
	lm_walk_end(&live->walk);
	return ret;
}

int lm_share_live(LmShareRun *run, GError **errp)
{
	Live live = {.run = run};
	LmQuiet quiet;
	int ret = open_lane(&live.lane, run, errp);

	if (ret < 0)
		return ret;
	lm_quiet_begin(&quiet);
	ret = live_run(&live, errp);
	lm_quiet_end(&quiet);
	lm_lane_close(&live.lane);
	return ret;
}
