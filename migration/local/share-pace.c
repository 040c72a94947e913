/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between two chunks of a live run: whether to go on, how long to wait, and how large the next
 * chunk may be.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "error.h"
#include "share-run.h"

#define MAX_STALL_US_DEFAULT 10000
#define ASK_US		     50000 /* so often at least is the caller asked */
#define BUSY_US		     100   /* what took less needs no rest */
#define FITTING		     8	   /* chunks in a row, before larger ones are tried */

static gint64 thread_cpu_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (gint64)time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;
}

void lm_pace_begin(LmPace *pace, const LmShareRun *run)
{
	*pace = (LmPace){
		.chunk_bytes = LM_SLOT_BYTES,
		.start_us = g_get_monotonic_time(),
		.rested_cpu_us = thread_cpu_us(),
		.start_done_bytes = __atomic_load_n(&run->done_bytes, __ATOMIC_RELAXED),
	};
}

void lm_pace_took(LmPace *pace, const LmShareRun *run, guint64 chunk_bytes, guint64 us)
{
	const guint64 limit_us = run->max_stall_us ? run->max_stall_us : MAX_STALL_US_DEFAULT;

	if (us > limit_us && pace->chunk_bytes > LM_SHARE_CHUNK_MIN) {
		pace->chunk_bytes /= 2;
		pace->fitting = 0;
	} else if (us > limit_us / 2) {
		pace->fitting = 0;
	} else if (chunk_bytes == pace->chunk_bytes && ++pace->fitting >= FITTING) {
		pace->chunk_bytes = MIN(pace->chunk_bytes * 2, LM_SLOT_BYTES);
		pace->fitting = 0;
	}
}

int lm_share_check_cancel(const LmShareRun *run, GError **errp)
{
	struct pollfd cancel = {.fd = run->cancel_fd, .events = POLLIN};

	if (poll(&cancel, 1, 0) > 0)
		return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED,
			       "cancelled while memory became shared");
	return 0;
}

int lm_share_ask(LmShareRun *run, GError **errp)
{
	int ret = lm_share_check_cancel(run, errp);

	if (ret == 0 && run->between_chunks)
		ret = run->between_chunks(run->opaque, errp);
	return MIN(ret, 0);
}

/* Ends early when the run is cancelled. */
static void sleep_us(const LmShareRun *run, gint64 us)
{
	const struct timespec time = {us / G_USEC_PER_SEC, us % G_USEC_PER_SEC * 1000};
	struct pollfd cancel = {.fd = run->cancel_fd, .events = POLLIN};

	ppoll(&cancel, 1, &time, NULL);
}

int lm_pace_sleep(LmShareRun *run, guint64 us, GError **errp)
{
	const gint64 end_us = g_get_monotonic_time() + us;
	gint64 left_us = us;
	int ret = lm_share_ask(run, errp);

	while (ret == 0 && left_us > 0) {
		sleep_us(run, MIN(left_us, ASK_US));
		ret = lm_share_ask(run, errp);
		left_us = end_us - g_get_monotonic_time();
	}
	return ret;
}

/* How long what was copied so far is ahead of the bandwidth. */
static gint64 ahead_us(const LmPace *pace, const LmShareRun *run)
{
	const guint64 done =
		__atomic_load_n(&run->done_bytes, __ATOMIC_RELAXED) - pace->start_done_bytes;

	if (!run->bandwidth)
		return 0;
	return (gint64)((double)done / run->bandwidth * G_USEC_PER_SEC) -
	       (g_get_monotonic_time() - pace->start_us);
}

int lm_pace_between(LmPace *pace, LmShareRun *run, GError **errp)
{
	const gint64 used_us = thread_cpu_us() - pace->rested_cpu_us;
	const gint64 rest_us = used_us > BUSY_US ? used_us / 2 : 0;
	const int ret = lm_pace_sleep(run, MAX(MAX(rest_us, ahead_us(pace, run)), 0), errp);

	if (rest_us)
		pace->rested_cpu_us = thread_cpu_us();
	return ret;
}
