/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the corpora from what the code itself says, and from the golden bytes of the unit tests:
 * fuzz-seeds DIRECTORY. To be run again when the wire format changes.
 */
#include "conversation.h"

#include <zlib.h>

#include "inventory.h"
#include "made-elf.h"
#include "region.h"
#include "wire-golden.h"
#include "wire.h"

#define PAGE 4096u

static const char *top;

static void save(const char *target, const char *name, GByteArray *bytes)
{
	g_autofree char *directory = g_build_filename(top, target, NULL);
	g_autofree char *path = g_build_filename(directory, name, NULL);
	g_autoptr(GError) error = NULL;

	g_mkdir_with_parents(directory, 0755);
	if (!g_file_set_contents(path, (const char *)bytes->data, bytes->len, &error))
		g_error("%s", error->message);
	g_byte_array_unref(bytes);
}

static void put(GByteArray *out, const void *bytes, gsize length)
{
	g_byte_array_append(out, bytes, length);
}

static void put_u8(GByteArray *out, guint8 value)
{
	put(out, &value, 1);
}

static void put_u16(GByteArray *out, guint16 value)
{
	value = GUINT16_TO_LE(value);
	put(out, &value, sizeof(value));
}

/* A new array: @first, and what is in @rest, which it takes (NULL: nothing). */
static GByteArray *behind(guint8 first, GByteArray *rest)
{
	GByteArray *out = g_byte_array_new();

	put_u8(out, first);
	if (rest) {
		put(out, rest->data, rest->len);
		g_byte_array_unref(rest);
	}
	return out;
}

/* ---------------------------------------------------------------- messages */

static GByteArray *hello(gboolean rehearse)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmWireHello message = {.oldest_version = LM_WIRE_OLDEST,
				     .pid = 1234,
				     .base_page_bytes = PAGE,
				     .flags = rehearse ? LM_WIRE_HELLO_REHEARSE : 0,
				     .inventory = inventory};

	lm_inventory_add_trait(inventory, "machine type", "", "made-up-1.0", NULL);
	return lm_wire_hello_encode(&message);
}

static void add_region(GPtrArray *list, const char *name, guint64 bytes, LmWay way, guint64 address)
{
	LmRegion *region = lm_region_new(name);

	region->used_bytes = region->max_bytes = bytes;
	region->way = way;
	region->host = (guint8 *)(guintptr)address;
	if (way == LM_WAY_PASS)
		region->flags = LM_REGION_SHARED;
	region->fd = way == LM_WAY_PASS ? LM_WIRE_FD_PEER : LM_WIRE_FD_NONE;
	g_ptr_array_add(list, region);
}

static GByteArray *regions(LmWay way, guint64 address)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);

	add_region(list, "ram", SCRIPT_RAM_BYTES, way, address);
	add_region(list, "shared", SCRIPT_SHARED_BYTES, LM_WAY_PASS, 0x1000);
	return lm_wire_regions_encode(list);
}

static GByteArray *pipes(LmEngine engine)
{
	const LmWirePipes message = {SCRIPT_CHANNELS, engine, FUZZ_ADDRESS, FUZZ_ADDRESS};

	return lm_wire_pipes_encode(&message);
}

static GByteArray *pass(guint32 region)
{
	const LmWirePass message = {.region = region};

	return lm_wire_pass_encode(&message);
}

static GByteArray *error(void)
{
	g_autoptr(GError) said = g_error_new(LM_ERROR, LM_ERROR_CANCELLED, "the seed wants it");

	return lm_wire_error_encode(said);
}

static void save_messages(void)
{
	const LmWireState state = {4096, 0x12345678, LM_WIRE_STATE_AS_HINTED};
	const LmWireCommitted committed = {1, {2, 3, 4, 5}};
	const LmWireHeader header = {LM_WIRE_VERSION, LM_MESSAGE_PIPES, 24, 4};
	GByteArray *golden = behind(1, NULL), *head = behind(0, NULL), *list = behind(2, NULL),
		   *disks;
	guint8 bytes[LM_WIRE_HEADER_BYTES];

	lm_wire_header_encode(bytes, &header);
	put(head, bytes, sizeof(bytes));
	save("wire", "header", head);
	put(golden, golden_hello, sizeof(golden_hello));
	save("wire", "hello", golden);
	put(list, golden_regions, sizeof(golden_regions));
	save("wire", "regions", list);
	disks = behind(5, NULL);
	put(disks, golden_disks, sizeof(golden_disks));
	save("wire", "disks", disks);
	save("wire", "pass", behind(3, pass(1)));
	save("wire", "pipes", behind(3, pipes(LM_ENGINE_VMSPLICE)));
	save("wire", "state", behind(3, lm_wire_state_encode(&state)));
	save("wire", "committed", behind(3, lm_wire_committed_encode(&committed)));
	save("wire", "u32", behind(3, lm_wire_u32_encode(7)));
	save("wire", "u64", behind(3, lm_wire_u64_encode(7)));
	save("wire", "error", behind(4, error()));
}

/* ------------------------------------------------------------------ frames */

/* Pages @first and @first + 2, or an END after @sum bytes. */
static GByteArray *frame(guint64 first, gboolean end, guint64 sum)
{
	g_autofree LmFrame *frame = g_new0(LmFrame, 1);
	guint8 bytes[LM_FRAME_BYTES_MAX];
	GByteArray *out = g_byte_array_new();

	frame->flags = end ? LM_FRAME_END : 0;
	frame->payload_bytes = end ? sum : 2 * PAGE;
	frame->range_count = end ? 0 : 2;
	frame->address = FUZZ_ADDRESS;
	frame->range[0] = (LmRange){first * PAGE, PAGE};
	frame->range[1] = (LmRange){(first + 2) * PAGE, PAGE};
	put(out, bytes, lm_frame_encode(bytes, frame));
	return out;
}

/* One range of @pages from @first on, in a sender's memory at @address. */
static GByteArray *range(guint64 first, guint pages, guint64 address)
{
	g_autofree LmFrame *frame = g_new0(LmFrame, 1);
	guint8 bytes[LM_FRAME_BYTES_MAX];
	GByteArray *out = g_byte_array_new();

	frame->payload_bytes = (guint64)pages * PAGE;
	frame->range_count = 1;
	frame->address = address;
	frame->range[0] = (LmRange){first * PAGE, frame->payload_bytes};
	put(out, bytes, lm_frame_encode(bytes, frame));
	return out;
}

static void save_frames(void)
{
	static const char *const names[] = {"body", "end"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		GByteArray *out = g_byte_array_new();
		g_autoptr(GByteArray) bytes = frame(1, i, 4096);

		put_u16(out, 64);
		put(out, bytes->data, bytes->len);
		save("frame", names[i], out);
	}
}

/* A part of an input of fuzz-flip. */
static void put_part(GByteArray *out, guint8 channel, GByteArray *bytes)
{
	put_u8(out, channel);
	put_u16(out, bytes->len);
	put(out, bytes->data, bytes->len);
	g_byte_array_unref(bytes);
}

static void save_flip(const char *name, guint8 how, gboolean pages, guint64 first)
{
	GByteArray *out = behind(how, NULL);

	for (guint i = 0; i < 2; i++) {
		put_part(out, i, frame(first + 8 * i, FALSE, 0));
		if (pages) {
			put_u8(out, 0x80 | i);
			put_u16(out, 2);
		}
	}
	for (guint i = 0; i < 2; i++)
		put_part(out, i, frame(0, TRUE, how & 8 ? 2 * PAGE : 4 * PAGE));
	save("flip", name, out);
}

/* The same frame twice, with its pages: on one channel, or with 8 in @how on two. */
static void save_range(const char *name, guint8 how, guint pages, guint64 address)
{
	GByteArray *out = behind(how, NULL);

	for (guint i = 0; i < 2; i++) {
		guint8 channel = how & 8 ? i : 0;

		put_part(out, channel, range(1, pages, address));
		put_u8(out, 0x80 | channel);
		put_u16(out, pages);
	}
	save("flip", name, out);
}

/* For the block that is passed. */
static void save_passed(void)
{
	GByteArray *out = behind(0, NULL), *bytes = range(0, 1, 0);

	bytes->data[4] = 1; /* the block's number */
	put_part(out, 0, bytes);
	save("flip", "passed", out);
}

static void save_flips(void)
{
	save_passed();
	save_range("twice", 0, 1, 0);
	save_range("twice-on-two", 8, 80, 0);
	save_range("wide", 0, 80, 0);
	save_range("wide-ring", 2, 80, 0);
	save_range("overflow", 1, 1, G_MAXUINT64 - PAGE);
	save_flip("huge-unwritable", 20, TRUE, 0);
	save_flip("vmsplice", 0, TRUE, 1);
	save_flip("ring", 2, TRUE, 1);
	save_flip("two-channels", 8, TRUE, 1);
	save_flip("readv", 1, FALSE, 1);
	save_flip("readv-two", 9, FALSE, 1);
	save_flip("readv-no-acknowledgement", 33, FALSE, 1);
	save_flip("huge", 4, TRUE, 1);
	save_flip("unwritable", 16, TRUE, 0);
	save_flip("two-windows", 0, TRUE, 511);
	save_flip("outside", 0, TRUE, 514);
}

/* ----------------------------------------------------------- conversations */

static void say(GByteArray *out, guint8 type, guint8 kind, guint8 after, GByteArray *payload)
{
	put_u8(out, type);
	put_u8(out, kind);
	put_u8(out, after);
	put_u16(out, payload ? payload->len : 0);
	if (payload)
		put(out, payload->data, payload->len);
	if (payload)
		g_byte_array_unref(payload);
}

static GByteArray *device_state(const char *text, gboolean head)
{
	LmWireState state = {.bytes = strlen(text) + 1};
	GByteArray *out = g_byte_array_new();

	state.crc = crc32(0, (const guint8 *)text, state.bytes);
	if (head) {
		g_byte_array_unref(out);
		return lm_wire_state_encode(&state);
	}
	put(out, text, state.bytes);
	return out;
}

enum { SEED_READV = 1, SEED_REHEARSE = 2, SEED_SHARE = 4, SEED_RETURN = 8, SEED_WITHDRAWN = 16 };

/* What a source says to the destination. */
static void save_destination(const char *name, guint how)
{
	const LmEngine engine = how & SEED_READV ? LM_ENGINE_PROCESS_VM_READV : LM_ENGINE_VMSPLICE;
	const gboolean share = (how & (SEED_SHARE | SEED_REHEARSE)) != 0;
	GByteArray *out = g_byte_array_new();

	say(out, LM_MESSAGE_HELLO, how & SEED_WITHDRAWN ? SCRIPT_FD_WITHDRAWN : SCRIPT_FD_LEDGER, 0,
	    hello(how & SEED_REHEARSE));
	say(out, LM_MESSAGE_REGIONS, 0, 0,
	    regions(share ? LM_WAY_SHARE : LM_WAY_FLIP, 0x7f0000000000));
	say(out, LM_MESSAGE_PIPES, SCRIPT_FD_PIPES, 0, pipes(engine));
	say(out, LM_MESSAGE_PROGRESS, 0, 0, lm_wire_u64_encode(4096));
	say(out, LM_MESSAGE_PASS, SCRIPT_FD_MEMORY, 0, pass(1));
	say(out, LM_MESSAGE_SHARED, 0, 0, lm_wire_u64_encode(7));
	if (share)
		say(out, LM_MESSAGE_PASS, SCRIPT_FD_MEMORY, 0, pass(0));
	say(out, LM_MESSAGE_FLIP, 0, 0, NULL);
	for (guint i = 0; !share && i < SCRIPT_CHANNELS; i++) {
		say(out, SCRIPT_FRAMES, i, 0, frame(1 + 8 * i, FALSE, 0));
		if (!(how & SEED_READV))
			say(out, SCRIPT_PAGES, i, 0, behind(2, NULL));
		say(out, SCRIPT_FRAMES, i, 0, frame(0, TRUE, 2 * PAGE));
	}
	if (how & SEED_RETURN) {
		say(out, LM_MESSAGE_RETURN, 0, 0, lm_wire_u64_encode(engine));
		say(out, LM_MESSAGE_BYE, 0, 0, NULL);
	}
	say(out, LM_MESSAGE_STATE, 0, 0, device_state("devices", TRUE));
	say(out, LM_MESSAGE_DATA, 0, 0, device_state("devices", FALSE));
	if (how & SEED_REHEARSE)
		say(out, LM_MESSAGE_BYE, 0, 0, NULL);
	save("destination", name, out);
}

static void save_destinations(void)
{
	GByteArray *out = g_byte_array_new();

	save_destination("flip", 0);
	save_destination("readv", SEED_READV);
	save_destination("share", SEED_SHARE);
	save_destination("rehearsal", SEED_REHEARSE);
	save_destination("return", SEED_RETURN);
	save_destination("return-readv", SEED_RETURN | SEED_READV);
	save_destination("withdrawn", SEED_WITHDRAWN);
	say(out, LM_MESSAGE_HELLO, SCRIPT_FD_LEDGER, 0, hello(FALSE));
	say(out, LM_MESSAGE_ERROR, 0, 0, error());
	save("destination", "error", out);
	out = g_byte_array_new();
	for (guint kind = 0; kind < SCRIPT_FD__MAX; kind++)
		say(out, LM_MESSAGE_HELLO, kind, 0, hello(FALSE));
	save("destination", "descriptors", out);
}

/* What a destination says to the source: 128 KiB of its RAM have content. */
static void save_source(const char *name, guint how)
{
	const guint64 address = how & SEED_READV ? FUZZ_ADDRESS : 0x7f0000000000;
	const LmWireCommitted committed = {1, {2, 3, 4, 5}};
	GByteArray *out = g_byte_array_new();

	say(out, LM_MESSAGE_HELLO, 0, LM_MESSAGE_HELLO, hello(FALSE));
	say(out, LM_MESSAGE_REGIONS, 0, LM_MESSAGE_REGIONS, regions(LM_WAY_FLIP, address));
	say(out, LM_MESSAGE_READY, 0, LM_MESSAGE_PIPES, NULL);
	say(out, LM_MESSAGE_READY, 0, LM_MESSAGE_SHARED, NULL);
	say(out, LM_MESSAGE_FLIPPED, 0, LM_MESSAGE_FLIP, lm_wire_u64_encode(128 << 10));
	if (how & SEED_RETURN) {
		say(out, LM_MESSAGE_ERROR, 0, LM_MESSAGE_DATA, error());
		for (guint i = 0; i < SCRIPT_CHANNELS; i++) {
			say(out, SCRIPT_FRAMES, i, i ? 0 : LM_MESSAGE_RETURN,
			    frame(1 + 4 * i, FALSE, 0));
			if (!(how & SEED_READV))
				say(out, SCRIPT_PAGES, i, 0, behind(2, NULL));
			say(out, SCRIPT_FRAMES, i, 0, frame(0, TRUE, 2 * PAGE));
		}
		say(out, LM_MESSAGE_RETURNED, 0, 0, lm_wire_u64_encode(4 * PAGE));
	} else {
		say(out, LM_MESSAGE_READY, 0, LM_MESSAGE_DATA, NULL);
		if (!(how & SEED_WITHDRAWN))
			say(out, SCRIPT_TAKE, 0, 0, NULL);
		say(out, LM_MESSAGE_COMMITTED, 0, 0, lm_wire_committed_encode(&committed));
	}
	save("source", name, out);
}

static void save_sources(void)
{
	GByteArray *out = g_byte_array_new();

	save_source("committed", 0);
	save_source("not-taken", SEED_WITHDRAWN);
	save_source("return", SEED_RETURN);
	save_source("return-readv", SEED_RETURN | SEED_READV);
	say(out, LM_MESSAGE_HELLO, 0, LM_MESSAGE_HELLO, hello(FALSE));
	say(out, LM_MESSAGE_ERROR, 0, LM_MESSAGE_REGIONS, error());
	save("source", "error", out);
}

/* --------------------------------------------------------------- the others */

static void save_text(const char *target, const char *name, const char *text, gsize bytes)
{
	GByteArray *out = g_byte_array_new();

	put(out, text, bytes);
	save(target, name, out);
}

#define TEXT(target, name, text) save_text(target, name, text, sizeof(text) - 1)

static void save_texts(void)
{
	TEXT("command-line", "usual",
	     "/usr/bin/qemu-system-x86_64\0-M\0pc-q35-7.2,accel=kvm\0-m\0"
	     "1G\0-nodefaults\0-chardev\0socket,id=c0,path=/run/a,,b,server=on,wait=off\0"
	     "-netdev\0tap,id=n0,fd=23\0disk.img\0");
	TEXT("command-line", "json",
	     "qemu\0--device\0{\"driver\":\"virtio-net\",\"id\":\"n0\"}\0-S\0-name\0it's \"a\" "
	     "$VM\0");
	TEXT("command-line", "switches", "q\0-chardev\0null,nowait,noid,x\0-drive\0if=none,,=\0");
	TEXT("proc", "maps",
	     "00400000-0040b000 r-xp 00000000 fd:00 1234  /usr/bin/qemu system (deleted)\n"
	     "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n"
	     "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0  [stack]\n");
	TEXT("proc", "stat",
	     "77 (a) (b c) S 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 4 0 123456 1 2 3\n");
	TEXT("proc", "status",
	     "Name:\tqemu\nUid:\t1000 1000 1000 1000\nVmRSS:\t  123 kB\n"
	     "TracerPid:\t0\nSeccomp:\t2\n");
	TEXT("proc", "syscall", "271 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8\n");
	TEXT("pagemap", "scan", "\1\2\1\0\2\0\10\5\0\7\0\0\0");
	TEXT("pagemap", "scan-goes-on", "\1\1\0\0\1\0\10\1\20\0\1\2\0\3\0\10\0");
	TEXT("pagemap", "pagemap", "\2\0\10\200\100\0\200\0\10\40\240\0\0");
	TEXT("pagemap", "scan-fails", "\0\347\0\10\200\200");
	TEXT("pagemap", "outside", "\1\1\0\100\1\100\10\0");
	TEXT("arguments", "migrate", "\0\0\0\16unix:/run/vm.s\1\1\0\0\0\0\0\0\0\4");
	TEXT("arguments", "share", "\0\0\0\7unix:/x\5\0\5share\6\2\0\0\0\0\0\0\0\1");
	TEXT("arguments", "incoming", "\1\0\0\7unix:@a");
	TEXT("arguments", "query", "\2");
}

static void save_elf(const char *name, gboolean endless)
{
	GByteArray *out = behind(endless, NULL);
	MadeElf elf;

	made_elf(&elf, endless);
	put(out, &elf, sizeof(elf));
	save("elf", name, out);
}

int main(int argc, char **argv)
{
	g_assert(argc == 2);
	top = argv[1];
	save_messages();
	save_frames();
	save_flips();
	save_destinations();
	save_sources();
	save_texts();
	save_elf("object", FALSE);
	save_elf("endless", TRUE);
	return 0;
}
