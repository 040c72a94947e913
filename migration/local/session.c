// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The session: walks the table of stages, and back when a stage fails.
 *
 * Who may run the VM is decided by the ledger alone (ledger.h). On any failure the source first
 * withdraws its offer. If that succeeds the destination can never run the VM, and the undo column
 * brings everything back; if it fails the destination has taken the VM, and whatever went wrong
 * after that is no failure of the handover.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "keep.h"
#include "region.h"
#include "session.h"

static gint64 now_us(void)
{
	return g_get_monotonic_time();
}

LmSession *lm_session_new(LmRole role, const LmHostOps *ops, void *opaque, const LmOptions *options)
{
	LmSession *s = g_new0(LmSession, 1);

	s->role = role;
	s->ops = ops;
	s->opaque = opaque;
	s->options = *options;
	s->fault = g_strdup(lm_fault_of(options->fault, role));
	lm_fault_set(s->fault);
	s->options.fault = s->fault;
	if (!s->options.deadline_ms)
		s->options.deadline_ms = LM_DEADLINE_MS_DEFAULT;
	if (!s->options.channels)
		s->options.channels = lm_pipes_default_count();
	s->fd = s->peer_pidfd = s->state.fd = -1;
	s->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->wait = (LmWait){.deadline_ms = s->options.deadline_ms, .cancel_fd = s->cancel_fd};
	g_mutex_init(&s->lock);
	s->rehearse = role == LM_ROLE_SOURCE && options->rehearse;
	s->status.role = role;
	s->status.rehearsal = s->rehearse;
	s->status.state = LM_STATE_SETUP;
	s->status.downtime_us = -1;
	for (guint i = 0; i < LM_STAGE__MAX; i++)
		s->status.stage_us[i] = -1;
	for (guint i = 0; i < LM_PAUSE__MAX; i++)
		s->status.pause_us[i] = -1;
	s->begin_us = s->stage_begin_us = now_us();
	return s;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* What only a running session needs; the status and the regions stay for queries. */
static void release_resources(LmSession *s)
{
	if (s->regions)
		lm_keep_forget(s->regions);
	lm_pipes_close(&s->pipes);
	for (guint i = 0; i < LM_CHANNELS_MAX; i++)
		lm_flip_log_clear(&s->log[i]);
	close_fd(&s->state.fd);
	if (s->peer_pidfd >= 0)
		prctl(PR_SET_PTRACER, 0, 0, 0, 0);
	close_fd(&s->peer_pidfd);
	close_fd(&s->fd);
	g_mutex_lock(&s->lock);
	close_fd(&s->cancel_fd);
	g_mutex_unlock(&s->lock);
	g_clear_pointer(&s->ledger, lm_ledger_free);
	g_clear_pointer(&s->theirs, lm_inventory_free);
}

void lm_session_free(LmSession *s)
{
	if (!s)
		return;
	release_resources(s);
	g_clear_pointer(&s->shares, g_ptr_array_unref);
	g_clear_pointer(&s->regions, g_ptr_array_unref);
	g_clear_pointer(&s->mine, lm_inventory_free);
	lm_status_clear(&s->status);
	g_mutex_clear(&s->lock);
	g_free(s->fault);
	g_free(s);
}

void lm_session_cancel(LmSession *s)
{
	g_mutex_lock(&s->lock);
	if (s->cancel_fd >= 0)
		eventfd_write(s->cancel_fd, 1);
	g_mutex_unlock(&s->lock);
}

LmWait lm_session_undo_wait(const LmSession *s)
{
	return (LmWait){.deadline_ms = s->options.deadline_ms, .cancel_fd = -1};
}

gint64 lm_session_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}

void lm_session_set_regions(LmSession *s, GPtrArray *regions)
{
	g_mutex_lock(&s->lock);
	g_clear_pointer(&s->regions, g_ptr_array_unref);
	s->regions = g_ptr_array_ref(regions);
	g_mutex_unlock(&s->lock);
}

static void between_frames(void *opaque)
{
	LmSession *s = opaque;

	lm_fault_reach(s->fault, "frame", &s->wait, NULL);
}

void lm_session_prepare_flip(LmSession *s, LmEngine engine, const LmWait *wait)
{
	g_mutex_lock(&s->lock);
	s->flip = (LmFlip){
		.regions = s->regions,
		.pipes = &s->pipes,
		.engine = engine,
		.io_uring = s->status.io_uring,
		.peer_pid = s->status.peer_pid,
		.peer_fd = s->fd,
		.wait = *wait,
		.between_frames = s->fault ? between_frames : NULL,
		.opaque = s,
	};
	g_mutex_unlock(&s->lock);
}

gboolean lm_session_flips(const LmSession *s)
{
	for (guint i = 0; i < s->regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->way == LM_WAY_FLIP)
			return TRUE;
	}
	return FALSE;
}

void lm_session_note_pause(LmSession *s, LmPause pause, gint64 *begin_us)
{
	gint64 begun_us = *begin_us;

	*begin_us = now_us();
	s->pause_us[pause] += *begin_us - begun_us;
	if (s->role == LM_ROLE_DESTINATION)
		return;
	g_mutex_lock(&s->lock);
	s->status.pause_us[pause] = s->pause_us[pause];
	g_mutex_unlock(&s->lock);
}

guint64 lm_session_bytes_here(const LmSession *s)
{
	guint64 bytes = 0;

	for (guint i = 0; i < s->regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->way == LM_WAY_FLIP && region->here)
			bytes += lm_region_bitmap_count_bytes(region);
	}
	return bytes;
}

/* -------------------------------------------------------------------- walks */

static void changed(LmSession *s)
{
	if (s->ops->changed)
		s->ops->changed(s->opaque);
}

static void enter_stage(LmSession *s, LmStage stage)
{
	g_mutex_lock(&s->lock);
	s->status.stage = stage;
	s->status.state = lm_stage_table[stage].state;
	s->stage_begin_us = now_us();
	g_mutex_unlock(&s->lock);
	changed(s);
}

static void leave_stage(LmSession *s)
{
	g_mutex_lock(&s->lock);
	s->status.stage_us[s->status.stage] = now_us() - s->stage_begin_us;
	g_mutex_unlock(&s->lock);
}

static int check_cancel(LmSession *s, GError **errp)
{
	eventfd_t value;

	if (s->cancel_fd < 0 || eventfd_read(s->cancel_fd, &value) < 0)
		return 0;
	eventfd_write(s->cancel_fd, value); /* it stays readable for waits to come */
	return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED, "cancelled");
}

static int walk_forward(LmSession *s, GError **errp)
{
	for (LmStage stage = 0; stage < LM_STAGE__MAX; stage++) {
		const LmStageEntry *entry = &lm_stage_table[stage];
		int rc;

		enter_stage(s, stage);
		rc = lm_fault_reach(s->fault, entry->name, &s->wait, errp);
		if (!rc)
			rc = check_cancel(s, errp);
		if (!rc)
			rc = entry->side[s->role].forward(s, errp);
		leave_stage(s);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int walk_back(LmSession *s, GError **errp)
{
	for (int stage = s->status.stage; stage >= 0; stage--) {
		const LmStageSteps *steps = &lm_stage_table[stage].side[s->role];
		int rc = steps->undo ? steps->undo(s, errp) : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Tells the peer why, as long as there is somebody to tell; it may have told us. */
static void tell_peer(LmSession *s, const GError *error)
{
	LmWait wait = {.deadline_ms = MIN(s->options.deadline_ms, 1000), .cancel_fd = -1};
	g_autoptr(GByteArray) payload = NULL;

	if (error->code == LM_ERROR_PEER || error->code == LM_ERROR_GONE)
		return;
	payload = lm_wire_error_encode(error);
	lm_channel_send(s->fd, &wait, LM_MESSAGE_ERROR, payload, NULL, 0, NULL);
}

/*
 * A peer that fails says why and closes. If we notice first that the socket is closed or that no
 * pages move, for we were sending, its reason is still there to be read, after whatever else it had
 * sent.
 */
static void prefer_peer_reason(LmSession *s, GError **error)
{
	LmWait wait = {.deadline_ms = MIN(s->options.deadline_ms, 1000), .cancel_fd = -1};
	gint64 end_us = now_us() + wait.deadline_ms * G_GINT64_CONSTANT(1000);

	if ((*error)->code != LM_ERROR_GONE && (*error)->code != LM_ERROR_TIMEOUT)
		return;
	if ((*error)->code == LM_ERROR_TIMEOUT)
		wait.deadline_ms = 1; /* what it has said was said long ago */
	while (now_us() < end_us) {
		g_auto(LmMessage) message = {0};
		GError *reason = NULL;

		if (lm_channel_receive(s->fd, &wait, &message, NULL) < 0)
			return;
		if (message.header.type != LM_MESSAGE_ERROR)
			continue;
		if (lm_wire_error_decode(message.payload, message.header.length, &reason, NULL) < 0)
			return;
		g_clear_error(error);
		*error = reason;
		return;
	}
}

static void finish(LmSession *s, LmState state, const GError *error)
{
	g_mutex_lock(&s->lock);
	s->status.state = state;
	s->status.total_us = now_us() - s->begin_us;
	g_free(s->status.error);
	s->status.error = state == LM_STATE_FAILED && error ? g_strdup(error->message) : NULL;
	g_mutex_unlock(&s->lock);
}

/*
 * A cancel that met a peer which does not answer ends with another error, but it is what the user
 * asked for: the VM is here.
 */
static void prefer_cancelled(LmSession *s, GError **error)
{
	GError *cancelled = NULL;

	if ((*error)->code == LM_ERROR_LOST || check_cancel(s, &cancelled) == 0)
		return;
	g_clear_error(error);
	*error = cancelled;
}

static LmState failure_state(const GError *error)
{
	return error->code == LM_ERROR_CANCELLED ? LM_STATE_CANCELLED : LM_STATE_FAILED;
}

/* The destination has the VM, whatever @error says of the way there. */
static int source_gone(LmSession *s, LmOutcome *outcome, GError *error)
{
	g_clear_error(&error);
	*outcome = LM_OUTCOME_GONE;
	s->ops->gone(s->opaque);
	finish(s, LM_STATE_COMPLETED, NULL);
	return 0;
}

/* The destination has said that it would take the VM; it runs on here. */
static int end_rehearsal(LmSession *s, LmOutcome *outcome, GError **errp)
{
	GError *error = NULL;
	int rc;

	lm_ledger_withdraw(s->ledger);
	rc = walk_back(s, &error);
	*outcome = LM_OUTCOME_HERE;
	lm_channel_send(s->fd, &s->wait, LM_MESSAGE_BYE, NULL, NULL, 0, NULL);
	finish(s, rc < 0 ? LM_STATE_FAILED : LM_STATE_COMPLETED, error);
	if (error)
		g_propagate_error(errp, error);
	return rc;
}

static int run_source(LmSession *s, LmOutcome *outcome, GError **errp)
{
	GError *error = NULL;
	g_autoptr(GError) undo_error = NULL;
	int rc = walk_forward(s, &error);

	if (rc == 0 && s->rehearse)
		return end_rehearsal(s, outcome, errp);
	if (rc == 0 || (s->ledger && !lm_ledger_withdraw(s->ledger)))
		return source_gone(s, outcome, error);

	prefer_peer_reason(s, &error);
	tell_peer(s, error);
	*outcome = LM_OUTCOME_HERE;
	if (walk_back(s, &undo_error) < 0) {
		if (undo_error->code == LM_ERROR_LOST) {
			*outcome = LM_OUTCOME_LOST;
			s->ops->lost(s->opaque, undo_error->message);
		}
		g_prefix_error(&undo_error, "%s; ", error->message);
		g_clear_error(&error);
		error = g_steal_pointer(&undo_error);
		rc = -EIO;
	} else {
		prefer_cancelled(s, &error);
	}
	finish(s, failure_state(error), error);
	g_propagate_error(errp, error);
	return rc;
}

static int run_destination(LmSession *s, LmOutcome *outcome, GError **errp)
{
	GError *error = NULL;
	int rc = walk_forward(s, &error);

	if (rc == 0) {
		*outcome = s->rehearse ? LM_OUTCOME_REHEARSED : LM_OUTCOME_TAKEN;
		finish(s, LM_STATE_COMPLETED, NULL);
		return 0;
	}
	if (!s->return_asked)
		tell_peer(s, error);
	walk_back(s, NULL);
	*outcome = s->spoilt ? LM_OUTCOME_SPOILT : LM_OUTCOME_UNTOUCHED;
	finish(s, failure_state(error), error);
	g_propagate_error(errp, error);
	return rc;
}

/* A peer that has died already is no error: the socket says so. */
static int watch_peer(LmSession *s, int pid, GError **errp)
{
	if (pid == getpid()) /* it must never be taken for the peer that may be killed */
		return 0;
	/* Under Yama it may read our memory now, as process_vm_readv and a rescue have to. */
	prctl(PR_SET_PTRACER, pid, 0, 0, 0);
	s->peer_pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (s->peer_pidfd < 0 && errno != ESRCH)
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "pidfd_open of process %d",
				     pid);
	return 0;
}

int lm_session_run(LmSession *s, int fd, LmOutcome *outcome, GError **errp)
{
	int pid, rc;
	GError *error = NULL;

	s->fd = fd;
	pid = lm_channel_peer_pid(fd, &error);
	if (pid > 0 && watch_peer(s, pid, &error) < 0)
		pid = -EIO;
	if (pid < 0) {
		*outcome = s->role == LM_ROLE_SOURCE ? LM_OUTCOME_HERE : LM_OUTCOME_UNTOUCHED;
		finish(s, LM_STATE_FAILED, error);
		g_propagate_error(errp, error);
		rc = pid;
	} else {
		g_mutex_lock(&s->lock);
		s->status.peer_pid = pid;
		g_mutex_unlock(&s->lock);
		rc = s->role == LM_ROLE_SOURCE ? run_source(s, outcome, errp)
					       : run_destination(s, outcome, errp);
	}
	release_resources(s);
	changed(s);
	return rc;
}
