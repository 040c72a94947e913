/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Slots where nothing is mapped, not even the zero page, become the memfd's many at a time: a large
 * VM that has touched little is done at once. A thread may write to one just before it is remapped,
 * and that write must not be lost: the range is blocked first, and looked at again.
 */
#include <errno.h>
#include <sys/mman.h>

#include "error.h"
#include "share-run.h"
#include "userfault.h"

static int fail_empty(const LmPiece *piece, const char *what, int err, GError **errp)
{
	return lm_fail_errno(
		errp, LM_ERROR_FAILED, err,
		"cannot %s %" G_GUINT64_FORMAT " empty bytes of RAM block %s at %" G_GUINT64_FORMAT,
		what, piece->range.length_bytes, piece->share->name, piece->range.offset_bytes);
}

/* What is to take the piece's place. */
static guint8 *map_memfd(const LmPiece *piece, GError **errp)
{
	const gsize bytes = piece->range.length_bytes;
	guint8 *window = lm_map(bytes, piece->mapping->prot, MAP_SHARED, piece->share->fd,
				piece->range.offset_bytes);
	int ret;

	if (!window) {
		fail_empty(piece, "map the memfd for", errno, errp);
		return NULL;
	}
	ret = lm_mapping_advise(piece->mapping, window, bytes);
	if (ret == 0)
		return window;
	munmap(window, bytes);
	fail_empty(piece, "carry over the flags of", -ret, errp);
	return NULL;
}

static int place(const LmPiece *piece, gsize bytes, guint8 *window)
{
	guint8 *host = lm_piece_host(piece);

	if (mremap(window, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, host) != MAP_FAILED)
		return 0;
	/* See lm_window_place. */
	if (mmap(host, bytes, piece->mapping->prot, MAP_SHARED | MAP_FIXED, piece->share->fd,
		 piece->range.offset_bytes) == MAP_FAILED)
		return -errno;
	lm_mapping_advise(piece->mapping, host, bytes);
	return 0;
}

/* The slots before the first that has a page by now. */
static int measure(LmLane *lane, const LmPiece *piece, gsize *bytes)
{
	const guint8 *host = lm_piece_host(piece);
	const guint8 *first;
	int ret = lm_pagemap_first(lane->pagemap, host, *bytes, &first);

	if (ret == 0 && first < host + *bytes) {
		*bytes = first - host;
		*bytes -= MIN(*bytes, lm_slot_offset(first));
	}
	return ret;
}

/*
 * Blocked, as long as nothing is there nothing comes. Where something is, the rest is another
 * piece, and what comes before is blocked again.
 */
static int move_blocked(LmLane *lane, const LmPiece *piece, gsize *bytes, guint8 *window)
{
	guint8 *host = lm_piece_host(piece);
	int ret = 0;

	while (*bytes) {
		const gint64 start_us = g_get_monotonic_time();
		const gsize blocked = *bytes;

		ret = lm_userfault_watch(lane->userfault_fd, host, blocked);
		if (ret < 0)
			return ret;
		ret = measure(lane, piece, bytes);
		if (ret == 0 && *bytes == blocked)
			ret = place(piece, blocked, window);
		else
			ret = ret < 0 ? ret : LM_BUSY;
		if (ret == 0)
			lm_userfault_wake(lane->userfault_fd, host, blocked);
		else
			lm_userfault_unwatch(lane->userfault_fd, host, blocked);
		if (lane->pace)
			lm_times_add(&lane->run->chunk_times, g_get_monotonic_time() - start_us);
		if (ret != LM_BUSY)
			return ret;
	}
	return 0;
}

int lm_empty_move(LmLane *lane, const LmPiece *piece, guint64 *done_bytes, GError **errp)
{
	const gsize all = piece->range.length_bytes;
	gsize bytes = all;
	guint8 *window = map_memfd(piece, errp);
	int ret, locked;

	if (!window)
		return -EIO;
	ret = lm_mapping_loosen(piece->mapping, lm_piece_host(piece), all);
	if (ret == 0 && lane->userfault_fd >= 0)
		ret = move_blocked(lane, piece, &bytes, window);
	else if (ret == 0)
		ret = place(piece, bytes, window);
	if (ret < 0)
		bytes = 0;
	if (bytes < all)
		munmap(window + bytes, all - bytes);
	if (bytes)
		lm_share_set_shared(piece->share, &(LmRange){piece->range.offset_bytes, bytes});
	__atomic_fetch_add(&lane->run->hole_bytes, bytes, __ATOMIC_RELAXED);
	locked = lm_mapping_fasten(piece->mapping, lm_piece_host(piece), all);
	if (ret < 0)
		return fail_empty(piece, "remap", -ret, errp);
	if (locked < 0)
		return fail_empty(piece, "lock", -locked, errp);
	*done_bytes = bytes;
	return 0;
}
