/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhost-user messages and their descriptors, to and from a socket, with deadlines. */
#ifndef LM_VHOST_USER_SOCKET_H
#define LM_VHOST_USER_SOCKET_H

#include "vhost-user-message.h"

void lm_vhost_user_message_clear(LmVhostUserMessage *message);

/*
 * All: 0, or a negative errno; -ETIMEDOUT after @deadline_ms, -EPIPE at the other side's end, a
 * message of another form -EPROTO. Sending leaves the descriptors the caller's.
 */
int lm_vhost_user_send(int fd, const LmVhostUserMessage *message, guint deadline_ms);
int lm_vhost_user_receive(int fd, LmVhostUserMessage *message, guint deadline_ms);
/* That @message was heard, and @value. */
int lm_vhost_user_reply(int fd, const LmVhostUserMessage *message, guint64 value,
			guint deadline_ms);
/*
 * To one of LM_VHOST_USER_STATE: there is nothing to save, and what is loaded has been; what is
 * written there fails, so it must be nothing. Takes its descriptors.
 */
int lm_vhost_user_reply_state(int fd, LmVhostUserMessage *message, guint deadline_ms);

/* An inode number, by which a socket is known; 0: @fd is no stream socket of AF_UNIX. */
guint64 lm_vhost_user_inode(int fd);

#endif
