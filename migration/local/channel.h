/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The unix socket: messages with descriptors. A cancel never cuts a message in two: it is looked at
 * before the first byte only, so that what is sent after it is understood. A channel does not close
 * its socket; whoever made it does.
 */
#ifndef LM_LOCAL_CHANNEL_H
#define LM_LOCAL_CHANNEL_H

#include <migration/localhost.h>
#include "wait.h"
#include "wire.h"

typedef struct LmMessage {
	LmWireHeader header;
	guint8 *payload; /* header.length bytes */
	int fds[LM_WIRE_FDS_MAX];
	guint fd_count;
} LmMessage;

/* Frees the payload and closes the descriptors that were not taken. */
void lm_message_clear(LmMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmMessage, lm_message_clear)
/* The caller owns what it returns; -1 if there is no such descriptor (or it was taken). */
int lm_message_take_fd(LmMessage *message, guint index);

/* @payload may be NULL (empty). The descriptors stay the caller's. */
int lm_channel_send(int socket_fd, const LmWait *wait, LmMessageType type,
		    const GByteArray *payload, const int *fds, guint fd_count, GError **errp);
/*
 * Receives one message; *message must be empty ({ 0 }) before. Descriptors arrive close-on-exec;
 * not as many as header.fd_count says, or a truncated control message, is a protocol error and all
 * of them are closed. A peer that closed is LM_ERROR_GONE with -EPIPE.
 */
int lm_channel_receive(int socket_fd, const LmWait *wait, LmMessage *message, GError **errp);
/*
 * The same for a message that must be of @type: an error message becomes its error (-EREMOTEIO,
 * see lm_wire_error_decode), any other type a protocol error that names both types.
 */
int lm_channel_expect(int socket_fd, const LmWait *wait, LmMessageType type, LmMessage *message,
		      GError **errp);
/*
 * The peer's process id, after checking that it is of this user (effective uid) or root
 * (SO_PEERCRED). -errno otherwise, LM_ERROR_REFUSED naming both user ids.
 */
int lm_channel_peer_pid(int socket_fd, GError **errp);

#endif
