/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of the flip, in either direction: its threads and who ends them. */
#ifndef LM_LOCAL_FLIP_RUN_H
#define LM_LOCAL_FLIP_RUN_H

#include <poll.h>
#include <sys/uio.h>

#include "flip.h"
#include "region.h"
#include "release.h"
#include "wire.h"

#define LM_FLIP_UNACKED_MAX 2
#define LM_FLIP_ACK_BYTES   8

typedef struct LmFlipRun LmFlipRun;

/* One channel and its thread. */
typedef struct LmFlipChannel {
	LmFlipRun *run;
	guint index;
	int tx, rx;
	GThread *thread;
	/* For waits inside a frame, and between frames; the deadline is the run's, not theirs. */
	LmWait inside, border;
	guint64 frame_bytes; /* the payload of its frames so far */
	LmFrame frame;
	guint8 encoded[LM_FRAME_BYTES_MAX];
	struct iovec iov[LM_FRAME_RANGES_MAX];
	/* A sender's: */
	LmReleaser releaser;
	gboolean in_frame;   /* a frame has gone in part */
	guint64 sent, acked; /* frames */
	struct {
		LmRegion *region;
		LmRange range;
		guint64 bytes;
	} unacked[LM_FLIP_UNACKED_MAX];
	/* A receiver's: */
	gboolean has_ring;
	struct io_uring ring;
} LmFlipChannel;

struct LmFlipRun {
	LmFlip *flip;
	gboolean sending;
	int (*work)(LmFlipChannel *channel, GError **errp);
	int abort_fd;	    /* eventfd: give up at once */
	int stop_fd;	    /* eventfd: end at the next frame border */
	int done_fd;	    /* eventfd: a thread has ended */
	gint stopping;	    /* atomic; stop_fd was raised */
	gint cut;	    /* atomic; a sender left pages unsent because of stopping */
	gint running;	    /* atomic; threads */
	gint64 progress_us; /* atomic; when a byte last moved */
	GMutex lock;	    /* guards what follows */
	GError *error;
	int ret;
	gboolean soft;	   /* the error asked for an orderly end, and got one so far */
	guint next_region; /* the cursor of lm_flip_send */
	guint64 next_offset;
};

/* Runs @work for each channel of @flip in a thread of its own; returns when all have ended. */
int lm_flip_run(LmFlip *flip, gboolean sending, int (*work)(LmFlipChannel *, GError **),
		GError **errp);
/* A byte moved. */
void lm_flip_progress(LmFlipChannel *channel);
gboolean lm_flip_stopping(LmFlipChannel *channel);
/* Waits for @events; 0, or -ECANCELED if the run was aborted (with channel->border: stopped). */
int lm_flip_wait(const LmWait *wait, int fd, short events, const char *what, GError **errp);
/* Skips @bytes of @iov, which must have as many; returns how many vectors were used up. */
guint lm_flip_iov_advance(struct iovec *iov, guint count, gsize bytes);
/* The parts of @frame in memory that is at @base, here or in the peer. */
void lm_flip_iov_fill(struct iovec *iov, const LmFrame *frame, guint64 base);

#endif
