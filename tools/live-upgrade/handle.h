/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that close themselves, and deadlines. */
#ifndef LIVE_UPGRADE_HANDLE_H
#define LIVE_UPGRADE_HANDLE_H

#include <glib.h>
#include <unistd.h>

typedef int LuFd;

static inline void lu_fd_clear(LuFd *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuFd, lu_fd_clear)

static inline int lu_fd_steal(LuFd *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}

static inline gint64 lu_end_us(guint ms)
{
	return g_get_monotonic_time() + (gint64)ms * 1000;
}

/* What is left until @end_us, for poll: 0 when it has passed. */
static inline int lu_left_ms(gint64 end_us)
{
	gint64 left_us = end_us - g_get_monotonic_time();

	return left_us > 0 ? (int)MIN((left_us + 999) / 1000, G_MAXINT) : 0;
}

#endif
