/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The wire format: encode and decode, no I/O. docs/wire.md is its description for people.
 *
 * All integers are little-endian. A message is a header of 16 bytes and a payload:
 *
 *     0        4         6      8          12         16
 *     | magic  | version | type | length   | fd_count | payload ...
 *       u32      u16       u16    u32        u32
 *
 * length counts the payload; fd_count the descriptors that come with the header's first byte.
 * Strings are a u32 of their length in bytes, then the bytes, with no NUL, valid UTF-8.
 */
#ifndef LM_LOCAL_WIRE_H
#define LM_LOCAL_WIRE_H

#include <migration/localhost.h>

#define LM_WIRE_MAGIC		 0x474d4c51u /* "QLMG" as it stands on the wire */
#define LM_WIRE_VERSION		 3
#define LM_WIRE_OLDEST		 3 /* the oldest version this code can speak to */
#define LM_WIRE_HEADER_BYTES	 16
#define LM_WIRE_PAYLOAD_MAX	 (4u << 20)
#define LM_WIRE_FDS_MAX		 64
#define LM_WIRE_STRING_MAX	 4096
#define LM_WIRE_HOST_VERSION_MAX 256
#define LM_WIRE_KIND_MAX	 64   /* of a trait; its other strings: ... */
#define LM_WIRE_KEY_MAX		 1024 /* ... the key, and LM_WIRE_STRING_MAX */
#define LM_WIRE_NAME_MAX	 255  /* of a region */
#define LM_WIRE_PAGE_BYTES_MIN	 4096ull
#define LM_WIRE_PAGE_BYTES_MAX	 (1ull << 30)
#define LM_WIRE_TRAITS_MAX	 8192
#define LM_WIRE_REGIONS_MAX	 1024
#define LM_WIRE_DISKS_MAX	 64
#define LM_WIRE_STATE_BYTES_MAX	 (256ull << 20)

typedef enum LmMessageType {
	LM_MESSAGE_HELLO = 1, /* both ways; from the source with the ledger's descriptor */
	LM_MESSAGE_REGIONS,   /* both ways; the destination's tells how it will take each */
	LM_MESSAGE_PASS,      /* source: LmWirePass, and the descriptor of a region's memory */
	LM_MESSAGE_PIPES,     /* source: LmWirePipes, and two descriptors a channel */
	LM_MESSAGE_READY,     /* destination: that is in place, go on (empty) */
	LM_MESSAGE_FLIP,      /* source: the VM is stopped, pages follow in the pipes (empty) */
	LM_MESSAGE_FLIPPED,   /* destination: u64 bytes received in all */
	LM_MESSAGE_STATE,     /* source: LmWireState; that many bytes follow in data messages */
	LM_MESSAGE_COMMITTED, /* destination: LmWireCommitted; the VM runs there */
	LM_MESSAGE_ERROR,     /* both ways: u32 LmErrorCode, string text */
	LM_MESSAGE_RETURN,    /* source: u64 LmEngine: send the pages back by it */
	LM_MESSAGE_RETURNED,  /* destination: u64 bytes sent back in all */
	LM_MESSAGE_BYE,	      /* source: nothing of the VM is in you any more (empty) */
	LM_MESSAGE_DATA,      /* source: the next part of the device state, as it is */
	LM_MESSAGE_PROGRESS,  /* source: u64 bytes shared so far; sharing goes on */
	LM_MESSAGE_SHARED,    /* source: that was all before the VM stops; the host's hint */
	LM_MESSAGE_DISKS,     /* source: the disks that shall move; answered by ready */
	LM_MESSAGE__MAX,
} LmMessageType;
const char *lm_message_name(LmMessageType type); /* "hello"; never NULL */

typedef struct LmWireHeader {
	guint16 version;
	guint16 type;
	guint32 length;
	guint32 fd_count;
} LmWireHeader;

void lm_wire_header_encode(guint8 out[LM_WIRE_HEADER_BYTES], const LmWireHeader *header);
/*
 * Refuses a wrong magic, an unknown type, what is over the bounds above, and a payload where the
 * type has none. A hello and an error are accepted from any version, for they are what tells two
 * versions that they differ; any other message must be of LM_WIRE_VERSION.
 */
int lm_wire_header_decode(const guint8 in[LM_WIRE_HEADER_BYTES], LmWireHeader *header,
			  GError **errp);

/*
 * Whether a peer that speaks the versions @peer_oldest to @peer_version can be spoken to;
 * -EPROTONOSUPPORT (LM_ERROR_REFUSED) names both ranges.
 */
int lm_wire_version_check(guint16 peer_version, guint16 peer_oldest, GError **errp);

/*
 * A hello begins with u16 oldest version in every version of the protocol, and an error is the
 * same in all of them; the rest of a hello may change. So before lm_wire_hello_decode:
 * lm_wire_hello_check takes header.version and the payload, and does lm_wire_version_check.
 */
int lm_wire_hello_check(guint16 peer_version, const guint8 *payload, gsize length, GError **errp);

#define LM_WIRE_HELLO_REHEARSE (1u << 0) /* the destination must not run the VM */

typedef struct LmWireHello {
	guint16 oldest_version;
	gint32 pid;
	guint32 base_page_bytes;
	guint32 flags;		/* LM_WIRE_HELLO_...; the destination's are 0 */
	LmInventory *inventory; /* host_version and traits; its regions stay empty */
} LmWireHello;

typedef struct LmWirePass {
	guint32 region;	      /* its place in the list of regions */
	guint64 offset_bytes; /* where its memory begins in the file */
} LmWirePass;

typedef struct LmWirePipes {
	guint32 channels;      /* 1 to LM_CHANNELS_MAX */
	guint32 engine;	       /* LM_ENGINE_VMSPLICE or LM_ENGINE_PROCESS_VM_READV */
	guint64 probe_address; /* a word in the source that a process_vm_readv should read ... */
	guint64 probe_value;   /* ... as this */
} LmWirePipes;

#define LM_WIRE_STATE_AS_HINTED (1u << 0) /* the hint of shared was still true */

typedef struct LmWireState {
	guint64 bytes;
	guint32 crc;   /* CRC-32 as zlib and Ethernet have it */
	guint32 flags; /* LM_WIRE_STATE_... */
} LmWireState;

typedef struct LmWireCommitted {
	gint64 run_ns;	    /* CLOCK_MONOTONIC when the VM ran again */
	gint64 pause_us[4]; /* LM_PAUSE_MAP, _LOAD, _ACTIVATE, _START */
} LmWireCommitted;

/*
 * Payloads. Encoders return a new GByteArray (cannot fail on what this process built). Decoders
 * take a payload of @length bytes, check every bound, and refuse bytes left over. A decoded
 * inventory is the caller's.
 */
GByteArray *lm_wire_hello_encode(const LmWireHello *hello);
int lm_wire_hello_decode(const guint8 *payload, gsize length, LmWireHello *hello, GError **errp);
/*
 * A list of LmRegion: string name, u64 used, u64 max, u64 page, u32 flags, u8 has-fd, u64 fd
 * offset, u64 dev, u64 ino, u32 way, u64 address. In a decoded region host is the address in the
 * peer, not to be touched here, and fd is LM_WIRE_FD_NONE or LM_WIRE_FD_PEER, which tells that the
 * peer has a descriptor and is none itself.
 */
gboolean lm_wire_is_page_size(guint64 bytes); /* 4 KiB to 1 GiB, a power of two */
#define LM_WIRE_FD_NONE (-1)
#define LM_WIRE_FD_PEER (-2)
GByteArray *lm_wire_regions_encode(GPtrArray *regions);
int lm_wire_regions_decode(const guint8 *payload, gsize length, GPtrArray **regions, GError **errp);
/* A list of LmDisk: string device, string file, string format, string node, u64
 * bandwidth; no two alike. */
GByteArray *lm_wire_disks_encode(GPtrArray *disks);
int lm_wire_disks_decode(const guint8 *payload, gsize length, GPtrArray **disks, GError **errp);
GByteArray *lm_wire_pass_encode(const LmWirePass *pass);
int lm_wire_pass_decode(const guint8 *payload, gsize length, LmWirePass *pass, GError **errp);
GByteArray *lm_wire_pipes_encode(const LmWirePipes *pipes);
int lm_wire_pipes_decode(const guint8 *payload, gsize length, LmWirePipes *pipes, GError **errp);
GByteArray *lm_wire_state_encode(const LmWireState *state);
int lm_wire_state_decode(const guint8 *payload, gsize length, LmWireState *state, GError **errp);
GByteArray *lm_wire_committed_encode(const LmWireCommitted *committed);
int lm_wire_committed_decode(const guint8 *payload, gsize length, LmWireCommitted *committed,
			     GError **errp);
GByteArray *lm_wire_u32_encode(guint32 value);
int lm_wire_u32_decode(const guint8 *payload, gsize length, guint32 *value, GError **errp);
GByteArray *lm_wire_u64_encode(guint64 value);
int lm_wire_u64_decode(const guint8 *payload, gsize length, guint64 *value, GError **errp);
GByteArray *lm_wire_error_encode(const GError *error);
/*
 * Sets *peer_error to the peer's, with code LM_ERROR_PEER unless the code is one of REFUSED,
 * CANCELLED, which are kept. *peer_error must be NULL before.
 */
int lm_wire_error_decode(const guint8 *payload, gsize length, GError **peer_error, GError **errp);

/*
 * Frames, which travel in the pipes: a header of 32 bytes, range_count ranges of 16 bytes, and,
 * with the vmsplice engine, payload_bytes of pages.
 *
 *     0       4        8             12      16              24        32
 *     | magic | region | range_count | flags | payload_bytes | address | ranges ... pages ...
 *
 * The last frame of a channel has LM_FRAME_END, no range, and in payload_bytes the sum of all
 * its frames before.
 */
#define LM_FRAME_MAGIC	      0x464d4c51u /* "QLMF" */
#define LM_FRAME_HEADER_BYTES 32
#define LM_FRAME_RANGE_BYTES  16
#define LM_FRAME_RANGES_MAX   512
#define LM_FRAME_PAYLOAD_MAX  (2u << 20)
#define LM_FRAME_BYTES_MAX    (LM_FRAME_HEADER_BYTES + LM_FRAME_RANGES_MAX * LM_FRAME_RANGE_BYTES)
#define LM_FRAME_END	      (1u << 0)

typedef struct LmRange {
	guint64 offset_bytes; /* from the region's start */
	guint64 length_bytes;
} LmRange;

typedef struct LmFrame {
	guint32 region; /* index in the regions message */
	guint32 range_count;
	guint32 flags;
	guint64 payload_bytes;
	guint64 address; /* of the region in the sender, for process_vm_readv */
	LmRange range[LM_FRAME_RANGES_MAX];
} LmFrame;

/* Returns the encoded length: header and ranges. @out has LM_FRAME_BYTES_MAX bytes. */
gsize lm_frame_encode(guint8 *out, const LmFrame *frame);
/* Header only: fills everything but the ranges; checks magic, counts, flags, and the bounds. */
int lm_frame_header_decode(const guint8 in[LM_FRAME_HEADER_BYTES], LmFrame *frame, GError **errp);
/*
 * The ranges of a frame whose header was decoded; @in has range_count * 16 bytes. Checks that
 * they ascend, do not overlap, are aligned to @base_page_bytes, lie within @region_bytes, and
 * sum up to payload_bytes.
 */
int lm_frame_ranges_decode(const guint8 *in, LmFrame *frame, guint64 region_bytes,
			   guint64 base_page_bytes, GError **errp);

#endif
