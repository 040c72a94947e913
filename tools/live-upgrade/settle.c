// SPDX-License-Identifier: GPL-2.0-or-later
/* The steps after the commit: names, retire, settle. None of them fails the upgrade. */
#include "steps.h"
#include "error.h"
#include "handle.h"
#include "paths.h"
#include "reconnect.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QUIT_MS 15000
#define POLL_MS 20

gboolean lu_step_names(LuUpgrade *up, GError **errp)
{
	g_autoptr(GPtrArray) problems = g_ptr_array_new();

	if (!up->new)
		return TRUE;
	/* The guest waits for these. */
	lu_connections_make(up->journal->connections,
			    up->old && lu_process_alive(up->old) ? up->old : NULL, up->new,
			    problems);
	lu_paths_take(up->journal->paths, up->new, problems);
	for (guint i = 0; i < problems->len; i++)
		lu_note(up, problems->pdata[i]);
	return TRUE;
}

/*
 * By its monitor; without one SIGTERM makes QEMU end as properly. It has let go of its disks, so
 * one that would take the guest's network or its service down on its way can as well be killed.
 */
static void ask_to_end(gpointer opaque)
{
	LuUpgrade *up = opaque;

	if (up->journal->kill_old)
		syscall(SYS_pidfd_send_signal, up->old->pidfd, SIGKILL, NULL, 0);
	else if (!up->old_qmp || !lu_qmp_do(up->old_qmp, NULL, "quit", NULL))
		syscall(SYS_pidfd_send_signal, up->old->pidfd, SIGTERM, NULL, 0);
	lu_fault("asked", NULL);
}

/* A last look: the old process is the only one that could still have it. */
static gboolean new_has_guest(LuUpgrade *up)
{
	const gint64 end_us = lu_end_us(QUIT_MS);

	if (!up->new_qmp) /* it cannot be asked, and the journal says that the guest has moved */
		return TRUE;
	for (;;) {
		g_autoptr(JsonNode) info =
			lu_qmp_call(up->new_qmp, NULL, "query-localhost-migrate", NULL);

		if (!g_strcmp0(lu_json_str(info, "owner"), "destination"))
			return TRUE;
		if (!info || !lu_left_ms(end_us))
			return FALSE;
		poll(NULL, 0, POLL_MS); /* it says so when the guest runs there */
	}
}

static gboolean end_old(LuUpgrade *up, GError **errp)
{
	if (!up->new || up->keep_old || !lu_process_alive(up->old))
		return TRUE;
	if (!new_has_guest(up))
		return lu_fail(errp, LU_ERROR_FAILED,
			       "QEMU %d does not say that it has the guest: process %d is kept",
			       (int)up->new->pid, (int)up->old->pid);
	if (lu_paths_guard(up->journal->paths, up->new, up->old, ask_to_end, up,
			   lu_end_us(QUIT_MS)))
		return TRUE;
	lu_note(up, g_strdup_printf("the old process %d does not quit and is killed",
				    (int)up->old->pid));
	return lu_process_kill(up->old, errp);
}

static void run_afterwards(LuUpgrade *up)
{
	for (guint i = 0; i < up->journal->afterwards->len; i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(JsonNode) reply = NULL;
		const char *message = up->journal->afterwards->pdata[i];
		const char *said;

		if (!up->new_qmp) {
			lu_note(up, g_strdup_printf("not done, without a monitor: %s", message));
			continue;
		}
		reply = lu_qmp_send(up->new_qmp, message, &error);
		said = reply && JSON_NODE_HOLDS_VALUE(reply) ? json_node_get_string(reply) : "";
		/* The human monitor answers with an error's text, or with none at all. */
		if (error || *said)
			lu_note(up,
				g_strdup_printf("%s: %s", message, error ? error->message : said));
	}
	/* A run after this one is not to do it again. */
	g_ptr_array_set_size(up->journal->afterwards, 0);
	lu_journal_write(up->journal, NULL);
}

/* What waits for the end of the old process only: disks may take hours from here. */
gboolean lu_step_retire(LuUpgrade *up, GError **errp)
{
	gboolean ok = end_old(up, errp) && lu_check_followed(up, errp);

	run_afterwards(up);
	return ok;
}

gboolean lu_step_settle(LuUpgrade *up, GError **errp)
{
	if (up->new) {
		/* Once more, for a run before this one that ended while the old one did. */
		lu_step_names(up, NULL);
		lu_rename_records(up, "last");
		lu_remove_folder(up, up->new);
		if (!lu_paths_forget_taken(up->journal->paths, up->new)) {
			/* All else is done: the journal stays for these. */
			lu_note(up, g_strdup_printf("QEMU %d keeps the names that could not be "
						    "renamed; run this again when they can",
						    (int)up->new->pid));
			return TRUE;
		}
	}
	lu_journal_remove(up->journal);
	return TRUE;
}
