/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serial.h"
#include "harness.h"
#include "qmp-client.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static guint64 number_after(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? g_ascii_strtoull(at + strlen(name), NULL, 10) : 0;
}

static gboolean parse_beat(const char *line, Beat *beat)
{
	if (!g_str_has_prefix(line, "beat ") || !strstr(line, " errors "))
		return FALSE;
	beat->beat = number_after(line, "beat ");
	beat->pages = number_after(line, " pages ");
	beat->checked = number_after(line, " checked ");
	beat->gap_ms = number_after(line, " gap_ms ");
	beat->stall_us = number_after(line, " stall_us ");
	beat->errors = number_after(line, " errors ");
	beat->disk_us = number_after(line, " disk_us ");
	return TRUE;
}

/* The whole lines so far, NULL-terminated; a line that is being written is left out. */
static GStrv read_lines(const char *path)
{
	g_autofree char *text = NULL;
	char *end;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return g_new0(char *, 1);
	end = strrchr(text, '\n');
	if (!end)
		return g_new0(char *, 1);
	*end = '\0';
	for (char *c = text; *c; c++)
		if (*c == '\r')
			*c = ' ';
	return g_strsplit(text, "\n", -1);
}

gboolean serial_last_beat(const char *path, Beat *beat)
{
	g_auto(GStrv) lines = read_lines(path);
	gboolean found = FALSE;

	for (guint i = 0; lines[i]; i++)
		found |= parse_beat(lines[i], beat);
	return found;
}

guint64 serial_stall_us(const char *path, guint64 after, guint64 until)
{
	g_auto(GStrv) lines = read_lines(path);
	guint64 longest_us = 0;
	Beat beat;

	for (guint i = 0; lines[i]; i++)
		if (parse_beat(lines[i], &beat) && beat.beat > after && beat.beat <= until)
			longest_us = MAX(longest_us, beat.stall_us);
	return longest_us;
}

static int compare_us(gconstpointer a, gconstpointer b)
{
	const guint64 *first = a, *second = b;

	return *first < *second ? -1 : *first > *second;
}

guint64 serial_disk_us(const char *path, guint64 after, guint64 until)
{
	g_auto(GStrv) lines = read_lines(path);
	g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(guint64));
	Beat beat;

	for (guint i = 0; lines[i]; i++)
		if (parse_beat(lines[i], &beat) && beat.beat > after && beat.beat <= until)
			g_array_append_val(all, beat.disk_us);
	g_array_sort(all, compare_us);
	return all->len ? g_array_index(all, guint64, all->len / 2) : 0;
}

typedef enum Verdict { VERDICT_WAIT, VERDICT_YES, VERDICT_NO } Verdict;
typedef Verdict (*Judge)(GStrv lines, void *opaque, GError **errp);

static gboolean wait_for(const char *path, Judge judge, void *opaque, guint timeout_ms,
			 GError **errp)
{
	gint64 end_us = lm_end_us(timeout_ms);
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	Verdict verdict = VERDICT_WAIT;

	inotify_add_watch(watch, path, IN_MODIFY);
	while (verdict == VERDICT_WAIT) {
		struct pollfd pollfd = {.fd = watch, .events = POLLIN};
		g_auto(GStrv) lines = read_lines(path);
		char events[4096];

		verdict = judge(lines, opaque, errp);
		if (verdict != VERDICT_WAIT)
			break;
		if (poll(&pollfd, 1, lm_left_ms(end_us)) <= 0) {
			guint count = g_strv_length(lines);

			g_set_error(errp, QMP_ERROR, QMP_ERROR_TIMEOUT,
				    "the guest did not say what was expected in %u ms; last: %s",
				    timeout_ms, count ? lines[count - 1] : "nothing");
			verdict = VERDICT_NO;
		} else if (read(watch, events, sizeof(events)) < 0) {
			poll(NULL, 0, 1);
		}
	}
	close(watch);
	return verdict == VERDICT_YES;
}

static Verdict judge_pattern(GStrv lines, void *opaque, GError **errp)
{
	for (guint i = 0; lines[i]; i++)
		if (g_regex_match(opaque, lines[i], 0, NULL))
			return VERDICT_YES;
	return VERDICT_WAIT;
}

gboolean serial_wait(const char *path, const char *pattern, guint timeout_ms, GError **errp)
{
	g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, errp);

	if (!regex)
		return FALSE;
	if (wait_for(path, judge_pattern, regex, timeout_ms, errp))
		return TRUE;
	g_prefix_error(errp, "waiting for \"%s\": ", pattern);
	return FALSE;
}

typedef struct BeatsWanted {
	guint64 until;
	Beat last;
} BeatsWanted;

static Verdict judge_beats(GStrv lines, void *opaque, GError **errp)
{
	BeatsWanted *wanted = opaque;
	Beat beat = {0};
	guint64 before = 0;

	for (guint i = 0; lines[i]; i++) {
		gboolean is_beat = parse_beat(lines[i], &beat);

		if (g_str_has_prefix(lines[i], "ERROR") || (is_beat && beat.errors) ||
		    (is_beat && before && beat.beat != before + 1)) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_OTHER_CLASS,
				    "the guest is not intact: %s", lines[i]);
			return VERDICT_NO;
		}
		if (is_beat)
			before = beat.beat;
	}
	wanted->last = beat;
	return beat.beat && beat.beat >= wanted->until ? VERDICT_YES : VERDICT_WAIT;
}

gboolean serial_wait_beats(const char *path, guint more, guint timeout_ms, Beat *last,
			   GError **errp)
{
	Beat now = {0};
	BeatsWanted wanted = {0};

	serial_last_beat(path, &now);
	wanted.until = now.beat + more;
	if (!wait_for(path, judge_beats, &wanted, timeout_ms, errp))
		return FALSE;
	if (last)
		*last = wanted.last;
	return TRUE;
}
