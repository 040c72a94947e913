/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two messages that are lists, hello and regions: golden bytes, every bound at and above. */
#include "test-util.h"

#include "wire.h"
#include "wire-golden.h"

G_STATIC_ASSERT(LM_REGION_NAMED_FILE == 8);
G_STATIC_ASSERT(LM_WAY_FLIP == 0 && LM_WAY_PASS == 1 && LM_WAY_SHARE == 2);

/* Where things are in one encoded region that has a name of one byte. */
enum {
	AT_COUNT = 0,
	AT_NAME = 8,
	AT_USED = 9,
	AT_MAX = 17,
	AT_PAGE = 25,
	AT_FLAGS = 33,
	AT_HAS_FD = 37,
	AT_FD_OFFSET = 38,
	AT_WAY = 62,
	AT_ADDRESS = 66,
};

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

static void check_refused(Decoder decode, const guint8 *payload, gsize length, const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = decode(payload, length, &error);

	check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
}

/* ------------------------------------------------------------------ hello */

static void test_hello_golden(void **state)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmWireHello hello = {1, 1234, 4096, LM_WIRE_HELLO_REHEARSE, inventory};
	g_autoptr(GByteArray) bytes = NULL;
	g_autoptr(LmInventory) decoded = NULL;
	LmWireHello back;
	const LmTrait *trait;

	g_free(inventory->host_version);
	inventory->host_version = g_strdup("7.2");
	lm_inventory_add_trait(inventory, "kind", "x", "id", NULL);
	lm_inventory_add_trait(inventory, "m", "", "q", "\xc3\xa9");
	bytes = lm_wire_hello_encode(&hello);
	check_bytes(bytes, golden_hello, sizeof(golden_hello));

	assert_int_equal(lm_wire_hello_decode(bytes->data, bytes->len, &back, NULL), 0);
	decoded = back.inventory;
	assert_int_equal(back.oldest_version, 1);
	assert_int_equal(back.pid, 1234);
	assert_int_equal(back.base_page_bytes, 4096);
	assert_int_equal(back.flags, LM_WIRE_HELLO_REHEARSE);
	assert_string_equal(decoded->host_version, "7.2");
	assert_int_equal(decoded->traits->len, 2);
	assert_int_equal(decoded->regions->len, 0);
	trait = g_ptr_array_index(decoded->traits, 1);
	assert_string_equal(trait->kind, "m");
	assert_string_equal(trait->key, "");
	assert_string_equal(trait->identity, "q");
	assert_string_equal(trait->label, "\xc3\xa9");
}

#define HELLO_NUMBERS 14 /* bytes before the host version */

static void put_u32(GByteArray *out, guint32 value)
{
	value = GUINT32_TO_LE(value);
	g_byte_array_append(out, (const guint8 *)&value, sizeof(value));
}

static void put_filled(GByteArray *out, gsize length)
{
	g_autofree guint8 *text = g_malloc(length + 1);

	memset(text, 'a', length);
	put_u32(out, (guint32)length);
	g_byte_array_append(out, text, (guint)length);
}

/* A hello with strings of these lengths: host version, kind, key, identity, label. */
static GByteArray *hello_of(const gsize lengths[5])
{
	GByteArray *out = g_byte_array_new();

	g_byte_array_append(out, golden_hello, HELLO_NUMBERS);
	put_filled(out, lengths[0]);
	put_u32(out, 1);
	for (guint i = 1; i < 5; i++)
		put_filled(out, lengths[i]);
	return out;
}

static void test_hello_strings(void **state)
{
	static const gsize most[5] = {256, 64, 1024, 4096, 4096};
	static const char *const names[5] = {"host version of 257", "trait kind of 65",
					     "trait key of 1025", "trait identity of 4097",
					     "trait label of 4097"};
	g_autoptr(GByteArray) fits = hello_of(most);

	assert_int_equal(decode_hello(fits->data, fits->len, NULL), 0);
	for (guint i = 0; i < 5; i++) {
		g_autoptr(GByteArray) over = NULL;
		gsize lengths[5];

		memcpy(lengths, most, sizeof(lengths));
		lengths[i]++;
		over = hello_of(lengths);
		check_refused(decode_hello, over->data, over->len, names[i]);
	}
}

static void test_hello_bad_text(void **state)
{
	guint8 bytes[sizeof(golden_hello)];

	memcpy(bytes, golden_hello, sizeof(bytes));
	bytes[HELLO_NUMBERS + 5] = 0;
	check_refused(decode_hello, bytes, sizeof(bytes), "host version has a NUL in it");
	bytes[HELLO_NUMBERS + 5] = 0xff;
	check_refused(decode_hello, bytes, sizeof(bytes), "host version is not valid UTF-8");
	memcpy(bytes, golden_hello, sizeof(bytes));
	bytes[sizeof(bytes) - 1] = 'x'; /* the accent's second byte */
	check_refused(decode_hello, bytes, sizeof(bytes), "trait label is not valid UTF-8");
}

static void test_hello_numbers(void **state)
{
	guint8 bytes[sizeof(golden_hello)];

	memcpy(bytes, golden_hello, sizeof(bytes));
	memset(bytes + 2, 0, 4);
	check_refused(decode_hello, bytes, sizeof(bytes), "0 is no process id");
	memset(bytes + 2, 0xff, 4);
	check_refused(decode_hello, bytes, sizeof(bytes), "-1 is no process id");
	memcpy(bytes, golden_hello, sizeof(bytes));
	bytes[7] = 0x30;
	check_refused(decode_hello, bytes, sizeof(bytes), "12288 bytes is no page size");
	bytes[7] = 0x08;
	check_refused(decode_hello, bytes, sizeof(bytes), "2048 bytes is no page size");
	memcpy(bytes, golden_hello, sizeof(bytes));
	bytes[10] = 2;
	check_refused(decode_hello, bytes, sizeof(bytes), "flags 0x2 are unknown");
}

/* Counts that the payload cannot hold are refused before anything is allocated for them. */
static void test_hello_counts(void **state)
{
	g_autoptr(GByteArray) bytes = g_byte_array_new();
	static const guint8 empty_trait[16];
	static const guint32 counts[] = {1, LM_WIRE_TRAITS_MAX, LM_WIRE_TRAITS_MAX + 1, G_MAXINT32,
					 G_MAXUINT32};

	g_byte_array_append(bytes, golden_hello, HELLO_NUMBERS);
	put_u32(bytes, 0);
	for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_byte_array_set_size(bytes, HELLO_NUMBERS + 4);
		put_u32(bytes, counts[i]);
		check_refused(decode_hello, bytes->data, bytes->len,
			      counts[i] > LM_WIRE_TRAITS_MAX ? "over the limit of 8192"
							     : "cannot be in 0 bytes");
	}
	g_byte_array_set_size(bytes, HELLO_NUMBERS + 4);
	put_u32(bytes, LM_WIRE_TRAITS_MAX);
	for (guint i = 0; i < LM_WIRE_TRAITS_MAX; i++)
		g_byte_array_append(bytes, empty_trait, sizeof(empty_trait));
	assert_int_equal(decode_hello(bytes->data, bytes->len, NULL), 0);
}

static void test_versions(void **state)
{
	g_autoptr(GError) error = NULL;
	static const guint8 from_5[] = {5, 0, 'n', 'e', 'w'};
	static const guint8 from_1[] = {1, 0, 'n', 'e', 'w'};

	assert_int_equal(lm_wire_version_check(3, 3, NULL), 0);
	assert_int_equal(lm_wire_version_check(3, 1, NULL), 0);
	assert_int_equal(lm_wire_version_check(9, 1, NULL), 0);
	check_failure(lm_wire_version_check(9, 4, &error), &error, EPROTONOSUPPORT,
		      LM_ERROR_REFUSED, "versions 4 to 9, this process 3 to 3");
	check_failure(lm_wire_version_check(1, 1, &error), &error, EPROTONOSUPPORT,
		      LM_ERROR_REFUSED, "versions 1 to 1, this process 3 to 3");
	check_failure(lm_wire_version_check(0, 0, &error), &error, EPROTONOSUPPORT,
		      LM_ERROR_REFUSED, "versions 0 to 0");
	check_failure(lm_wire_hello_check(7, from_5, sizeof(from_5), &error), &error,
		      EPROTONOSUPPORT, LM_ERROR_REFUSED, "versions 5 to 7, this process 3 to 3");
	assert_int_equal(lm_wire_hello_check(7, from_1, sizeof(from_1), NULL), 0);
	check_failure(lm_wire_hello_check(1, from_1, 1, &error), &error, EPROTO, LM_ERROR_PROTOCOL,
		      "bad hello message");
}

/* What the peer would refuse is not sent. */
static void test_hello_encode_fits(void **state)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmWireHello hello = {1, 1, 4096, 0, inventory};
	g_autofree char *text = g_strnfill(10000, 'a');
	g_autoptr(GByteArray) bytes = NULL;

	g_free(inventory->host_version);
	inventory->host_version = g_strdup(text);
	lm_inventory_add_trait(inventory, text, text, text, text);
	lm_inventory_add_trait(inventory, "\xff", "\xc3", "a\xc3", "\xe2\x82");
	bytes = lm_wire_hello_encode(&hello);
	assert_int_equal(decode_hello(bytes->data, bytes->len, NULL), 0);
}

/* ---------------------------------------------------------------- regions */

static GPtrArray *golden_region_list(void)
{
	GPtrArray *regions = g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);
	LmRegion *region = lm_region_new("pc.ram");

	region->used_bytes = 2 << 20;
	region->max_bytes = 4 << 20;
	region->page_bytes = 4096;
	region->flags = LM_REGION_SHARED | LM_REGION_RESIZABLE;
	region->fd = 99;
	region->fd_offset_bytes = 4096;
	region->dev = 7;
	region->ino = 9;
	region->way = LM_WAY_PASS;
	region->host = (guint8 *)0x123440000000;
	g_ptr_array_add(regions, region);
	region = lm_region_new("b");
	region->used_bytes = region->max_bytes = 4096;
	region->page_bytes = 2 << 20;
	region->host = (guint8 *)0x1000;
	g_ptr_array_add(regions, region);
	return regions;
}

static void test_regions_golden(void **state)
{
	g_autoptr(GPtrArray) regions = golden_region_list();
	g_autoptr(GByteArray) bytes = lm_wire_regions_encode(regions);
	g_autoptr(GByteArray) again = NULL;
	g_autoptr(GPtrArray) back = NULL;
	const LmRegion *region;

	check_bytes(bytes, golden_regions, sizeof(golden_regions));
	assert_int_equal(lm_wire_regions_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_int_equal(back->len, 2);
	region = g_ptr_array_index(back, 0);
	assert_string_equal(region->name, "pc.ram");
	assert_int_equal(region->used_bytes, 2 << 20);
	assert_int_equal(region->max_bytes, 4 << 20);
	assert_int_equal(region->page_bytes, 4096);
	assert_int_equal(region->flags, LM_REGION_SHARED | LM_REGION_RESIZABLE);
	assert_int_equal(region->fd, LM_WIRE_FD_PEER);
	assert_int_equal(region->fd_offset_bytes, 4096);
	assert_int_equal(region->dev, 7);
	assert_int_equal(region->ino, 9);
	assert_int_equal(region->way, LM_WAY_PASS);
	assert_ptr_equal(region->host, (guint8 *)0x123440000000);
	assert_null(region->here);
	region = g_ptr_array_index(back, 1);
	assert_int_equal(region->fd, LM_WIRE_FD_NONE);
	again = lm_wire_regions_encode(back);
	check_bytes(again, golden_regions, sizeof(golden_regions));
}

static GByteArray *one_region(void)
{
	GByteArray *bytes = g_byte_array_new();

	put_u32(bytes, 1);
	g_byte_array_append(bytes, golden_regions + sizeof(golden_regions) - 70, 70);
	return bytes;
}

static void set_u64(GByteArray *bytes, guint at, guint64 value)
{
	value = GUINT64_TO_LE(value);
	memcpy(bytes->data + at, &value, sizeof(value));
}

/* One region with the u64 at @at set; @part NULL: must be accepted. */
static void check_u64(guint at, guint64 value, const char *part)
{
	g_autoptr(GByteArray) bytes = one_region();

	if (at == AT_USED)
		set_u64(bytes, AT_MAX, 1ull << 40);
	set_u64(bytes, at, value);
	if (part)
		check_refused(decode_regions, bytes->data, bytes->len, part);
	else
		assert_int_equal(decode_regions(bytes->data, bytes->len, NULL), 0);
}

static void test_regions_sizes(void **state)
{
	check_u64(AT_USED, 1ull << 40, NULL);
	check_u64(AT_USED, (1ull << 40) + 4096, "of b is over its maximum 1099511627776");
	check_u64(AT_USED, 4095, "used size 4095 of b is not a multiple of 4096");
	check_u64(AT_USED, 0, NULL);
	check_u64(AT_USED, -4096ull, "is over its maximum");
	check_u64(AT_MAX, 4095, "used size 4096 of b is over its maximum 4095");
	check_u64(AT_MAX, G_MAXUINT64, "does not fit its maximum");
	check_u64(AT_PAGE, 4096, NULL);
	check_u64(AT_PAGE, 2048, "page size 2048 of b");
	check_u64(AT_PAGE, 12288, "page size 12288 of b");
	check_u64(AT_PAGE, 0, "page size 0 of b");
	check_u64(AT_PAGE, 1 << 30, NULL);
	check_u64(AT_PAGE, 2ull << 30, "page size 2147483648 of b");
	check_u64(AT_ADDRESS, -8192ull, NULL);
	check_u64(AT_ADDRESS, -4096ull, "address 0xfffffffffffff000 of b does not fit");
	check_u64(AT_ADDRESS, 4097, "address 0x1001 of b");
	check_u64(AT_FD_OFFSET, G_MAXINT64 - 4096, NULL);
	check_u64(AT_FD_OFFSET, G_MAXINT64 - 4095, "file offset 9223372036854771712 of b");
	check_u64(AT_FD_OFFSET, G_MAXUINT64, "file offset 18446744073709551615 of b");
}

/* One region with the byte at @at set. */
static void check_u8(guint at, guint8 value, const char *part)
{
	g_autoptr(GByteArray) bytes = one_region();

	bytes->data[at] = value;
	if (part)
		check_refused(decode_regions, bytes->data, bytes->len, part);
	else
		assert_int_equal(decode_regions(bytes->data, bytes->len, NULL), 0);
}

static void test_regions_codes(void **state)
{
	check_u8(AT_FLAGS, 15, NULL);
	check_u8(AT_FLAGS, 16, "flags 0x10 of b are unknown");
	check_u8(AT_FLAGS + 3, 0x80, "flags 0x80000000 of b are unknown");
	check_u8(AT_HAS_FD, 1, NULL);
	check_u8(AT_HAS_FD, 2, "has-fd 2 of b is not 0 or 1");
	check_u8(AT_WAY, LM_WAY_PASS, NULL);
	check_u8(AT_WAY, LM_WAY_SHARE, NULL);
	check_u8(AT_WAY, LM_WAY_SHARE + 1, "way 3 of b is unknown");
	check_u8(AT_NAME, 0, "region name has a NUL in it");
	check_u8(AT_NAME, 0x80, "region name is not valid UTF-8");
}

static void put_named(GByteArray *bytes, const char *name)
{
	put_u32(bytes, (guint32)strlen(name));
	g_byte_array_append(bytes, (const guint8 *)name, (guint)strlen(name));
	g_byte_array_append(bytes, golden_regions + sizeof(golden_regions) - 65, 65);
}

static void test_regions_names(void **state)
{
	g_autofree char *longest = g_strnfill(LM_WIRE_NAME_MAX, 'n');
	g_autofree char *longer = g_strnfill(LM_WIRE_NAME_MAX + 1, 'n');
	g_autoptr(GByteArray) bytes = g_byte_array_new();

	put_u32(bytes, 1);
	put_named(bytes, longest);
	assert_int_equal(decode_regions(bytes->data, bytes->len, NULL), 0);
	g_byte_array_set_size(bytes, 4);
	put_named(bytes, longer);
	check_refused(decode_regions, bytes->data, bytes->len,
		      "256 bytes is over the limit of 255");
	g_byte_array_set_size(bytes, 4);
	put_named(bytes, "");
	check_refused(decode_regions, bytes->data, bytes->len, "a region has no name");
	g_byte_array_set_size(bytes, 0);
	put_u32(bytes, 3);
	put_named(bytes, "one");
	put_named(bytes, "two");
	put_named(bytes, "one");
	check_refused(decode_regions, bytes->data, bytes->len, "two regions are called one");
}

static void test_regions_counts(void **state)
{
	static const guint32 counts[] = {1, LM_WIRE_REGIONS_MAX, LM_WIRE_REGIONS_MAX + 1,
					 G_MAXUINT32};
	g_autoptr(GByteArray) bytes = g_byte_array_new();

	for (gsize i = 0; i < G_N_ELEMENTS(counts); i++) {
		g_byte_array_set_size(bytes, 0);
		put_u32(bytes, counts[i]);
		check_refused(decode_regions, bytes->data, bytes->len,
			      counts[i] > LM_WIRE_REGIONS_MAX ? "over the limit of 1024"
							      : "cannot be in 0 bytes");
	}
	for (guint count = LM_WIRE_REGIONS_MAX; count <= LM_WIRE_REGIONS_MAX + 1; count++) {
		g_byte_array_set_size(bytes, 0);
		put_u32(bytes, count);
		for (guint i = 0; i < count; i++) {
			g_autofree char *name = g_strdup_printf("region %u", i);

			put_named(bytes, name);
		}
		if (count == LM_WIRE_REGIONS_MAX)
			assert_int_equal(decode_regions(bytes->data, bytes->len, NULL), 0);
		else
			check_refused(decode_regions, bytes->data, bytes->len, "1025 regions");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hello_golden),      TEST(test_hello_strings),	 TEST(test_hello_bad_text),
		TEST(test_hello_numbers),     TEST(test_hello_counts),	 TEST(test_versions),
		TEST(test_hello_encode_fits), TEST(test_regions_golden), TEST(test_regions_sizes),
		TEST(test_regions_codes),     TEST(test_regions_names),	 TEST(test_regions_counts),
	};

	return cmocka_run_group_tests_name("wire-lists", tests, NULL, NULL);
}
