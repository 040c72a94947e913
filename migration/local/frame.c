/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames. Decoded in two steps, as they are read from a pipe: the header, which says how many
 * ranges follow; then the ranges, which are held against the region that the header names.
 */
#include "wire.h"

#include "wire-buffer.h"

G_STATIC_ASSERT(LM_FRAME_HEADER_BYTES == 4 * sizeof(guint32) + 2 * sizeof(guint64));
G_STATIC_ASSERT(LM_FRAME_RANGE_BYTES == 2 * sizeof(guint64));
G_STATIC_ASSERT(sizeof(LmRange) == LM_FRAME_RANGE_BYTES);
G_STATIC_ASSERT(LM_FRAME_BYTES_MAX == 8224);
/* A full frame of single pages needs no more ranges than there may be. */
G_STATIC_ASSERT(LM_FRAME_PAYLOAD_MAX / 4096 <= LM_FRAME_RANGES_MAX);

gsize lm_frame_encode(guint8 *out, const LmFrame *frame)
{
	guint8 *at = out + LM_FRAME_HEADER_BYTES;

	lm_put_u32(out, LM_FRAME_MAGIC);
	lm_put_u32(out + 4, frame->region);
	lm_put_u32(out + 8, frame->range_count);
	lm_put_u32(out + 12, frame->flags);
	lm_put_u64(out + 16, frame->payload_bytes);
	lm_put_u64(out + 24, frame->address);
	for (guint32 i = 0; i < frame->range_count; i++, at += LM_FRAME_RANGE_BYTES) {
		lm_put_u64(at, frame->range[i].offset_bytes);
		lm_put_u64(at + 8, frame->range[i].length_bytes);
	}
	return at - out;
}

/* A frame without LM_FRAME_END, which has to carry something. */
static int check_body(guint32 range_count, guint64 payload_bytes, GError **errp)
{
	if (range_count < 1 || range_count > LM_FRAME_RANGES_MAX) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a frame has %u ranges instead of 1 to %d", range_count,
			       LM_FRAME_RANGES_MAX);
	}
	if (payload_bytes < 1 || payload_bytes > LM_FRAME_PAYLOAD_MAX) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a frame has %" G_GUINT64_FORMAT
			       " bytes of pages instead of 1 to %u",
			       payload_bytes, LM_FRAME_PAYLOAD_MAX);
	}
	return 0;
}

static int check_end(guint32 range_count, GError **errp)
{
	if (range_count == 0)
		return 0;
	return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "an end frame has %u ranges instead of 0",
		       range_count);
}

int lm_frame_header_decode(const guint8 in[LM_FRAME_HEADER_BYTES], LmFrame *frame, GError **errp)
{
	const guint32 magic = lm_get_u32(in);
	const guint32 region = lm_get_u32(in + 4);
	const guint32 range_count = lm_get_u32(in + 8);
	const guint32 flags = lm_get_u32(in + 12);
	const guint64 payload_bytes = lm_get_u64(in + 16);
	int ret;

	if (magic != LM_FRAME_MAGIC) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a frame begins with 0x%08x, not 0x%08x", magic, LM_FRAME_MAGIC);
	}
	if (region >= LM_WIRE_REGIONS_MAX) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a frame is for region %u, and there are at most %d", region,
			       LM_WIRE_REGIONS_MAX);
	}
	if (flags & ~LM_FRAME_END) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a frame has flags 0x%x, and only 0x%x are known", flags,
			       LM_FRAME_END);
	}
	ret = flags & LM_FRAME_END ? check_end(range_count, errp)
				   : check_body(range_count, payload_bytes, errp);
	if (ret < 0)
		return ret;
	frame->region = region;
	frame->range_count = range_count;
	frame->flags = flags;
	frame->payload_bytes = payload_bytes;
	frame->address = lm_get_u64(in + 24);
	return 0;
}

/* @from_bytes is the end of the range before. */
static int check_range(const LmRange *range, guint64 from_bytes, guint64 region_bytes,
		       guint64 base_page_bytes, GError **errp)
{
	guint64 end_bytes;

	if ((range->offset_bytes | range->length_bytes) & (base_page_bytes - 1)) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a range of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
			       " is not aligned to %" G_GUINT64_FORMAT,
			       range->length_bytes, range->offset_bytes, base_page_bytes);
	}
	if (range->length_bytes == 0) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a range at %" G_GUINT64_FORMAT " is empty", range->offset_bytes);
	}
	if (range->offset_bytes < from_bytes) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a range at %" G_GUINT64_FORMAT
			       " begins before the end %" G_GUINT64_FORMAT " of the one before",
			       range->offset_bytes, from_bytes);
	}
	if (!g_uint64_checked_add(&end_bytes, range->offset_bytes, range->length_bytes) ||
	    end_bytes > region_bytes) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a range of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
			       " is not within the region's %" G_GUINT64_FORMAT,
			       range->length_bytes, range->offset_bytes, region_bytes);
	}
	return 0;
}

int lm_frame_ranges_decode(const guint8 *in, LmFrame *frame, guint64 region_bytes,
			   guint64 base_page_bytes, GError **errp)
{
	LmRange range[LM_FRAME_RANGES_MAX];
	guint64 from_bytes = 0;
	guint64 sum_bytes = 0; /* cannot overflow: the ranges lie in the region, side by side */

	for (guint32 i = 0; i < frame->range_count; i++, in += LM_FRAME_RANGE_BYTES) {
		int ret;

		range[i] = (LmRange){.offset_bytes = lm_get_u64(in),
				     .length_bytes = lm_get_u64(in + 8)};
		ret = check_range(&range[i], from_bytes, region_bytes, base_page_bytes, errp);
		if (ret < 0)
			return ret;
		from_bytes = range[i].offset_bytes + range[i].length_bytes;
		sum_bytes += range[i].length_bytes;
	}
	if (!(frame->flags & LM_FRAME_END) && sum_bytes != frame->payload_bytes) {
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the ranges of a frame have %" G_GUINT64_FORMAT
			       " bytes, its pages %" G_GUINT64_FORMAT,
			       sum_bytes, frame->payload_bytes);
	}
	memcpy(frame->range, range, frame->range_count * sizeof(range[0]));
	return 0;
}
