// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The steps of an upgrade: forward, and on failure backward through the undo column.
 *
 *   step      does                                             taken back by
 *   look      finds the QEMU, its monitor, its plugin          nothing was touched
 *   probe     starts the new program without a machine, asks   (ended at once)
 *   plan      the new command line; refusals                   nothing was touched
 *             (--dry-run ends here)
 *   attach    loads the plugin into a QEMU without one         it stays there, and is harmless
 *   unit      whether systemd listens, for a service         its status text is cleared
 *   prepare   the journal, a folder for the handover's socket  removed
 *   images    the new images of disks that move                removed
 *   start     the new process, as the old one was              killed, its names removed
 *   greet     its monitor; it must run as the old one does     see start
 *             (a manager must be away from here on: manager.h)
 *   take      the manager's monitor, and records beside its    removed
 *   handover  the guest moves                                  the plugin, see docs/theory.md
 *             (--rehearse ends here, and all is taken back)
 *   record    the manager's records say the new process        the guest is there: no way back
 *   names     sockets and pid file lead to the new process
 *   follow    the new process is the service's main process
 *   retire    the old process ends; forwarded ports, VNC
 *   copy      disks that move are copied, and followed
 *   settle    journal removed
 *
 * From record on nothing fails: what cannot be done is noted.
 */
#include "steps.h"
#include "error.h"
#include "handle.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name, *what;
	gboolean (*forward)(LuUpgrade *up, GError **errp);
	void (*undo)(LuUpgrade *up);
} steps[] = {
	{"look", "finding the running QEMU", lu_step_look, NULL},
	{"probe", "asking the new program", lu_step_probe, NULL},
	{"plan", "making the new command line", lu_step_plan, NULL},
	{"attach", "seeing to the plugin", lu_step_attach, NULL},
	{"unit", "seeing to systemd", lu_step_unit, lu_undo_unit},
	{"prepare", "opening a journal", lu_step_prepare, lu_undo_prepare},
	{"images", "making new images", lu_step_images, lu_undo_images},
	{"start", "starting the new process", lu_step_start, lu_undo_start},
	{"greet", "waiting for its monitor", lu_step_greet, NULL},
	{"take", "taking over from who manages it", lu_step_take, lu_forget_records},
	{"handover", "handing the guest over", lu_step_handover, NULL},
	{"record", "telling who manages it", lu_step_record, NULL},
	{"names", "renaming sockets and pid file", lu_step_names, NULL},
	{"follow", "giving the service its process", lu_step_follow, NULL},
	{"retire", "ending the old process", lu_step_retire, NULL},
	{"copy", "copying disks", lu_step_copy, NULL},
	{"settle", "clearing up", lu_step_settle, NULL},
};
enum {
	STEP_PLAN = 2,
	STEP_IMAGES = 6,
	STEP_TAKE = 9,
	STEP_HANDOVER = 10,
	STEP_RECORD = 11,
	STEP_COPY = 15,
};

void lu_result_clear(LuResult *result)
{
	g_free(result->from);
	g_free(result->to);
	g_free(result->way);
	g_free(result->command_line);
	g_clear_pointer(&result->refusals, g_ptr_array_unref);
	g_clear_pointer(&result->notes, g_ptr_array_unref);
	memset(result, 0, sizeof(*result));
}

gboolean lu_fault(const char *point, GError **errp)
{
	const char *fault = LM_FAULT_INJECTION ? g_getenv("QEMU_LIVE_UPGRADE_FAULT") : NULL;
	g_auto(GStrv) parts = g_strsplit(fault ? fault : "", ":", 2);

	if (!parts[0] || strcmp(parts[0], point) || !parts[1])
		return TRUE;
	if (!strcmp(parts[1], "kill"))
		raise(SIGKILL);
	if (!strcmp(parts[1], "stop")) { /* until somebody lets it go on */
		raise(SIGSTOP);
		return TRUE;
	}
	return lu_fail(errp, LU_ERROR_FAILED, "fault injected at %s", point);
}

void lu_note(LuUpgrade *up, char *text)
{
	g_ptr_array_add(up->result->notes, text);
	if (up->request->observer.note)
		up->request->observer.note(up->request->observer.opaque, text);
}

/* Steps that are for managed VMs only, or for disks that move. */
static gboolean is_idle(const LuUpgrade *up, guint i)
{
	const GPtrArray *moves = up->request->moves;

	return ((i == STEP_IMAGES || i == STEP_COPY) && (!moves || !moves->len)) ||
	       (i == STEP_TAKE && !up->request->manager) ||
	       (i == STEP_RECORD && !up->journal->manager);
}

static gboolean record_step(LuUpgrade *up, guint i, GError **errp)
{
	if (up->request->observer.step && !is_idle(up, i))
		up->request->observer.step(up->request->observer.opaque, steps[i].name,
					   steps[i].what);
	if (!up->journal)
		return TRUE;
	g_free(up->journal->step);
	up->journal->step = g_strdup(steps[i].name);
	return lu_journal_write(up->journal, errp);
}

static void walk_back(LuUpgrade *up, guint from)
{
	for (guint i = from + 1; i-- > 0;)
		if (steps[i].undo)
			steps[i].undo(up);
}

static gboolean is_last(const LuUpgrade *up, guint i)
{
	return (up->request->dry_run && i == STEP_PLAN) ||
	       (up->request->rehearse && i == STEP_HANDOVER);
}

/* An error of QEMU's or GLib's, or of a call that serves many steps, says what it means here. */
static void pass_on(const GError *error, gboolean touched, GError **errp)
{
	LuErrorCode code = error->domain == LU_ERROR ? (LuErrorCode)error->code : LU_ERROR_FAILED;

	if (code == LU_ERROR_FAILED && !touched)
		code = LU_ERROR_REFUSED;
	g_set_error_literal(errp, LU_ERROR, code, error->message);
}

/* A step after the commit is done even if the journal cannot be written. */
static void settle(LuUpgrade *up, guint i)
{
	g_autoptr(GError) unrecorded = NULL, error = NULL;

	if (!record_step(up, i, &unrecorded))
		lu_note(up, g_strdup(unrecorded->message));
	if (!steps[i].forward(up, &error))
		lu_note(up, g_strdup(error->message));
	lu_fault(steps[i].name, NULL);
}

/* From up->next to @end, which is not done. */
static gboolean walk(LuUpgrade *up, guint end, GError **errp)
{
	for (; up->next < end; up->next++) {
		guint i = up->next;
		g_autoptr(GError) error = NULL;
		gboolean ok;

		if (i >= STEP_RECORD) { /* the guest is in the new process, whatever happens */
			settle(up, i);
			continue;
		}
		ok = record_step(up, i, &error) && steps[i].forward(up, &error);
		/* Where there is no way back it can be killed, but not fail. */
		ok = lu_fault(steps[i].name, ok && i < STEP_HANDOVER ? &error : NULL) && ok;
		if (ok && !is_last(up, i))
			continue;
		up->next = G_N_ELEMENTS(steps);
		/* A guest that is lost: both processes are left for inspection. */
		if (!ok && error->code == LU_ERROR_LOST && error->domain == LU_ERROR) {
			g_propagate_error(errp, g_steal_pointer(&error));
			return FALSE;
		}
		if (!up->request->dry_run || !ok)
			walk_back(up, i);
		if (!ok)
			pass_on(error, i > STEP_PLAN, errp);
		return ok;
	}
	return TRUE;
}

static void clear(LuUpgrade *up)
{
	up->result->total_ms = (double)(g_get_monotonic_time() - up->begin_us) / 1000;
	lu_unlock(up);
	lu_fd_clear(&up->stderr_fd);
	lu_child_release(&up->child);
	lu_qmp_free(up->new_qmp);
	if (up->old_is_own) {
		lu_qmp_free(up->old_qmp);
		lu_process_free(up->old);
	}
	lu_process_free(up->new);
	lu_plan_free(up->plan);
	g_clear_pointer(&up->disks, g_ptr_array_unref);
	g_free(up->attach);
	lu_probe_clear(&up->probe);
	lu_running_free(up->running);
	lu_unit_free(up->unit);
	lu_journal_free(up->journal);
	g_free(up->base);
	g_free(up);
}

static LuUpgrade *make(const LuRequest *request, LuResult *result)
{
	LuUpgrade *up = g_new0(LuUpgrade, 1);

	up->request = request;
	up->result = result;
	up->lock_fd = -1;
	up->stderr_fd = -1;
	up->child = (LuChild){.pid = -1, .pidfd = -1, .go_fd = -1, .error_fd = -1};
	up->begin_us = g_get_monotonic_time();
	memset(result, 0, sizeof(*result));
	result->refusals = g_ptr_array_new_with_free_func(g_free);
	result->notes = g_ptr_array_new_with_free_func(g_free);
	return up;
}

static gboolean say_where_it_is(LuUpgrade *up, GError **errp)
{
	g_autoptr(LuProcess) process = lu_process_open(up->request->pid, errp);

	return process &&
	       lu_fail(errp, LU_ERROR_FAILED, "the guest goes on in process %d", (int)process->pid);
}

/* What a run before this one left comes first. */
static gboolean recover(LuUpgrade *up, gboolean *finished, GError **errp)
{
	*finished = FALSE;
	up->base = lu_journal_base(errp);
	if (!up->base || !lu_recover(up, finished, errp))
		return FALSE;
	lu_fault("recovered", NULL);
	if (!*finished && up->request->recover_only)
		return say_where_it_is(up, errp);
	up->next = *finished ? STEP_RECORD : 0;
	return TRUE;
}

LuUpgrade *lu_upgrade_begin(const LuRequest *request, LuResult *result, GError **errp)
{
	LuUpgrade *up = make(request, result);
	gboolean finished;

	if (!recover(up, &finished, errp) || !walk(up, STEP_TAKE, errp)) {
		clear(up);
		return NULL;
	}
	/* It was lent for the time in which the manager is there. */
	if (request->manager && up->running) {
		up->running->qmp = NULL;
		up->old_qmp = NULL;
	}
	return up;
}

gboolean lu_upgrade_end(LuUpgrade *up, GError **errp)
{
	gboolean ok = walk(up, G_N_ELEMENTS(steps), errp);

	clear(up);
	return ok;
}

void lu_upgrade_abandon(LuUpgrade *up)
{
	if (!up)
		return;
	if (up->next > 0 && up->next <= STEP_TAKE)
		walk_back(up, up->next - 1);
	clear(up);
}

gboolean lu_upgrade_recover(const LuRequest *request, LuResult *result, gboolean *finished,
			    GError **errp)
{
	LuUpgrade *up = make(request, result);
	gboolean ok = recover(up, finished, errp);

	if (ok && *finished)
		ok = walk(up, G_N_ELEMENTS(steps), errp);
	clear(up);
	return ok;
}

static gboolean begin_and_end(const LuRequest *request, LuResult *result, GError **errp)
{
	LuUpgrade *up = lu_upgrade_begin(request, result, errp);

	return up && lu_upgrade_end(up, errp);
}

gboolean lu_upgrade(const LuRequest *request, LuResult *result, GError **errp)
{
	LuRequest next = *request;
	g_autoptr(GPtrArray) notes = NULL;
	gboolean ok = begin_and_end(request, result, errp);

	if (!ok || !result->disks_left || request->rehearse)
		return ok;
	/* What an interrupted run began is finished, and what this one was asked for is not. */
	next.pid = request->pid ? result->new_pid : 0;
	notes = g_steal_pointer(&result->notes);
	lu_result_clear(result);
	ok = begin_and_end(&next, result, errp);
	g_ptr_array_extend_and_steal(notes, g_steal_pointer(&result->notes));
	result->notes = g_steal_pointer(&notes);
	result->recovered = TRUE;
	return ok;
}
