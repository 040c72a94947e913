/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Little-endian integers and strings, written to a growing array and read from untrusted bytes.
 *
 * A reader's failure is sticky: the first one is kept, every later read gives 0 or NULL, and
 * lm_reader_finish reports it. So a decoder reads field after field and asks once, at the end;
 * only a count that steers a loop has to be bounded where it is read (lm_read_count).
 */
#ifndef LM_LOCAL_WIRE_BUFFER_H
#define LM_LOCAL_WIRE_BUFFER_H

#include <errno.h>
#include <string.h>

#include "error.h"

static inline void lm_put_u16(guint8 *out, guint16 value)
{
	value = GUINT16_TO_LE(value);
	memcpy(out, &value, sizeof(value));
}

static inline void lm_put_u32(guint8 *out, guint32 value)
{
	value = GUINT32_TO_LE(value);
	memcpy(out, &value, sizeof(value));
}

static inline void lm_put_u64(guint8 *out, guint64 value)
{
	value = GUINT64_TO_LE(value);
	memcpy(out, &value, sizeof(value));
}

static inline guint16 lm_get_u16(const guint8 *in)
{
	guint16 value;

	memcpy(&value, in, sizeof(value));
	return GUINT16_FROM_LE(value);
}

static inline guint32 lm_get_u32(const guint8 *in)
{
	guint32 value;

	memcpy(&value, in, sizeof(value));
	return GUINT32_FROM_LE(value);
}

static inline guint64 lm_get_u64(const guint8 *in)
{
	guint64 value;

	memcpy(&value, in, sizeof(value));
	return GUINT64_FROM_LE(value);
}

/* ----------------------------------------------------------------- writer */

static inline void lm_write_u8(GByteArray *out, guint8 value)
{
	g_byte_array_append(out, &value, 1);
}

static inline void lm_write_u16(GByteArray *out, guint16 value)
{
	guint8 bytes[sizeof(value)];

	lm_put_u16(bytes, value);
	g_byte_array_append(out, bytes, sizeof(bytes));
}

static inline void lm_write_u32(GByteArray *out, guint32 value)
{
	guint8 bytes[sizeof(value)];

	lm_put_u32(bytes, value);
	g_byte_array_append(out, bytes, sizeof(bytes));
}

static inline void lm_write_u64(GByteArray *out, guint64 value)
{
	guint8 bytes[sizeof(value)];

	lm_put_u64(bytes, value);
	g_byte_array_append(out, bytes, sizeof(bytes));
}

/* Made valid UTF-8 and cut to @max_bytes at a character's border, or the peer would refuse it. */
static inline void lm_write_string(GByteArray *out, const char *text, gsize max_bytes)
{
	g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
	gsize length = strlen(valid);

	if (length > max_bytes)
		length = g_utf8_find_prev_char(valid, valid + max_bytes + 1) - valid;
	lm_write_u32(out, (guint32)length);
	g_byte_array_append(out, (const guint8 *)valid, (guint)length);
}

/* ----------------------------------------------------------------- reader */

typedef struct LmReader {
	const guint8 *at;
	gsize left;
	const char *what; /* "hello": begins each error text */
	char *failure;	  /* NULL: none yet */
} LmReader;

static inline void lm_reader_clear(LmReader *reader)
{
	g_clear_pointer(&reader->failure, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmReader, lm_reader_clear)

static inline G_GNUC_PRINTF(2, 3) void lm_reader_fail(LmReader *reader, const char *format, ...)
{
	va_list args;

	if (reader->failure)
		return;
	va_start(args, format);
	reader->failure = g_strdup_vprintf(format, args);
	va_end(args);
}

/* The next @bytes bytes, or NULL. */
static inline const guint8 *lm_read_bytes(LmReader *reader, gsize bytes)
{
	const guint8 *at = reader->at;

	if (bytes > reader->left) {
		lm_reader_fail(reader,
			       "a field of %" G_GSIZE_FORMAT " bytes has only %" G_GSIZE_FORMAT,
			       bytes, reader->left);
	}
	if (reader->failure)
		return NULL;
	reader->at += bytes;
	reader->left -= bytes;
	return at;
}

static inline guint8 lm_read_u8(LmReader *reader)
{
	const guint8 *at = lm_read_bytes(reader, sizeof(guint8));

	return at ? *at : 0;
}

static inline guint16 lm_read_u16(LmReader *reader)
{
	const guint8 *at = lm_read_bytes(reader, sizeof(guint16));

	return at ? lm_get_u16(at) : 0;
}

static inline guint32 lm_read_u32(LmReader *reader)
{
	const guint8 *at = lm_read_bytes(reader, sizeof(guint32));

	return at ? lm_get_u32(at) : 0;
}

static inline guint64 lm_read_u64(LmReader *reader)
{
	const guint8 *at = lm_read_bytes(reader, sizeof(guint64));

	return at ? lm_get_u64(at) : 0;
}

/* A new string, or NULL. @field names it in an error text. */
static inline char *lm_read_string(LmReader *reader, const char *field, gsize max_bytes)
{
	const guint32 length = lm_read_u32(reader);
	const char *at;

	if (length > max_bytes) {
		lm_reader_fail(reader, "%s of %u bytes is over the limit of %" G_GSIZE_FORMAT,
			       field, length, max_bytes);
	}
	at = (const char *)lm_read_bytes(reader, length);
	if (at && memchr(at, 0, length))
		lm_reader_fail(reader, "%s has a NUL in it", field);
	if (at && !g_utf8_validate_len(at, length, NULL))
		lm_reader_fail(reader, "%s is not valid UTF-8", field);
	return reader->failure ? NULL : g_strndup(at, length);
}

/*
 * A count of things that take at least @least_bytes each; 0 after a failure. What cannot be
 * there is refused before anything is allocated for it.
 */
static inline guint32 lm_read_count(LmReader *reader, const char *things, guint32 max,
				    gsize least_bytes)
{
	const guint32 count = lm_read_u32(reader);

	if (count > max)
		lm_reader_fail(reader, "%u %s are over the limit of %u", count, things, max);
	else if (count > reader->left / least_bytes)
		lm_reader_fail(reader, "%u %s cannot be in %" G_GSIZE_FORMAT " bytes", count,
			       things, reader->left);
	return reader->failure ? 0 : count;
}

/* 0 if every read went well and nothing is left over, -EPROTO and *errp otherwise. */
static inline int lm_reader_finish(LmReader *reader, GError **errp)
{
	if (reader->left)
		lm_reader_fail(reader, "%" G_GSIZE_FORMAT " bytes are left over", reader->left);
	if (!reader->failure)
		return 0;
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "bad %s message: %s", reader->what,
		       reader->failure);
}

#endif
