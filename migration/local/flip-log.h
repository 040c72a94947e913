/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a channel's pipe may still hold: the last frames of a sender, by their place in the stream
 * of bytes. A rescue (rescue.h) finds from it which pages the receiver has not read yet.
 */
#ifndef LM_LOCAL_FLIP_LOG_H
#define LM_LOCAL_FLIP_LOG_H

#include "wire.h"

typedef struct LmFlipLog {
	guint64 stream_bytes; /* accepted by the pipe so far */
	GQueue frames;	      /* of LmLoggedFrame, oldest first */
} LmFlipLog;

typedef struct LmLoggedFrame {
	guint64 pages_at; /* where in the stream its pages begin ... */
	guint64 end_at;	  /* ... and end */
	guint32 region;
	guint32 range_count;
	LmRange range[];
} LmLoggedFrame;

/* A frame whose header and ranges take @head_bytes is about to be written. */
void lm_flip_log_frame(LmFlipLog *log, const LmFrame *frame, gsize head_bytes);
void lm_flip_log_wrote(LmFlipLog *log, gsize bytes);
void lm_flip_log_clear(LmFlipLog *log);

#endif
