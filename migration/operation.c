// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdlib.h>
#include <unistd.h>

#include "hmp.h"
#include "local/host-limits.h"
#include "main-loop.h"
#include "operation.h"

LmOptions lm_default_options;

static LmOperation *current;

LmOperation *lm_operation_current(void)
{
	return current;
}

static void operation_free(LmOperation *op)
{
	if (!op)
		return;
	if (op->thread)
		g_thread_join(op->thread);
	lm_session_free(op->session);
	lm_listener_free(op->listener);
	g_mutex_clear(&op->lock);
	g_clear_pointer(&op->disks, g_ptr_array_unref);
	g_free(op->error);
	g_free(op->path);
	g_free(op);
}

gboolean lm_operation_is_active(void)
{
	gboolean active;

	if (!current)
		return FALSE;
	g_mutex_lock(&current->lock);
	active = current->end_state == LM_STATE_NONE;
	g_mutex_unlock(&current->lock);
	return active;
}

/* QEMU ends while it waits for a source: the worker will not come to remove the socket. */
static void remove_socket(void)
{
	if (current && current->listener)
		unlink(current->path);
}

/* It works with what the main loop sees of it only when this function is over: both are there. */
static bool start_thread(LmOperation *op, GThreadFunc worker, Error **errp)
{
	g_autoptr(GError) error = NULL;

	if (lm_limits_check_memory(&error) < 0) {
		lm_error_setg(errp, "%s", error->message);
		return false;
	}
	op->thread = g_thread_try_new("localhost-migrate", worker, op, &error);
	if (!op->thread)
		lm_error_setg(errp,
			      "cannot start a thread: %s (a limit of processes: RLIMIT_NPROC, or "
			      "pids.max of the control group)",
			      error->message);
	return op->thread != NULL;
}

bool lm_operation_begin(LmRole role, const LmHostOps *ops, char *path, LmListener *listener,
			const LmOptions *options, GPtrArray *disks, GThreadFunc worker,
			Error **errp)
{
	LmOperation *op = g_new0(LmOperation, 1);

	op->role = role;
	op->path = path;
	op->listener = listener;
	op->options = *options;
	op->disks = disks ? g_ptr_array_ref(disks) : NULL;
	op->session = lm_session_new(role, ops, op, options);
	op->outcome = role == LM_ROLE_SOURCE ? LM_OUTCOME_HERE : LM_OUTCOME_UNTOUCHED;
	g_mutex_init(&op->lock);
	if (!start_thread(op, worker, errp)) {
		operation_free(op);
		return false;
	}
	if (!current)
		atexit(remove_socket);
	operation_free(current);
	current = op;
	return true;
}

static void announce_state(void *opaque)
{
	const char *name = lm_state_name(GPOINTER_TO_INT(opaque));

	qemu.qapi_event_send_migration(
		qemu.qapi_enum_parse(qemu.MigrationStatus_lookup, name, -1, NULL));
}

static void announce(LmOperation *op, LmState state)
{
	if (state == op->announced)
		return;
	op->announced = state;
	lm_main_loop_post(announce_state, GINT_TO_POINTER(state));
}

void lm_operation_changed(void *opaque)
{
	LmOperation *op = opaque;
	LmStatus status;

	lm_session_query(op->session, &status);
	/* How it ends is said once everything has been undone (lm_operation_end). */
	if (status.state < LM_STATE_COMPLETED)
		announce(op, status.state);
	lm_status_clear(&status);
}

static LmState state_of(const GError *error)
{
	if (!error)
		return LM_STATE_COMPLETED;
	return g_error_matches(error, LM_ERROR, LM_ERROR_CANCELLED) ? LM_STATE_CANCELLED
								    : LM_STATE_FAILED;
}

static void operation_ended(void *opaque)
{
	lm_hmp_operation_ended();
}

void lm_operation_end(LmOperation *op, LmOutcome outcome, GError *error)
{
	LmState state = state_of(error);

	g_mutex_lock(&op->lock);
	op->outcome = outcome;
	op->end_state = state;
	if (error)
		op->error = g_strdup(error->message);
	g_mutex_unlock(&op->lock);
	announce(op, state);
	lm_main_loop_post(operation_ended, NULL);
	g_clear_error(&error);
}

void lm_operation_cancel(void)
{
	if (!current)
		return;
	g_mutex_lock(&current->lock);
	current->cancel_asked = TRUE;
	lm_session_cancel(current->session);
	if (current->listener)
		lm_listener_interrupt(current->listener);
	g_mutex_unlock(&current->lock);
}

/* ------------------------------------------------------------------ reports */

static const char *owner_name(const LmOperation *op)
{
	switch (op->outcome) {
	case LM_OUTCOME_GONE:
	case LM_OUTCOME_TAKEN:
		return "destination";
	case LM_OUTCOME_LOST:
		return "lost";
	default:
		return "source";
	}
}

gboolean lm_operation_report(LmReport *report)
{
	LmOperation *op = current;

	if (!op)
		return FALSE;
	g_mutex_lock(&op->lock);
	lm_session_query(op->session, &report->status);
	report->owner = owner_name(op);
	if (op->end_state != LM_STATE_NONE) {
		report->status.state = op->end_state;
		g_free(report->status.error);
		report->status.error =
			op->end_state == LM_STATE_FAILED ? g_strdup(op->error) : NULL;
	} else if (report->status.state >= LM_STATE_COMPLETED) {
		/* The session is over, but what follows from it is still being done. */
		report->status.state = LM_STATE_DEVICE;
	}
	g_mutex_unlock(&op->lock);
	return TRUE;
}

/* --------------------------------------------------------------------- hops */

typedef struct LmHopCall {
	void (*function)(LmHop *hop);
	LmHop hop;
} LmHopCall;

static void run_hop(void *opaque)
{
	LmHopCall *call = opaque;

	call->function(&call->hop);
}

int lm_operation_hop(LmOperation *op, void (*function)(LmHop *hop), void *arg, guint64 number,
		     GError **errp)
{
	LmHopCall call = {.function = function,
			  .hop = {.operation = op, .arg = arg, .number = number, .errp = errp}};

	lm_main_loop_call(run_hop, &call);
	return call.hop.rc;
}
