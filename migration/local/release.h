/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving memory that was sent back to the kernel. */
#ifndef LM_LOCAL_RELEASE_H
#define LM_LOCAL_RELEASE_H

#include <liburing.h>
#include <migration/localhost.h>
#include "wire.h"

#define LM_RELEASES_MAX 4

/* Releases of one thread; with a ring they are done by the kernel's workers as the thread goes on.
 */
typedef struct LmReleaser {
	gboolean has_ring; /* to be torn down */
	gboolean use_ring; /* for the next release */
	struct io_uring ring;
	guint pending;
	struct LmRelease {
		LmRegion *region; /* NULL: free */
		LmRange range;
	} slot[LM_RELEASES_MAX];
} LmReleaser;

/* Without @io_uring, or where no ring can be had, releases are plain system calls. */
void lm_releaser_init(LmReleaser *releaser, gboolean io_uring);
/*
 * Releases @range and clears its bits, now or before lm_releaser_drain returns. The range must be
 * aligned to the region's pages. A range that the kernel does not take back (the error says why)
 * has its bits cleared too: its content was sent and belongs to the peer.
 */
int lm_releaser_add(LmReleaser *releaser, LmRegion *region, const LmRange *range, GError **errp);
int lm_releaser_drain(LmReleaser *releaser, GError **errp);
/* Drains. */
void lm_releaser_clear(LmReleaser *releaser);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmReleaser, lm_releaser_clear)

#endif
