// SPDX-License-Identifier: GPL-2.0-or-later
#include "vhost-user-socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local/rights.h"

void lm_vhost_user_message_clear(LmVhostUserMessage *message)
{
	for (guint i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
	message->fd_count = 0;
}

/* The socket may be one that does not block, and one that does. */
static int wait_for(int fd, short events, gint64 end_us)
{
	struct pollfd in = {.fd = fd, .events = events};

	for (;;) {
		const gint64 left_us = end_us - g_get_monotonic_time();
		const int ready = left_us > 0 ? poll(&in, 1, (int)(left_us / 1000) + 1) : 0;

		if (ready >= 0)
			return ready ? 0 : -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int lm_vhost_user_send(int fd, const LmVhostUserMessage *message, guint deadline_ms)
{
	const gint64 end_us = g_get_monotonic_time() + deadline_ms * G_GINT64_CONSTANT(1000);
	const gsize bytes = sizeof(message->header) + message->header.size;
	LM_RIGHTS(control, LM_VHOST_USER_FDS_MAX);
	gsize done = 0;

	while (done < bytes) {
		struct iovec iov = {(guint8 *)message + done, bytes - done};
		struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t sent;
		int rc = wait_for(fd, POLLOUT, end_us);

		if (rc < 0)
			return rc;
		lm_rights_attach(&msg, control, message->fds, done ? 0 : message->fd_count);
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		done += MAX(sent, 0);
	}
	return 0;
}

static int receive_bytes(int fd, void *to, gsize bytes, LmVhostUserMessage *message, gint64 end_us)
{
	LM_RIGHTS(control, LM_VHOST_USER_FDS_MAX);
	gsize done = 0;

	while (done < bytes) {
		struct iovec iov = {(guint8 *)to + done, bytes - done};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t got;
		int rc = wait_for(fd, POLLIN, end_us);

		if (rc < 0)
			return rc;
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (!got)
			return -EPIPE;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (got > 0 &&
		    !lm_rights_take(&msg, message->fds, &message->fd_count, LM_VHOST_USER_FDS_MAX))
			return -EPROTO;
		done += MAX(got, 0);
	}
	return 0;
}

int lm_vhost_user_receive(int fd, LmVhostUserMessage *message, guint deadline_ms)
{
	const gint64 end_us = g_get_monotonic_time() + deadline_ms * G_GINT64_CONSTANT(1000);
	int rc;

	message->fd_count = 0;
	rc = receive_bytes(fd, &message->header, sizeof(message->header), message, end_us);
	if (rc == 0 && message->header.size > LM_VHOST_USER_PAYLOAD_MAX)
		rc = -EPROTO;
	if (rc == 0)
		rc = receive_bytes(fd, message->payload, message->header.size, message, end_us);
	if (rc < 0)
		lm_vhost_user_message_clear(message);
	return rc;
}

int lm_vhost_user_reply(int fd, const LmVhostUserMessage *message, guint64 value, guint deadline_ms)
{
	g_autofree LmVhostUserMessage *reply = g_new0(LmVhostUserMessage, 1);

	reply->header = (LmVhostUserHeader){.request = message->header.request,
					    .flags = LM_VHOST_USER_VERSION | LM_VHOST_USER_REPLY,
					    .size = sizeof(value)};
	memcpy(reply->payload, &value, sizeof(value));
	return lm_vhost_user_send(fd, reply, deadline_ms);
}

int lm_vhost_user_reply_state(int fd, LmVhostUserMessage *message, guint deadline_ms)
{
	const gboolean check = message->header.request == LM_VHOST_USER_CHECK_DEVICE_STATE;

	lm_vhost_user_message_clear(message);
	return lm_vhost_user_reply(fd, message, check ? 0 : LM_VHOST_USER_NO_FD, deadline_ms);
}

guint64 lm_vhost_user_inode(int fd)
{
	int domain = 0, type = 0;
	socklen_t domain_size = sizeof(domain), type_size = sizeof(type);
	struct stat st;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) < 0 || domain != AF_UNIX ||
	    type != SOCK_STREAM || fstat(fd, &st) < 0)
		return 0;
	return st.st_ino;
}
