/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One way to fail, descriptors that close themselves, and deadlines. */
#ifndef TOOLS_ATTACH_PRIVATE_ERROR_H
#define TOOLS_ATTACH_PRIVATE_ERROR_H

#include "attach.h"

#include <unistd.h>

/* Sets *errp (which may be NULL) and returns -@err; @err is a positive errno value. */
int attach_fail(GError **errp, AttachErrorCode code, int err, const char *format, ...)
	G_GNUC_PRINTF(4, 5);
/* The same with ": " and strerror(@err) appended. */
int attach_fail_errno(GError **errp, AttachErrorCode code, int err, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

typedef int AttachFd;
static inline void attach_fd_clear(AttachFd *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AttachFd, attach_fd_clear)

static inline int attach_fd_steal(AttachFd *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline gboolean attach_is_over(gint64 end_us)
{
	return g_get_monotonic_time() >= end_us;
}

#endif
