/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that go with what is sent through a unix socket: SCM_RIGHTS of unix(7). */
#ifndef LM_RIGHTS_H
#define LM_RIGHTS_H

#include <glib.h>
#include <sys/socket.h>

/* Room for the control message of @count descriptors: LM_RIGHTS(control, 8); */
#define LM_RIGHTS(name, count) _Alignas(struct cmsghdr) char name[CMSG_SPACE((count) * sizeof(int))]

/* @control has room for @count; they stay the caller's. */
void lm_rights_attach(struct msghdr *msg, void *control, const int *fds, guint count);
/*
 * Appends the descriptors that came with @msg, the caller's now, to the *@count of @fds, which has
 * room for @max. FALSE: there were more, which are closed, or this process can have no more.
 */
gboolean lm_rights_take(struct msghdr *msg, int *fds, guint *count, guint max);

#endif
