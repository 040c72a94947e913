/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "flip.h"
#include "region.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif
#define RING_BYTES_MAX (1u << 30) /* of one request, whose length is 32 bits */

/* MADV_DONTNEED_LOCKED takes mlocked memory too; kernels that lack it refuse even a plain page. */
static int release_advice(void)
{
	static gsize advice;

	if (g_once_init_enter(&advice)) {
		void *page = mmap(NULL, LM_BASE_PAGE_BYTES, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		gsize found = MADV_DONTNEED;

		if (page != MAP_FAILED) {
			if (madvise(page, LM_BASE_PAGE_BYTES, MADV_DONTNEED_LOCKED) == 0)
				found = MADV_DONTNEED_LOCKED;
			munmap(page, LM_BASE_PAGE_BYTES);
		}
		g_once_init_leave(&advice, found);
	}
	return advice;
}

static int release_failed(const LmRegion *region, const LmRange *range, int err, GError **errp)
{
	return lm_fail_errno(errp, LM_ERROR_FAILED, err,
			     "cannot release %" G_GUINT64_FORMAT
			     " bytes of RAM block %s at %" G_GUINT64_FORMAT,
			     range->length_bytes, region->name, range->offset_bytes);
}

static int release_now(LmRegion *region, const LmRange *range, GError **errp)
{
	if (madvise(region->host + range->offset_bytes, range->length_bytes, release_advice()) < 0)
		return release_failed(region, range, errno, errp);
	return 0;
}

void lm_releaser_init(LmReleaser *releaser, gboolean io_uring)
{
	memset(releaser, 0, sizeof(*releaser));
	releaser->has_ring =
		io_uring && io_uring_queue_init(LM_RELEASES_MAX, &releaser->ring, 0) == 0;
	releaser->use_ring = releaser->has_ring;
}

static int release_slot(struct LmRelease *slot, int result, GError **errp)
{
	/* What the ring could not do (a kernel without this request) is done all the same. */
	int ret = result < 0 ? release_now(slot->region, &slot->range, errp) : 0;

	lm_region_bitmap_clear(slot->region, &slot->range);
	slot->region = NULL;
	return ret;
}

/* The ring is broken: nothing more goes through it, and nothing that went is waited for. */
static int abandon_ring(LmReleaser *releaser, GError **errp)
{
	int first = 0;

	releaser->use_ring = FALSE;
	releaser->pending = 0;
	for (guint i = 0; i < LM_RELEASES_MAX; i++) {
		if (releaser->slot[i].region) {
			int ret = release_slot(&releaser->slot[i], -EIO, first ? NULL : errp);

			first = first ? first : ret;
		}
	}
	return first;
}

/* Waits for one of the pending releases. */
static int complete_one(LmReleaser *releaser, GError **errp)
{
	struct io_uring_cqe *cqe;
	struct LmRelease *slot;
	int ret;

	do {
		ret = io_uring_wait_cqe(&releaser->ring, &cqe);
	} while (ret == -EINTR);
	if (ret < 0)
		return abandon_ring(releaser, errp);
	slot = io_uring_cqe_get_data(cqe);
	ret = cqe->res;
	io_uring_cqe_seen(&releaser->ring, cqe);
	releaser->pending--;
	return release_slot(slot, ret, errp);
}

static gboolean submit(LmReleaser *releaser, LmRegion *region, const LmRange *range)
{
	struct LmRelease *slot = releaser->slot;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&releaser->ring);

	if (!sqe)
		return FALSE;
	while (slot->region)
		slot++;
	io_uring_prep_madvise(sqe, region->host + range->offset_bytes, range->length_bytes,
			      release_advice());
	io_uring_sqe_set_data(sqe, slot);
	if (io_uring_submit(&releaser->ring) < 1)
		return FALSE;
	slot->region = region;
	slot->range = *range;
	releaser->pending++;
	return TRUE;
}

int lm_releaser_add(LmReleaser *releaser, LmRegion *region, const LmRange *range, GError **errp)
{
	int ret = 0;

	if (releaser->pending == LM_RELEASES_MAX)
		ret = complete_one(releaser, errp);
	if (releaser->use_ring && range->length_bytes <= RING_BYTES_MAX) {
		if (submit(releaser, region, range))
			return ret;
		releaser->use_ring = FALSE;
	}
	if (ret < 0)
		errp = NULL;
	ret = MIN(ret, release_now(region, range, errp));
	lm_region_bitmap_clear(region, range);
	return ret;
}

int lm_releaser_drain(LmReleaser *releaser, GError **errp)
{
	int first = 0;

	while (releaser->pending) {
		int ret = complete_one(releaser, first ? NULL : errp);

		first = first ? first : ret;
	}
	return first;
}

void lm_releaser_clear(LmReleaser *releaser)
{
	lm_releaser_drain(releaser, NULL);
	if (releaser->has_ring)
		io_uring_queue_exit(&releaser->ring);
	releaser->has_ring = FALSE;
}

int lm_region_discard(LmRegion *region, GError **errp)
{
	LmRange all = {0, region->used_bytes};

	if (region->way != LM_WAY_FLIP || (region->flags & LM_REGION_SHARED) || !all.length_bytes)
		return 0;
	return release_now(region, &all, errp);
}
