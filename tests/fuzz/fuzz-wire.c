/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages. The first byte of an input says which decoder gets the rest. What is accepted is held
 * against the documented bounds, and must be the same bytes when it is encoded again.
 */
#include "fuzz.h"
#include "inventory.h"
#include "region.h"
#include "wire.h"

static void check_same(GByteArray *encoded, const guint8 *data, gsize size)
{
	g_assert(encoded->len == size && (!size || memcmp(encoded->data, data, size) == 0));
	g_byte_array_unref(encoded);
}

static void fuzz_header(const guint8 *data, gsize size)
{
	guint8 again[LM_WIRE_HEADER_BYTES];
	LmWireHeader header;

	if (size < sizeof(again) || lm_wire_header_decode(data, &header, NULL) < 0)
		return;
	g_assert(header.length <= LM_WIRE_PAYLOAD_MAX && header.fd_count <= LM_WIRE_FDS_MAX);
	g_assert(strcmp(lm_message_name(header.type), "unknown"));
	lm_wire_header_encode(again, &header);
	g_assert(memcmp(again, data, sizeof(again)) == 0);
}

static void fuzz_hello(const guint8 *data, gsize size)
{
	g_autoptr(LmInventory) none = lm_inventory_new();
	LmWireHello hello;

	lm_wire_hello_check(LM_WIRE_VERSION, data, size, NULL);
	if (lm_wire_hello_decode(data, size, &hello, NULL) < 0)
		return;
	g_assert(hello.pid > 0 && hello.inventory->traits->len <= LM_WIRE_TRAITS_MAX);
	g_assert(lm_inventory_compare(hello.inventory, hello.inventory, NULL) == 0 ||
		 hello.inventory->traits->len > 1);
	lm_inventory_compare(hello.inventory, none, NULL);
	check_same(lm_wire_hello_encode(&hello), data, size);
	lm_inventory_free(hello.inventory);
}

static void fuzz_regions(const guint8 *data, gsize size)
{
	g_autoptr(GPtrArray) regions = NULL;
	g_autoptr(GPtrArray) matched = NULL;

	if (lm_wire_regions_decode(data, size, &regions, NULL) < 0)
		return;
	g_assert(regions->len <= LM_WIRE_REGIONS_MAX);
	for (guint i = 0; i < regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(regions, i);

		g_assert(region->used_bytes <= region->max_bytes);
		g_assert((guintptr)region->host + region->max_bytes >= region->max_bytes);
		g_assert(region->fd_offset_bytes + region->max_bytes <= G_MAXINT64);
		g_assert(region->way <= LM_WAY_SHARE && region->fd < 0);
	}
	check_same(lm_wire_regions_encode(regions), data, size);
	lm_regions_match(regions, regions, &matched, NULL);
}

static void fuzz_disks(const guint8 *data, gsize size)
{
	g_autoptr(GPtrArray) disks = NULL;

	if (lm_wire_disks_decode(data, size, &disks, NULL) < 0)
		return;
	g_assert(disks->len <= LM_WIRE_DISKS_MAX);
	for (guint i = 0; i < disks->len; i++) {
		const LmDisk *disk = g_ptr_array_index(disks, i);

		g_assert(*disk->device && *disk->file && *disk->format);
		g_assert(disk->bandwidth <= G_MAXINT64);
	}
	check_same(lm_wire_disks_encode(disks), data, size);
}

static void fuzz_numbers(const guint8 *data, gsize size)
{
	LmWirePass pass;
	LmWirePipes pipes;
	LmWireState state;
	LmWireCommitted committed;
	guint32 u32;
	guint64 u64;

	if (lm_wire_pass_decode(data, size, &pass, NULL) == 0)
		check_same(lm_wire_pass_encode(&pass), data, size);
	if (lm_wire_pipes_decode(data, size, &pipes, NULL) == 0) {
		g_assert(pipes.channels >= 1 && pipes.channels <= LM_CHANNELS_MAX);
		check_same(lm_wire_pipes_encode(&pipes), data, size);
	}
	if (lm_wire_state_decode(data, size, &state, NULL) == 0) {
		g_assert(state.bytes <= LM_WIRE_STATE_BYTES_MAX);
		check_same(lm_wire_state_encode(&state), data, size);
	}
	if (lm_wire_committed_decode(data, size, &committed, NULL) == 0)
		check_same(lm_wire_committed_encode(&committed), data, size);
	if (lm_wire_u32_decode(data, size, &u32, NULL) == 0)
		check_same(lm_wire_u32_encode(u32), data, size);
	if (lm_wire_u64_decode(data, size, &u64, NULL) == 0)
		check_same(lm_wire_u64_encode(u64), data, size);
}

static void fuzz_error(const guint8 *data, gsize size)
{
	g_autoptr(GError) theirs = NULL, ours = NULL;

	if (lm_wire_error_decode(data, size, &theirs, &ours) < 0) {
		g_assert(!theirs && ours && ours->message[0]);
		return;
	}
	g_assert(!ours && theirs->domain == LM_ERROR && theirs->message[0]);
	g_byte_array_unref(lm_wire_error_encode(theirs));
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	static void (*const decoders[])(const guint8 *, gsize) = {
		fuzz_header, fuzz_hello, fuzz_regions, fuzz_numbers, fuzz_error, fuzz_disks,
	};
	Input input = {data, size};
	const guint which = input_u8(&input) % G_N_ELEMENTS(decoders);
	gsize bytes;
	g_autofree guint8 *payload = input_copy(&input, input.left, &bytes);

	decoders[which](payload, bytes);
	return 0;
}
