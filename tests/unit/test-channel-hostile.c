/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Peers that do not play fair: no descriptor of theirs may stay open here. */
#include "channel-ends.h"

/* Headers that do not decode; each comes with a descriptor that must not stay. */
static void test_bad_headers(void **state)
{
	static const struct {
		guint16 type;
		guint32 length, fd_count;
		const char *part;
	} headers[] = {
		{LM_MESSAGE__MAX, 0, 1, "unknown message type"},
		{LM_MESSAGE_HELLO, G_MAXUINT32, 1, "over the limit"},
		{LM_MESSAGE_HELLO, 0, G_MAXUINT32, "over the limit"},
		{LM_MESSAGE_READY, 1, 1, "has 1 bytes, not 0"},
	};

	for (gsize i = 0; i < G_N_ELEMENTS(headers); i++) {
		g_auto(Ends) ends = ends_new();
		guint8 bytes[HEADER];

		make_header(bytes, headers[i].type, headers[i].length, headers[i].fd_count);
		send_raw(ends.fd[1], bytes, sizeof(bytes), 1);
		check_receive(ends.fd[0], &patient, EPROTO, LM_ERROR_PROTOCOL, headers[i].part);
	}
}

static void test_wrong_descriptor_count(void **state)
{
	static const guint counts[][2] = {{0, 1}, {1, 0}, {2, 1}, {63, 64}, {64, 63}};

	for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_auto(Ends) ends = ends_new();
		g_autofree char *part = g_strdup_printf("came with %u descriptors, and says %u",
							counts[i][0], counts[i][1]);
		guint8 bytes[HEADER];

		make_header(bytes, LM_MESSAGE_HELLO, 0, counts[i][1]);
		send_raw(ends.fd[1], bytes, sizeof(bytes), counts[i][0]);
		check_receive(ends.fd[0], &patient, EPROTO, LM_ERROR_PROTOCOL, part);
	}
}

/* More than there is room for: the kernel cuts the list (MSG_CTRUNC). */
static void test_too_many_descriptors(void **state)
{
	static const guint counts[] = {65, 66, 67, 200};

	for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_auto(Ends) ends = ends_new();
		guint8 bytes[HEADER];

		make_header(bytes, LM_MESSAGE_HELLO, 0, 64);
		send_raw(ends.fd[1], bytes, sizeof(bytes), counts[i]);
		check_receive(ends.fd[0], &patient, EPROTO, LM_ERROR_PROTOCOL,
			      "too many descriptors");
	}
}

/* Some with each piece of the header: they add up, to the right number or to too many. */
static void test_spread_descriptors(void **state)
{
	g_auto(Ends) ends = ends_new();
	g_auto(LmMessage) message = {0};
	guint8 bytes[HEADER];

	make_header(bytes, LM_MESSAGE_HELLO, 0, 3);
	send_raw(ends.fd[1], bytes, 1, 1);
	send_raw(ends.fd[1], bytes + 1, 7, 0);
	send_raw(ends.fd[1], bytes + 8, 8, 2);
	assert_int_equal(lm_channel_receive(ends.fd[0], &patient, &message, NULL), 0);
	assert_int_equal(message.fd_count, 3);

	make_header(bytes, LM_MESSAGE_HELLO, 0, 64);
	send_raw(ends.fd[1], bytes, 1, 60);
	send_raw(ends.fd[1], bytes + 1, 1, 5);
	check_receive(ends.fd[0], &patient, EPROTO, LM_ERROR_PROTOCOL, "too many descriptors");
}

static void test_descriptors_with_payload(void **state)
{
	g_auto(Ends) ends = ends_new();
	guint8 bytes[HEADER + 2] = {0};

	make_header(bytes, LM_MESSAGE_HELLO, 2, 0);
	send_raw(ends.fd[1], bytes, HEADER, 0);
	send_raw(ends.fd[1], bytes + HEADER, 2, 3);
	check_receive(ends.fd[0], &patient, EPROTO, LM_ERROR_PROTOCOL, "unexpected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bad_headers),
		TEST(test_wrong_descriptor_count),
		TEST(test_too_many_descriptors),
		TEST(test_spread_descriptors),
		TEST(test_descriptors_with_payload),
	};

	return cmocka_run_group_tests_name("channel-hostile", tests, NULL, NULL);
}
