// SPDX-License-Identifier: GPL-2.0-or-later
#include <string.h>

#include "flip-log.h"
#include "pipes.h"

/* What the pipe cannot hold any more: it was read. */
static void forget_read(LmFlipLog *log)
{
	LmLoggedFrame *oldest;

	while ((oldest = g_queue_peek_head(&log->frames)) &&
	       oldest->end_at + LM_PIPE_BYTES < log->stream_bytes)
		g_free(g_queue_pop_head(&log->frames));
}

void lm_flip_log_frame(LmFlipLog *log, const LmFrame *frame, gsize head_bytes)
{
	gsize ranges_bytes = frame->range_count * sizeof(LmRange);
	LmLoggedFrame *logged = g_malloc(sizeof(*logged) + ranges_bytes);

	forget_read(log);
	logged->pages_at = log->stream_bytes + head_bytes;
	logged->end_at = logged->pages_at + frame->payload_bytes;
	logged->region = frame->region;
	logged->range_count = frame->range_count;
	memcpy(logged->range, frame->range, ranges_bytes);
	g_queue_push_tail(&log->frames, logged);
}

void lm_flip_log_wrote(LmFlipLog *log, gsize bytes)
{
	log->stream_bytes += bytes;
}

void lm_flip_log_clear(LmFlipLog *log)
{
	g_queue_clear_full(&log->frames, g_free);
	log->stream_bytes = 0;
}
