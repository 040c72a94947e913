// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a run before this one left when it was killed. The journal says which two processes it was
 * about; where the guest is, they say themselves:
 *
 *   old     new     what is true                         what is done
 *   is      ended   the guest never left                 what was made for it is removed
 *                   the old one says: lost               the guest is lost
 *   any     any     managed, before the handover        the new one is killed, as above
 *   is      is      the old one says: kept, failed,      the new one is killed, as above
 *                   or nothing of this handover
 *                   the old one says: under way          it is followed to its end
 *                   the old one says: handed over        the remaining steps
 *   any     is      a step after the commit was begun    the remaining steps
 *   ended   is      the new one says: it has the guest   the remaining steps
 *                   the new one says: it waits           the guest is lost
 *   ended   ended   the VM has ended, or is lost         the journal is removed
 */
#include "steps.h"
#include "error.h"
#include "handle.h"

#include <string.h>

#define CONNECT_MS 5000

static LuProcess *open_if_same(pid_t pid, guint64 start_time)
{
	return lu_process_is(pid, start_time) ? lu_process_open(pid, NULL) : NULL;
}

/* The monitor of this process, by any of its names; NULL if none leads there. */
static LuQmp *open_monitor(const LuProcess *process, const char *const *names)
{
	for (; *names; names++) {
		g_autofree char *path = lu_process_path(process, *names);
		g_autoptr(LuQmp) qmp = NULL;

		if (lu_running_peer_of(path) != process->pid)
			continue;
		qmp = lu_qmp_open(path, -1, lu_end_us(CONNECT_MS), NULL);
		if (qmp)
			return g_steal_pointer(&qmp);
	}
	return NULL;
}

/* A manager holds the old one's monitor until then, so nobody could have asked for the guest. */
static gboolean is_handed_over(const LuJournal *journal)
{
	static const char *const steps[] = {"prepare", "images", "start", "greet", "take", NULL};

	return !journal->manager || !g_strv_contains(steps, journal->step);
}

static void find_processes(LuUpgrade *up)
{
	const char *const old_names[] = {up->journal->qmp_path, NULL};
	const char *const new_names[] = {up->journal->qmp_temporary, up->journal->qmp_path, NULL};

	up->old_is_own = TRUE;
	up->old = open_if_same(up->journal->old_pid, up->journal->old_start);
	up->new = open_if_same(up->journal->new_pid, up->journal->new_start);
	if (!is_handed_over(up->journal))
		return;
	if (up->old)
		up->old_qmp = open_monitor(up->old, old_names);
	if (up->new)
		up->new_qmp = open_monitor(up->new, new_names);
}

/* Everything as before the run; then this one begins anew. */
static gboolean take_back(LuUpgrade *up)
{
	lu_note(up, g_strdup_printf("a run that was interrupted at \"%s\" is taken back",
				    up->journal->step));
	lu_undo_start(up);
	lu_undo_images(up);
	lu_undo_prepare(up);
	g_clear_pointer(&up->old_qmp, lu_qmp_free);
	g_clear_pointer(&up->old, lu_process_free);
	up->old_is_own = FALSE;
	return TRUE;
}

static gboolean go_on(LuUpgrade *up, gboolean *finished)
{
	lu_note(up, g_strdup_printf("a run that was interrupted at \"%s\" is finished",
				    up->journal->step));
	up->result->recovered = TRUE;
	*finished = TRUE;
	return TRUE;
}

/* Both are there: what the old one says counts. */
static gboolean decide_by_old(LuUpgrade *up, gboolean *finished, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;

	if (!up->old_qmp)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "an upgrade of QEMU %d was interrupted at \"%s\", and its monitor "
			       "%s does not answer",
			       (int)up->old->pid, up->journal->step, up->journal->qmp_path);
	info = lu_qmp_call(up->old_qmp, &error, "query-localhost-migrate", NULL);
	if (!info)
		return lu_fail(
			errp, LU_ERROR_REFUSED,
			"an upgrade of QEMU %d was interrupted at \"%s\", and it does not say "
			"where the guest is: %s; run this again",
			(int)up->old->pid, up->journal->step, error->message);
	if (!lu_is_of_this(up, info))
		return take_back(up);
	if (lu_follow(up, &error))
		return go_on(up, finished);
	if (g_error_matches(error, LU_ERROR, LU_ERROR_LOST)) {
		g_propagate_error(errp, g_steal_pointer(&error));
		return FALSE;
	}
	return take_back(up);
}

/* The new one has ended: with the guest's pages? */
static gboolean check_kept(LuUpgrade *up, GError **errp)
{
	g_autoptr(JsonNode) info =
		up->old_qmp ? lu_qmp_call(up->old_qmp, NULL, "query-localhost-migrate", NULL)
			    : NULL;

	return !info || !lu_is_of_this(up, info) || lu_check_not_lost(info, errp);
}

/* These steps begin when the guest is in the new process. */
static gboolean is_committed(const LuJournal *journal)
{
	static const char *const steps[] = {"record", "names",	"follow", "retire",
					    "copy",   "settle", NULL};

	return g_strv_contains(steps, journal->step);
}

static gboolean decide(LuUpgrade *up, gboolean *finished, GError **errp)
{
	if (up->new &&is_committed(up->journal))
		return go_on(up, finished);
	if (!is_handed_over(up->journal))
		return take_back(up);
	if (up->old && up->new)
		return decide_by_old(up, finished, errp);
	if (up->old)
		return check_kept(up, errp) && take_back(up);
	if (up->new)
		return lu_follow_new(up, errp) && go_on(up, finished);
	lu_note(up, g_strdup("a run was interrupted, and both of its processes have ended since"));
	lu_undo_prepare(up);
	up->old_is_own = FALSE;
	return TRUE;
}

/* The public name of a socket that was given on the command line of this tool. */
static char *public_socket(const LuRequest *request)
{
	g_autofree char *here = g_get_current_dir();

	return request->qmp ? g_canonicalize_filename(request->qmp, here) : NULL;
}

gboolean lu_recover(LuUpgrade *up, gboolean *finished, GError **errp)
{
	g_autofree char *socket = public_socket(up->request);
	pid_t pid = up->request->pid;

	if (!pid && up->request->qmp)
		pid = lu_running_peer_of(up->request->qmp);
	up->journal = lu_journal_find(up->base, pid, socket);
	if (!up->journal)
		return TRUE;
	if (up->journal->manager && !up->request->manager) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"an upgrade of %s was interrupted at \"%s\"; name it so (--libvirt) to "
			"finish it or take it back",
			up->journal->manager, up->journal->step);
		g_clear_pointer(&up->journal, lu_journal_free);
		return FALSE;
	}
	if (up->request->dry_run) {
		g_autofree char *step = g_strdup(up->journal->step);

		g_clear_pointer(&up->journal, lu_journal_free);
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "a run was interrupted at \"%s\"; one without --dry-run finishes it "
			       "or takes it back",
			       step);
	}
	if (!lu_lock(up, up->journal->old_pid, up->journal->old_start, errp))
		return FALSE;
	find_processes(up);
	up->result->old_pid = up->journal->old_pid;
	up->result->new_pid = up->new ? up->new->pid : 0;
	if (!decide(up, finished, errp))
		return FALSE;
	if (*finished) {
		up->result->from = g_strdup(up->journal->from);
		up->result->to = g_strdup(up->journal->to);
	}
	return TRUE;
}
