/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page flipping. Theory of operation:
 *
 * A guest's private memory must get from one process into another, and the host need not have
 * room for it twice. So it goes in small steps, and each step gives back to the kernel in the
 * sender what it takes from the kernel in the receiver:
 *
 *      sender                     pipe                      receiver
 *      window ──── vmsplice ────▶ references ──── read ───▶ window
 *        │                        to pages                  (page faults: new pages)
 *        └── madvise(MADV_DONTNEED): the pages live on in the pipe only,
 *            and are free when they have been read
 *
 * vmsplice puts references into the pipe and copies nothing, so there is one copy in all. The new
 * pages are often those that were freed a moment ago, still in the cache. What is in flight is
 * bounded by the pipe: 1 MiB a channel (or two frames with process_vm_readv).
 *
 * A region is cut into windows of 2 MiB, which are what a transparent huge page is: it goes whole
 * and comes whole. A frame carries what one window holds. A granule is what is released at once: a
 * window, or a page of hugetlbfs if that is larger. The channels' threads take granules off one
 * cursor, so a slow channel holds up nobody.
 *
 * The bitmap region->here says where each page is. The sender clears a page's bit when its whole
 * frame is in the pipe (vmsplice) or was acknowledged (process_vm_readv) and the page is released;
 * the receiver sets it when the whole frame arrived. A frame that went in part when the run was
 * aborted has not been released: its pages are still whole here, and their bits set. A window is a
 * whole number of bitmap words, so no two threads write one word.
 *
 * The kernel's reference to a page is no copy: a write to the page between vmsplice and the read
 * would show at the other end. Nobody writes, for the machine is stopped.
 *
 * Where a kernel makes vmsplice a copy, the frame carries ranges only, the receiver copies with
 * process_vm_readv from the sender's address space, and acknowledges in the pipe that goes the
 * other way: a counter of frames, 8 bytes, little-endian. The sender releases then.
 */
#include "flip-run.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "flip-log.h"

/* Bits of two windows never share a word. */
G_STATIC_ASSERT(LM_WINDOW_BYTES / LM_BASE_PAGE_BYTES % (8 * sizeof(gulong)) == 0);
G_STATIC_ASSERT(LM_WINDOW_BYTES <= LM_FRAME_PAYLOAD_MAX);
G_STATIC_ASSERT(LM_WINDOW_BYTES / LM_BASE_PAGE_BYTES / 2 <= LM_FRAME_RANGES_MAX);

#define NEXT_FRAME "room in the pipe"

/* ----------------------------------------------------------------- pipe */

static int pipe_failed(LmFlipChannel *channel, const char *what, int err, GError **errp)
{
	if (err == EPIPE)
		return lm_fail(errp, LM_ERROR_GONE, EPIPE, "the peer closed the pipe of channel %u",
			       channel->index);
	return lm_fail_errno(errp, LM_ERROR_FAILED, err, "cannot %s on channel %u", what,
			     channel->index);
}

static void count_stream(LmFlipChannel *channel, gsize bytes)
{
	LmFlip *flip = channel->run->flip;

	if (flip->log)
		lm_flip_log_wrote(&flip->log[channel->index], bytes);
	lm_flip_progress(channel);
}

static int write_all(LmFlipChannel *channel, const guint8 *data, gsize length, GError **errp)
{
	while (length) {
		ssize_t done = write(channel->tx, data, length);

		if (done > 0) {
			channel->in_frame = TRUE;
			data += done;
			length -= done;
			count_stream(channel, done);
		} else if (errno == EAGAIN) {
			int ret = lm_flip_wait(&channel->inside, channel->tx, POLLOUT, NEXT_FRAME,
					       errp);

			if (ret < 0)
				return ret;
		} else if (errno != EINTR) {
			return pipe_failed(channel, "write", errno, errp);
		}
	}
	return 0;
}

/* Gives the pipe references to the pages of channel->frame, which are in @region. */
static int splice_pages(LmFlipChannel *channel, LmRegion *region, GError **errp)
{
	struct iovec *iov = channel->iov;
	guint count = channel->frame.range_count;

	lm_flip_iov_fill(iov, &channel->frame, (guintptr)region->host);
	while (count) {
		ssize_t done = vmsplice(channel->tx, iov, count, SPLICE_F_NONBLOCK);

		if (done > 0) {
			guint used = lm_flip_iov_advance(iov, count, done);

			iov += used;
			count -= used;
			count_stream(channel, done);
		} else if (done < 0 && errno == EAGAIN) {
			int ret = lm_flip_wait(&channel->inside, channel->tx, POLLOUT, NEXT_FRAME,
					       errp);

			if (ret < 0)
				return ret;
		} else if (done == 0 || errno == EFAULT) {
			return lm_fail(errp, LM_ERROR_FAILED, EFAULT,
				       "cannot read RAM block %s at %zu", region->name,
				       (gsize)((guint8 *)iov->iov_base - region->host));
		} else if (errno != EINTR) {
			return pipe_failed(channel, "send pages", errno, errp);
		}
	}
	return 0;
}

/* --------------------------------------------------------------- release */

static gboolean released_by_frame(const LmRegion *region)
{
	return region->page_bytes <= LM_WINDOW_BYTES;
}

static void count_sent(LmFlipChannel *channel, LmRegion *region, guint64 bytes)
{
	__atomic_fetch_add(&region->moved_bytes, bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&channel->run->flip->bytes, bytes, __ATOMIC_RELAXED);
}

/* The receiver has @bytes of @range, or will find them in the pipe. */
static int frame_is_gone(LmFlipChannel *channel, LmRegion *region, const LmRange *range,
			 guint64 bytes, GError **errp)
{
	count_sent(channel, region, bytes);
	return released_by_frame(region) ? lm_releaser_add(&channel->releaser, region, range, errp)
					 : 0;
}

/* ------------------------------------------------------- acknowledgements */

static int take_ack(LmFlipChannel *channel, guint64 frames, GError **errp)
{
	int ret = 0;

	if (frames <= channel->acked || frames > channel->sent)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "channel %u: the peer acknowledged frame %" G_GUINT64_FORMAT
			       " after %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT,
			       channel->index, frames, channel->acked, channel->sent);
	while (channel->acked < frames && ret == 0) {
		guint slot = channel->acked++ % LM_FLIP_UNACKED_MAX;

		ret = frame_is_gone(channel, channel->unacked[slot].region,
				    &channel->unacked[slot].range, channel->unacked[slot].bytes,
				    errp);
	}
	return ret;
}

/* One acknowledgement, if there is one: 1; 0 if there is none. 8 bytes arrive whole in a pipe. */
static int try_read_ack(LmFlipChannel *channel, GError **errp)
{
	guint64 frames;
	ssize_t got;
	int ret;

	do {
		got = read(channel->rx, &frames, sizeof(frames));
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got < 0)
		return pipe_failed(channel, "read", errno, errp);
	if (got == 0)
		return pipe_failed(channel, "read", EPIPE, errp);
	if (got != sizeof(frames))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "channel %u: an acknowledgement of %zd bytes", channel->index, got);
	lm_flip_progress(channel);
	ret = take_ack(channel, GUINT64_FROM_LE(frames), errp);
	return ret < 0 ? ret : 1;
}

/* Until at most @left frames are not acknowledged. */
static int await_acks(LmFlipChannel *channel, guint left, GError **errp)
{
	while (channel->sent - channel->acked > left) {
		int ret = try_read_ack(channel, errp);

		if (ret == 0)
			ret = lm_flip_wait(&channel->inside, channel->rx, POLLIN,
					   "an acknowledgement", errp);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---------------------------------------------------------------- frames */

/* Makes channel->frame of what is here of @window; FALSE if nothing is. */
static gboolean fill_frame(LmFlipChannel *channel, LmRegion *region, guint index,
			   const LmRange *window)
{
	LmFrame *frame = &channel->frame;
	guint64 at = window->offset_bytes, end = at + window->length_bytes;
	LmRange run;

	frame->region = index;
	frame->range_count = 0;
	frame->flags = 0;
	frame->payload_bytes = 0;
	frame->address = (guint64)(guintptr)region->host;
	while (lm_region_bitmap_next(region, at, end, &run)) {
		frame->range[frame->range_count++] = run;
		frame->payload_bytes += run.length_bytes;
		at = run.offset_bytes + run.length_bytes;
	}
	return frame->range_count > 0;
}

static int send_frame(LmFlipChannel *channel, LmRegion *region, const LmRange *window,
		      GError **errp)
{
	LmFlip *flip = channel->run->flip;
	gboolean by_ack = flip->engine == LM_ENGINE_PROCESS_VM_READV;
	gsize length = lm_frame_encode(channel->encoded, &channel->frame);
	guint64 bytes = channel->frame.payload_bytes;
	guint slot = channel->sent % LM_FLIP_UNACKED_MAX;
	int ret = by_ack ? await_acks(channel, LM_FLIP_UNACKED_MAX - 1, errp) : 0;

	if (flip->log && !by_ack)
		lm_flip_log_frame(&flip->log[channel->index], &channel->frame, length);
	if (ret == 0)
		ret = write_all(channel, channel->encoded, length, errp);
	if (ret == 0 && !by_ack)
		ret = splice_pages(channel, region, errp);
	if (ret < 0)
		return ret;
	channel->in_frame = FALSE;
	channel->frame_bytes += bytes;
	channel->unacked[slot].region = region;
	channel->unacked[slot].range = *window;
	channel->unacked[slot].bytes = bytes;
	channel->sent++;
	if (!by_ack) {
		channel->acked = channel->sent;
		ret = frame_is_gone(channel, region, window, bytes, errp);
	}
	if (flip->between_frames)
		flip->between_frames(flip->opaque);
	return ret;
}

/* The last frame of the channel, after which the receiver is at rest. */
static int send_end(LmFlipChannel *channel, GError **errp)
{
	channel->frame = (LmFrame){
		.flags = LM_FRAME_END,
		.payload_bytes = channel->frame_bytes,
	};
	return write_all(channel, channel->encoded,
			 lm_frame_encode(channel->encoded, &channel->frame), errp);
}

/* -------------------------------------------------------------- granules */

/* Takes the next granule with content off the cursor; NULL if there is none left. */
static LmRegion *take_granule(LmFlipRun *run, guint *index, LmRange *granule)
{
	LmRegion *taken = NULL;
	LmRange found;

	g_mutex_lock(&run->lock);
	while (!taken && run->next_region < run->flip->regions->len) {
		LmRegion *region = g_ptr_array_index(run->flip->regions, run->next_region);
		guint64 bytes = MAX(LM_WINDOW_BYTES, region->page_bytes);

		if (region->way == LM_WAY_FLIP &&
		    lm_region_bitmap_next(region, run->next_offset, region->used_bytes, &found)) {
			granule->offset_bytes = found.offset_bytes / bytes * bytes;
			granule->length_bytes =
				MIN(bytes, region->used_bytes - granule->offset_bytes);
			*index = run->next_region;
			run->next_offset = granule->offset_bytes + granule->length_bytes;
			taken = region;
		} else {
			run->next_region++;
			run->next_offset = 0;
		}
	}
	g_mutex_unlock(&run->lock);
	return taken;
}

/* A granule is not ended half way by a stop, for then it could not be released. */
static int send_granule(LmFlipChannel *channel, LmRegion *region, guint index,
			const LmRange *granule, GError **errp)
{
	guint64 end = granule->offset_bytes + granule->length_bytes;
	int ret;

	for (guint64 at = granule->offset_bytes; at < end; at += LM_WINDOW_BYTES) {
		LmRange window = {at, MIN(LM_WINDOW_BYTES, end - at)};

		if (!fill_frame(channel, region, index, &window))
			continue;
		ret = send_frame(channel, region, &window, errp);
		if (ret < 0)
			return ret;
	}
	if (released_by_frame(region))
		return 0;
	ret = await_acks(channel, 0, errp);
	return ret < 0 ? ret : lm_releaser_add(&channel->releaser, region, granule, errp);
}

static int send_granules(LmFlipChannel *channel, GError **errp)
{
	LmFlipRun *run = channel->run;
	LmRegion *region;
	LmRange granule;
	guint index;

	while ((region = take_granule(run, &index, &granule))) {
		int ret;

		if (lm_flip_stopping(channel)) {
			g_atomic_int_set(&run->cut, 1);
			break;
		}
		ret = send_granule(channel, region, index, &granule, errp);
		if (ret < 0)
			return ret;
	}
	return await_acks(channel, 0, errp);
}

static int keep_first(int first, int ret)
{
	return first < 0 ? first : ret;
}

/*
 * Whatever happened, the channel ends with END if it is at a frame border: a page that could not
 * be released, say, fails the run, but not its order.
 */
static int send_channel(LmFlipChannel *channel, GError **errp)
{
	int ret;

	lm_releaser_init(&channel->releaser, channel->run->flip->io_uring);
	ret = send_granules(channel, errp);
	/* What was acknowledged up to now was received, even if the run was aborted. */
	while (channel->sent > channel->acked && try_read_ack(channel, NULL) > 0)
		;
	ret = keep_first(ret, lm_releaser_drain(&channel->releaser, ret < 0 ? NULL : errp));
	if (!channel->in_frame && ret != -ECANCELED && channel->sent == channel->acked)
		ret = keep_first(ret, send_end(channel, ret < 0 ? NULL : errp));
	lm_releaser_clear(&channel->releaser);
	return ret;
}

int lm_flip_send(LmFlip *flip, GError **errp)
{
	return lm_flip_run(flip, TRUE, send_channel, errp);
}
