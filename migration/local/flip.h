/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page flipping: pages leave one process as they arrive in the other, so that the memory of the
 * guest is never held twice. The theory of operation is in flip-send.c.
 */
#ifndef LM_LOCAL_FLIP_H
#define LM_LOCAL_FLIP_H

#include <migration/localhost.h>
#include "pipes.h"
#include "wait.h"

typedef struct LmFlip {
	/* In: */
	GPtrArray *regions; /* of LmRegion, in the same order on both sides; not owned */
	LmPipes *pipes;
	LmEngine engine; /* not AUTO */
	gboolean io_uring;
	pid_t peer_pid; /* for process_vm_readv, the receiver only */
	int peer_fd;	/* the session's socket: hung up, the flip ends with LM_ERROR_GONE.
			 * While sending, anything to read on it ends the flip at the next
			 * frame border with -EINTR (LM_ERROR_PEER "interrupted"). */
	LmWait wait;	/* the deadline is for progress: no byte on any channel for as long */
	void (*between_frames)(
		void *opaque); /* a sender calls it after each frame, any thread; or NULL */
	void *opaque;
	struct LmFlipLog *log; /* one for each channel, which a sender keeps; NULL: none */
	/* Out, readable from any thread at any time: */
	guint64 bytes; /* pages sent or received so far; __atomic */
} LmFlip;

/*
 * Sends every page whose bit is set in a region with way LM_WAY_FLIP, releases it (its memory is
 * free when the peer has read it) and clears its bit. Ended early by wait.cancel_fd, peer_fd or
 * an error, it stops each channel at a frame border if the peer goes on reading, and sends the
 * END frame even then, so that the receiver ends in order. A bit is still set exactly if the
 * page is still whole here.
 */
int lm_flip_send(LmFlip *flip, GError **errp);
/*
 * Receives until each channel's END frame. Sets the bits of pages that arrived whole. A page
 * that is here already, or a frame that does not fit the regions, is a protocol error.
 */
int lm_flip_receive(LmFlip *flip, GError **errp);

/* Whether vmsplice gives the pipe references to pages (today's kernels) or copies them. */
gboolean lm_vmsplice_takes_references(void);
/* Whether io_uring may be used here (sysctl, seccomp). */
gboolean lm_io_uring_works(void);
/* Whether a receiver may read its pipes so; if not, it uses readv, whatever it was told. */
gboolean lm_io_uring_reads_pipes(void);
/* Whether LM_SWITCH_AUTO should use it: it works, and was measured to be faster. */
gboolean lm_io_uring_pays(void);
/*
 * Whether @count threads more can be had at once; refuses (-EAGAIN) where a limit is in the way. To
 * be asked before the VM is stopped.
 */
int lm_flip_try_threads(guint count, GError **errp);
/*
 * Release the pages of a region that is flipped into, so that a page that is not sent reads as
 * zeros (or as the file has it) afterwards. On the destination, before the source stops.
 */
int lm_region_discard(LmRegion *region, GError **errp);

#endif
