/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device state on its way: a state message with its length and CRC, then data messages. The
 * guest is stopped meanwhile, hence no cryptographic sum, which would be against nobody: who can
 * write to the socket is who has the VM.
 * Each is a message like any other, so that a side that gives up in the middle, or that wants its
 * pages back, is still understood.
 */
#include "session.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "error.h"
#include "fault.h"

#define FILE_NAME  "the device state"
#define PART_BYTES (256u << 10)

/* Reads all of @length; a file that ends before is -EIO. */
static int read_at(int file_fd, guint8 *bytes, gsize length, guint64 offset, GError **errp)
{
	while (length) {
		const gssize n = pread(file_fd, bytes, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "cannot read " FILE_NAME);
		}
		if (n == 0) {
			return lm_fail(errp, LM_ERROR_FAILED, EIO,
				       FILE_NAME " ends at %" G_GUINT64_FORMAT ", %" G_GSIZE_FORMAT
						 " bytes short",
				       offset, length);
		}
		bytes += n;
		length -= n;
		offset += n;
	}
	return 0;
}

static int write_at(int file_fd, const guint8 *bytes, gsize length, guint64 offset, GError **errp)
{
	while (length) {
		gssize n = -1;

		if (!lm_fault_fails("write-state"))
			n = pwrite(file_fd, bytes, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "cannot write " FILE_NAME);
		}
		bytes += n;
		length -= n;
		offset += n;
	}
	return 0;
}

static void note_bytes(LmSession *s, guint64 bytes)
{
	g_mutex_lock(&s->lock);
	s->status.device_state_bytes = bytes;
	g_mutex_unlock(&s->lock);
}

/* Reads the next part of the file at *@at into @part. */
static int read_part(int fd, guint64 *at, guint64 bytes, GByteArray *part, GError **errp)
{
	const gsize length = MIN(bytes - *at, PART_BYTES);
	int ret;

	g_byte_array_set_size(part, length);
	ret = read_at(fd, part->data, length, *at, errp);
	*at += length;
	return ret;
}

static int sum_file(int fd, LmWireState *state, GError **errp)
{
	g_autoptr(GByteArray) part = g_byte_array_new();

	for (guint64 at = 0; at < state->bytes;) {
		const int ret = read_part(fd, &at, state->bytes, part, errp);

		if (ret < 0)
			return ret;
		state->crc = crc32(state->crc, part->data, part->len);
	}
	return 0;
}

static int describe_file(int fd, LmWireState *state, GError **errp)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "size of " FILE_NAME);
	state->bytes = st.st_size;
	if (state->bytes > LM_WIRE_STATE_BYTES_MAX)
		return lm_fail(errp, LM_ERROR_FAILED, EFBIG,
			       FILE_NAME " has %" G_GUINT64_FORMAT
					 " bytes, at most %llu can be sent",
			       state->bytes, LM_WIRE_STATE_BYTES_MAX);
	return sum_file(fd, state, errp);
}

int lm_state_send(LmSession *s, GError **errp)
{
	LmWireState state = {0};
	g_autoptr(GByteArray) payload = NULL;
	g_autoptr(GByteArray) part = g_byte_array_new();
	int ret = describe_file(s->state.fd, &state, errp);

	state.flags = s->state.as_hinted ? LM_WIRE_STATE_AS_HINTED : 0;
	if (ret < 0)
		return ret;
	note_bytes(s, state.bytes);
	payload = lm_wire_state_encode(&state);
	ret = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_STATE, payload, NULL, 0, errp);
	for (guint64 at = 0; ret == 0 && at < state.bytes;) {
		ret = read_part(s->state.fd, &at, state.bytes, part, errp);
		if (ret == 0)
			ret = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_DATA, part, NULL, 0,
					      errp);
	}
	return ret;
}

static int receive_part(LmSession *s, guint64 *at, guint64 bytes, guint32 *crc, GError **errp)
{
	g_auto(LmMessage) part = {0};
	int ret = lm_destination_expect(s, LM_MESSAGE_DATA, &part, errp);

	if (ret < 0)
		return ret;
	if (part.header.length == 0 || part.header.length > bytes - *at)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%u bytes of " FILE_NAME " came where at most %" G_GUINT64_FORMAT
			       " were due",
			       part.header.length, bytes - *at);
	ret = write_at(s->state.fd, part.payload, part.header.length, *at, errp);
	*crc = crc32(*crc, part.payload, part.header.length);
	*at += part.header.length;
	return ret;
}

int lm_state_receive(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	LmWireState state;
	guint32 crc = 0;
	int ret = lm_destination_expect(s, LM_MESSAGE_STATE, &message, errp);

	if (ret == 0)
		ret = lm_wire_state_decode(message.payload, message.header.length, &state, errp);
	if (ret < 0)
		return ret;
	if (!lm_fault_fails("memfd-state"))
		s->state.fd = memfd_create("device-state", MFD_CLOEXEC);
	if (s->state.fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "memfd for " FILE_NAME);
	for (guint64 at = 0; at < state.bytes;) {
		ret = receive_part(s, &at, state.bytes, &crc, errp);
		if (ret < 0)
			return ret;
	}
	if (crc != state.crc)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EBADMSG,
			       "the CRC of " FILE_NAME " is %08x where %08x was due", crc,
			       state.crc);
	s->state.as_hinted = (state.flags & LM_WIRE_STATE_AS_HINTED) != 0;
	note_bytes(s, state.bytes);
	return 0;
}
