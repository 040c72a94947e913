/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for a descriptor, with a deadline and a way to be interrupted. */
#ifndef LM_LOCAL_WAIT_H
#define LM_LOCAL_WAIT_H

#include <migration/localhost.h>

typedef struct LmWait {
	guint deadline_ms; /* longest wait for one step of progress; must not be 0 */
	int cancel_fd;	   /* an eventfd, readable: give up with -ECANCELED; -1: never */
	gint64 end_us;	   /* monotonic; the deadline of all steps together; 0: of each its own */
} LmWait;

/* @wait, with its deadline for all that follows from now on, and no way to be interrupted. */
LmWait lm_wait_in_all(const LmWait *wait);
/*
 * Waits until @fd has one of @events (poll's) or is in error or hung up. Returns the revents
 * (> 0), or -ETIMEDOUT (LM_ERROR_TIMEOUT), -ECANCELED (LM_ERROR_CANCELLED), -errno. @what names
 * what was waited for: "the destination's answer to hello".
 */
int lm_wait_fd(const LmWait *wait, int fd, short events, const char *what, GError **errp);

#endif
