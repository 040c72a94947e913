// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rescue. A destination may hang, or be killed, while it holds flipped pages. A stream of pages
 * is then cut somewhere:
 *
 *     what the source's end of a channel wrote, in bytes
 *     ├───────────── read by the destination ─────────────┤──── still in the pipe ────┤
 *       is in the destination's memory, at its place          is read by us now
 *
 * The place of the cut is what was written less what is found in the pipe, and the sender's log
 * (flip-log.h) says which page each byte belongs to. The destination reads straight into its
 * memory, so even a page that is cut has its first part there. It is stopped first, so that
 * nothing moves; SIGSTOP works on a process whose threads all hang, unless one hangs in the kernel
 * for good. From such a one only what it had all of is taken, for nothing more comes to that.
 *
 * A destination that is dead has taken what it had read with it; what it had not is still whole.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "region.h"
#include "rescue.h"

#define STOP_DEADLINE_MS 2000

/* ----------------------------------------------------- stopping the process */

/* The state letter of /proc/PID/task/TID/stat (proc(5)); 0: no such thread; '?': not known. */
static char thread_state(int pid, const char *tid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/stat", pid, tid);
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	const char *name_end;

	if (!g_file_get_contents(path, &text, NULL, &error))
		return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) ? 0 : '?';
	name_end = strrchr(text, ')');
	return name_end && name_end[1] ? name_end[2] : '?';
}

/* Where it cannot be told, they may not be. */
static gboolean all_threads_stopped(int pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
	g_autoptr(GError) error = NULL;
	g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
	const char *tid;

	if (!dir)
		return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
	while ((tid = g_dir_read_name(dir))) {
		char state = thread_state(pid, tid);

		if (state && !strchr("TtZX", state))
			return FALSE;
	}
	return TRUE;
}

/* To look into /proc takes two descriptors, and this process may have none left. */
static void free_descriptors(LmPipes *pipes)
{
	for (guint i = 0; i < pipes->count; i++) {
		LmPipePair *pair = &pipes->pair[i];

		if (pair->tx >= 0)
			close(pair->tx);
		if (pair->rx >= 0)
			close(pair->rx);
		pair->tx = pair->rx = -1;
	}
}

static int stop_process(LmSession *s, GError **errp)
{
	int pid = s->status.peer_pid;

	errno = ESRCH; /* of one that was gone when the session began */
	if (s->peer_pidfd < 0 ||
	    syscall(SYS_pidfd_send_signal, s->peer_pidfd, SIGSTOP, NULL, 0) < 0) {
		if (errno != ESRCH)
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "the destination, process %d, cannot be stopped", pid);
		return lm_fail(errp, LM_ERROR_GONE, ESRCH, "the destination, process %d, is gone",
			       pid);
	}
	free_descriptors(&s->pipes);
	for (int ms = 0; ms < STOP_DEADLINE_MS; ms++) {
		if (all_threads_stopped(pid))
			return 0;
		g_usleep(1000);
	}
	return lm_fail(errp, LM_ERROR_TIMEOUT, ETIMEDOUT,
		       "the destination, process %d, cannot be stopped", pid);
}

/* ------------------------------------------------------------ from memory */

/* The pages that the scan found and that are not here. */
static gboolean next_missing(const LmRegion *region, guint64 from, LmRange *run)
{
	LmRegion scanned = *region;

	scanned.here = region->populated;
	if (!lm_region_bitmap_next(&scanned, from, region->used_bytes, run))
		return FALSE;
	while (lm_region_bitmap_any(region, &(LmRange){run->offset_bytes, LM_BASE_PAGE_BYTES})) {
		if (!lm_region_bitmap_next(&scanned, run->offset_bytes + LM_BASE_PAGE_BYTES,
					   region->used_bytes, run))
			return FALSE;
	}
	run->length_bytes = LM_BASE_PAGE_BYTES;
	return TRUE;
}

static int copy_from_peer(const LmSession *s, const LmRegion *region, const LmRange *page)
{
	struct iovec to = {region->host + page->offset_bytes, page->length_bytes};
	struct iovec from = {(void *)(guintptr)(region->peer_address + page->offset_bytes),
			     page->length_bytes};
	const ssize_t n = process_vm_readv(s->status.peer_pid, &to, 1, &from, 1, 0);

	if (n < 0)
		return -errno;
	return n == (ssize_t)page->length_bytes ? 0 : -EFAULT;
}

/*
 * Missing pages from the destination's memory; what is in the pipes overlays them later. A page
 * that cannot be read stays missing, and is no reason to leave the others there.
 */
static int fetch_region(LmSession *s, LmRegion *region, GError **errp)
{
	LmRange page;
	guint64 at = 0;
	int first = 0;

	while (next_missing(region, at, &page)) {
		const int rc = copy_from_peer(s, region, &page);

		at = page.offset_bytes + page.length_bytes;
		if (rc == 0) {
			lm_region_bitmap_set(region, &page);
			continue;
		}
		if (first == 0)
			first = lm_fail_errno(errp, LM_ERROR_FAILED, -rc,
					      "RAM block %s: reading the destination's memory at "
					      "%" G_GUINT64_FORMAT,
					      region->name, page.offset_bytes);
		if (rc == -ESRCH)
			break;
	}
	return first;
}

/* ---------------------------------------------------------- from the pipes */

/*
 * Copies the part of @frame that lies at @tail_at or after in the stream from @tail. A page that
 * is whole in the tail is whole here then.
 */
static void overlay_frame(LmSession *s, const LmLoggedFrame *frame, guint64 tail_at,
			  const GByteArray *tail)
{
	LmRegion *region = g_ptr_array_index(s->regions, frame->region);
	guint64 at = frame->pages_at, tail_end = tail_at + tail->len;

	for (guint i = 0; i < frame->range_count; i++) {
		guint64 offset = frame->range[i].offset_bytes;
		guint64 end = offset + frame->range[i].length_bytes;

		for (; offset < end; offset += LM_BASE_PAGE_BYTES, at += LM_BASE_PAGE_BYTES) {
			LmRange page = {offset, LM_BASE_PAGE_BYTES};
			guint64 from = MAX(at, tail_at);
			guint64 to = MIN(at + LM_BASE_PAGE_BYTES, tail_end);

			if (from >= to)
				continue;
			memcpy(region->host + offset + (from - at), tail->data + (from - tail_at),
			       to - from);
			if (to - from == LM_BASE_PAGE_BYTES)
				lm_region_bitmap_set(region, &page);
		}
	}
}

static GByteArray *drain_pipe(int fd)
{
	GByteArray *tail = g_byte_array_new();
	guint8 buffer[65536];
	ssize_t got;

	while ((got = read(fd, buffer, sizeof(buffer))) > 0)
		g_byte_array_append(tail, buffer, got);
	return tail;
}

static void overlay_channel(LmSession *s, guint index)
{
	LmFlipLog *log = &s->log[index];
	g_autoptr(GByteArray) tail = drain_pipe(s->pipes.pair[index].tx_back);

	if (tail->len > log->stream_bytes)
		return; /* not what we wrote */
	for (GList *item = log->frames.head; item; item = item->next)
		overlay_frame(s, item->data, log->stream_bytes - tail->len, tail);
}

static int fetch_all(LmSession *s, GError **errp)
{
	int first = 0;

	for (guint i = 0; i < s->regions->len && first != -ESRCH; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);
		int rc = 0;

		if (region->populated)
			rc = fetch_region(s, region, first ? NULL : errp);
		if (first == 0)
			first = rc;
	}
	return first;
}

int lm_rescue(LmSession *s, GError **errp)
{
	const int stopped = stop_process(s, errp);
	int fetched = 0;

	/*
	 * While it may read on, what is found in a pipe has no certain place in the stream, and
	 * what is in its memory may not be whole; unless it had all of it before.
	 */
	if (stopped < 0 && stopped != -ESRCH && !s->flip_arrived)
		return stopped;
	if (stopped != -ESRCH)
		fetched = fetch_all(s, stopped < 0 ? NULL : errp);
	/* On the way back the pipes carry acknowledgements, or pages that came from elsewhere. */
	if ((stopped == 0 || stopped == -ESRCH) && !s->return_engine) {
		for (guint i = 0; i < s->pipes.count; i++)
			overlay_channel(s, i);
	}
	return stopped < 0 ? stopped : fetched;
}

/*
 * A process is gone when the kernel has freed its memory, some 10 GB a second; whatever deadline
 * a user gave, nothing is gained by giving up sooner.
 */
#define END_MS 120000u

int lm_rescue_end_destination(LmSession *s, GError **errp)
{
	struct pollfd exited = {.fd = s->peer_pidfd, .events = POLLIN};
	const guint wait_ms = MAX(s->options.deadline_ms, END_MS);
	int rc;

	if (s->peer_pidfd < 0)
		return 0; /* it was gone when the session began (lm_session_run) */
	syscall(SYS_pidfd_send_signal, s->peer_pidfd, SIGKILL, NULL, 0);
	do {
		rc = poll(&exited, 1, (int)wait_ms);
	} while (rc < 0 && errno == EINTR);
	if (rc == 1)
		return 0;
	return lm_fail(errp, LM_ERROR_LOST, ETIMEDOUT,
		       "the destination, process %d, was killed but is not gone after %u ms: it "
		       "may still write to the disks",
		       s->status.peer_pid, wait_ms);
}
