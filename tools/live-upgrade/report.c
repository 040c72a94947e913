// SPDX-License-Identifier: GPL-2.0-or-later
#include "report.h"
#include "qmp.h"

#include <stdio.h>

#define MIB	  1048576.0
#define BAR_WIDTH 40

static void clear_bar(LuReport *report)
{
	if (report->bar)
		fputs("\r\033[K", stdout);
	report->bar = FALSE;
}

static void on_step(void *opaque, const char *name, const char *what)
{
	LuReport *report = opaque;

	if (report->json || report->quiet)
		return;
	clear_bar(report);
	printf("%-9s %s\n", name, what);
	fflush(stdout);
}

static void on_progress(void *opaque, const char *stage, guint64 done, guint64 total)
{
	LuReport *report = opaque;
	int filled = total ? (int)(BAR_WIDTH * done / total) : 0;

	if (report->json || report->quiet || !report->terminal)
		return;
	report->bar = TRUE;
	printf("\r  %-8s [", stage);
	for (int i = 0; i < BAR_WIDTH; i++)
		fputc(i < filled ? '#' : '.', stdout);
	printf("] %.0f of %.0f MiB\033[K", (double)done / MIB, (double)total / MIB);
	fflush(stdout);
}

static void on_note(void *opaque, const char *text)
{
	LuReport *report = opaque;

	if (report->json || report->quiet)
		return;
	clear_bar(report);
	printf("note: %s\n", text);
}

LuObserver lu_report_observer(LuReport *report)
{
	return (LuObserver){on_step, on_progress, on_note, report};
}

/* ------------------------------------------------------------------ summary */

static const char *outcome(const LuRequest *request, const GError *error)
{
	if (!error)
		return request->dry_run ? "possible" : request->rehearse ? "rehearsed" : "upgraded";
	switch (error->code) {
	case LU_ERROR_USAGE:
		return "usage";
	case LU_ERROR_REFUSED:
		return "refused";
	case LU_ERROR_FAILED:
		return "rolled-back";
	case LU_ERROR_MANAGER:
		return "no-libvirt";
	default:
		return "lost";
	}
}

static void put_string(JsonObject *object, const char *name, const char *value)
{
	if (value)
		json_object_set_string_member(object, name, value);
}

static void put_list(JsonObject *object, const char *name, GPtrArray *list)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; list && i < list->len; i++)
		json_array_add_string_element(array, list->pdata[i]);
	json_object_set_array_member(object, name, array);
}

JsonNode *lu_report_node(const LuRequest *request, const LuResult *result, const GError *error)
{
	JsonNode *node = json_node_new(JSON_NODE_OBJECT);
	g_autoptr(JsonObject) object = json_object_new();

	put_string(object, "outcome", outcome(request, error));
	put_string(object, "error", error ? error->message : NULL);
	if (result->old_pid)
		json_object_set_int_member(object, "old-pid", result->old_pid);
	if (result->new_pid)
		json_object_set_int_member(object, "new-pid", result->new_pid);
	put_string(object, "from", result->from);
	put_string(object, "to", result->to);
	put_string(object, "way", result->way);
	json_object_set_double_member(object, "stopped-ms", result->downtime_ms);
	json_object_set_double_member(object, "total-ms", result->total_ms);
	if (result->away_ms > 0)
		json_object_set_double_member(object, "libvirt-away-ms", result->away_ms);
	if (result->peak_bytes) {
		json_object_set_int_member(object, "peak-bytes", (gint64)result->peak_bytes);
		put_string(object, "peak-of", result->peak_of);
	}
	if (result->copied_bytes) {
		json_object_set_int_member(object, "copied-bytes", (gint64)result->copied_bytes);
		json_object_set_double_member(object, "copy-ms", result->copy_ms);
	}
	json_object_set_boolean_member(object, "recovered", result->recovered);
	put_string(object, "command-line", result->command_line);
	put_list(object, "refusals", result->refusals);
	put_list(object, "notes", result->notes);
	json_node_set_object(node, object);
	return node;
}

static void print_json(const LuReport *report, const LuRequest *request, const LuResult *result,
		       const GError *error)
{
	g_autoptr(JsonNode) node = lu_report_node(request, result, error);
	g_autofree char *text = NULL;

	put_string(json_node_get_object(node), "domain", report->domain);
	text = json_to_string(node, TRUE);

	puts(text);
}

static void print_upgraded(const LuResult *result)
{
	printf("upgraded  QEMU %s (process %d) to %s (process %d)\n", result->from,
	       (int)result->old_pid, result->to, (int)result->new_pid);
	printf("          stopped for %.1f ms, total %.2f s", result->downtime_ms,
	       result->total_ms / 1000);
	if (result->way)
		printf(", memory by %s", result->way);
	if (result->peak_bytes)
		printf(", at most %.0f MiB (%s)", (double)result->peak_bytes / MIB,
		       result->peak_of);
	putchar('\n');
	if (result->copied_bytes)
		printf("          disks of %.0f MiB copied in %.1f s while the guest ran\n",
		       (double)result->copied_bytes / MIB, result->copy_ms / 1000);
	if (result->away_ms > 0)
		printf("          libvirt was away for %.1f s\n", result->away_ms / 1000);
}

static void print_error(const LuReport *report, const LuResult *result, const GError *error)
{
	g_autofree char *about =
		report->many ? g_strconcat(report->domain, ": ", NULL) : g_strdup("");
	static const char *const ends[] = {
		[LU_ERROR_USAGE] = "",
		[LU_ERROR_REFUSED] = "refused: ",
		[LU_ERROR_FAILED] = "failed, and rolled back: ",
		[LU_ERROR_LOST] = "failed: ",
		[LU_ERROR_MANAGER] = "the guest runs, but ",
	};

	fprintf(stderr, "qemu-live-upgrade: %s%s%s\n", about, ends[error->code], error->message);
	for (guint i = 1; result->refusals && i < result->refusals->len; i++)
		fprintf(stderr, "qemu-live-upgrade: %srefused: %s\n", about,
			(char *)result->refusals->pdata[i]);
}

void lu_report_domain(LuReport *report, const char *domain)
{
	gboolean again = !g_strcmp0(report->domain, domain);

	report->domain = domain;
	if (report->json || report->quiet || report->many || again)
		return;
	clear_bar(report);
	printf("domain    %s\n", domain);
}

void lu_report_begin_list(LuReport *report, guint count)
{
	clear_bar(report);
	report->many = count > 1;
	report->count = 0;
	if (report->many && report->json)
		putchar('[');
}

void lu_report_end_list(LuReport *report)
{
	if (report->many && report->json)
		puts("]");
	report->many = FALSE;
}

void lu_report_end(LuReport *report, const LuRequest *request, const LuResult *result,
		   const GError *error)
{
	clear_bar(report);
	if (report->json) {
		if (report->many && report->count++)
			putchar(',');
		print_json(report, request, result, error);
		return;
	}
	if (report->many && !report->quiet)
		printf("%s:\n", report->domain);
	fflush(stdout);
	if (error)
		print_error(report, result, error);
	if (error || report->quiet)
		return;
	if (request->dry_run)
		printf("possible  QEMU %s (process %d) to %s:\n%s\n", result->from,
		       (int)result->old_pid, result->to, result->command_line);
	else if (request->rehearse)
		printf("rehearsed QEMU %s (process %d) to %s; the guest was stopped for %.1f ms\n",
		       result->from, (int)result->old_pid, result->to, result->downtime_ms);
	else
		print_upgraded(result);
}
