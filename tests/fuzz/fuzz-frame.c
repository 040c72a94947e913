/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frames' decoder. An input: u16, the region's size in pages; a header; its ranges. What is
 * accepted lies in the region, in order, and is the same bytes when it is encoded again.
 */
#include "fuzz.h"
#include "wire.h"

#define PAGE 4096u

static void check(const LmFrame *frame, guint64 region_bytes)
{
	guint64 from = 0, sum = 0;

	for (guint i = 0; i < frame->range_count; i++) {
		const LmRange *range = &frame->range[i];

		g_assert(range->offset_bytes % PAGE == 0 && range->length_bytes % PAGE == 0);
		g_assert(range->length_bytes && range->offset_bytes >= from);
		g_assert(range->offset_bytes < region_bytes);
		g_assert(range->length_bytes <= region_bytes - range->offset_bytes);
		from = range->offset_bytes + range->length_bytes;
		sum += range->length_bytes;
	}
	g_assert(frame->flags & LM_FRAME_END || sum == frame->payload_bytes);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	Input input = {data, size};
	const guint64 region_bytes = (guint64)input_u16(&input) * PAGE;
	g_autofree guint8 *head = NULL, *ranges = NULL, *again = g_malloc(LM_FRAME_BYTES_MAX);
	g_autofree LmFrame *frame = g_new(LmFrame, 1);
	gsize bytes, length;

	head = input_copy(&input, LM_FRAME_HEADER_BYTES, &bytes);
	if (bytes < LM_FRAME_HEADER_BYTES || lm_frame_header_decode(head, frame, NULL) < 0)
		return 0;
	g_assert(frame->range_count <= LM_FRAME_RANGES_MAX);
	length = frame->range_count * LM_FRAME_RANGE_BYTES;
	ranges = input_copy(&input, length, &bytes);
	if (bytes < length || lm_frame_ranges_decode(ranges, frame, region_bytes, PAGE, NULL) < 0)
		return 0;
	check(frame, region_bytes);
	g_assert(lm_frame_encode(again, frame) == LM_FRAME_HEADER_BYTES + length);
	g_assert(!memcmp(again, head, LM_FRAME_HEADER_BYTES));
	g_assert(!length || !memcmp(again + LM_FRAME_HEADER_BYTES, ranges, length));
	return 0;
}
