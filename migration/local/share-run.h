/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the share engine share. */
#ifndef LM_LOCAL_SHARE_RUN_H
#define LM_LOCAL_SHARE_RUN_H

#include <signal.h>

#include "mapping.h"
#include "region.h"
#include "share-pages.h"
#include "share.h"

#define LM_SHARE_CHUNK_MIN (64u << 10)
/* Of slots without a page, at once; where all that is mapped counts against RLIMIT_MEMLOCK. */
#define LM_SHARE_RUN_MAX	(512ull * LM_SLOT_BYTES)
#define LM_SHARE_LOCKED_RUN_MAX (4ull * LM_SLOT_BYTES)

/*
 * A page is private, or else the memfd's and mapped. Where it is private the memfd has a hole, but
 * for what is in @copied: a failed attempt punches what it had put there.
 */
struct LmShare {
	char *name;
	guint8 *host;
	int fd;
	guint64 bytes;
	guint64 private_bytes; /* __atomic; as many as there are bits in private_pages */
	LmRegion *private_pages;
	LmRegion *copied; /* private, with a copy in the memfd */
	guint runs;	  /* that it is part of now; under share.c's lock */
};

/* A part of a share, inside one mapping: a slot or less, or many slots without a page. */
typedef struct LmPiece {
	LmShare *share;
	const LmMapping *mapping;
	LmRange range;	/* of the share */
	gboolean empty; /* nothing was mapped there when we looked */
} LmPiece;

static inline guint8 *lm_piece_host(const LmPiece *piece)
{
	return piece->share->host + piece->range.offset_bytes;
}

/* For how long, and in what portions, the guest may be disturbed (share-pace.c). */
typedef struct LmPace {
	guint64 chunk_bytes; /* LM_SHARE_CHUNK_MIN to LM_SLOT_BYTES */
	guint fitting;	     /* chunks of that size, in a row, that took half the limit at most */
	gint64 start_us;
	guint64 start_done_bytes;
	gint64 rested_cpu_us; /* this thread's processor time when it last rested */
} LmPace;

/* What a thread of a run works with. */
typedef struct LmLane {
	LmShareRun *run;
	LmPagemap *pagemap;
	LmPace *pace;	      /* live; NULL: nobody waits */
	int userfault_fd;     /* -1: none */
	guint8 *reservation;  /* of addresses; in it, aligned, are: */
	guint8 *staging;      /* a slot where chunks are moved to */
	gboolean staging_set; /* it is mapped, watched and as good as new */
	int staging_prot;     /* of the staging slot */
	guint8 *window;	      /* a slot of the memfd */
} LmLane;

#define LM_BUSY 1 /* not an error: pages are pinned, and stay private for now */

/* ---------------------------------------------------------------- share.c */

/* All signals wait: a handler that touches a chunk would wait for the thread that it runs in. */
typedef struct LmQuiet {
	sigset_t mask;
	gboolean had_xfsz;
} LmQuiet;
void lm_quiet_begin(LmQuiet *quiet);
/* A SIGXFSZ that came in between (RLIMIT_FSIZE, which is reported as an error) is swallowed. */
void lm_quiet_end(LmQuiet *quiet);

/* In between, what is mapped does not tell whether the share is still there. */
void lm_share_begin_run(LmShare *share);
void lm_share_end_run(LmShare *share);

void lm_share_set_shared(LmShare *share, const LmRange *range);
void lm_share_set_copied(LmShare *share, const LmRange *range);
/* Punches what the memfd has of the private pages in @range. */
void lm_share_punch(LmShare *share, const LmRange *range);

/* ----------------------------------------------------------- share-walk.c */

/* The private pieces of a run's shares, in order. */
typedef struct LmWalk {
	LmShareRun *run;
	GArray *mappings;
	guint index;	/* of the share */
	guint64 offset; /* in it */
} LmWalk;
/* Also carries the NUMA policies over, while there is no page yet. */
int lm_walk_begin(LmWalk *walk, LmShareRun *run, GError **errp);
void lm_walk_end(LmWalk *walk);
/* 1 and the next piece, 0 at the end, or -errno. */
int lm_walk_next(LmWalk *walk, LmPagemap *pagemap, LmPiece *piece, GError **errp);
/* UFFDIO_MOVE can take its pages. */
gboolean lm_piece_moves(const LmPiece *piece);

/* --------------------------------------------------------- share-window.c */

/*
 * Maps @piece's part of the memfd at its place in the lane's window, writable, with no page. This
 * and the following return 0 or -errno, and allocate no memory of this process's.
 */
int lm_window_open(LmLane *lane, const LmPiece *piece);
/* Makes the slot a huge page of the memfd. LM_BUSY: there is none to be had. */
int lm_window_make_huge(LmLane *lane, const LmPiece *slot);
/* Takes the memfd's pages for @pages of the slot and maps them in the window. */
int lm_window_reserve(LmLane *lane, const LmPiece *piece, const LmPages *pages);
/* Gives the window what @piece's mapping has, so that one can take the other's place. */
int lm_window_dress(LmLane *lane, const LmPiece *piece);
/* Puts the window where the chunk is. */
int lm_window_place(LmLane *lane, const LmPiece *chunk);
/* The window's address of @piece. */
guint8 *lm_window_at(const LmLane *lane, const LmPiece *piece);

/* ----------------------------------------------------------- share-lane.c */

int lm_lane_open(LmLane *lane, LmShareRun *run, gboolean need_userfault, GError **errp);
void lm_lane_close(LmLane *lane);
/* Before a chunk is moved to the staging slot. */
int lm_staging_prepare(LmLane *lane, const LmPiece *chunk, GError **errp);
guint8 *lm_staging_at(const LmLane *lane, const LmPiece *chunk);
/* Frees what is there of the chunk. @whole: that was a huge page, or nothing. */
void lm_staging_release(LmLane *lane, const LmPiece *chunk, gboolean whole);

/* ---------------------------------------------------------- share-chunk.c */

/*
 * Moves a chunk into the memfd while others write it; needs the window, dressed, with @reserved.
 * 0, LM_BUSY or -errno. *@content: what was copied.
 */
int lm_chunk_move(LmLane *lane, const LmPiece *chunk, const LmPages *reserved, LmPages *content,
		  GError **errp);
/* Whether it could be: 0, LM_BUSY or -errno. */
int lm_chunk_probe(LmLane *lane, const LmPiece *chunk, GError **errp);

/* ----------------------------------------------------------- share-slot.c */

/* A slot or part of it, chunk by chunk: 0, LM_BUSY if some of it stays private, or -errno. */
int lm_slot_move(LmLane *lane, const LmPiece *slot, GError **errp);
/* LM_BUSY where lm_slot_move would only find out that it is. */
int lm_slot_probe(LmLane *lane, const LmPiece *slot, GError **errp);
/* While nobody writes: copies it, and unless @stay puts the memfd in its place. 0 or -errno. */
int lm_slot_copy(LmLane *lane, const LmPiece *slot, gboolean stay, GError **errp);

/* ---------------------------------------------------------- share-empty.c */

/*
 * Maps the memfd over slots where no page is. Where it turns out that there is one by now, only
 * what comes before it is done. *@done_bytes: how much that is.
 */
int lm_empty_move(LmLane *lane, const LmPiece *piece, guint64 *done_bytes, GError **errp);

/* --------------------------------------------------------- share-direct.c */

/* 0, or -errno and the name of a file that may be read to memory behind our back. */
int lm_share_check_direct_io(GError **errp);

/* ----------------------------------------------------------- share-pace.c */

void lm_pace_begin(LmPace *pace, const LmShareRun *run);
/* A chunk that others waited for: how large should the next be? */
void lm_pace_took(LmPace *pace, const LmShareRun *run, guint64 chunk_bytes, guint64 us);
/*
 * Between two steps, while nobody waits: asks whether to go on; leaves the processor to the guest
 * for half of what we used since we last did, and as the bandwidth asks.
 */
int lm_pace_between(LmPace *pace, LmShareRun *run, GError **errp);
/* Sleeps, asking all the while whether to go on. */
int lm_pace_sleep(LmShareRun *run, guint64 us, GError **errp);
/* Asks whether to go on: -ECANCELED if the run was cancelled, or what between_chunks says. */
int lm_share_ask(LmShareRun *run, GError **errp);
/* -ECANCELED if the run was cancelled. */
int lm_share_check_cancel(const LmShareRun *run, GError **errp);

#endif
