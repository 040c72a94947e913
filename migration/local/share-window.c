/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window: a slot of addresses of our own where a slot of the memfd is mapped, filled, given all
 * that the private mapping has, and then moved to where that is, page tables and all (mremap), so
 * that the guest need not fault its pages in again.
 *
 * It is built while the chunk is still in use: the memfd's pages are taken and cleared before any
 * thread waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "fault.h"
#include "share-run.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* of shared memory: Linux 5.13 */
#endif

guint8 *lm_window_at(const LmLane *lane, const LmPiece *piece)
{
	return lane->window + lm_slot_offset(lm_piece_host(piece));
}

int lm_window_open(LmLane *lane, const LmPiece *piece)
{
	return lm_map_at(lm_window_at(lane, piece), piece->range.length_bytes,
			 piece->mapping->prot | PROT_READ | PROT_WRITE, MAP_SHARED,
			 piece->share->fd, piece->range.offset_bytes);
}

static int allocate(const LmShare *share, guint64 offset, guint64 bytes)
{
	int ret;

	if (lm_fault_fails("fill-share"))
		return -errno;
	do {
		ret = fallocate(share->fd, FALLOC_FL_KEEP_SIZE, offset, bytes);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* Pages of the memfd that cannot be had would be a SIGBUS; here they are an error. */
static int populate(void *start, gsize bytes)
{
	int ret;

	do {
		ret = madvise(start, bytes, MADV_POPULATE_WRITE);
	} while (ret < 0 && (errno == EINTR || errno == EAGAIN));
	if (ret < 0)
		return errno == EFAULT ? -ENOSPC : -errno;
	return 0;
}

/*
 * MADV_COLLAPSE asks for a page at least to be there, and not for shmem_enabled. Linux 6.1 wants it
 * in the page table, too, and says EINVAL.
 */
static int collapse(guint8 *window)
{
	int ret;

	if (madvise(window, LM_SLOT_BYTES, MADV_COLLAPSE) == 0)
		return 0;
	if (errno != EINVAL)
		return LM_BUSY;
	ret = populate(window, LM_BASE_PAGE_BYTES);
	if (ret < 0)
		return ret;
	return madvise(window, LM_SLOT_BYTES, MADV_COLLAPSE) < 0 ? LM_BUSY : 0;
}

int lm_window_make_huge(LmLane *lane, const LmPiece *slot)
{
	guint8 *window = lm_window_at(lane, slot);
	int ret = allocate(slot->share, slot->range.offset_bytes, LM_BASE_PAGE_BYTES);

	if (ret == 0)
		ret = collapse(window);
	return ret == 0 ? populate(window, LM_SLOT_BYTES) : ret;
}

int lm_window_reserve(LmLane *lane, const LmPiece *piece, const LmPages *pages)
{
	const gsize skipped = lm_slot_offset(lm_piece_host(piece));
	LmPageRun run = {0};

	while (lm_pages_next(pages, &run)) {
		const gsize at = run.first * LM_BASE_PAGE_BYTES;
		const gsize bytes = run.count * LM_BASE_PAGE_BYTES;
		int ret = allocate(piece->share, piece->range.offset_bytes + at - skipped, bytes);

		if (ret == 0)
			ret = populate(lane->window + at, bytes);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int lm_window_dress(LmLane *lane, const LmPiece *piece)
{
	const int both = PROT_READ | PROT_WRITE;
	guint8 *window = lm_window_at(lane, piece);
	int ret = lm_mapping_advise(piece->mapping, window, piece->range.length_bytes);

	if (ret == 0 && (piece->mapping->prot & both) != both &&
	    mprotect(window, piece->range.length_bytes, piece->mapping->prot) < 0)
		ret = -errno;
	return ret;
}

/*
 * mremap first unmaps what is there. If it fails after that, for want of memory for its own
 * structures, the guest must not find nothing: a plain mapping then, without the window's tables.
 */
int lm_window_place(LmLane *lane, const LmPiece *chunk)
{
	const gsize bytes = chunk->range.length_bytes;
	guint8 *host = lm_piece_host(chunk);

	if (mremap(lm_window_at(lane, chunk), bytes, bytes,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, host) != MAP_FAILED)
		return 0;
	if (mmap(host, bytes, chunk->mapping->prot, MAP_SHARED | MAP_FIXED, chunk->share->fd,
		 chunk->range.offset_bytes) == MAP_FAILED)
		return -errno;
	lm_mapping_advise(chunk->mapping, host, bytes);
	return 0;
}
