/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's serial log. Source and destination append to one file, so it is the guest's own
 * account, in order, wherever it ran.
 */
#ifndef LM_QTEST_SERIAL_H
#define LM_QTEST_SERIAL_H

#include <glib.h>

/* "beat N pages P checked C gap_ms G stall_us S errors E"; what a line does not have is 0. */
typedef struct Beat {
	guint64 beat, pages, checked, gap_ms, errors;
	guint64 stall_us; /* the longest that one page of the memory load took since the last beat
			   */
	guint64 disk_us;  /* the same of a read or write of the disk load */
} Beat;

gboolean serial_last_beat(const char *path, Beat *beat);
/* The longest stall of the beats after @after, up to @until. */
guint64 serial_stall_us(const char *path, guint64 after, guint64 until);
/* The median of the longest reads or writes of the disk in each of these beats. */
guint64 serial_disk_us(const char *path, guint64 after, guint64 until);
/* Waits for a whole line that @pattern (a regular expression) matches. */
gboolean serial_wait(const char *path, const char *pattern, guint timeout_ms, GError **errp);
/*
 * Waits for @more further beats after now. Fails at once on a beat with errors, a line "ERROR",
 * or a beat whose number is not the one before plus one. @last may be NULL.
 */
gboolean serial_wait_beats(const char *path, guint more, guint timeout_ms, Beat *last,
			   GError **errp);

#endif
