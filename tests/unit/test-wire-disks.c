/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The message that is a list of disks: golden bytes, every truncation, every bound. */
#include "test-util.h"

#include "wire.h"
#include "wire-buffer.h"
#include "wire-golden.h"

static GPtrArray *golden_list(void)
{
	GPtrArray *disks = lm_disks_new();

	g_ptr_array_add(disks, lm_disk_new("vda", "/new", "qcow2", "n", 65536));
	g_ptr_array_add(disks, lm_disk_new("b", "/c", "raw", "", 0));
	return disks;
}

static int decode(const GByteArray *bytes, GError **errp)
{
	GPtrArray *disks = NULL;
	const int ret = lm_wire_disks_decode(bytes->data, bytes->len, &disks, errp);

	assert_true((ret == 0) == (disks != NULL));
	g_clear_pointer(&disks, g_ptr_array_unref);
	return ret;
}

static void check_refused(const GByteArray *bytes, const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = decode(bytes, &error);

	check_failure(ret, &error, EPROTO, LM_ERROR_PROTOCOL, part);
}

static void test_golden(void **state)
{
	g_autoptr(GPtrArray) disks = golden_list();
	g_autoptr(GByteArray) bytes = lm_wire_disks_encode(disks);
	g_autoptr(GPtrArray) back = NULL;
	const LmDisk *disk;

	check_bytes(bytes, golden_disks, sizeof(golden_disks));
	assert_int_equal(lm_wire_disks_decode(bytes->data, bytes->len, &back, NULL), 0);
	assert_int_equal(back->len, 2);
	disk = g_ptr_array_index(back, 0);
	assert_string_equal(disk->device, "vda");
	assert_string_equal(disk->file, "/new");
	assert_string_equal(disk->format, "qcow2");
	assert_string_equal(disk->node, "n");
	assert_int_equal(disk->bandwidth, 65536);
}

static void test_cut(void **state)
{
	for (guint length = 0; length < sizeof(golden_disks); length++) {
		g_autoptr(GByteArray) bytes = g_byte_array_new();

		g_byte_array_append(bytes, golden_disks, length);
		check_refused(bytes, "bad disks message");
	}
}

/* One disk with these. */
static GByteArray *one(const char *device, const char *file, const char *format, guint64 bandwidth)
{
	g_autoptr(GPtrArray) disks = lm_disks_new();

	g_ptr_array_add(disks, lm_disk_new(device, file, format, "", bandwidth));
	return lm_wire_disks_encode(disks);
}

static void check_one(const char *device, const char *file, const char *format, guint64 bandwidth,
		      const char *part)
{
	g_autoptr(GByteArray) bytes = one(device, file, format, bandwidth);

	if (part)
		check_refused(bytes, part);
	else
		assert_int_equal(decode(bytes, NULL), 0);
}

static void test_values(void **state)
{
	check_one("d", "/f", "raw", G_MAXINT64, NULL);
	check_one("d", "/f", "raw", G_MAXINT64 + 1ull, "bandwidth 9223372036854775808 of d");
	check_one("", "/f", "raw", 0, "has no device, file or format");
	check_one("d", "", "raw", 0, "has no device, file or format");
	check_one("d", "/f", "", 0, "has no device, file or format");
}

/* A string of one byte too many, written by hand: the encoder would cut it. */
static void test_strings(void **state)
{
	static const guint most[] = {LM_WIRE_KEY_MAX, LM_WIRE_STRING_MAX, LM_WIRE_KIND_MAX,
				     LM_WIRE_KIND_MAX};

	for (guint i = 0; i < G_N_ELEMENTS(most); i++) {
		for (guint more = 0; more < 2; more++) {
			g_autoptr(GByteArray) bytes = g_byte_array_new();

			lm_write_u32(bytes, 1);
			for (guint j = 0; j < G_N_ELEMENTS(most); j++) {
				g_autofree char *text =
					g_strnfill(j == i ? most[i] + more : 1, 'x');

				lm_write_u32(bytes, strlen(text));
				g_byte_array_append(bytes, (const guint8 *)text, strlen(text));
			}
			lm_write_u32(bytes, 0);
			lm_write_u32(bytes, 0);
			if (more)
				check_refused(bytes, "is over the limit of");
			else
				assert_int_equal(decode(bytes, NULL), 0);
		}
	}
}

static void test_unique(void **state)
{
	g_autoptr(GPtrArray) disks = golden_list();
	g_autoptr(GByteArray) same_device = NULL, same_file = NULL;

	g_ptr_array_add(disks, lm_disk_new("vda", "/other", "raw", "", 0));
	same_device = lm_wire_disks_encode(disks);
	check_refused(same_device, "disk vda is to move twice");
	g_ptr_array_remove_index(disks, 2);
	g_ptr_array_add(disks, lm_disk_new("vdb", "/new", "raw", "", 0));
	same_file = lm_wire_disks_encode(disks);
	check_refused(same_file, "two disks are to move to /new");
}

static GByteArray *so_many(guint count)
{
	g_autoptr(GPtrArray) disks = lm_disks_new();

	for (guint i = 0; i < count; i++) {
		g_autofree char *name = g_strdup_printf("/d%u", i);

		g_ptr_array_add(disks, lm_disk_new(name, name, "raw", "", 0));
	}
	return lm_wire_disks_encode(disks);
}

static void test_counts(void **state)
{
	g_autoptr(GByteArray) most = so_many(LM_WIRE_DISKS_MAX);
	g_autoptr(GByteArray) over = so_many(LM_WIRE_DISKS_MAX + 1);
	g_autoptr(GByteArray) bare = g_byte_array_new();

	assert_int_equal(decode(most, NULL), 0);
	check_refused(over, "65 disks are over the limit of 64");
	lm_write_u32(bare, 1);
	check_refused(bare, "1 disks cannot be in 0 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_golden),  TEST(test_cut),    TEST(test_values),
		TEST(test_strings), TEST(test_unique), TEST(test_counts),
	};

	return cmocka_run_group_tests_name("wire-disks", tests, NULL, NULL);
}
