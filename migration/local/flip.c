/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both directions of the flip share: a thread for each channel, and the supervision of them
 * by the thread that called.
 *
 * The threads block in poll on their pipe and on an eventfd, never on the pipe itself, so the
 * supervisor can end them at any time. It ends them in one of two ways:
 *   stop   in order, at the next frame border: cancelled, the peer has something to say, or
 *          another channel failed. A stopped sender still sends its END frames.
 *   abort  at once: the peer has gone, or no byte moved on any channel for the deadline.
 */
#include "flip-run.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"

/* A wait of a thread ends by an eventfd; it needs no deadline of its own. */
#define THREAD_DEADLINE_MS (24u * 3600 * 1000)
/* How long a run that ends in order may wait for the peer, if its deadline is longer. */
#define STOP_GRACE_MS 2000u

void lm_flip_progress(LmFlipChannel *channel)
{
	__atomic_store_n(&channel->run->progress_us, g_get_monotonic_time(), __ATOMIC_RELAXED);
}

gboolean lm_flip_stopping(LmFlipChannel *channel)
{
	return g_atomic_int_get(&channel->run->stopping);
}

int lm_flip_wait(const LmWait *wait, int fd, short events, const char *what, GError **errp)
{
	int ret = lm_wait_fd(wait, fd, events, what, errp);

	return ret < 0 ? ret : 0;
}

guint lm_flip_iov_advance(struct iovec *iov, guint count, gsize bytes)
{
	guint used = 0;

	while (used < count && bytes >= iov[used].iov_len)
		bytes -= iov[used++].iov_len;
	if (bytes) {
		g_assert(used < count);
		iov[used].iov_base = (guint8 *)iov[used].iov_base + bytes;
		iov[used].iov_len -= bytes;
	}
	return used;
}

/* Not pointers: what a peer says of its own memory may be any number. */
void lm_flip_iov_fill(struct iovec *iov, const LmFrame *frame, guint64 base)
{
	for (guint i = 0; i < frame->range_count; i++) {
		iov[i].iov_base = (void *)(guintptr)(base + frame->range[i].offset_bytes);
		iov[i].iov_len = frame->range[i].length_bytes;
	}
}

static void raise_eventfd(int fd)
{
	guint64 one = 1;
	ssize_t ignored = write(fd, &one, sizeof(one));

	(void)ignored; /* an eventfd that is full is raised */
}

static void stop(LmFlipRun *run)
{
	g_atomic_int_set(&run->stopping, 1);
	raise_eventfd(run->stop_fd);
}

static void abort_threads(LmFlipRun *run)
{
	stop(run);
	raise_eventfd(run->abort_fd);
}

/* Takes @error. The first one counts, but one that spoils an orderly end counts more. */
static void note_error(LmFlipRun *run, int ret, gboolean soft, GError *error)
{
	g_mutex_lock(&run->lock);
	if (run->ret == 0 || (run->soft && !soft)) {
		g_clear_error(&run->error);
		run->error = g_steal_pointer(&error);
		run->ret = ret;
		run->soft = soft;
	}
	g_mutex_unlock(&run->lock);
	g_clear_error(&error);
}

/* --------------------------------------------------------------- threads */

static gpointer thread_main(gpointer opaque)
{
	LmFlipChannel *channel = opaque;
	LmFlipRun *run = channel->run;
	GError *error = NULL;
	int ret = run->work(channel, &error);

	if (ret < 0) {
		/* -ECANCELED is the echo of a stop or an abort whose reason is noted already. */
		if (ret == -ECANCELED)
			g_clear_error(&error);
		else
			note_error(run, ret, FALSE, error);
		stop(run);
	}
	g_atomic_int_add(&run->running, -1);
	raise_eventfd(run->done_fd);
	return NULL;
}

/* All signals are blocked in the new thread; among them SIGPIPE, which write then reports. */
static int start_thread(LmFlipChannel *channel, GError **errp)
{
	g_autofree char *name = g_strdup_printf("lm-flip/%u", channel->index);
	g_autoptr(GError) error = NULL;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	g_atomic_int_inc(&channel->run->running);
	channel->thread = g_thread_try_new(name, thread_main, channel, &error);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (channel->thread)
		return 0;
	g_atomic_int_add(&channel->run->running, -1);
	return lm_fail(errp, LM_ERROR_FAILED, EAGAIN, "cannot start thread %s: %s", name,
		       error->message);
}

static gpointer wait_until_asked(gpointer held)
{
	g_mutex_lock(held);
	g_mutex_unlock(held);
	return NULL;
}

int lm_flip_try_threads(guint count, GError **errp)
{
	g_autoptr(GPtrArray) threads = g_ptr_array_new();
	g_autoptr(GError) error = NULL;
	GMutex held;

	g_mutex_init(&held);
	g_mutex_lock(&held);
	while (threads->len < count && !error) {
		GThread *thread = g_thread_try_new("lm-try", wait_until_asked, &held, &error);

		if (thread)
			g_ptr_array_add(threads, thread);
	}
	g_mutex_unlock(&held);
	for (guint i = 0; i < threads->len; i++)
		g_thread_join(g_ptr_array_index(threads, i));
	g_mutex_clear(&held);
	if (!error)
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, EAGAIN,
		       "%u threads can be started, needed are %u: %s (RLIMIT_NPROC, or pids.max of "
		       "the control group)",
		       threads->len, count, error->message);
}

static void init_channel(LmFlipChannel *channel, LmFlipRun *run, guint index)
{
	const LmPipePair *pair = &run->flip->pipes->pair[index];

	channel->run = run;
	channel->index = index;
	channel->tx = pair->tx;
	channel->rx = pair->rx;
	channel->inside = (LmWait){.deadline_ms = THREAD_DEADLINE_MS, .cancel_fd = run->abort_fd};
	channel->border = (LmWait){.deadline_ms = THREAD_DEADLINE_MS, .cancel_fd = run->stop_fd};
}

/* ----------------------------------------------------------- supervision */

enum { POLL_DONE, POLL_PEER, POLL_CANCEL, POLL__MAX };

static void check_cancel(LmFlipRun *run, struct pollfd *fds)
{
	if (!fds[POLL_CANCEL].revents)
		return;
	fds[POLL_CANCEL].fd = -1;
	note_error(run, -ECANCELED, run->sending,
		   g_error_new_literal(LM_ERROR, LM_ERROR_CANCELLED, "cancelled"));
	if (run->sending)
		stop(run);
	else
		abort_threads(run);
}

static void check_peer(LmFlipRun *run, struct pollfd *fds)
{
	short revents = fds[POLL_PEER].revents;

	if (revents & ~POLLIN) {
		fds[POLL_PEER].fd = -1;
		note_error(run, -EPIPE, FALSE,
			   g_error_new_literal(LM_ERROR, LM_ERROR_GONE,
					       "the peer went away while pages were moving"));
		abort_threads(run);
	} else if (revents) {
		fds[POLL_PEER].events = POLLRDHUP;
		note_error(run, -EINTR, TRUE,
			   g_error_new_literal(LM_ERROR, LM_ERROR_PEER, "interrupted"));
		stop(run);
	}
}

/* A run that ends early is short of patience with a peer that may have failed, too. */
static guint deadline_ms(LmFlipRun *run)
{
	guint ms = run->flip->wait.deadline_ms;

	return g_atomic_int_get(&run->stopping) ? MIN(ms, STOP_GRACE_MS) : ms;
}

/* How long until the deadline; 0 if it is over. */
static int left_ms(LmFlipRun *run)
{
	gint64 end_us = __atomic_load_n(&run->progress_us, __ATOMIC_RELAXED) +
			deadline_ms(run) * G_GINT64_CONSTANT(1000);
	gint64 left_us = end_us - g_get_monotonic_time();

	return CLAMP((left_us + 999) / 1000, 0, 1000 * 1000);
}

static gboolean deadline_over(LmFlipRun *run)
{
	if (left_ms(run))
		return FALSE;
	note_error(run, -ETIMEDOUT, FALSE,
		   g_error_new(LM_ERROR, LM_ERROR_TIMEOUT,
			       "no page moved for %u ms: the peer does not %s", deadline_ms(run),
			       run->sending ? "read" : "send"));
	abort_threads(run);
	return TRUE;
}

static void supervise(LmFlipRun *run)
{
	struct pollfd fds[POLL__MAX] = {
		[POLL_DONE] = {.fd = run->done_fd, .events = POLLIN},
		[POLL_PEER] = {.fd = run->flip->peer_fd,
			       .events = POLLRDHUP | (run->sending ? POLLIN : 0)},
		[POLL_CANCEL] = {.fd = run->flip->wait.cancel_fd, .events = POLLIN},
	};
	gboolean aborted = FALSE;

	while (g_atomic_int_get(&run->running) > 0) {
		int n = poll(fds, G_N_ELEMENTS(fds), aborted ? -1 : left_ms(run));
		guint64 ended;

		if (n <= 0) {
			if (n == 0 && !aborted)
				aborted = deadline_over(run);
			continue;
		}
		if (fds[POLL_DONE].revents) {
			ssize_t ignored = read(run->done_fd, &ended, sizeof(ended));

			(void)ignored;
		}
		check_cancel(run, fds);
		check_peer(run, fds);
	}
}

/* -------------------------------------------------------------------- run */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int check_regions(const LmFlip *flip, GError **errp)
{
	for (guint i = 0; i < flip->regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(flip->regions, i);

		if (region->way == LM_WAY_FLIP && !region->here)
			return lm_fail(errp, LM_ERROR_FAILED, EINVAL,
				       "RAM block %s has no map of its pages", region->name);
	}
	return 0;
}

static void run_threads(LmFlipRun *run)
{
	guint count = run->flip->pipes->count;
	LmFlipChannel *channel = g_new0(LmFlipChannel, count);

	for (guint i = 0; i < count; i++) {
		GError *error = NULL;
		int ret;

		init_channel(&channel[i], run, i);
		ret = start_thread(&channel[i], &error);
		if (ret < 0) {
			note_error(run, ret, FALSE, error);
			abort_threads(run);
			break;
		}
	}
	supervise(run);
	for (guint i = 0; i < count; i++)
		if (channel[i].thread)
			g_thread_join(channel[i].thread);
	g_free(channel);
}

int lm_flip_run(LmFlip *flip, gboolean sending, int (*work)(LmFlipChannel *, GError **),
		GError **errp)
{
	LmFlipRun run = {.flip = flip, .sending = sending, .work = work};
	int ret = check_regions(flip, errp);

	if (ret < 0)
		return ret;
	run.abort_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	run.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	run.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g_mutex_init(&run.lock);
	run.progress_us = g_get_monotonic_time();
	if (run.abort_fd < 0 || run.stop_fd < 0 || run.done_fd < 0)
		run.ret = lm_fail_errno(&run.error, LM_ERROR_FAILED, errno,
					"cannot create an eventfd");
	else
		run_threads(&run);
	/* All was sent before the peer's word could end it: then nothing was interrupted. */
	if (run.ret == -EINTR && run.soft && !run.cut) {
		g_clear_error(&run.error);
		run.ret = 0;
	}
	if (run.error)
		g_propagate_error(errp, run.error);
	close_fd(run.abort_fd);
	close_fd(run.stop_fd);
	close_fd(run.done_fd);
	g_mutex_clear(&run.lock);
	return run.ret;
}
