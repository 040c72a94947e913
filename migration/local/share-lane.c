/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a thread of a run works with: a userfaultfd, and two slots of addresses. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "share-run.h"
#include "userfault.h"

#define RESERVED_BYTES ((gsize)3 * LM_SLOT_BYTES) /* two, wherever it begins */

static int open_lane(LmLane *lane, gboolean need_userfault, GError **errp)
{
	lane->pagemap = lm_pagemap_open(errp);
	if (!lane->pagemap)
		return -EIO;
	lane->userfault_fd = lm_userfault_open(need_userfault ? errp : NULL);
	if (lane->userfault_fd < 0 && need_userfault)
		return lane->userfault_fd;
	if (need_userfault && !lm_pagemap_scans(lane->pagemap))
		return lm_fail(errp, LM_ERROR_REFUSED, EOPNOTSUPP,
			       "this kernel has no PAGEMAP_SCAN (Linux 6.7)");
	lane->reservation = lm_map(RESERVED_BYTES, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!lane->reservation)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot reserve %zu bytes of addresses", RESERVED_BYTES);
	lane->staging =
		lane->reservation + (-(guintptr)lane->reservation & (guintptr)(LM_SLOT_BYTES - 1));
	lane->window = lane->staging + LM_SLOT_BYTES;
	return 0;
}

int lm_lane_open(LmLane *lane, LmShareRun *run, gboolean need_userfault, GError **errp)
{
	int ret;

	*lane = (LmLane){.run = run, .userfault_fd = -1};
	ret = open_lane(lane, need_userfault, errp);
	if (ret < 0)
		lm_lane_close(lane);
	return ret;
}

void lm_lane_close(LmLane *lane)
{
	if (lane->reservation)
		munmap(lane->reservation, RESERVED_BYTES);
	if (lane->userfault_fd >= 0)
		close(lane->userfault_fd);
	lm_pagemap_close(lane->pagemap);
	*lane = (LmLane){.userfault_fd = -1};
}

/* ---------------------------------------------------------------- staging */

guint8 *lm_staging_at(const LmLane *lane, const LmPiece *chunk)
{
	return lane->staging + lm_slot_offset(lm_piece_host(chunk));
}

static int set_staging(LmLane *lane, int prot)
{
	int ret = lm_map_at(lane->staging, LM_SLOT_BYTES, prot,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	/* A child would make its pages shared, and those cannot be given back. */
	if (ret == 0 && (madvise(lane->staging, LM_SLOT_BYTES, MADV_DONTFORK) < 0 ||
			 madvise(lane->staging, LM_SLOT_BYTES, MADV_DONTDUMP) < 0))
		ret = -errno;
	if (ret == 0)
		ret = lm_userfault_watch(lane->userfault_fd, lane->staging, LM_SLOT_BYTES);
	return ret;
}

/*
 * A huge page moves whole only to where there is no table of pages, and small pages leave one
 * behind: then the mapping is made anew. Its protection must be the chunk's.
 */
int lm_staging_prepare(LmLane *lane, const LmPiece *chunk, GError **errp)
{
	int ret;

	if (lane->staging_set && lane->staging_prot == chunk->mapping->prot)
		return 0;
	ret = set_staging(lane, chunk->mapping->prot);
	if (ret < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -ret,
				     "cannot map a place for %u bytes of RAM block %s",
				     LM_SLOT_BYTES, chunk->share->name);
	lane->staging_set = TRUE;
	lane->staging_prot = chunk->mapping->prot;
	return 0;
}

void lm_staging_release(LmLane *lane, const LmPiece *chunk, gboolean whole)
{
	madvise(lm_staging_at(lane, chunk), chunk->range.length_bytes, MADV_DONTNEED);
	lane->staging_set = whole;
}
