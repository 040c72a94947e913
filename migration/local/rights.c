/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rights.h"

#include <string.h>
#include <unistd.h>

void lm_rights_attach(struct msghdr *msg, void *control, const int *fds, guint count)
{
	const gsize bytes = CMSG_SPACE(count * sizeof(int));
	struct cmsghdr *cmsg;

	if (!count)
		return;
	memset(control, 0, bytes);
	msg->msg_control = control;
	msg->msg_controllen = bytes;
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
}

static gboolean take(struct cmsghdr *cmsg, int *fds, guint *count, guint max)
{
	const guint sent = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	gboolean fit = TRUE;

	for (guint i = 0; i < sent; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		if (*count < max) {
			fds[(*count)++] = fd;
		} else {
			close(fd);
			fit = FALSE;
		}
	}
	return fit;
}

gboolean lm_rights_take(struct msghdr *msg, int *fds, guint *count, guint max)
{
	gboolean fit = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			fit &= take(cmsg, fds, count, max);
	return fit;
}
