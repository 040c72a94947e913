// SPDX-License-Identifier: GPL-2.0-or-later
#include "run-journal.h"
#include "error.h"
#include "handle.h"
#include "process.h"
#include "qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

#define WORKERS_MS 600000 /* more than any of them takes by its own deadlines */
#define POLL_MS	   50

static char *path_of(const char *base, const char *name)
{
	return g_build_filename(base, name, NULL);
}

static guint64 start_time_of(pid_t pid)
{
	g_autofree char *text = lu_proc_read(pid, "stat", NULL);
	guint64 start_time = 0;
	char state;

	lu_proc_parse_stat(text, &state, &start_time);
	return start_time;
}

/* -------------------------------------------------------------------- journal */

gboolean lu_run_journal_write(const LuHostRun *run, gboolean finished, GError **errp)
{
	g_autofree char *path = path_of(run->base, "host-run");
	g_autoptr(JsonNode) node = lu_host_json(run);
	JsonObject *object = json_node_get_object(node);
	g_autoptr(GDateTime) now = g_date_time_new_now_local();
	g_autofree char *time = g_date_time_format_iso8601(now), *text = NULL;
	g_autoptr(GError) error = NULL;

	json_object_set_int_member(object, "pid", getpid());
	json_object_set_int_member(object, "start", (gint64)start_time_of(getpid()));
	json_object_set_boolean_member(object, "finished", finished);
	json_object_set_string_member(object, "written", time);
	text = json_to_string(node, TRUE);
	if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "the run's journal cannot be written: %s",
			       error->message);
	return TRUE;
}

JsonNode *lu_run_journal_read(const char *base)
{
	g_autofree char *path = path_of(base, "host-run"), *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? json_from_string(text, NULL) : NULL;
}

static gboolean is_at_work(JsonNode *journal)
{
	return journal && !lu_json_bool(journal, "finished") &&
	       lu_process_is((pid_t)lu_json_int(journal, "pid"),
			     (guint64)lu_json_int(journal, "start"));
}

gboolean lu_run_was_killed(JsonNode *journal)
{
	return journal && !lu_json_bool(journal, "finished") && !is_at_work(journal);
}

/* ----------------------------------------------------------------------- lock */

/* The kernel lets go of the lock when the last process that has the descriptor ends. */
gboolean lu_run_lock(LuHostRun *run, int *fd, GError **errp)
{
	g_autofree char *path = path_of(run->base, "host-run.lock");
	gint64 end_us = lu_end_us(WORKERS_MS);
	gboolean told = FALSE;

	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", path);
	while (flock(*fd, LOCK_EX | LOCK_NB) < 0) {
		g_autoptr(JsonNode) journal = lu_run_journal_read(run->base);

		if (is_at_work(journal) || !lu_left_ms(end_us))
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "another run of --all is at work, process %d",
				       (int)lu_json_int(journal, "pid"));
		if (!told && run->observer.note)
			run->observer.note(run->observer.opaque,
					   "a run that was killed has VMs under way; they are "
					   "waited for");
		told = TRUE;
		poll(NULL, 0, POLL_MS);
	}
	return TRUE;
}
