/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two connected ends, and a peer of our own making that may send anything. */
#ifndef LM_CHANNEL_ENDS_H
#define LM_CHANNEL_ENDS_H

#include "test-util.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "channel.h"

#define HEADER LM_WIRE_HEADER_BYTES

static const LmWait patient = {.deadline_ms = 5000, .cancel_fd = -1};
static const LmWait hasty = {.deadline_ms = 50, .cancel_fd = -1};

/* Two ends; [0] is ours, [1] the peer's. */
typedef struct Ends {
	int fd[2];
} Ends;

static inline void close_end(Ends *ends, int i)
{
	if (ends->fd[i] >= 0)
		close(ends->fd[i]);
	ends->fd[i] = -1;
}

static inline void ends_clear(Ends *ends)
{
	close_end(ends, 0);
	close_end(ends, 1);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ends, ends_clear)

static inline Ends ends_new(void)
{
	Ends ends;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.fd), 0);
	return ends;
}

static inline GByteArray *bytes_of(guint length)
{
	GByteArray *bytes = g_byte_array_sized_new(length);

	g_byte_array_set_size(bytes, length);
	for (guint i = 0; i < length; i++)
		bytes->data[i] = i * 7 + (i >> 8);
	return bytes;
}

static inline void open_fds(int *fds, guint count)
{
	for (guint i = 0; i < count; i++) {
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
}

static inline void close_fds(const int *fds, guint count)
{
	for (guint i = 0; i < count; i++)
		close(fds[i]);
}

/* What a peer of our own making sends: any bytes, with any descriptors. */
static inline void send_raw(int socket_fd, const guint8 *bytes, gsize length, guint fd_count)
{
	int fds[200];
	union {
		char bytes[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control = {.bytes = ""};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	open_fds(fds, fd_count);
	if (fd_count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
	}
	assert_int_equal(sendmsg(socket_fd, &msg, MSG_NOSIGNAL), length);
	close_fds(fds, fd_count);
}

static inline void make_header(guint8 bytes[HEADER], guint16 type, guint32 length, guint32 fd_count)
{
	const LmWireHeader header = {LM_WIRE_VERSION, type, length, fd_count};

	lm_wire_header_encode(bytes, &header);
}

static inline void check_receive(int socket_fd, const LmWait *wait, int err, LmErrorCode code,
				 const char *part)
{
	g_autoptr(GError) error = NULL;
	LmMessage message, before;
	int ret;

	memset(&message, 0xa5, sizeof(message));
	memset(&before, 0xa5, sizeof(before));
	ret = lm_channel_receive(socket_fd, wait, &message, &error);
	check_failure(ret, &error, err, code, part);
	assert_memory_equal(&message, &before, sizeof(message));
}

#endif
