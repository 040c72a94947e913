/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages and descriptors over a socketpair, and all the ways in which a wait can end. */
#include "channel-ends.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* --------------------------------------------------------------- in order */

static void test_empty_message(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};

	assert_int_equal(
		lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_READY, NULL, NULL, 0, NULL), 0);
	assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
	assert_int_equal(message.header.type, LM_MESSAGE_READY);
	assert_int_equal(message.header.version, LM_WIRE_VERSION);
	assert_int_equal(message.header.length, 0);
	assert_int_equal(message.fd_count, 0);
	assert_int_equal(lm_message_take_fd(&message, 0), -1);
}

static void test_descriptors(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) payload = bytes_of(100);
	g_auto(LmMessage) message = {0};
	int fds[LM_WIRE_FDS_MAX];
	int taken;

	open_fds(fds, LM_WIRE_FDS_MAX);
	assert_int_equal(lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_PIPES, payload, fds,
					 LM_WIRE_FDS_MAX, NULL),
			 0);
	close_fds(fds, LM_WIRE_FDS_MAX);
	assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
	check_bytes(payload, message.payload, message.header.length);
	assert_int_equal(message.fd_count, LM_WIRE_FDS_MAX);
	for (guint i = 0; i < message.fd_count; i++)
		assert_true(fcntl(message.fds[i], F_GETFD) & FD_CLOEXEC);
	taken = lm_message_take_fd(&message, 63);
	assert_true(taken >= 0);
	assert_int_equal(lm_message_take_fd(&message, 63), -1);
	assert_int_equal(lm_message_take_fd(&message, 64), -1);
	lm_message_clear(&message);
	assert_true(fcntl(taken, F_GETFD) >= 0);
	close(taken);
	lm_message_clear(&message);
}

/* In the order in which they were given. */
static void test_descriptor_order(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};
	struct stat sent, got;
	int fds[3];

	for (guint i = 0; i < 3; i++)
		fds[i] = memfd_create("order", MFD_CLOEXEC);
	lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_READY, NULL, fds, 3, NULL);
	assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
	assert_int_equal(message.fd_count, 3);
	for (guint i = 0; i < 3; i++) {
		assert_int_equal(fstat(fds[i], &sent), 0);
		assert_int_equal(fstat(message.fds[i], &got), 0);
		assert_int_equal(sent.st_ino, got.st_ino);
	}
	close_fds(fds, 3);
}

static void test_several_messages(void **state)
{
	g_auto(Ends) ends = ends_new();
	int fds[2];

	open_fds(fds, 2);
	for (guint i = 1; i <= 3; i++) {
		g_autoptr(GByteArray) payload = bytes_of(i);

		lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_PASS, payload, fds, i % 3, NULL);
	}
	close_fds(fds, 2);
	for (guint i = 1; i <= 3; i++) {
		g_auto(LmMessage) message = {0};

		assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
		assert_int_equal(message.header.length, i);
		assert_int_equal(message.fd_count, i % 3);
	}
}

typedef struct Sender {
	int socket_fd;
	const GByteArray *bytes;
	guint step; /* bytes per write; 0: lm_channel_send */
} Sender;

static gpointer run_sender(gpointer data)
{
	const Sender *sender = data;

	if (!sender->step) {
		return GINT_TO_POINTER(lm_channel_send(sender->socket_fd, &patient,
						       LM_MESSAGE_HELLO, sender->bytes, NULL, 0,
						       NULL));
	}
	for (guint at = 0; at < sender->bytes->len; at += sender->step) {
		const guint n = MIN(sender->step, sender->bytes->len - at);

		if (send(sender->socket_fd, sender->bytes->data + at, n, MSG_NOSIGNAL) != n)
			return GINT_TO_POINTER(-1);
	}
	return NULL;
}

/* Larger than any socket buffer: both sides have to wait for each other, many times. */
static void test_largest(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) payload = bytes_of(LM_WIRE_PAYLOAD_MAX);
	g_auto(LmMessage) message = {0};
	Sender sender = {ends.fd[1], payload, 0};
	GThread *thread = g_thread_new("sender", run_sender, &sender);
	const int ret = lm_channel_receive(ends.fd[0], &patient, &message, NULL);

	assert_null(g_thread_join(thread));
	assert_int_equal(ret, 0);
	check_bytes(payload, message.payload, message.header.length);
}

/* Byte by byte, header and all. */
static void test_crumbs(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) bytes = bytes_of(HEADER + 300);
	g_auto(LmMessage) message = {0};
	Sender sender = {ends.fd[1], bytes, 1};
	GThread *thread;
	int ret;

	make_header(bytes->data, LM_MESSAGE_ERROR, 300, 0);
	thread = g_thread_new("sender", run_sender, &sender);
	ret = lm_channel_receive(ends.fd[0], &patient, &message, NULL);
	assert_null(g_thread_join(thread));
	assert_int_equal(ret, 0);
	assert_int_equal(message.header.length, 300);
	assert_memory_equal(message.payload, bytes->data + HEADER, 300);
}

/* ------------------------------------------------------------- out of order */

static void test_send_bounds(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) payload = bytes_of(LM_WIRE_PAYLOAD_MAX + 1);
	g_autoptr(GError) error = NULL;
	static const int fds[LM_WIRE_FDS_MAX + 1];
	char byte;

	check_failure(
		lm_channel_send(ends.fd[0], &patient, LM_MESSAGE_HELLO, payload, NULL, 0, &error),
		&error, EMSGSIZE, LM_ERROR_FAILED, "4194305 bytes is over the limit of 4194304");
	check_failure(lm_channel_send(ends.fd[0], &patient, LM_MESSAGE_HELLO, NULL, fds,
				      LM_WIRE_FDS_MAX + 1, &error),
		      &error, EMSGSIZE, LM_ERROR_FAILED, "65 descriptors is over the limit of 64");
	assert_int_equal(recv(ends.fd[1], &byte, 1, MSG_DONTWAIT), -1);
}

static void test_bad_descriptor(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GError) error = NULL;
	const int fd = -1;

	check_failure(lm_channel_send(ends.fd[0], &patient, LM_MESSAGE_HELLO, NULL, &fd, 1, &error),
		      &error, EBADF, LM_ERROR_FAILED, "cannot send the hello message: Bad file");
}

static void test_closed(void **state)
{
	guint8 bytes[HEADER + 9] = {0};

	/* At every byte of a message of 10 that never ends. */
	make_header(bytes, LM_MESSAGE_HELLO, 10, 1);
	for (gsize length = 0; length <= sizeof(bytes); length++) {
		g_auto(Ends) ends = ends_new();

		if (length)
			send_raw(ends.fd[1], bytes, length, 1);
		close_end(&ends, 1);
		check_receive(ends.fd[0], &patient, EPIPE, LM_ERROR_GONE, "the peer is gone");
	}
}

static void test_send_to_closed(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GError) error = NULL;

	close_end(&ends, 1);
	check_failure(lm_channel_send(ends.fd[0], &patient, LM_MESSAGE_BYE, NULL, NULL, 0, &error),
		      &error, EPIPE, LM_ERROR_GONE,
		      "cannot send the bye message: the peer is gone");
}

/* A peer that closes with our bytes unread is reported as a reset; that is gone, too. */
static void test_reset(void **state)
{
	g_auto(Ends) ends = ends_new();

	assert_int_equal(send(ends.fd[0], "x", 1, 0), 1);
	close_end(&ends, 1);
	check_receive(ends.fd[0], &patient, EPIPE, LM_ERROR_GONE, "the peer is gone");
}

/* What the peer said before it went is still heard. */
static void test_last_words(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};

	lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_BYE, NULL, NULL, 0, NULL);
	close_end(&ends, 1);
	assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
	assert_int_equal(message.header.type, LM_MESSAGE_BYE);
}

static void test_timeout(void **state)
{
	guint8 bytes[HEADER + 1] = {0};

	make_header(bytes, LM_MESSAGE_HELLO, 2, 1);
	for (gsize length = 0; length <= sizeof(bytes); length += 8) {
		g_auto(Ends) ends = ends_new();

		if (length)
			send_raw(ends.fd[1], bytes, length, 1);
		check_receive(ends.fd[0], &hasty, ETIMEDOUT, LM_ERROR_TIMEOUT,
			      "timed out after 50 ms waiting for a message of the peer");
	}
}

#define CRUMBS	 400
#define CRUMB_US 10000

static gpointer dribble(gpointer data)
{
	const int fd = GPOINTER_TO_INT(data);
	guint8 bytes[CRUMBS] = {0};

	make_header(bytes, LM_MESSAGE_ERROR, CRUMBS - HEADER, 0);
	for (guint i = 0; i < CRUMBS; i++) {
		if (send(fd, bytes + i, 1, MSG_NOSIGNAL) < 0)
			break;
		g_usleep(CRUMB_US);
	}
	return NULL;
}

/* Each byte comes in time, and the message does not. */
static void test_dribble(void **state)
{
	g_auto(Ends) ends = ends_new();
	GThread *thread = g_thread_new("dribble", dribble, GINT_TO_POINTER(ends.fd[1]));

	check_receive(ends.fd[0], &hasty, ETIMEDOUT, LM_ERROR_TIMEOUT,
		      "timed out after 50 ms waiting for a message of the peer");
	close_end(&ends, 0);
	g_thread_join(thread);
}

static gpointer sip(gpointer data)
{
	const int fd = GPOINTER_TO_INT(data);
	static guint8 bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		g_usleep(CRUMB_US);
	return NULL;
}

/* The same with a peer that reads as slowly. */
static void test_send_to_one_who_sips(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) payload = bytes_of(LM_WIRE_PAYLOAD_MAX);
	g_autoptr(GError) error = NULL;
	GThread *thread = g_thread_new("sip", sip, GINT_TO_POINTER(ends.fd[1]));

	check_failure(
		lm_channel_send(ends.fd[0], &hasty, LM_MESSAGE_HELLO, payload, NULL, 0, &error),
		&error, ETIMEDOUT, LM_ERROR_TIMEOUT, "waiting for the hello message");
	close_end(&ends, 0);
	g_thread_join(thread);
}

static void test_send_timeout(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GByteArray) payload = bytes_of(LM_WIRE_PAYLOAD_MAX);
	g_autoptr(GError) error = NULL;

	check_failure(
		lm_channel_send(ends.fd[0], &hasty, LM_MESSAGE_HELLO, payload, NULL, 0, &error),
		&error, ETIMEDOUT, LM_ERROR_TIMEOUT, "waiting for the hello message");
}

static void test_cancelled(void **state)
{
	g_auto(Ends) ends = ends_new();
	const LmWait wait = {.deadline_ms = 50, .cancel_fd = eventfd(1, EFD_CLOEXEC)};
	g_autoptr(GByteArray) payload = bytes_of(LM_WIRE_PAYLOAD_MAX);
	g_autoptr(GError) error = NULL;

	check_receive(ends.fd[0], &wait, ECANCELED, LM_ERROR_CANCELLED, "cancelled while waiting");
	/* A message that has begun goes on, or what came after it would not be understood ... */
	check_failure(
		lm_channel_send(ends.fd[0], &wait, LM_MESSAGE_HELLO, payload, NULL, 0, &error),
		&error, ETIMEDOUT, LM_ERROR_TIMEOUT, "waiting for the hello message");
	/* ... and one that has not does not begin. */
	check_failure(
		lm_channel_send(ends.fd[0], &wait, LM_MESSAGE_HELLO, payload, NULL, 0, &error),
		&error, ECANCELED, LM_ERROR_CANCELLED, "cancelled while waiting");
	close(wait.cancel_fd);
}

static void test_wait(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GError) error = NULL;

	assert_int_equal(lm_wait_fd(&patient, ends.fd[0], POLLOUT, "room", NULL), POLLOUT);
	check_failure(lm_wait_fd(&hasty, ends.fd[0], POLLIN, "a word", &error), &error, ETIMEDOUT,
		      LM_ERROR_TIMEOUT, "timed out after 50 ms waiting for a word");
	close_end(&ends, 1);
	assert_true(lm_wait_fd(&patient, ends.fd[0], POLLIN, "an end", NULL) & POLLHUP);
	check_failure(lm_wait_fd(&hasty, 12345, POLLIN, "nothing", &error), &error, EBADF,
		      LM_ERROR_FAILED, "cannot wait for nothing on fd 12345");
}

/* ----------------------------------------------------------------- expect */

static void test_expect(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};
	g_autoptr(GError) error = NULL;
	int fd;

	open_fds(&fd, 1);
	lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_READY, NULL, &fd, 1, NULL);
	lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_FLIP, NULL, &fd, 1, NULL);
	close(fd);
	assert_int_equal(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_READY, &message, NULL),
			 0);
	assert_int_equal(message.fd_count, 1);
	lm_message_clear(&message);
	check_failure(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_READY, &message, &error),
		      &error, EPROTO, LM_ERROR_PROTOCOL,
		      "the peer sent a flip message instead of ready");
	check_failure(lm_channel_expect(ends.fd[0], &hasty, LM_MESSAGE_READY, &message, &error),
		      &error, ETIMEDOUT, LM_ERROR_TIMEOUT, "waiting for the peer's ready message");
}

static void test_expect_error(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};
	g_autoptr(GError) sent = g_error_new_literal(LM_ERROR, LM_ERROR_REFUSED, "not this one");
	g_autoptr(GByteArray) payload = lm_wire_error_encode(sent);
	g_autoptr(GByteArray) bad = bytes_of(3);
	g_autoptr(GError) error = NULL;

	for (guint i = 0; i < 3; i++)
		lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_ERROR, payload, NULL, 0, NULL);
	check_failure(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_READY, &message, &error),
		      &error, EREMOTEIO, LM_ERROR_REFUSED, "not this one");
	assert_int_equal(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_READY, &message, NULL),
			 -EREMOTEIO);
	assert_int_equal(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_ERROR, &message, NULL),
			 0);
	lm_channel_send(ends.fd[1], &patient, LM_MESSAGE_ERROR, bad, NULL, 0, NULL);
	lm_message_clear(&message);
	check_failure(lm_channel_expect(ends.fd[0], &patient, LM_MESSAGE_READY, &message, &error),
		      &error, EPROTO, LM_ERROR_PROTOCOL, "bad error message");
}

static void test_peer_pid(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_autoptr(GError) error = NULL;

	assert_int_equal(lm_channel_peer_pid(ends.fd[0], NULL), getpid());
	check_failure(lm_channel_peer_pid(-1, &error), &error, EBADF, LM_ERROR_FAILED,
		      "cannot tell who the peer is");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty_message),
		TEST(test_descriptors),
		TEST(test_descriptor_order),
		TEST(test_several_messages),
		TEST(test_largest),
		TEST(test_crumbs),
		TEST(test_send_bounds),
		TEST(test_bad_descriptor),
		TEST(test_closed),
		TEST(test_send_to_closed),
		TEST(test_reset),
		TEST(test_last_words),
		TEST(test_timeout),
		TEST(test_dribble),
		TEST(test_send_to_one_who_sips),
		TEST(test_send_timeout),
		TEST(test_cancelled),
		TEST(test_wait),
		TEST(test_expect),
		TEST(test_expect_error),
		TEST(test_peer_pid),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
