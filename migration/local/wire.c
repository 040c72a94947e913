/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages. What comes from the peer is checked here, once and completely: whoever gets a decoded
 * struct need not ask again whether a count, a size or a string is sane. Two rules:
 *   - nothing is allocated on the word of a count: a list's count is first held against the
 *     bytes that are there;
 *   - sums of sizes and addresses are checked for overflow, as they end up in pointers.
 */
#include "wire.h"

#include "wire-buffer.h"

#define STRING_LEAST_BYTES 4
#define TRAIT_LEAST_BYTES  (4 * STRING_LEAST_BYTES)

G_STATIC_ASSERT(LM_WIRE_HEADER_BYTES == 2 * sizeof(guint16) + 3 * sizeof(guint32));
G_STATIC_ASSERT(sizeof(((LmWireHeader *)0)->length) == sizeof(guint32));
G_STATIC_ASSERT(TRAIT_LEAST_BYTES == 16);
G_STATIC_ASSERT(LM_WIRE_FDS_MAX >= 2 * LM_CHANNELS_MAX);
G_STATIC_ASSERT(LM_WIRE_OLDEST <= LM_WIRE_VERSION);

static const struct {
	const char *name;
	gboolean empty;
} types[LM_MESSAGE__MAX] = {
	[LM_MESSAGE_HELLO] = {"hello", FALSE},
	[LM_MESSAGE_REGIONS] = {"regions", FALSE},
	[LM_MESSAGE_PASS] = {"pass", FALSE},
	[LM_MESSAGE_PIPES] = {"pipes", FALSE},
	[LM_MESSAGE_READY] = {"ready", TRUE},
	[LM_MESSAGE_FLIP] = {"flip", TRUE},
	[LM_MESSAGE_FLIPPED] = {"flipped", FALSE},
	[LM_MESSAGE_STATE] = {"state", FALSE},
	[LM_MESSAGE_COMMITTED] = {"committed", FALSE},
	[LM_MESSAGE_ERROR] = {"error", FALSE},
	[LM_MESSAGE_RETURN] = {"return", FALSE},
	[LM_MESSAGE_RETURNED] = {"returned", FALSE},
	[LM_MESSAGE_BYE] = {"bye", TRUE},
	[LM_MESSAGE_DATA] = {"data", FALSE},
	[LM_MESSAGE_PROGRESS] = {"progress", FALSE},
	[LM_MESSAGE_SHARED] = {"shared", FALSE},
	[LM_MESSAGE_DISKS] = {"disks", FALSE},
};

static gboolean known_type(guint type)
{
	return type < LM_MESSAGE__MAX && types[type].name;
}

const char *lm_message_name(LmMessageType type)
{
	return known_type(type) ? types[type].name : "unknown";
}

/* ----------------------------------------------------------------- header */

void lm_wire_header_encode(guint8 out[LM_WIRE_HEADER_BYTES], const LmWireHeader *header)
{
	lm_put_u32(out, LM_WIRE_MAGIC);
	lm_put_u16(out + 4, header->version);
	lm_put_u16(out + 6, header->type);
	lm_put_u32(out + 8, header->length);
	lm_put_u32(out + 12, header->fd_count);
}

static int header_check(const LmWireHeader *header, GError **errp)
{
	if (!known_type(header->type)) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "unknown message type %u",
			       header->type);
	}
	if (header->version != LM_WIRE_VERSION && header->type != LM_MESSAGE_HELLO &&
	    header->type != LM_MESSAGE_ERROR) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%s message has version %u instead of %u",
			       lm_message_name(header->type), header->version, LM_WIRE_VERSION);
	}
	if (header->length > LM_WIRE_PAYLOAD_MAX) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%s message of %u bytes is over the limit of %u",
			       lm_message_name(header->type), header->length, LM_WIRE_PAYLOAD_MAX);
	}
	if (types[header->type].empty && header->length) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "%s message has %u bytes, not 0",
			       lm_message_name(header->type), header->length);
	}
	if (header->fd_count > LM_WIRE_FDS_MAX) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%s message with %u descriptors is over the limit of %u",
			       lm_message_name(header->type), header->fd_count, LM_WIRE_FDS_MAX);
	}
	return 0;
}

int lm_wire_header_decode(const guint8 in[LM_WIRE_HEADER_BYTES], LmWireHeader *header,
			  GError **errp)
{
	const guint32 magic = lm_get_u32(in);
	const LmWireHeader decoded = {
		.version = lm_get_u16(in + 4),
		.type = lm_get_u16(in + 6),
		.length = lm_get_u32(in + 8),
		.fd_count = lm_get_u32(in + 12),
	};
	int ret;

	if (magic != LM_WIRE_MAGIC) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a message begins with 0x%08x, not 0x%08x", magic, LM_WIRE_MAGIC);
	}
	ret = header_check(&decoded, errp);
	if (ret < 0)
		return ret;
	*header = decoded;
	return 0;
}

/* ------------------------------------------------------------------ hello */

int lm_wire_version_check(guint16 peer_version, guint16 peer_oldest, GError **errp)
{
	if (peer_oldest <= LM_WIRE_VERSION && LM_WIRE_OLDEST <= peer_version)
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, EPROTONOSUPPORT,
		       "the peer speaks protocol versions %u to %u, this process %u to %u",
		       peer_oldest, peer_version, LM_WIRE_OLDEST, LM_WIRE_VERSION);
}

int lm_wire_hello_check(guint16 peer_version, const guint8 *payload, gsize length, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "hello"};
	const guint16 peer_oldest = lm_read_u16(&reader);

	/* The rest is in the peer's version, and nobody's business yet. */
	reader.left = 0;
	return lm_reader_finish(&reader, errp)
		       ?: lm_wire_version_check(peer_version, peer_oldest, errp);
}

GByteArray *lm_wire_hello_encode(const LmWireHello *hello)
{
	GByteArray *out = g_byte_array_new();
	const GPtrArray *traits = hello->inventory->traits;

	lm_write_u16(out, hello->oldest_version);
	lm_write_u32(out, (guint32)hello->pid);
	lm_write_u32(out, hello->base_page_bytes);
	lm_write_u32(out, hello->flags);
	lm_write_string(out, hello->inventory->host_version, LM_WIRE_HOST_VERSION_MAX);
	lm_write_u32(out, traits->len);
	for (guint i = 0; i < traits->len; i++) {
		const LmTrait *trait = g_ptr_array_index(traits, i);

		lm_write_string(out, trait->kind, LM_WIRE_KIND_MAX);
		lm_write_string(out, trait->key, LM_WIRE_KEY_MAX);
		lm_write_string(out, trait->identity, LM_WIRE_STRING_MAX);
		lm_write_string(out, trait->label, LM_WIRE_STRING_MAX);
	}
	return out;
}

static void read_traits(LmReader *reader, LmInventory *inventory)
{
	const guint32 count =
		lm_read_count(reader, "traits", LM_WIRE_TRAITS_MAX, TRAIT_LEAST_BYTES);

	for (guint32 i = 0; i < count && !reader->failure; i++) {
		g_autofree char *kind = lm_read_string(reader, "trait kind", LM_WIRE_KIND_MAX);
		g_autofree char *key = lm_read_string(reader, "trait key", LM_WIRE_KEY_MAX);
		g_autofree char *identity =
			lm_read_string(reader, "trait identity", LM_WIRE_STRING_MAX);
		g_autofree char *label = lm_read_string(reader, "trait label", LM_WIRE_STRING_MAX);

		if (!reader->failure)
			lm_inventory_add_trait(inventory, kind, key, identity, label);
	}
}

gboolean lm_wire_is_page_size(guint64 bytes)
{
	return bytes >= LM_WIRE_PAGE_BYTES_MIN && bytes <= LM_WIRE_PAGE_BYTES_MAX &&
	       (bytes & (bytes - 1)) == 0;
}

int lm_wire_hello_decode(const guint8 *payload, gsize length, LmWireHello *hello, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "hello"};
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const guint16 oldest_version = lm_read_u16(&reader);
	const gint32 pid = (gint32)lm_read_u32(&reader);
	const guint32 base_page_bytes = lm_read_u32(&reader);
	const guint32 flags = lm_read_u32(&reader);
	int ret;

	if (pid <= 0)
		lm_reader_fail(&reader, "%d is no process id", pid);
	if (!lm_wire_is_page_size(base_page_bytes))
		lm_reader_fail(&reader, "%u bytes is no page size", base_page_bytes);
	if (flags & ~LM_WIRE_HELLO_REHEARSE)
		lm_reader_fail(&reader, "flags 0x%x are unknown", flags);
	g_free(inventory->host_version);
	inventory->host_version = lm_read_string(&reader, "host version", LM_WIRE_HOST_VERSION_MAX);
	read_traits(&reader, inventory);
	ret = lm_reader_finish(&reader, errp);
	if (ret < 0)
		return ret;
	*hello = (LmWireHello){
		.oldest_version = oldest_version,
		.pid = pid,
		.base_page_bytes = base_page_bytes,
		.flags = flags,
		.inventory = g_steal_pointer(&inventory),
	};
	return 0;
}

/* ---------------------------------------------------------- small payloads */

GByteArray *lm_wire_pass_encode(const LmWirePass *pass)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, pass->region);
	lm_write_u64(out, pass->offset_bytes);
	return out;
}

int lm_wire_pass_decode(const guint8 *payload, gsize length, LmWirePass *pass, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "pass"};
	const guint32 region = lm_read_u32(&reader);
	const guint64 offset_bytes = lm_read_u64(&reader);
	const int ret = lm_reader_finish(&reader, errp);

	if (ret < 0)
		return ret;
	pass->region = region;
	pass->offset_bytes = offset_bytes;
	return 0;
}

GByteArray *lm_wire_pipes_encode(const LmWirePipes *pipes)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, pipes->channels);
	lm_write_u32(out, pipes->engine);
	lm_write_u64(out, pipes->probe_address);
	lm_write_u64(out, pipes->probe_value);
	return out;
}

int lm_wire_pipes_decode(const guint8 *payload, gsize length, LmWirePipes *pipes, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "pipes"};
	LmWirePipes decoded;
	int ret;

	decoded.channels = lm_read_u32(&reader);
	decoded.engine = lm_read_u32(&reader);
	decoded.probe_address = lm_read_u64(&reader);
	decoded.probe_value = lm_read_u64(&reader);
	if (decoded.channels < 1 || decoded.channels > LM_CHANNELS_MAX) {
		lm_reader_fail(&reader, "%u channels are not 1 to %d", decoded.channels,
			       LM_CHANNELS_MAX);
	}
	if (decoded.engine != LM_ENGINE_VMSPLICE && decoded.engine != LM_ENGINE_PROCESS_VM_READV)
		lm_reader_fail(&reader, "engine %u is unknown", decoded.engine);
	ret = lm_reader_finish(&reader, errp);
	if (ret < 0)
		return ret;
	*pipes = decoded;
	return 0;
}

GByteArray *lm_wire_state_encode(const LmWireState *state)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u64(out, state->bytes);
	lm_write_u32(out, state->crc);
	lm_write_u32(out, state->flags);
	return out;
}

int lm_wire_state_decode(const guint8 *payload, gsize length, LmWireState *state, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "state"};
	const guint64 bytes = lm_read_u64(&reader);
	const guint32 crc = lm_read_u32(&reader);
	const guint32 flags = lm_read_u32(&reader);
	int ret;

	if (bytes > LM_WIRE_STATE_BYTES_MAX) {
		lm_reader_fail(&reader,
			       "device state of %" G_GUINT64_FORMAT
			       " bytes is over the limit of %llu",
			       bytes, LM_WIRE_STATE_BYTES_MAX);
	}
	if (flags & ~LM_WIRE_STATE_AS_HINTED)
		lm_reader_fail(&reader, "flags 0x%x are unknown", flags);
	ret = lm_reader_finish(&reader, errp);
	if (ret < 0)
		return ret;
	state->bytes = bytes;
	state->crc = crc;
	state->flags = flags;
	return 0;
}

GByteArray *lm_wire_committed_encode(const LmWireCommitted *committed)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u64(out, (guint64)committed->run_ns);
	for (guint i = 0; i < G_N_ELEMENTS(committed->pause_us); i++)
		lm_write_u64(out, (guint64)committed->pause_us[i]);
	return out;
}

int lm_wire_committed_decode(const guint8 *payload, gsize length, LmWireCommitted *committed,
			     GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "committed"};
	LmWireCommitted decoded = {.run_ns = (gint64)lm_read_u64(&reader)};
	int ret;

	for (guint i = 0; i < G_N_ELEMENTS(decoded.pause_us); i++)
		decoded.pause_us[i] = (gint64)lm_read_u64(&reader);
	ret = lm_reader_finish(&reader, errp);
	if (ret == 0)
		*committed = decoded;
	return ret;
}

GByteArray *lm_wire_u32_encode(guint32 value)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u32(out, value);
	return out;
}

int lm_wire_u32_decode(const guint8 *payload, gsize length, guint32 *value, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "u32"};
	const guint32 decoded = lm_read_u32(&reader);
	const int ret = lm_reader_finish(&reader, errp);

	if (ret < 0)
		return ret;
	*value = decoded;
	return 0;
}

GByteArray *lm_wire_u64_encode(guint64 value)
{
	GByteArray *out = g_byte_array_new();

	lm_write_u64(out, value);
	return out;
}

int lm_wire_u64_decode(const guint8 *payload, gsize length, guint64 *value, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "u64"};
	const guint64 decoded = lm_read_u64(&reader);
	const int ret = lm_reader_finish(&reader, errp);

	if (ret < 0)
		return ret;
	*value = decoded;
	return 0;
}

/* ------------------------------------------------------------------ error */

GByteArray *lm_wire_error_encode(const GError *error)
{
	GByteArray *out = g_byte_array_new();

	/* The code of a foreign domain would be read as one of ours. */
	lm_write_u32(out, error->domain == LM_ERROR ? (guint32)error->code : LM_ERROR_FAILED);
	lm_write_string(out, error->message, LM_WIRE_STRING_MAX);
	return out;
}

int lm_wire_error_decode(const guint8 *payload, gsize length, GError **peer_error, GError **errp)
{
	g_auto(LmReader) reader = {.at = payload, .left = length, .what = "error"};
	const guint32 code = lm_read_u32(&reader);
	g_autofree char *text = lm_read_string(&reader, "error text", LM_WIRE_STRING_MAX);
	const int ret = lm_reader_finish(&reader, errp);

	if (ret < 0)
		return ret;
	lm_fail(peer_error,
		code == LM_ERROR_REFUSED || code == LM_ERROR_CANCELLED ? (LmErrorCode)code
								       : LM_ERROR_PEER,
		EREMOTEIO, "%s", text[0] ? text : "the peer gave no reason");
	return 0;
}
