/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every bound of docs/wire.md that a decoder checks, in one table: the value below it, at either
 * end, and above it.
 */
#include "test-util.h"

#include "wire.h"
#include "wire-buffer.h"

typedef GByteArray *(*Build)(guint64 value);
typedef int (*Decode)(const guint8 *payload, gsize length, GError **errp);

#define NONE G_MAXUINT64 /* there is no such value */

typedef struct Bound {
	const char *name;
	Build build;
	Decode decode;
	guint64 below, lowest, highest, above;
} Bound;

static void write_text(GByteArray *out, guint64 bytes)
{
	g_autofree char *text = g_strnfill(bytes, 'x');

	lm_write_u32(out, (guint32)bytes);
	g_byte_array_append(out, (const guint8 *)text, (guint)bytes);
}

/* ------------------------------------------------------------------ header */

static int decode_header(const guint8 *bytes, gsize length, GError **errp)
{
	LmWireHeader header;

	assert_int_equal(length, LM_WIRE_HEADER_BYTES);
	return lm_wire_header_decode(bytes, &header, errp);
}

static GByteArray *header(guint type, guint32 length, guint32 fd_count)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, LM_WIRE_MAGIC);
	lm_write_u16(out, LM_WIRE_VERSION);
	lm_write_u16(out, (guint16)type);
	lm_write_u32(out, length);
	lm_write_u32(out, fd_count);
	return out;
}

static GByteArray *with_type(guint64 value)
{
	return header((guint)value, 0, 0);
}

static GByteArray *with_length(guint64 value)
{
	return header(LM_MESSAGE_DATA, (guint32)value, 0);
}

static GByteArray *with_length_of_ready(guint64 value)
{
	return header(LM_MESSAGE_READY, (guint32)value, 0);
}

static GByteArray *with_descriptors(guint64 value)
{
	return header(LM_MESSAGE_PIPES, 0, (guint32)value);
}

/* ------------------------------------------------------------------- hello */

static int decode_hello(const guint8 *payload, gsize length, GError **errp)
{
	LmWireHello hello = {0};
	int rc = lm_wire_hello_decode(payload, length, &hello, errp);

	lm_inventory_free(hello.inventory);
	return rc;
}

typedef struct Hello {
	guint64 pid, page, flags, version, traits, text[4];
} Hello;

static GByteArray *build_hello(const Hello *hello)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u16(out, LM_WIRE_OLDEST);
	lm_write_u32(out, (guint32)hello->pid);
	lm_write_u32(out, (guint32)hello->page);
	lm_write_u32(out, (guint32)hello->flags);
	write_text(out, hello->version);
	lm_write_u32(out, (guint32)hello->traits);
	for (guint64 i = 0; i < hello->traits; i++)
		for (guint j = 0; j < G_N_ELEMENTS(hello->text); j++)
			write_text(out, hello->text[j]);
	return out;
}

#define HELLO(name, member)                                                                        \
	static GByteArray *name(guint64 value)                                                     \
	{                                                                                          \
		Hello hello = {.pid = 1, .page = 4096, .traits = 1};                               \
                                                                                                   \
		hello.member = value;                                                              \
		return build_hello(&hello);                                                        \
	}
HELLO(hello_pid, pid)
HELLO(hello_page, page)
HELLO(hello_flags, flags)
HELLO(hello_version, version)
HELLO(hello_traits, traits)
HELLO(trait_kind, text[0])
HELLO(trait_key, text[1])
HELLO(trait_identity, text[2])
HELLO(trait_label, text[3])

/* ----------------------------------------------------------------- regions */

static int decode_regions(const guint8 *payload, gsize length, GError **errp)
{
	GPtrArray *regions = NULL;
	int rc = lm_wire_regions_decode(payload, length, &regions, errp);

	g_clear_pointer(&regions, g_ptr_array_unref);
	return rc;
}

typedef struct Region {
	guint64 name, used, max, page, flags, has_fd, offset, way, address;
} Region;

static void write_region(GByteArray *out, const Region *region)
{
	write_text(out, region->name);
	lm_write_u64(out, region->used);
	lm_write_u64(out, region->max);
	lm_write_u64(out, region->page);
	lm_write_u32(out, (guint32)region->flags);
	lm_write_u8(out, (guint8)region->has_fd);
	lm_write_u64(out, region->offset);
	lm_write_u64(out, 0);
	lm_write_u64(out, 0);
	lm_write_u32(out, (guint32)region->way);
	lm_write_u64(out, region->address);
}

#define REGION(call, member)                                                                       \
	static GByteArray *call(guint64 value)                                                     \
	{                                                                                          \
		Region region = {                                                                  \
			.name = 1, .used = 4096, .max = 8192, .page = 4096, .address = 4096};      \
		GByteArray *out = g_byte_array_new();                                              \
                                                                                                   \
		region.member = value;                                                             \
		lm_write_u32(out, 1);                                                              \
		write_region(out, &region);                                                        \
		return out;                                                                        \
	}
REGION(region_name, name)
REGION(region_used, used)
REGION(region_page, page)
REGION(region_flags, flags)
REGION(region_has_fd, has_fd)
REGION(region_offset, offset)
REGION(region_way, way)
REGION(region_address, address)

/* No two have one name. */
static GByteArray *region_count(guint64 value)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, (guint32)value);
	for (guint64 i = 0; i < value; i++) {
		const Region region = {.name = 8, .page = 4096};
		const guint at = out->len + 4;
		g_autofree char *name = g_strdup_printf("%08" G_GINT64_MODIFIER "x", i);

		write_region(out, &region);
		memcpy(out->data + at, name, 8);
	}
	return out;
}

/* ---------------------------------------------------------- small payloads */

static int decode_pipes(const guint8 *payload, gsize length, GError **errp)
{
	LmWirePipes pipes;

	return lm_wire_pipes_decode(payload, length, &pipes, errp);
}

static GByteArray *pipes_channels(guint64 value)
{
	return lm_wire_pipes_encode(
		&(LmWirePipes){.channels = (guint32)value, .engine = LM_ENGINE_VMSPLICE});
}

static GByteArray *pipes_engine(guint64 value)
{
	return lm_wire_pipes_encode(&(LmWirePipes){.channels = 1, .engine = (guint32)value});
}

static int decode_state(const guint8 *payload, gsize length, GError **errp)
{
	LmWireState state;

	return lm_wire_state_decode(payload, length, &state, errp);
}

static GByteArray *state_bytes(guint64 value)
{
	return lm_wire_state_encode(&(LmWireState){.bytes = value});
}

static GByteArray *state_flags(guint64 value)
{
	return lm_wire_state_encode(&(LmWireState){.flags = (guint32)value});
}

static int decode_error(const guint8 *payload, gsize length, GError **errp)
{
	g_autoptr(GError) theirs = NULL;

	return lm_wire_error_decode(payload, length, &theirs, errp);
}

static GByteArray *error_text(guint64 value)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, LM_ERROR_FAILED);
	write_text(out, value);
	return out;
}

/* ------------------------------------------------------------------ frames */

#define REGION_BYTES (64u << 20)

static int decode_frame(const guint8 *bytes, gsize length, GError **errp)
{
	LmFrame frame;
	int rc;

	assert_true(length >= LM_FRAME_HEADER_BYTES);
	rc = lm_frame_header_decode(bytes, &frame, errp);
	if (rc < 0)
		return rc;
	assert_int_equal(length, LM_FRAME_HEADER_BYTES + frame.range_count * LM_FRAME_RANGE_BYTES);
	return lm_frame_ranges_decode(bytes + LM_FRAME_HEADER_BYTES, &frame, REGION_BYTES, 4096,
				      errp);
}

typedef struct Frame {
	guint64 region, count, flags, payload, offset, length;
} Frame;

static GByteArray *build_frame(const Frame *frame)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, LM_FRAME_MAGIC);
	lm_write_u32(out, (guint32)frame->region);
	lm_write_u32(out, (guint32)frame->count);
	lm_write_u32(out, (guint32)frame->flags);
	lm_write_u64(out, frame->payload);
	lm_write_u64(out, 0);
	for (guint64 i = 0; i < frame->count; i++) {
		lm_write_u64(out, frame->offset + i * frame->length);
		lm_write_u64(out, frame->length);
	}
	return out;
}

static GByteArray *frame_region(guint64 value)
{
	return build_frame(&(Frame){value, 1, 0, 4096, 0, 4096});
}

static GByteArray *frame_ranges(guint64 value)
{
	return build_frame(&(Frame){0, value, 0, value * 4096, 0, 4096});
}

static GByteArray *frame_flags(guint64 value)
{
	return build_frame(&(Frame){0, 0, value, 0, 0, 0});
}

/* One range; of the lowest value it cannot be a page's, so that one is left to test-frame. */
static GByteArray *frame_payload(guint64 value)
{
	return build_frame(&(Frame){0, 1, 0, value, 0, value});
}

static GByteArray *range_offset(guint64 value)
{
	return build_frame(&(Frame){0, 1, 0, 8192, value, 8192});
}

/* -------------------------------------------------------------------- table */

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define GIB (G_GUINT64_CONSTANT(1) << 30)

static const Bound bounds[] = {
	{"message type", with_type, decode_header, 0, 1, LM_MESSAGE__MAX - 1, LM_MESSAGE__MAX},
	{"message length", with_length, decode_header, NONE, 0, 4 * MIB, 4 * MIB + 1},
	{"ready length", with_length_of_ready, decode_header, NONE, 0, 0, 1},
	{"message descriptors", with_descriptors, decode_header, NONE, 0, 64, 65},
	{"hello process id", hello_pid, decode_hello, 0, 1, G_MAXINT32, GIB * 2},
	{"hello base page", hello_page, decode_hello, 2048, 4096, GIB, GIB * 2},
	{"hello flags", hello_flags, decode_hello, NONE, 0, 1, 2},
	{"hello host version", hello_version, decode_hello, NONE, 0, 256, 257},
	{"hello traits", hello_traits, decode_hello, NONE, 0, 8192, 8193},
	{"trait kind", trait_kind, decode_hello, NONE, 0, 64, 65},
	{"trait key", trait_key, decode_hello, NONE, 0, 1024, 1025},
	{"trait identity", trait_identity, decode_hello, NONE, 0, 4096, 4097},
	{"trait label", trait_label, decode_hello, NONE, 0, 4096, 4097},
	{"regions", region_count, decode_regions, NONE, 0, 1024, 1025},
	{"region name", region_name, decode_regions, 0, 1, 255, 256},
	{"region used size", region_used, decode_regions, NONE, 0, 8192, 12288},
	{"region used size, aligned", region_used, decode_regions, 4095, 4096, 4096, 4097},
	{"region page size", region_page, decode_regions, 2048, 4096, GIB, GIB * 2},
	{"region flags", region_flags, decode_regions, NONE, 0, 15, 16},
	{"region has-fd", region_has_fd, decode_regions, NONE, 0, 1, 2},
	{"region file offset", region_offset, decode_regions, NONE, 0, G_MAXINT64 - 8192,
	 (guint64)G_MAXINT64 - 8191},
	{"region way", region_way, decode_regions, NONE, 0, 2, 3},
	{"region address", region_address, decode_regions, 4095, 4096, -(guint64)12288,
	 -(guint64)8192},
	{"pipes channels", pipes_channels, decode_pipes, 0, 1, 16, 17},
	{"pipes engine", pipes_engine, decode_pipes, 0, 1, 2, 3},
	{"state length", state_bytes, decode_state, NONE, 0, 256 * MIB, 256 * MIB + 1},
	{"state flags", state_flags, decode_state, NONE, 0, 1, 2},
	{"error text", error_text, decode_error, NONE, 0, 4096, 4097},
	{"frame region", frame_region, decode_frame, NONE, 0, 1023, 1024},
	{"frame ranges", frame_ranges, decode_frame, 0, 1, 512, 513},
	{"frame flags", frame_flags, decode_frame, 0, 1, 1, 2},
	{"frame payload", frame_payload, decode_frame, 0, 4096, 2 * MIB, 2 * MIB + 4096},
	{"range offset", range_offset, decode_frame, NONE, 0, REGION_BYTES - 8192,
	 REGION_BYTES - 4096},
	{"range offset, overflow", range_offset, decode_frame, NONE, 0, 0, -(guint64)4096},
};

static void check(const Bound *bound, guint64 value, gboolean good)
{
	g_autoptr(GByteArray) bytes = bound->build(value);
	g_autoptr(GError) error = NULL;
	int rc = bound->decode(bytes->data, bytes->len, &error);

	if ((rc == 0) != good)
		fail_msg("%s: %" G_GUINT64_FORMAT " is %s: %s", bound->name, value,
			 good ? "refused" : "taken", error ? error->message : "no error");
	if (!good)
		assert_true(error && error->domain == LM_ERROR);
}

static void test_bounds(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(bounds); i++) {
		const Bound *bound = &bounds[i];

		if (bound->below != NONE)
			check(bound, bound->below, FALSE);
		check(bound, bound->lowest, TRUE);
		check(bound, bound->highest, TRUE);
		check(bound, bound->above, FALSE);
	}
}

/* A count that promises more than is there allocates nothing for it. */
static void test_promises(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(bounds); i++) {
		const Bound *bound = &bounds[i];
		g_autoptr(GByteArray) bytes = bound->build(bound->highest);
		g_autoptr(GError) error = NULL;

		if (bound->decode == decode_header || bound->decode == decode_frame)
			continue; /* these are of a fixed length */
		assert_true(bound->decode(bytes->data, bytes->len - 1, &error) < 0);
		assert_true(g_error_matches(error, LM_ERROR, LM_ERROR_PROTOCOL));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_bounds), TEST(test_promises)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
