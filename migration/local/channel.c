/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The unix socket. Every call tries first (MSG_DONTWAIT) and waits only when the kernel says
 * EAGAIN, so the socket may be blocking or not, and the deadline is one for progress.
 *
 * Descriptors. The sender attaches them to the header's first byte; the kernel delivers them with
 * the read that returns that byte, and never merges two such batches in one read. But a header
 * may arrive in pieces, and a hostile peer may attach descriptors to each. So all that come with
 * any piece of the header are kept in the message, up to LM_WIRE_FDS_MAX, and closed with it
 * unless there are exactly as many as the header says. Everywhere else there is no room for
 * descriptors: the kernel then closes them and sets MSG_CTRUNC, which is an error.
 */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "rights.h"

#define BUFFER_BYTES (256u << 10)

/* --------------------------------------------------------------- messages */

static void close_fd(int fd)
{
	/* Not g_close: a descriptor that a peer sent may fail to close, and nobody cares. */
	if (fd >= 0)
		close(fd);
}

void lm_message_clear(LmMessage *message)
{
	for (guint i = 0; i < message->fd_count; i++)
		close_fd(message->fds[i]);
	g_free(message->payload);
	*message = (LmMessage){0};
}

int lm_message_take_fd(LmMessage *message, guint index)
{
	int fd;

	if (index >= message->fd_count)
		return -1;
	fd = message->fds[index];
	message->fds[index] = -1;
	return fd;
}

/* ---------------------------------------------------------------- sending */

static int fail_socket(GError **errp, int err, const char *verb, const char *what)
{
	if (err == EPIPE || err == ECONNRESET)
		return lm_fail(errp, LM_ERROR_GONE, EPIPE, "cannot %s %s: the peer is gone", verb,
			       what);
	return lm_fail_errno(errp, LM_ERROR_FAILED, err, "cannot %s %s", verb, what);
}

/* One sendmsg that made progress: its bytes (> 0) or -errno. */
static gssize send_some(int socket_fd, const LmWait *wait, const struct msghdr *msg,
			const char *what, GError **errp)
{
	for (;;) {
		const gssize n = sendmsg(socket_fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		int ret;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail_socket(errp, errno, "send", what);
		ret = lm_wait_fd(wait, socket_fd, POLLOUT, what, errp);
		if (ret < 0)
			return ret;
	}
}

static int send_bytes(int socket_fd, const LmWait *wait, const guint8 *bytes, gsize length,
		      const char *what, GError **errp)
{
	while (length) {
		struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
		const struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
		const gssize n = send_some(socket_fd, wait, &msg, what, errp);

		if (n < 0)
			return (int)n;
		bytes += n;
		length -= n;
	}
	return 0;
}

static int check_sendable(const char *name, guint length, guint fd_count, GError **errp)
{
	if (length > LM_WIRE_PAYLOAD_MAX) {
		return lm_fail(errp, LM_ERROR_FAILED, EMSGSIZE,
			       "%s message of %u bytes is over the limit of %u", name, length,
			       LM_WIRE_PAYLOAD_MAX);
	}
	if (fd_count > LM_WIRE_FDS_MAX) {
		return lm_fail(errp, LM_ERROR_FAILED, EMSGSIZE,
			       "%s message with %u descriptors is over the limit of %u", name,
			       fd_count, LM_WIRE_FDS_MAX);
	}
	return 0;
}

/* A fault: the reader meets the end of the stream within a message. */
static int send_half(int socket_fd, struct msghdr *msg, const GByteArray *payload, const char *what,
		     GError **errp)
{
	const gsize half = (LM_WIRE_HEADER_BYTES + (payload ? payload->len : 0)) / 2;
	const gsize head = MIN(half, LM_WIRE_HEADER_BYTES);

	msg->msg_iov->iov_len = head;
	sendmsg(socket_fd, msg, MSG_NOSIGNAL);
	if (half > head)
		send(socket_fd, payload->data, half - head, MSG_NOSIGNAL | MSG_DONTWAIT);
	shutdown(socket_fd, SHUT_RDWR);
	return fail_socket(errp, EPIPE, "send", what);
}

int lm_channel_send(int socket_fd, const LmWait *wait, LmMessageType type,
		    const GByteArray *payload, const int *fds, guint fd_count, GError **errp)
{
	const char *name = lm_message_name(type);
	g_autofree char *what = g_strdup_printf("the %s message", name);
	const guint length = payload ? payload->len : 0;
	const LmWireHeader header = {LM_WIRE_VERSION, type, length, fd_count};
	LmWait begun;
	guint8 bytes[LM_WIRE_HEADER_BYTES];
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	LM_RIGHTS(control, LM_WIRE_FDS_MAX);
	gssize n;
	int ret;

	ret = check_sendable(name, length, fd_count, errp);
	if (ret < 0)
		return ret;
	lm_wire_header_encode(bytes, &header);
	lm_rights_attach(&msg, control, fds, fd_count);
	if (lm_fault_cuts())
		return send_half(socket_fd, &msg, payload, what, errp);
	n = send_some(socket_fd, wait, &msg, what, errp);
	if (n < 0)
		return (int)n;
	begun = lm_wait_in_all(wait);
	ret = send_bytes(socket_fd, &begun, bytes + n, sizeof(bytes) - n, what, errp);
	if (ret < 0 || length == 0)
		return ret;
	return send_bytes(socket_fd, &begun, payload->data, length, what, errp);
}

/* -------------------------------------------------------------- receiving */

/* @message NULL: there may be none. */
static gboolean keep_fds(struct msghdr *msg, LmMessage *message)
{
	guint none = 0;

	return message ? lm_rights_take(msg, message->fds, &message->fd_count, LM_WIRE_FDS_MAX)
		       : lm_rights_take(msg, NULL, &none, 0);
}

/* One recvmsg that made progress: its bytes (> 0) or -errno. Keeps descriptors if @message. */
static gssize receive_some(int socket_fd, const LmWait *wait, guint8 *bytes, gsize length,
			   LmMessage *message, const char *what, GError **errp)
{
	for (;;) {
		struct iovec iov = {.iov_base = bytes, .iov_len = length};
		LM_RIGHTS(control, LM_WIRE_FDS_MAX);
		struct msghdr msg = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = message ? control : NULL,
			.msg_controllen = message ? sizeof(control) : 0,
		};
		const gssize n = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int ret;

		if (n >= 0) {
			if (!keep_fds(&msg, message)) {
				return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
					       "unexpected or too many descriptors came with %s, "
					       "or this process can have no more",
					       what);
			}
			return n > 0 ? n : fail_socket(errp, EPIPE, "receive", what);
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail_socket(errp, errno, "receive", what);
		ret = lm_wait_fd(wait, socket_fd, POLLIN, what, errp);
		if (ret < 0)
			return ret;
	}
}

static int receive_bytes(int socket_fd, const LmWait *wait, guint8 *bytes, gsize length,
			 LmMessage *message, const char *what, GError **errp)
{
	while (length) {
		const gssize n = receive_some(socket_fd, wait, bytes, length, message, what, errp);

		if (n < 0)
			return (int)n;
		bytes += n;
		length -= n;
	}
	return 0;
}

/* @what: "the hello message", or whatever is known of what should come. */
static int receive(int socket_fd, const LmWait *wait, LmMessage *message, const char *what,
		   GError **errp)
{
	g_auto(LmMessage) got = {0};
	guint8 bytes[LM_WIRE_HEADER_BYTES];
	const gssize n = receive_some(socket_fd, wait, bytes, sizeof(bytes), &got, what, errp);
	LmWait begun;
	int ret;

	if (n < 0)
		return (int)n;
	begun = lm_wait_in_all(wait);
	ret = receive_bytes(socket_fd, &begun, bytes + n, sizeof(bytes) - n, &got, what, errp);
	if (ret < 0)
		return ret;
	ret = lm_wire_header_decode(bytes, &got.header, errp);
	if (ret < 0)
		return ret;
	if (got.fd_count != got.header.fd_count) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%s message came with %u descriptors, and says %u",
			       lm_message_name(got.header.type), got.fd_count, got.header.fd_count);
	}
	got.payload = g_malloc(got.header.length);
	ret = receive_bytes(socket_fd, &begun, got.payload, got.header.length, NULL, what, errp);
	if (ret < 0)
		return ret;
	*message = got;
	got = (LmMessage){0};
	return 0;
}

int lm_channel_receive(int socket_fd, const LmWait *wait, LmMessage *message, GError **errp)
{
	return receive(socket_fd, wait, message, "a message of the peer", errp);
}

int lm_channel_expect(int socket_fd, const LmWait *wait, LmMessageType type, LmMessage *message,
		      GError **errp)
{
	g_autofree char *what = g_strdup_printf("the peer's %s message", lm_message_name(type));
	g_auto(LmMessage) got = {0};
	int ret;

	ret = receive(socket_fd, wait, &got, what, errp);
	if (ret < 0)
		return ret;
	if (got.header.type == LM_MESSAGE_ERROR && type != LM_MESSAGE_ERROR) {
		g_autoptr(GError) peer_error = NULL;

		ret = lm_wire_error_decode(got.payload, got.header.length, &peer_error, errp);
		if (ret < 0)
			return ret;
		g_propagate_error(errp, g_steal_pointer(&peer_error));
		return -EREMOTEIO;
	}
	if (got.header.type != type) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the peer sent a %s message instead of %s",
			       lm_message_name(got.header.type), lm_message_name(type));
	}
	*message = got;
	got = (LmMessage){0};
	return 0;
}

/* ------------------------------------------------------------ credentials */

int lm_channel_peer_pid(int socket_fd, GError **errp)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot tell who the peer is");
	if (peer.uid != 0 && peer.uid != geteuid()) {
		return lm_fail(errp, LM_ERROR_REFUSED, EPERM,
			       "the peer is of user %u, this process of user %u", peer.uid,
			       geteuid());
	}
	/* 0 is what the kernel says of a process in a pid namespace that is hidden from ours. */
	if (peer.pid <= 0) {
		return lm_fail(errp, LM_ERROR_REFUSED, ESRCH,
			       "the peer's process id is %d: it is in another pid namespace",
			       peer.pid);
	}
	return peer.pid;
}
