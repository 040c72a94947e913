/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of RAM regions in a message; see wire.c for the rules. */
#include "wire.h"

#include "wire-buffer.h"

#define REGION_LEAST_BYTES (4 + 3 * 8 + 4 + 1 + 3 * 8 + 4 + 8) /* with an empty name */

#define REGION_FLAGS                                                                               \
	(LM_REGION_SHARED | LM_REGION_RESIZABLE | LM_REGION_NORESERVE | LM_REGION_NAMED_FILE)

G_STATIC_ASSERT(REGION_LEAST_BYTES == 69);

GByteArray *lm_wire_regions_encode(GPtrArray *regions)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, regions->len);
	for (guint i = 0; i < regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(regions, i);

		lm_write_string(out, region->name, LM_WIRE_NAME_MAX);
		lm_write_u64(out, region->used_bytes);
		lm_write_u64(out, region->max_bytes);
		lm_write_u64(out, region->page_bytes);
		lm_write_u32(out, region->flags);
		lm_write_u8(out, region->fd != LM_WIRE_FD_NONE);
		lm_write_u64(out, region->fd_offset_bytes);
		lm_write_u64(out, region->dev);
		lm_write_u64(out, region->ino);
		lm_write_u32(out, region->way);
		lm_write_u64(out, (guintptr)region->host);
	}
	return out;
}

static void check_sizes(LmReader *reader, const LmRegion *region)
{
	const guint64 address = (guintptr)region->host;
	guint64 end;

	if (region->used_bytes % LM_WIRE_PAGE_BYTES_MIN) {
		lm_reader_fail(reader,
			       "used size %" G_GUINT64_FORMAT " of %s is not a multiple of %llu",
			       region->used_bytes, region->name, LM_WIRE_PAGE_BYTES_MIN);
	}
	if (region->used_bytes > region->max_bytes) {
		lm_reader_fail(reader,
			       "used size %" G_GUINT64_FORMAT
			       " of %s is over its maximum %" G_GUINT64_FORMAT,
			       region->used_bytes, region->name, region->max_bytes);
	}
	if (!lm_wire_is_page_size(region->page_bytes)) {
		lm_reader_fail(reader, "page size %" G_GUINT64_FORMAT " of %s is no page size",
			       region->page_bytes, region->name);
	}
	if (address % LM_WIRE_PAGE_BYTES_MIN ||
	    !g_uint64_checked_add(&end, address, region->max_bytes)) {
		lm_reader_fail(reader,
			       "address 0x%" G_GINT64_MODIFIER
			       "x of %s does not fit its maximum %" G_GUINT64_FORMAT,
			       address, region->name, region->max_bytes);
	}
	if (!g_uint64_checked_add(&end, region->fd_offset_bytes, region->max_bytes) ||
	    end > G_MAXINT64) {
		lm_reader_fail(reader,
			       "file offset %" G_GUINT64_FORMAT
			       " of %s does not fit its maximum %" G_GUINT64_FORMAT,
			       region->fd_offset_bytes, region->name, region->max_bytes);
	}
}

static LmRegion *read_region(LmReader *reader)
{
	g_autofree char *name = lm_read_string(reader, "region name", LM_WIRE_NAME_MAX);
	g_autoptr(LmRegion) region = lm_region_new(name ? name : "");
	guint32 flags, way;
	guint8 has_fd;

	region->used_bytes = lm_read_u64(reader);
	region->max_bytes = lm_read_u64(reader);
	region->page_bytes = lm_read_u64(reader);
	flags = lm_read_u32(reader);
	has_fd = lm_read_u8(reader);
	region->fd_offset_bytes = lm_read_u64(reader);
	region->dev = lm_read_u64(reader);
	region->ino = lm_read_u64(reader);
	way = lm_read_u32(reader);
	region->host = (guint8 *)(guintptr)lm_read_u64(reader);

	if (region->name[0] == '\0')
		lm_reader_fail(reader, "a region has no name");
	if (flags & ~(guint32)REGION_FLAGS)
		lm_reader_fail(reader, "flags 0x%x of %s are unknown", flags, region->name);
	if (has_fd > 1)
		lm_reader_fail(reader, "has-fd %u of %s is not 0 or 1", has_fd, region->name);
	if (way > LM_WAY_SHARE)
		lm_reader_fail(reader, "way %u of %s is unknown", way, region->name);
	check_sizes(reader, region);
	region->flags = flags;
	region->fd = has_fd ? LM_WIRE_FD_PEER : LM_WIRE_FD_NONE;
	region->way = way;
	return reader->failure ? NULL : g_steal_pointer(&region);
}

static void free_region(gpointer region)
{
	lm_region_free(region);
}

int lm_wire_regions_decode(const guint8 *payload, gsize length, GPtrArray **regions, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "regions"};
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(free_region);
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
	const guint32 count =
		lm_read_count(&reader, "regions", LM_WIRE_REGIONS_MAX, REGION_LEAST_BYTES);
	int ret;

	for (guint32 i = 0; i < count && !reader.failure; i++) {
		LmRegion *region = read_region(&reader);

		if (!region)
			break;
		g_ptr_array_add(list, region);
		if (!g_hash_table_add(names, region->name))
			lm_reader_fail(&reader, "two regions are called %s", region->name);
	}
	ret = lm_reader_finish(&reader, errp);
	if (ret < 0)
		return ret;
	*regions = g_steal_pointer(&list);
	return 0;
}
