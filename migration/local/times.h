/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A distribution of durations: counts in buckets, 16 to an octave (3 to 6 % wide; below 16 us one
 * for each microsecond), from 0 us to 35 minutes.
 */
#ifndef LM_LOCAL_TIMES_H
#define LM_LOCAL_TIMES_H

#include <glib.h>

#define LM_TIMES_BUCKETS 448

typedef struct LmTimes {
	guint32 bucket[LM_TIMES_BUCKETS]; /* __atomic */
	guint64 max_us;			  /* __atomic; exact */
} LmTimes;

/* From any thread. What is longer than 35 minutes counts as that, but for max_us. */
void lm_times_add(LmTimes *times, guint64 us);
guint64 lm_times_count(const LmTimes *times);
/* The shortest duration that @percent of them (0 to 100) do not exceed, within 4 %; 0 if there is
 * none. 100 is exact. */
guint64 lm_times_percentile(const LmTimes *times, double percent);

#endif
