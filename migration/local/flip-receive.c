/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receiving side of the flip; the theory is in flip-send.c. The sender is another process and
 * may be broken or hostile: nothing of a frame is believed before it was checked, and nothing is
 * written outside of a region that is flipped.
 */
#include "flip-run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#define HUGETLB_RETRY_US 1000
/*
 * A read holds the pipe's lock while it copies, and the sender waits meanwhile. With one channel,
 * shorter reads let both work at once: 7.6 instead of 5.0 GB/s. With a channel for each processor
 * all are busy anyway, and short reads cost: 8.7 instead of 11.7 GB/s on two.
 */
#define ALONE_READ_BYTES (256u << 10)

/* ------------------------------------------------------------------ pipe */

static int closed(LmFlipChannel *channel, GError **errp)
{
	return lm_fail(errp, LM_ERROR_GONE, EPIPE, "the peer closed the pipe of channel %u",
		       channel->index);
}

/*
 * The same as readv. For a non-blocking pipe, too, the kernel would wait until there is something
 * to read, and no eventfd could end that: RWF_NOWAIT makes it return at once.
 */
static ssize_t read_by_ring(LmFlipChannel *channel, struct iovec *iov, guint count)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	ssize_t got;

	sqe = io_uring_get_sqe(&channel->ring);
	if (!sqe)
		return -EBUSY; /* an earlier one was not taken: nothing may be read after it */
	io_uring_prep_readv(sqe, channel->rx, iov, count, -1);
	sqe->rw_flags = RWF_NOWAIT;
	do {
		got = io_uring_submit_and_wait(&channel->ring, 1);
	} while (got == -EINTR);
	if (got < 0)
		return got;
	do {
		got = io_uring_wait_cqe(&channel->ring, &cqe);
	} while (got == -EINTR);
	if (got < 0)
		return got;
	got = cqe->res;
	io_uring_cqe_seen(&channel->ring, cqe);
	return got;
}

/* Reads what is there, at least a byte; -EAGAIN if nothing is. */
static ssize_t read_some(LmFlipChannel *channel, struct iovec *iov, guint count)
{
	struct iovec part = {iov->iov_base, MIN(iov->iov_len, ALONE_READ_BYTES)};
	ssize_t got;

	if (part.iov_len < iov->iov_len && channel->run->flip->pipes->count == 1) {
		iov = &part;
		count = 1;
	}
	if (channel->has_ring)
		return read_by_ring(channel, iov, count);
	got = readv(channel->rx, iov, count);
	return got < 0 ? -errno : got;
}

/* Fills @iov. Until the first byte has come, @first_wait is how to wait. */
static int read_all(LmFlipChannel *channel, struct iovec *iov, guint count,
		    const LmWait *first_wait, const char *what, GError **errp)
{
	const LmWait *wait = first_wait;

	while (count) {
		ssize_t got = read_some(channel, iov, count);

		if (got > 0) {
			guint used = lm_flip_iov_advance(iov, count, got);

			iov += used;
			count -= used;
			wait = &channel->inside;
			lm_flip_progress(channel);
		} else if (got == 0) {
			return closed(channel, errp);
		} else if (got == -EAGAIN) {
			int ret = lm_flip_wait(wait, channel->rx, POLLIN, what, errp);

			if (ret < 0)
				return ret;
		} else if (got != -EINTR) {
			return lm_fail_errno(errp, LM_ERROR_FAILED, -got,
					     "cannot read %s on channel %u", what, channel->index);
		}
	}
	return 0;
}

/* --------------------------------------------------------------- hugetlb */

static int no_huge_page(const LmRegion *region, guint64 offset, int err, GError **errp)
{
	return lm_fail_errno(errp, LM_ERROR_FAILED, err,
			     "no hugetlb page of %" G_GUINT64_FORMAT
			     " bytes is free for RAM block %s at %" G_GUINT64_FORMAT,
			     region->page_bytes, region->name, offset);
}

/*
 * A huge page for what follows in the pipe. The pool may be short for a moment, for the sender's
 * pages go back to it only as they are read: so it is tried for as long as the deadline, before
 * the payload is begun.
 */
static int reserve_huge_page(LmFlipChannel *channel, LmRegion *region, GError **errp)
{
	guint64 offset =
		channel->frame.range[0].offset_bytes / region->page_bytes * region->page_bytes;
	gint64 end_us = g_get_monotonic_time() +
			channel->run->flip->wait.deadline_ms * G_GINT64_CONSTANT(1000);

	while (madvise(region->host + offset, region->page_bytes, MADV_POPULATE_WRITE) < 0) {
		int err = errno;

		if (err == EINVAL) /* a kernel without this advice */
			return 0;
		if (g_get_monotonic_time() >= end_us || g_atomic_int_get(&channel->run->stopping))
			return no_huge_page(region, offset, err == EFAULT ? ENOMEM : err, errp);
		lm_flip_progress(channel); /* ours is the deadline, and the better text */
		g_usleep(HUGETLB_RETRY_US);
	}
	return 0;
}

/* --------------------------------------------------------------- engines */

static int receive_from_pipe(LmFlipChannel *channel, LmRegion *region, GError **errp)
{
	int ret;

	lm_flip_iov_fill(channel->iov, &channel->frame, (guintptr)region->host);
	ret = read_all(channel, channel->iov, channel->frame.range_count, &channel->inside, "pages",
		       errp);
	if (ret == -EFAULT) {
		g_clear_error(errp);
		return lm_fail(errp, LM_ERROR_FAILED, EFAULT,
			       "cannot write to RAM block %s at %" G_GUINT64_FORMAT, region->name,
			       channel->frame.range[0].offset_bytes);
	}
	return ret;
}

static int copy_failed(LmFlipChannel *channel, LmRegion *region, int err, GError **errp)
{
	pid_t pid = channel->run->flip->peer_pid;

	if (err == ESRCH)
		return lm_fail(errp, LM_ERROR_GONE, EPIPE, "process %d has gone", (int)pid);
	return lm_fail_errno(errp, LM_ERROR_FAILED, err, "cannot copy RAM block %s from process %d",
			     region->name, (int)pid);
}

/* The ranges ascend, so none ends after the last one. */
static int check_address(const LmFrame *frame, const LmRegion *region, GError **errp)
{
	const LmRange *last = &frame->range[frame->range_count - 1];
	guint64 end;

	if (g_uint64_checked_add(&end, frame->address, last->offset_bytes + last->length_bytes))
		return 0;
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
		       "RAM block %s cannot be at 0x%" G_GINT64_MODIFIER
		       "x and have a page at %" G_GUINT64_FORMAT,
		       region->name, frame->address, last->offset_bytes);
}

static int copy_from_process(LmFlipChannel *channel, LmRegion *region, GError **errp)
{
	struct iovec remote[LM_FRAME_RANGES_MAX];
	struct iovec *local = channel->iov, *peer = remote;
	guint count = channel->frame.range_count;
	int ret = check_address(&channel->frame, region, errp);

	if (ret < 0)
		return ret;
	lm_flip_iov_fill(local, &channel->frame, (guintptr)region->host);
	lm_flip_iov_fill(peer, &channel->frame, channel->frame.address);
	while (count) {
		ssize_t got = process_vm_readv(channel->run->flip->peer_pid, local, count, peer,
					       count, 0);
		guint used;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return copy_failed(channel, region, got < 0 ? errno : EFAULT, errp);
		used = lm_flip_iov_advance(local, count, got);
		lm_flip_iov_advance(peer, count, got);
		local += used;
		peer += used;
		count -= used;
		lm_flip_progress(channel);
	}
	return 0;
}

static int acknowledge(LmFlipChannel *channel, GError **errp)
{
	guint64 frames = GUINT64_TO_LE(++channel->acked);
	int ret = 0;

	while (ret == 0) {
		ssize_t done = write(channel->tx, &frames, sizeof(frames));

		if (done == sizeof(frames)) /* so few bytes go whole or not at all */
			return 0;
		if (done < 0 && errno == EAGAIN)
			ret = lm_flip_wait(&channel->inside, channel->tx, POLLOUT,
					   "room for an acknowledgement", errp);
		else if (done >= 0 || errno == EPIPE)
			return closed(channel, errp);
		else if (errno != EINTR)
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "cannot acknowledge on channel %u", channel->index);
	}
	return ret;
}

/* ---------------------------------------------------------------- frames */

/* All of a frame is in one window, so that channels share no word of the bitmap. */
static int check_window(const LmFrame *frame, const LmRegion *region, GError **errp)
{
	const LmRange *first = &frame->range[0], *last = &frame->range[frame->range_count - 1];
	guint64 end = last->offset_bytes + last->length_bytes;

	if (first->offset_bytes / LM_WINDOW_BYTES == (end - 1) / LM_WINDOW_BYTES)
		return 0;
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
		       "a frame of RAM block %s from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
		       " is not in one window",
		       region->name, first->offset_bytes, end);
}

static int here_already(const LmRegion *region, const LmRange *range, GError **errp)
{
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
		       "pages of RAM block %s at %" G_GUINT64_FORMAT " came though they are here",
		       region->name, range->offset_bytes);
}

static int check_absent(const LmFrame *frame, const LmRegion *region, GError **errp)
{
	for (guint i = 0; i < frame->range_count; i++)
		if (lm_region_bitmap_any(region, &frame->range[i]))
			return here_already(region, &frame->range[i], errp);
	return 0;
}

static int find_region(const LmFlip *flip, guint32 index, LmRegion **found, GError **errp)
{
	LmRegion *region;

	if (index >= flip->regions->len)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "pages of region %u came, of %u",
			       index, flip->regions->len);
	region = g_ptr_array_index(flip->regions, index);
	if (region->way != LM_WAY_FLIP)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "pages of RAM block %s came, which goes by %s", region->name,
			       lm_way_name(region->way));
	*found = region;
	return 0;
}

/*
 * A page that came on two channels at once was absent to both when they looked; only here is it
 * certain which was the first.
 */
static int arrived(LmFlipChannel *channel, LmRegion *region, GError **errp)
{
	const LmFrame *frame = &channel->frame;
	int ret = 0;

	for (guint i = 0; i < frame->range_count; i++) {
		const LmRange *range = &frame->range[i];
		guint64 bytes = lm_region_bitmap_set(region, range);

		channel->frame_bytes += bytes;
		__atomic_fetch_add(&region->moved_bytes, bytes, __ATOMIC_RELAXED);
		__atomic_fetch_add(&channel->run->flip->bytes, bytes, __ATOMIC_RELAXED);
		if (ret == 0 && bytes < range->length_bytes)
			ret = here_already(region, range, errp);
	}
	return ret;
}

/* The ranges of channel->frame, held against the region that it names. */
static int receive_ranges(LmFlipChannel *channel, LmRegion **found, GError **errp)
{
	LmFrame *frame = &channel->frame;
	struct iovec iov = {channel->encoded, frame->range_count * LM_FRAME_RANGE_BYTES};
	LmRegion *region = NULL;
	int ret = find_region(channel->run->flip, frame->region, &region, errp);

	if (ret == 0)
		ret = read_all(channel, &iov, 1, &channel->inside, "the ranges of a frame", errp);
	if (ret == 0)
		ret = lm_frame_ranges_decode(channel->encoded, frame, region->used_bytes,
					     LM_BASE_PAGE_BYTES, errp);
	if (ret == 0)
		ret = check_window(frame, region, errp);
	if (ret == 0)
		ret = check_absent(frame, region, errp);
	if (ret == 0)
		*found = region;
	return ret;
}

static int receive_pages(LmFlipChannel *channel, GError **errp)
{
	gboolean from_process = channel->run->flip->engine == LM_ENGINE_PROCESS_VM_READV;
	LmRegion *region = NULL;
	int ret = receive_ranges(channel, &region, errp);

	if (ret == 0 && region->page_bytes > LM_BASE_PAGE_BYTES)
		ret = reserve_huge_page(channel, region, errp);
	if (ret == 0)
		ret = from_process ? copy_from_process(channel, region, errp)
				   : receive_from_pipe(channel, region, errp);
	if (ret == 0)
		ret = arrived(channel, region, errp);
	return ret == 0 && from_process ? acknowledge(channel, errp) : ret;
}

static int check_sum(const LmFlipChannel *channel, GError **errp)
{
	if (channel->frame.payload_bytes == channel->frame_bytes)
		return 0;
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
		       "channel %u ended after %" G_GUINT64_FORMAT
		       " bytes of pages, and its end frame says %" G_GUINT64_FORMAT,
		       channel->index, channel->frame_bytes, channel->frame.payload_bytes);
}

/* 1 at the end of the channel. */
static int receive_frame(LmFlipChannel *channel, GError **errp)
{
	struct iovec iov = {channel->encoded, LM_FRAME_HEADER_BYTES};
	int ret = read_all(channel, &iov, 1, &channel->border, "a frame", errp);

	if (ret == 0)
		ret = lm_frame_header_decode(channel->encoded, &channel->frame, errp);
	if (ret < 0)
		return ret;
	if (!(channel->frame.flags & LM_FRAME_END))
		return receive_pages(channel, errp);
	ret = check_sum(channel, errp);
	return ret < 0 ? ret : 1;
}

static int receive_channel(LmFlipChannel *channel, GError **errp)
{
	int ret = 0;

	channel->has_ring = channel->run->flip->io_uring && lm_io_uring_reads_pipes() &&
			    io_uring_queue_init(1, &channel->ring, 0) == 0;
	while (ret == 0)
		ret = lm_flip_stopping(channel) ? -ECANCELED : receive_frame(channel, errp);
	if (channel->has_ring)
		io_uring_queue_exit(&channel->ring);
	return ret < 0 ? ret : 0;
}

int lm_flip_receive(LmFlip *flip, GError **errp)
{
	return lm_flip_run(flip, FALSE, receive_channel, errp);
}
