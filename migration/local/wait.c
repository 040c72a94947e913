/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

#include "error.h"

/* What poll found; 0 if nothing yet. */
static int judge(const struct pollfd *cancel, const struct pollfd *fd, const char *what,
		 GError **errp)
{
	if (cancel->revents) {
		return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED,
			       "cancelled while waiting for %s", what);
	}
	if (fd->revents & POLLNVAL) {
		return lm_fail_errno(errp, LM_ERROR_FAILED, EBADF, "cannot wait for %s on fd %d",
				     what, fd->fd);
	}
	return fd->revents;
}

static gint64 end_of_step_us(const LmWait *wait)
{
	return g_get_monotonic_time() + wait->deadline_ms * G_GINT64_CONSTANT(1000);
}

LmWait lm_wait_in_all(const LmWait *wait)
{
	return (LmWait){
		.deadline_ms = wait->deadline_ms, .cancel_fd = -1, .end_us = end_of_step_us(wait)};
}

int lm_wait_fd(const LmWait *wait, int fd, short events, const char *what, GError **errp)
{
	const gint64 end_us = wait->end_us ? wait->end_us : end_of_step_us(wait);
	struct pollfd fds[2] = {
		{.fd = wait->cancel_fd, .events = POLLIN},
		{.fd = fd, .events = events},
	};

	for (;;) {
		/* Rounded up, so that the last millisecond is slept and not spun away. */
		const gint64 left_ms = (end_us - g_get_monotonic_time() + 999) / 1000;
		const int n = poll(fds, G_N_ELEMENTS(fds), (int)CLAMP(left_ms, 0, INT_MAX));

		if (n < 0 && errno != EINTR) {
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot wait for %s",
					     what);
		}
		if (n > 0)
			return judge(&fds[0], &fds[1], what, errp);
		if (n == 0 && left_ms <= INT_MAX) {
			return lm_fail(errp, LM_ERROR_TIMEOUT, ETIMEDOUT,
				       "timed out after %u ms waiting for %s", wait->deadline_ms,
				       what);
		}
	}
}
