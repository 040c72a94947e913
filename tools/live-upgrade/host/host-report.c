// SPDX-License-Identifier: GPL-2.0-or-later
#include "host-report.h"
#include "kinds.h"
#include "qmp.h"
#include "run-journal.h"

#include <stdio.h>

#define MIB	  1048576.0
#define BAR_WIDTH 30

static gboolean is_silent(const LuHostReport *report)
{
	return report->json || report->quiet;
}

/* ------------------------------------------------------------------ under way */

static void clear_drawn(LuHostReport *report)
{
	for (; report->drawn; report->drawn--)
		fputs("\033[A\r\033[K", stdout);
}

static void draw(LuHostReport *report, const LuVm *vm)
{
	int filled = vm->total ? (int)(BAR_WIDTH * MIN(vm->done, vm->total) / vm->total) : 0;

	printf("  %-20.20s %-9.9s [", vm->name, vm->step ? vm->step : "");
	for (int i = 0; i < BAR_WIDTH; i++)
		fputc(i < filled ? '#' : '.', stdout);
	printf("] %.0f MiB\n", (double)vm->total / MIB);
	report->drawn++;
}

static void draw_all(LuHostReport *report, const LuHostRun *run)
{
	if (is_silent(report) || !report->terminal)
		return;
	clear_drawn(report);
	for (guint i = 0; i < run->vms->len; i++) {
		const LuVm *vm = run->vms->pdata[i];

		if (vm->state == LU_VM_UNDER_WAY)
			draw(report, vm);
	}
	fflush(stdout);
}

/* -------------------------------------------------------------------- one line */

static void print_figures(const LuVm *vm)
{
	JsonNode *report = vm->report;

	printf(": QEMU %s to %s", lu_json_str(report, "from"), lu_json_str(report, "to"));
	if (vm->state == LU_VM_UPGRADED)
		printf(", process %d", (int)lu_json_int(report, "new-pid"));
	if (vm->state != LU_VM_POSSIBLE)
		printf(", stopped for %.1f ms, total %.2f s, at most %.0f MiB (%s)",
		       lu_json_double(report, "stopped-ms"),
		       lu_json_double(report, "total-ms") / 1000,
		       (double)lu_json_int(report, "peak-bytes") / MIB,
		       lu_json_str(report, "peak-of") ? lu_json_str(report, "peak-of") : "unknown");
}

static void print_notes(const LuVm *vm)
{
	JsonNode *notes = lu_json_member(vm->report, "notes");

	for (guint i = 0; i < lu_json_length(notes); i++)
		printf("            note: %s\n", json_node_get_string(lu_json_element(notes, i)));
}

static void print_vm(const LuVm *vm)
{
	printf("%-11s %s (%s%sprocess %d, %.0f MiB)", lu_vm_state_name(vm->state), vm->name,
	       vm->unit ? vm->unit : "", vm->unit ? ", " : "", (int)vm->pid,
	       (double)vm->memory_bytes / MIB);
	if (vm->reason)
		printf(": %s", vm->reason);
	else if (vm->report && lu_json_str(vm->report, "to"))
		print_figures(vm);
	else if (vm->interrupted)
		printf(": an upgrade was begun and is at \"%s\"", vm->interrupted);
	putchar('\n');
	if (vm->report)
		print_notes(vm);
}

static gboolean is_bad(const LuVm *vm)
{
	return vm->state == LU_VM_REFUSED || vm->state == LU_VM_ROLLED_BACK ||
	       vm->state == LU_VM_NO_LIBVIRT || vm->state == LU_VM_LOST || vm->state == LU_VM_LEFT;
}

/* ------------------------------------------------------------------ the observer */

static void on_found(void *opaque, const LuHostRun *run)
{
	LuHostReport *report = opaque;

	if (is_silent(report))
		return;
	printf("found       %u QEMU processes, %u to upgrade\n", run->vms->len,
	       lu_host_count(run, LU_VM_WAITING));
	for (guint i = 0; i < run->vms->len; i++) {
		const LuVm *vm = run->vms->pdata[i];

		if (vm->state != LU_VM_WAITING)
			print_vm(vm);
	}
	fflush(stdout);
}

static void on_changed(void *opaque, const LuHostRun *run, const LuVm *vm)
{
	LuHostReport *report = opaque;

	if (!is_silent(report) && vm->state != LU_VM_UNDER_WAY) {
		clear_drawn(report);
		print_vm(vm);
		fflush(stdout);
	}
	draw_all(report, run);
}

static void on_tick(void *opaque, const LuHostRun *run)
{
	draw_all(opaque, run);
}

static void on_note(void *opaque, const char *text)
{
	LuHostReport *report = opaque;

	if (is_silent(report))
		return;
	clear_drawn(report);
	printf("note: %s\n", text);
	fflush(stdout);
}

LuHostObserver lu_host_report_observer(LuHostReport *report)
{
	return (LuHostObserver){on_found, on_changed, on_tick, on_note, report};
}

/* ------------------------------------------------------------------- the summary */

static void print_counts(const LuHostRun *run)
{
	const char *separator = " ";

	for (guint state = 0; state < LU_VM_STATES; state++) {
		guint count = lu_host_count(run, state);

		if (!count)
			continue;
		printf("%s%u %s", separator, count, lu_vm_state_name(state));
		separator = ", ";
	}
	if (!run->vms->len)
		fputs(" no QEMU processes", stdout);
}

static void print_json(const LuHostRun *run)
{
	g_autoptr(JsonNode) node = lu_host_json(run);
	g_autofree char *text = json_to_string(node, TRUE);

	puts(text);
}

static void print_bad(const LuHostRun *run)
{
	if (run->problem)
		fprintf(stderr, "qemu-live-upgrade: %s\n", run->problem);
	for (guint i = 0; i < run->vms->len; i++) {
		const LuVm *vm = run->vms->pdata[i];

		if (is_bad(vm))
			fprintf(stderr, "qemu-live-upgrade: %s: %s%s%s\n", vm->name,
				lu_vm_state_name(vm->state), vm->reason ? ": " : "",
				vm->reason ? vm->reason : "");
	}
}

void lu_host_report_end(LuHostReport *report, const LuHostRun *run)
{
	clear_drawn(report);
	if (report->json) {
		print_json(run);
		return;
	}
	if (report->quiet) {
		print_bad(run);
		return;
	}
	for (guint i = 0; i < run->vms->len; i++)
		if (((LuVm *)run->vms->pdata[i])->state == LU_VM_LEFT)
			print_vm(run->vms->pdata[i]);
	if (run->stopped)
		printf("stopped     by %s; what is not begun was not touched\n", run->stopped);
	fputs("summary    ", stdout);
	print_counts(run);
	printf("; %.2f s", run->total_ms / 1000);
	if (!run->request->each.dry_run)
		printf(", at most %.0f MiB of the host's memory more in use",
		       (double)run->peak_bytes / MIB);
	putchar('\n');
}

static void print_last_run(const LuHostRun *run)
{
	g_autoptr(JsonNode) journal = lu_run_journal_read(run->base);

	if (!journal)
		return;
	printf("last run    %s, %s", lu_json_str(journal, "written"),
	       lu_json_bool(journal, "finished") ? "ended"
	       : lu_run_was_killed(journal)	 ? "killed; run --all again"
						 : "at work");
	if (lu_json_str(journal, "stopped-by"))
		printf(", stopped by %s", lu_json_str(journal, "stopped-by"));
	putchar('\n');
}

void lu_host_report_status(LuHostReport *report, const LuHostRun *run)
{
	if (report->json) {
		print_json(run);
		return;
	}
	for (guint i = 0; i < run->vms->len; i++)
		print_vm(run->vms->pdata[i]);
	print_last_run(run);
}
