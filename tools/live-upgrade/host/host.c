// SPDX-License-Identifier: GPL-2.0-or-later
#include "host.h"
#include "discover.h"
#include "error.h"
#include "handle.h"
#include "journal.h"
#include "kinds.h"
#include "process.h"
#include "qmp.h"
#include "run-journal.h"
#include "steps.h"
#include "worker.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

#define TICK_MS 50

typedef struct Place {
	LuWorker *worker; /* NULL: free */
	char *left_by;	  /* it settles what another one left; this is how that one ended */
} Place;

typedef struct Work {
	LuHostRun *run;
	const LuVmKind *kind;
	Place *places;
	guint64 available_bytes; /* when the run began */
} Work;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

void lu_host_run_clear(LuHostRun *run)
{
	g_free(run->base);
	g_free(run->stopped);
	g_free(run->problem);
	g_clear_pointer(&run->vms, g_ptr_array_unref);
	g_clear_pointer(&run->notes, g_ptr_array_unref);
	memset(run, 0, sizeof(*run));
}

/* --------------------------------------------------------------------- telling */

static void note(LuHostRun *run, char *text)
{
	g_ptr_array_add(run->notes, text);
	if (run->observer.note)
		run->observer.note(run->observer.opaque, text);
}

static gboolean writes(const LuHostRun *run)
{
	return !run->request->each.dry_run;
}

/* From here on every VM has a journal of its own: that of the run is not worth an end of it. */
static void changed(LuHostRun *run, const LuVm *vm)
{
	g_autoptr(GError) error = NULL;

	if (writes(run) && !lu_run_journal_write(run, FALSE, &error))
		note(run, g_strdup(error->message));
	if (run->observer.changed)
		run->observer.changed(run->observer.opaque, run, vm);
}

static void stop(LuHostRun *run, char *why)
{
	if (run->stopped)
		g_free(why);
	else
		run->stopped = why;
}

static guint64 available_bytes(void)
{
	g_autofree char *text = NULL, *field = NULL;

	g_file_get_contents("/proc/meminfo", &text, NULL, NULL);
	field = lu_proc_status_field(text, "MemAvailable");
	return field ? g_ascii_strtoull(field, NULL, 10) * 1024 : 0;
}

static void sample_memory(Work *work)
{
	guint64 now = available_bytes();

	if (now < work->available_bytes)
		work->run->peak_bytes = MAX(work->run->peak_bytes, work->available_bytes - now);
}

/* ---------------------------------------------------------------------- one VM */

static void end_vm(Work *work, LuVm *vm, LuVmState state, char *reason)
{
	lu_vm_set(vm, state, reason);
	if (!work->run->request->keep_going &&
	    (state == LU_VM_ROLLED_BACK || state == LU_VM_NO_LIBVIRT || state == LU_VM_LOST))
		stop(work->run, g_strdup_printf("%s: %s", vm->name, lu_vm_state_name(state)));
	changed(work->run, vm);
}

/* What a report says; a VM that was refused because it is no more has ended. */
static void judge(Work *work, const Place *place, LuVm *vm)
{
	const char *error = lu_json_str(vm->report, "error");
	LuVmState state = lu_vm_state_parse(lu_json_str(vm->report, "outcome"), LU_VM_REFUSED);
	char *reason = NULL;

	if (state == LU_VM_REFUSED && !lu_process_is(vm->pid, vm->start_time)) {
		state = LU_VM_ENDED;
		reason = g_strdup(place->left_by ? "its process has ended; if there is another, "
						   "it is upgraded"
						 : "it has ended by itself");
	} else if (place->left_by && error) {
		reason = g_strdup_printf("the process that upgraded it %s; %s", place->left_by,
					 error);
	} else {
		reason = g_strdup(error);
	}
	end_vm(work, vm, state, reason);
}

/* --------------------------------------------------------------------- workers */

static gboolean begin(Work *work, Place *place, GPtrArray *vms)
{
	LuRequest request = work->run->request->each;
	g_autoptr(GError) error = NULL;

	request.recover_only = place->left_by != NULL;
	place->worker = lu_worker_start(vms, &request, &error);
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (!place->worker) {
			end_vm(work, vm, place->left_by ? LU_VM_LOST : LU_VM_REFUSED,
			       g_strdup(error->message));
		} else if (!place->left_by) {
			lu_vm_set(vm, LU_VM_UNDER_WAY, NULL);
			changed(work->run, vm);
		}
	}
	lu_fault("host-begun", NULL);
	return place->worker != NULL;
}

/* Its VMs that it said nothing of, once it has ended; of LuVm. */
static GPtrArray *left_over(Work *work, const Place *place)
{
	GPtrArray *left = g_ptr_array_new();

	for (guint i = 0; i < place->worker->vms->len; i++) {
		LuVm *vm = place->worker->vms->pdata[i];

		if (vm->report)
			judge(work, place, vm);
		else
			g_ptr_array_add(left, vm);
	}
	return left;
}

static void give_up(Work *work, const Place *place, GPtrArray *left, const char *end)
{
	for (guint i = 0; i < left->len; i++)
		end_vm(work, left->pdata[i], LU_VM_LOST,
		       g_strdup_printf("it cannot be told where the guest is: the process that "
				       "upgraded it %s, and the one that looked after it %s; run "
				       "this again",
				       place->left_by, end));
}

static void read_worker(Work *work, Place *place)
{
	g_autoptr(GPtrArray) left = NULL;
	g_autofree char *end = NULL;

	if (lu_worker_read(place->worker, &end))
		return;
	left = left_over(work, place);
	g_clear_pointer(&place->worker, lu_worker_free);
	if (left->len && !place->left_by) {
		place->left_by = g_steal_pointer(&end);
		if (begin(work, place, left))
			return;
	} else {
		give_up(work, place, left, end);
	}
	g_clear_pointer(&place->left_by, g_free);
	lu_fault("host-one", NULL);
}

/* --------------------------------------------------------------------- one kind */

/* One VM, or all that go together; empty when there is nothing more to begin. */
static GPtrArray *next_waiting(Work *work)
{
	GPtrArray *vms = work->run->vms, *next = g_ptr_array_new();

	if (interrupted)
		stop(work->run, g_strdup_printf("signal %d", (int)interrupted));
	for (guint i = 0; i < vms->len && !work->run->stopped; i++) {
		LuVm *vm = vms->pdata[i];

		if (vm->kind == work->kind && vm->state == LU_VM_WAITING &&
		    (!next->len || work->kind->upgrade_together))
			g_ptr_array_add(next, vm);
	}
	return next;
}

/* FALSE: all are free, and stay that. */
static gboolean fill_places(Work *work)
{
	gboolean busy = FALSE;

	for (guint i = 0; i < work->run->request->parallel; i++) {
		Place *place = &work->places[i];

		while (!place->worker) {
			g_autoptr(GPtrArray) next = next_waiting(work);

			if (!next->len)
				break;
			begin(work, place, next);
		}
		busy |= place->worker != NULL;
	}
	return busy;
}

static void wait_for_workers(Work *work)
{
	guint count = work->run->request->parallel;
	g_autofree struct pollfd *fds = g_new0(struct pollfd, count);

	for (guint i = 0; i < count; i++) {
		fds[i].fd = work->places[i].worker ? work->places[i].worker->fd : -1;
		fds[i].events = POLLIN;
	}
	if (poll(fds, count, TICK_MS) < 0)
		memset(fds, 0, count * sizeof(*fds));
	for (guint i = 0; i < count; i++)
		if (fds[i].revents)
			read_worker(work, &work->places[i]);
	sample_memory(work);
	if (work->run->observer.tick)
		work->run->observer.tick(work->run->observer.opaque, work->run);
}

static void work_on_kind(Work *work, const LuVmKind *kind)
{
	work->kind = kind;
	while (fill_places(work))
		wait_for_workers(work);
}

/* ------------------------------------------------- what is of none of the VMs */

static gboolean any_waits(const LuHostRun *run, const LuVmKind *kind)
{
	for (guint i = 0; i < run->vms->len; i++) {
		const LuVm *vm = run->vms->pdata[i];

		if (vm->kind == kind && vm->state == LU_VM_WAITING)
			return TRUE;
	}
	return FALSE;
}

/* Where a VM of the kind waits, its turn begins with this. */
static void settle_kind(LuHostRun *run, const LuVmKind *kind)
{
	const LuRequest *request = &run->request->each;
	g_autoptr(GError) error = NULL;
	char *told = NULL;

	if (!kind->settle || (!request->dry_run && any_waits(run, kind)))
		return;
	if (!kind->settle(request, &told, &error)) {
		run->problem = g_strdup(error->message);
		run->problem_code = error->code;
		note(run, g_strdup(error->message));
	}
	if (told)
		note(run, told);
}

/* -------------------------------------------------------------------- the whole */

static void say_what_is_continued(LuHostRun *run)
{
	g_autoptr(JsonNode) journal = lu_run_journal_read(run->base);

	run->continued = lu_run_was_killed(journal);
	if (run->continued)
		note(run, g_strdup_printf("a run of %s that was interrupted is continued",
					  lu_json_str(journal, "written")));
}

static void work_on_all(LuHostRun *run)
{
	Work work = {.run = run,
		     .places = g_new0(Place, run->request->parallel),
		     .available_bytes = available_bytes()};
	struct sigaction action = {.sa_handler = on_signal}, before[3];
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	interrupted = 0;
	for (guint i = 0; i < G_N_ELEMENTS(signals); i++)
		sigaction(signals[i], &action, &before[i]);
	for (guint i = 0; lu_vm_kinds[i]; i++) {
		settle_kind(run, lu_vm_kinds[i]);
		work_on_kind(&work, lu_vm_kinds[i]);
	}
	for (guint i = 0; i < run->vms->len; i++) {
		LuVm *vm = run->vms->pdata[i];

		if (vm->state == LU_VM_WAITING)
			lu_vm_set(vm, LU_VM_LEFT, NULL);
	}
	for (guint i = 0; i < G_N_ELEMENTS(signals); i++)
		sigaction(signals[i], &before[i], NULL);
	g_free(work.places);
}

static gboolean open_run(const LuHostRequest *request, LuHostRun *run, GError **errp)
{
	run->request = request;
	run->notes = g_ptr_array_new_with_free_func(g_free);
	run->base = lu_journal_base(errp);
	return run->base != NULL;
}

gboolean lu_host_upgrade(const LuHostRequest *request, LuHostRun *run, GError **errp)
{
	gint64 begin_us = g_get_monotonic_time();
	g_auto(LuFd) lock = -1;

	if (!open_run(request, run, errp) || (writes(run) && !lu_run_lock(run, &lock, errp)))
		return FALSE;
	say_what_is_continued(run);
	run->vms = lu_discover(request, run->base);
	if (run->observer.found)
		run->observer.found(run->observer.opaque, run);
	if (writes(run) && !lu_run_journal_write(run, FALSE, errp))
		return FALSE;
	work_on_all(run);
	run->total_ms = (double)(g_get_monotonic_time() - begin_us) / 1000;
	if (writes(run))
		lu_run_journal_write(run, TRUE, NULL);
	return TRUE;
}

gboolean lu_host_status(const LuHostRequest *request, LuHostRun *run, GError **errp)
{
	if (!open_run(request, run, errp))
		return FALSE;
	say_what_is_continued(run);
	run->vms = lu_discover(request, run->base);
	for (guint i = 0; lu_vm_kinds[i]; i++)
		settle_kind(run, lu_vm_kinds[i]);
	return TRUE;
}
