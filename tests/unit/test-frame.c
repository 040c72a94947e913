/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames: golden bytes, and what a hostile sender might put in one. */
#include "test-util.h"

#include "wire.h"

G_STATIC_ASSERT(LM_FRAME_HEADER_BYTES == 32 && LM_FRAME_RANGE_BYTES == 16);
G_STATIC_ASSERT(LM_FRAME_BYTES_MAX == 32 + 512 * 16);

#define PAGE	     4096u
#define REGION_BYTES (16ull << 20)

/* clang-format off */
static const guint8 golden[] = {
	'Q', 'L', 'M', 'F', 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
	0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x34, 0x12, 0, 0,
	0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
	0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0,
};
static const guint8 golden_end[] = {
	'Q', 'L', 'M', 'F', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
	8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

/* 8 KiB each: not on the stack of every test. */
static LmFrame sent, received;

static void frame_of(guint32 region, guint32 range_count, guint32 flags, guint64 payload_bytes)
{
	sent = (LmFrame){.region = region,
			 .range_count = range_count,
			 .flags = flags,
			 .payload_bytes = payload_bytes,
			 .address = 0x123440000000};
	memset(&received, 0xa5, sizeof(received));
}

static void set_range(guint i, guint64 offset_bytes, guint64 length_bytes)
{
	sent.range[i] = (LmRange){offset_bytes, length_bytes};
}

static int pass_header(GError **errp)
{
	g_autofree LmFrame *before = g_memdup2(&received, sizeof(received));
	g_autofree guint8 *bytes = g_malloc0(LM_FRAME_BYTES_MAX);
	int ret;

	/* Not lm_frame_encode with a wild count of ranges: it takes only what it built. */
	if (sent.range_count <= LM_FRAME_RANGES_MAX) {
		lm_frame_encode(bytes, &sent);
	} else {
		const guint32 wild = GUINT32_TO_LE(sent.range_count);

		sent.range_count = 0;
		lm_frame_encode(bytes, &sent);
		memcpy(bytes + 8, &wild, sizeof(wild));
	}
	ret = lm_frame_header_decode(bytes, &received, errp);
	if (ret < 0)
		assert_memory_equal(&received, before, sizeof(received));
	return ret;
}

static int pass_ranges(GError **errp)
{
	g_autofree LmFrame *before = NULL;
	g_autofree guint8 *bytes = g_malloc0(LM_FRAME_BYTES_MAX);
	g_autofree guint8 *ranges = NULL;
	int ret;

	lm_frame_encode(bytes, &sent);
	assert_int_equal(lm_frame_header_decode(bytes, &received, NULL), 0);
	before = g_memdup2(&received, sizeof(received));
	/* Of the exact size, so that ASan sees a read beyond it. */
	ranges = g_memdup2(bytes + LM_FRAME_HEADER_BYTES, sent.range_count * LM_FRAME_RANGE_BYTES);
	ret = lm_frame_ranges_decode(ranges, &received, REGION_BYTES, PAGE, errp);
	if (ret < 0)
		assert_memory_equal(&received, before, sizeof(received));
	return ret;
}

static void check_header(const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = pass_header(&error);

	if (part)
		check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
	else
		assert_int_equal(ret, 0);
}

static void check_ranges(const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = pass_ranges(&error);

	if (part)
		check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
	else
		assert_int_equal(ret, 0);
}

static void test_golden(void **state)
{
	guint8 bytes[LM_FRAME_BYTES_MAX];

	frame_of(3, 2, 0, 3 * PAGE);
	set_range(0, PAGE, PAGE);
	set_range(1, 3 * PAGE, 2 * PAGE);
	assert_int_equal(lm_frame_encode(bytes, &sent), sizeof(golden));
	assert_memory_equal(bytes, golden, sizeof(golden));
	assert_int_equal(lm_frame_header_decode(golden, &received, NULL), 0);
	assert_int_equal(received.region, 3);
	assert_int_equal(received.range_count, 2);
	assert_int_equal(received.flags, 0);
	assert_int_equal(received.payload_bytes, 3 * PAGE);
	assert_int_equal(received.address, 0x123440000000);
	assert_int_equal(lm_frame_ranges_decode(golden + LM_FRAME_HEADER_BYTES, &received,
						REGION_BYTES, PAGE, NULL),
			 0);
	assert_memory_equal(received.range, sent.range, 2 * sizeof(LmRange));
}

static void test_golden_end(void **state)
{
	guint8 bytes[LM_FRAME_BYTES_MAX];

	frame_of(0, 0, LM_FRAME_END, 0x0102030405060708);
	sent.address = 0;
	assert_int_equal(lm_frame_encode(bytes, &sent), sizeof(golden_end));
	assert_memory_equal(bytes, golden_end, sizeof(golden_end));
	assert_int_equal(lm_frame_header_decode(golden_end, &received, NULL), 0);
	assert_int_equal(received.flags, LM_FRAME_END);
	assert_int_equal(received.payload_bytes, 0x0102030405060708);
	assert_int_equal(lm_frame_ranges_decode(NULL, &received, REGION_BYTES, PAGE, NULL), 0);
}

static void test_magic(void **state)
{
	for (guint i = 0; i < 4; i++) {
		g_autoptr(GError) error = NULL;
		guint8 bytes[sizeof(golden)];

		memcpy(bytes, golden, sizeof(bytes));
		bytes[i] ^= 0x80;
		check_failure(lm_frame_header_decode(bytes, &received, &error), &error, EPROTO,
			      LM_ERROR_PROTOCOL, "not 0x464d4c51");
	}
}

static void test_header_bounds(void **state)
{
	frame_of(LM_WIRE_REGIONS_MAX - 1, 1, 0, PAGE);
	check_header(NULL);
	frame_of(LM_WIRE_REGIONS_MAX, 1, 0, PAGE);
	check_header("region 1024, and there are at most 1024");
	frame_of(0, LM_FRAME_RANGES_MAX, 0, LM_FRAME_PAYLOAD_MAX);
	check_header(NULL);
	frame_of(0, LM_FRAME_RANGES_MAX + 1, 0, PAGE);
	check_header("513 ranges instead of 1 to 512");
	frame_of(0, G_MAXUINT32, 0, PAGE);
	check_header("4294967295 ranges");
	frame_of(0, 0, 0, PAGE);
	check_header("0 ranges instead of 1 to 512");
	frame_of(0, 1, 0, LM_FRAME_PAYLOAD_MAX + 1);
	check_header("2097153 bytes of pages instead of 1 to 2097152");
	frame_of(0, 1, 0, G_MAXUINT64);
	check_header("18446744073709551615 bytes of pages");
	frame_of(0, 1, 0, 0);
	check_header("0 bytes of pages");
	frame_of(0, 1, 2, PAGE);
	check_header("flags 0x2, and only 0x1 are known");
	frame_of(0, 0, LM_FRAME_END | 0x80000000, 0);
	check_header("flags 0x80000001");
	frame_of(0, 1, LM_FRAME_END, 0);
	check_header("an end frame has 1 ranges instead of 0");
	frame_of(0, 0, LM_FRAME_END, G_MAXUINT64);
	check_header(NULL);
}

static void test_one_range(void **state)
{
	frame_of(0, 1, 0, PAGE);
	set_range(0, 0, PAGE);
	check_ranges(NULL);
	set_range(0, REGION_BYTES - PAGE, PAGE);
	check_ranges(NULL);
	set_range(0, REGION_BYTES, PAGE);
	check_ranges("4096 bytes at 16777216 is not within the region's 16777216");
	set_range(0, REGION_BYTES - PAGE, 2 * PAGE);
	check_ranges("not within the region's 16777216");
	set_range(0, -(guint64)PAGE, PAGE);
	check_ranges("not within the region's");
	set_range(0, PAGE, -(guint64)PAGE);
	check_ranges("not within the region's");
	set_range(0, 1, PAGE);
	check_ranges("4096 bytes at 1 is not aligned to 4096");
	set_range(0, 0, PAGE - 1);
	check_ranges("4095 bytes at 0 is not aligned to 4096");
	set_range(0, PAGE, 0);
	check_ranges("a range at 4096 is empty");
	set_range(0, 0, 2 * PAGE);
	check_ranges("have 8192 bytes, its pages 4096");
}

static void test_two_ranges(void **state)
{
	frame_of(0, 2, 0, 3 * PAGE);
	set_range(0, 0, 2 * PAGE);
	set_range(1, 2 * PAGE, PAGE);
	check_ranges(NULL); /* side by side */
	set_range(1, PAGE, PAGE);
	check_ranges("at 4096 begins before the end 8192 of the one before");
	set_range(1, 0, PAGE);
	check_ranges("at 0 begins before the end 8192");
	set_range(0, 8 * PAGE, 2 * PAGE);
	check_ranges("at 0 begins before the end 40960");
}

/* As many as fit, each one page with a hole after it. */
static void test_many_ranges(void **state)
{
	frame_of(0, LM_FRAME_RANGES_MAX, 0, LM_FRAME_PAYLOAD_MAX);
	for (guint i = 0; i < LM_FRAME_RANGES_MAX; i++)
		set_range(i, 2ull * i * PAGE, PAGE);
	check_ranges(NULL);
	assert_memory_equal(received.range, sent.range, sizeof(sent.range));
	sent.range[LM_FRAME_RANGES_MAX - 1].offset_bytes -= 2 * PAGE;
	check_ranges("begins before the end");
}

static void test_flipped_bytes(void **state)
{
	for (gsize at = 0; at < sizeof(golden); at++) {
		for (guint value = 0; value < 256; value++) {
			g_autoptr(GError) error = NULL;
			g_autofree guint8 *bytes = g_memdup2(golden, sizeof(golden));
			int ret;

			bytes[at] = value;
			ret = lm_frame_header_decode(bytes, &received, &error);
			if (ret == 0 && received.range_count <= 2) {
				ret = lm_frame_ranges_decode(bytes + LM_FRAME_HEADER_BYTES,
							     &received, REGION_BYTES, PAGE, &error);
			}
			assert_true((ret < 0) == (error != NULL));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_golden),	  TEST(test_golden_end),    TEST(test_magic),
		TEST(test_header_bounds), TEST(test_one_range),	    TEST(test_two_ranges),
		TEST(test_many_ranges),	  TEST(test_flipped_bytes),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
