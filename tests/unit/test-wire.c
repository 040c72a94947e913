/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages: golden bytes, every truncation of every payload, bounds of headers and of what is not
 * a list (those are in test-wire-lists.c and test-wire-disks.c).
 */
#include "test-util.h"

#include "wire.h"
#include "wire-golden.h"

G_STATIC_ASSERT(LM_WIRE_HEADER_BYTES == 16);
G_STATIC_ASSERT(LM_MESSAGE_HELLO == 1 && LM_MESSAGE_BYE == 13 && LM_MESSAGE_SHARED == 16 &&
		LM_MESSAGE_DISKS == 17 && LM_MESSAGE__MAX == 18);
G_STATIC_ASSERT(LM_ENGINE_VMSPLICE == 1 && LM_ENGINE_PROCESS_VM_READV == 2);
G_STATIC_ASSERT(LM_ERROR_FAILED == 0 && LM_ERROR_LOST == 7);

/* clang-format off */
static const guint8 golden_header[] = {
	'Q', 'L', 'M', 'G', 3, 0, 4, 0, 0x00, 0x01, 0x02, 0x00, 8, 0, 0, 0,
};
static const guint8 golden_pipes[] = {
	16, 0, 0, 0, 2, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
};
static const guint8 golden_state[] = {
	0, 0, 0, 0x10, 0, 0, 0, 0,   /* 256 MiB */
	4, 3, 2, 1,		     /* CRC */
	1, 0, 0, 0,		     /* as hinted */
};
static const guint8 golden_committed[] = {
	8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
	2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
};
static const guint8 golden_pass[] = {
	4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
};
static const guint8 golden_u32[] = { 4, 3, 2, 1 };
static const guint8 golden_u64[] = { 8, 7, 6, 5, 4, 3, 2, 1 };
static const guint8 golden_error[] = { 1, 0, 0, 0, 2, 0, 0, 0, 'n', 'o' };
/* clang-format on */

/* ------------------------------------------------ every decoder, one shape */

typedef int (*Decoder)(const guint8 *payload, gsize length, GError **errp);

static int decode_hello(const guint8 *payload, gsize length, GError **errp)
{
	LmWireHello hello = {.inventory = NULL};
	const int ret = lm_wire_hello_decode(payload, length, &hello, errp);

	assert_true((ret == 0) == (hello.inventory != NULL));
	lm_inventory_free(hello.inventory);
	return ret;
}

static int decode_regions(const guint8 *payload, gsize length, GError **errp)
{
	GPtrArray *regions = NULL;
	const int ret = lm_wire_regions_decode(payload, length, &regions, errp);

	assert_true((ret == 0) == (regions != NULL));
	g_clear_pointer(&regions, g_ptr_array_unref);
	return ret;
}

/* An output that is written on failure is caught by comparing it with what it was. */
#define DEFINE_DECODER(name, type)                                                                 \
	static int decode_##name(const guint8 *payload, gsize length, GError **errp)               \
	{                                                                                          \
		type out, before;                                                                  \
		int ret;                                                                           \
                                                                                                   \
		memset(&out, 0xa5, sizeof(out));                                                   \
		memset(&before, 0xa5, sizeof(before));                                             \
		ret = lm_wire_##name##_decode(payload, length, &out, errp);                        \
		if (ret < 0)                                                                       \
			assert_memory_equal(&out, &before, sizeof(out));                           \
		return ret;                                                                        \
	}
DEFINE_DECODER(pipes, LmWirePipes)
DEFINE_DECODER(state, LmWireState)
DEFINE_DECODER(committed, LmWireCommitted)
DEFINE_DECODER(pass, LmWirePass)
DEFINE_DECODER(u32, guint32)
DEFINE_DECODER(u64, guint64)

static int decode_error(const guint8 *payload, gsize length, GError **errp)
{
	g_autoptr(GError) peer_error = NULL;
	const int ret = lm_wire_error_decode(payload, length, &peer_error, errp);

	assert_true((ret == 0) == (peer_error != NULL));
	return ret;
}

static const struct {
	const guint8 *golden;
	gsize length;
	Decoder decode;
} payloads[] = {
	{golden_hello, sizeof(golden_hello), decode_hello},
	{golden_regions, sizeof(golden_regions), decode_regions},
	{golden_pipes, sizeof(golden_pipes), decode_pipes},
	{golden_state, sizeof(golden_state), decode_state},
	{golden_committed, sizeof(golden_committed), decode_committed},
	{golden_pass, sizeof(golden_pass), decode_pass},
	{golden_u32, sizeof(golden_u32), decode_u32},
	{golden_u64, sizeof(golden_u64), decode_u64},
	{golden_error, sizeof(golden_error), decode_error},
};

static void check_refused(Decoder decode, const guint8 *payload, gsize length, const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = decode(payload, length, &error);

	check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
}

/* On the heap and of the exact size, so that ASan sees a read beyond it. */
static void test_truncated(void **state)
{
	for (gsize i = 0; i < G_N_ELEMENTS(payloads); i++) {
		for (gsize length = 0; length < payloads[i].length; length++) {
			g_autofree guint8 *copy = g_memdup2(payloads[i].golden, length);

			check_refused(payloads[i].decode, copy, length, "bad ");
		}
	}
}

static void test_left_over(void **state)
{
	for (gsize i = 0; i < G_N_ELEMENTS(payloads); i++) {
		g_autofree guint8 *copy = g_malloc0(payloads[i].length + 1);

		memcpy(copy, payloads[i].golden, payloads[i].length);
		check_refused(payloads[i].decode, copy, payloads[i].length + 1,
			      "1 bytes are left over");
	}
}

/* Whatever one byte is changed to, decoding ends in order. */
static void test_flipped_bytes(void **state)
{
	for (gsize i = 0; i < G_N_ELEMENTS(payloads); i++) {
		for (gsize at = 0; at < payloads[i].length; at++) {
			g_autofree guint8 *copy = g_memdup2(payloads[i].golden, payloads[i].length);

			for (guint value = 0; value < 256; value++) {
				g_autoptr(GError) error = NULL;
				int ret;

				copy[at] = value;
				ret = payloads[i].decode(copy, payloads[i].length, &error);
				assert_true((ret < 0) == (error != NULL));
			}
		}
	}
}

/* ----------------------------------------------------------------- header */

static void test_header_golden(void **state)
{
	const LmWireHeader header = {3, LM_MESSAGE_PIPES, 0x20100, 8};
	guint8 bytes[LM_WIRE_HEADER_BYTES];
	LmWireHeader back;

	lm_wire_header_encode(bytes, &header);
	assert_memory_equal(bytes, golden_header, sizeof(golden_header));
	assert_int_equal(lm_wire_header_decode(golden_header, &back, NULL), 0);
	assert_memory_equal(&back, &header, sizeof(back));
}

static int recode_header(LmWireHeader header, GError **errp)
{
	guint8 bytes[LM_WIRE_HEADER_BYTES];
	LmWireHeader back = {0xa5a5, 0xa5a5, 0xa5a5a5a5, 0xa5a5a5a5};
	const LmWireHeader before = back;
	int ret;

	lm_wire_header_encode(bytes, &header);
	ret = lm_wire_header_decode(bytes, &back, errp);
	assert_memory_equal(&back, ret < 0 ? &before : &header, sizeof(back));
	return ret;
}

static void check_header(guint16 version, guint16 type, guint32 length, guint32 fd_count,
			 const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = recode_header((LmWireHeader){version, type, length, fd_count}, &error);

	if (part)
		check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
	else
		assert_int_equal(ret, 0);
}

static void test_header_bounds(void **state)
{
	const guint32 most = LM_WIRE_PAYLOAD_MAX;

	check_header(LM_WIRE_VERSION, LM_MESSAGE_HELLO, most, LM_WIRE_FDS_MAX, NULL);
	check_header(LM_WIRE_VERSION, LM_MESSAGE_HELLO, most + 1, 0,
		     "4194305 bytes is over the limit of 4194304");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_HELLO, G_MAXUINT32, 0, "over the limit");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_HELLO, 0, LM_WIRE_FDS_MAX + 1,
		     "65 descriptors is over");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_HELLO, 0, G_MAXUINT32, "descriptors is over");
	check_header(LM_WIRE_VERSION, 0, 0, 0, "unknown message type 0");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_BYE, 0, 0, NULL);
	check_header(LM_WIRE_VERSION, LM_MESSAGE__MAX, 0, 0, "unknown message type 18");
	check_header(LM_WIRE_VERSION, G_MAXUINT16, 0, 0, "unknown message type 65535");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_READY, 1, 0, "ready message has 1 bytes, not 0");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_FLIP, 1, 0, "flip message has 1 bytes");
	check_header(LM_WIRE_VERSION, LM_MESSAGE_RETURN, 8, 0, NULL);
	check_header(LM_WIRE_VERSION, LM_MESSAGE_SHARED, 1, 0, NULL);
	check_header(LM_WIRE_VERSION, LM_MESSAGE_BYE, 1, 0, "bye message has 1 bytes");
}

static void test_header_versions(void **state)
{
	static const guint16 versions[] = {0, 1, 2, 4, G_MAXUINT16};

	for (gsize i = 0; i < G_N_ELEMENTS(versions); i++) {
		for (guint type = LM_MESSAGE_HELLO; type < LM_MESSAGE__MAX; type++) {
			const gboolean any = type == LM_MESSAGE_HELLO || type == LM_MESSAGE_ERROR;

			check_header(LM_WIRE_VERSION, type, 0, 0, NULL);
			check_header(versions[i], type, 0, 0, any ? NULL : "instead of 3");
		}
	}
}

static void test_header_magic(void **state)
{
	for (guint i = 0; i < 4; i++) {
		g_autoptr(GError) error = NULL;
		guint8 bytes[sizeof(golden_header)];
		LmWireHeader header;

		memcpy(bytes, golden_header, sizeof(bytes));
		bytes[i] ^= 1;
		check_failure(lm_wire_header_decode(bytes, &header, &error), &error, EPROTO,
			      LM_ERROR_PROTOCOL, "not 0x474d4c51");
	}
}

static void test_names(void **state)
{
	assert_string_equal(lm_message_name(LM_MESSAGE_HELLO), "hello");
	assert_string_equal(lm_message_name(LM_MESSAGE_BYE), "bye");
	assert_string_equal(lm_message_name(0), "unknown");
	assert_string_equal(lm_message_name(LM_MESSAGE__MAX), "unknown");
	for (int type = LM_MESSAGE_HELLO; type < LM_MESSAGE__MAX; type++)
		assert_string_not_equal(lm_message_name(type), "unknown");
}

/* ---------------------------------------------------------- small payloads */

static void test_pipes(void **state)
{
	const LmWirePipes pipes = {16, LM_ENGINE_PROCESS_VM_READV, 0x0102030405060708,
				   0x1112131415161718};
	g_autoptr(GByteArray) bytes = lm_wire_pipes_encode(&pipes);
	LmWirePipes back;

	check_bytes(bytes, golden_pipes, sizeof(golden_pipes));
	assert_int_equal(lm_wire_pipes_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_memory_equal(&back, &pipes, sizeof(back));
	bytes->data[0] = LM_CHANNELS_MAX + 1;
	check_refused(decode_pipes, bytes->data, bytes->len, "17 channels are not 1 to 16");
	bytes->data[0] = 0;
	check_refused(decode_pipes, bytes->data, bytes->len, "0 channels are not 1 to 16");
	bytes->data[0] = 1;
	bytes->data[4] = LM_ENGINE_VMSPLICE;
	assert_int_equal(decode_pipes(bytes->data, bytes->len, NULL), 0);
	bytes->data[4] = LM_ENGINE_AUTO;
	check_refused(decode_pipes, bytes->data, bytes->len, "engine 0 is unknown");
	bytes->data[4] = LM_ENGINE_PROCESS_VM_READV + 1;
	check_refused(decode_pipes, bytes->data, bytes->len, "engine 3 is unknown");
}

static void test_state(void **state)
{
	LmWireState in = {.bytes = LM_WIRE_STATE_BYTES_MAX,
			  .crc = 0x01020304,
			  .flags = LM_WIRE_STATE_AS_HINTED};
	LmWireState back = {0};
	g_autoptr(GByteArray) bytes = lm_wire_state_encode(&in);

	check_bytes(bytes, golden_state, sizeof(golden_state));
	assert_int_equal(lm_wire_state_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_true(back.bytes == in.bytes && back.crc == in.crc && back.flags == in.flags);
	bytes->data[12] = 2;
	check_refused(decode_state, bytes->data, bytes->len, "flags 0x2 are unknown");
	bytes->data[12] = 0;
	bytes->data[0] = 1;
	check_refused(decode_state, bytes->data, bytes->len,
		      "268435457 bytes is over the limit of 268435456");
}

static void test_pass(void **state)
{
	const LmWirePass pass = {.region = 0x01020304, .offset_bytes = 0x1112131415161718};
	g_autoptr(GByteArray) bytes = lm_wire_pass_encode(&pass);
	LmWirePass back = {0};

	check_bytes(bytes, golden_pass, sizeof(golden_pass));
	assert_int_equal(lm_wire_pass_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_int_equal(back.region, pass.region);
	assert_int_equal(back.offset_bytes, pass.offset_bytes);
}

static void test_committed(void **state)
{
	const LmWireCommitted committed = {0x0102030405060708, {0x1112131415161718, 2, 3, 4}};
	g_autoptr(GByteArray) bytes = lm_wire_committed_encode(&committed);
	LmWireCommitted back;

	check_bytes(bytes, golden_committed, sizeof(golden_committed));
	assert_int_equal(lm_wire_committed_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_memory_equal(&back, &committed, sizeof(back));
}

static void test_integers(void **state)
{
	g_autoptr(GByteArray) u32 = lm_wire_u32_encode(0x01020304);
	g_autoptr(GByteArray) u64 = lm_wire_u64_encode(0x0102030405060708);
	guint32 small;
	guint64 big;

	check_bytes(u32, golden_u32, sizeof(golden_u32));
	check_bytes(u64, golden_u64, sizeof(golden_u64));
	assert_int_equal(lm_wire_u32_decode(u32->data, u32->len, &small, NULL), 0);
	assert_int_equal(lm_wire_u64_decode(u64->data, u64->len, &big, NULL), 0);
	assert_int_equal(small, 0x01020304);
	assert_int_equal(big, 0x0102030405060708);
}

/* ------------------------------------------------------------------ error */

/* Sends an error through the wire; its code and text are as the peer reports them. */
static GError *recode_error(GQuark domain, int code, const char *text)
{
	g_autoptr(GError) error = g_error_new_literal(domain, code, text);
	g_autoptr(GByteArray) bytes = lm_wire_error_encode(error);
	GError *back = NULL;

	assert_int_equal(lm_wire_error_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_true(back->domain == LM_ERROR);
	return back;
}

static void test_error_golden(void **state)
{
	g_autoptr(GError) error = g_error_new_literal(LM_ERROR, LM_ERROR_REFUSED, "no");
	g_autoptr(GByteArray) bytes = lm_wire_error_encode(error);

	check_bytes(bytes, golden_error, sizeof(golden_error));
}

static void test_error_codes(void **state)
{
	for (int code = LM_ERROR_FAILED; code <= LM_ERROR_LOST + 1; code++) {
		const gboolean kept = code == LM_ERROR_REFUSED || code == LM_ERROR_CANCELLED;
		g_autoptr(GError) error = recode_error(LM_ERROR, code, "why");

		assert_int_equal(error->code, kept ? code : LM_ERROR_PEER);
		assert_string_equal(error->message, "why");
	}
}

static void test_error_texts(void **state)
{
	g_autofree char *text = g_strnfill(LM_WIRE_STRING_MAX + 1, 'e');
	g_autoptr(GError) foreign = recode_error(G_FILE_ERROR, LM_ERROR_REFUSED, "file");
	g_autoptr(GError) longer = recode_error(LM_ERROR, LM_ERROR_FAILED, text);
	g_autoptr(GError) lines = recode_error(LM_ERROR, LM_ERROR_FAILED, "one\ntwo\x1b[31m %s");
	g_autoptr(GError) invalid = recode_error(LM_ERROR, LM_ERROR_FAILED, "caf\xe9");
	g_autoptr(GError) empty = recode_error(LM_ERROR, LM_ERROR_FAILED, "");

	assert_int_equal(foreign->code, LM_ERROR_PEER);
	assert_int_equal(strlen(longer->message), LM_WIRE_STRING_MAX);
	assert_string_equal(lines->message, "one two [31m %s");
	assert_string_equal(invalid->message, "caf\xef\xbf\xbd");
	assert_string_equal(empty->message, "the peer gave no reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_truncated),	  TEST(test_left_over),	    TEST(test_flipped_bytes),
		TEST(test_header_golden), TEST(test_header_bounds), TEST(test_header_versions),
		TEST(test_header_magic),  TEST(test_names),	    TEST(test_pipes),
		TEST(test_state),	  TEST(test_pass),	    TEST(test_committed),
		TEST(test_integers),	  TEST(test_error_golden),  TEST(test_error_codes),
		TEST(test_error_texts),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
