/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of disks that shall move, in a message; see wire.c for the rules. */
#include "wire.h"

#include "wire-buffer.h"

#define DISK_LEAST_BYTES (4 * 4 + 8) /* with empty strings */

GByteArray *lm_wire_disks_encode(GPtrArray *disks)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, disks->len);
	for (guint i = 0; i < disks->len; i++) {
		const LmDisk *disk = g_ptr_array_index(disks, i);

		lm_write_string(out, disk->device, LM_WIRE_KEY_MAX);
		lm_write_string(out, disk->file, LM_WIRE_STRING_MAX);
		lm_write_string(out, disk->format, LM_WIRE_KIND_MAX);
		lm_write_string(out, disk->node, LM_WIRE_KIND_MAX);
		lm_write_u64(out, disk->bandwidth);
	}
	return out;
}

static LmDisk *read_disk(LmReader *reader)
{
	g_autofree char *device = lm_read_string(reader, "device", LM_WIRE_KEY_MAX);
	g_autofree char *file = lm_read_string(reader, "file", LM_WIRE_STRING_MAX);
	g_autofree char *format = lm_read_string(reader, "format", LM_WIRE_KIND_MAX);
	g_autofree char *node = lm_read_string(reader, "node", LM_WIRE_KIND_MAX);
	const guint64 bandwidth = lm_read_u64(reader);

	if (bandwidth > G_MAXINT64)
		lm_reader_fail(reader, "bandwidth %" G_GUINT64_FORMAT " of %s is no bandwidth",
			       bandwidth, device);
	if (reader->failure)
		return NULL;
	if (!*device || !*file || !*format) {
		lm_reader_fail(reader, "a disk has no device, file or format");
		return NULL;
	}
	return lm_disk_new(device, file, format, node, bandwidth);
}

static void check_unique(LmReader *reader, GPtrArray *list, const LmDisk *disk)
{
	for (guint i = 0; i < list->len; i++) {
		const LmDisk *other = g_ptr_array_index(list, i);

		if (!strcmp(other->device, disk->device))
			lm_reader_fail(reader, "disk %s is to move twice", disk->device);
		if (!strcmp(other->file, disk->file))
			lm_reader_fail(reader, "two disks are to move to %s", disk->file);
	}
}

int lm_wire_disks_decode(const guint8 *payload, gsize length, GPtrArray **disks, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "disks"};
	g_autoptr(GPtrArray) list = lm_disks_new();
	const guint32 count = lm_read_count(&reader, "disks", LM_WIRE_DISKS_MAX, DISK_LEAST_BYTES);
	int ret;

	for (guint32 i = 0; i < count && !reader.failure; i++) {
		LmDisk *disk = read_disk(&reader);

		if (!disk)
			break;
		check_unique(&reader, list, disk);
		g_ptr_array_add(list, disk);
	}
	ret = lm_reader_finish(&reader, errp);
	if (ret < 0)
		return ret;
	*disks = g_steal_pointer(&list);
	return 0;
}
