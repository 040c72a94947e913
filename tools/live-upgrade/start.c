// SPDX-License-Identifier: GPL-2.0-or-later
/* The steps that make the new process: prepare, start, greet. */
#include "steps.h"
#include "descriptor.h"
#include "error.h"
#include "handle.h"
#include "paths.h"
#include "stand-in.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define START_MS 60000

/* ------------------------------------------------------------------ prepare */

static GPtrArray *copy_paths(GPtrArray *paths)
{
	GPtrArray *copy = lu_paths_new();

	for (guint i = 0; i < paths->len; i++) {
		const LuPath *path = paths->pdata[i];

		lu_paths_add(copy, path->what, path->path, path->temporary);
	}
	return copy;
}

static void note_manager(LuUpgrade *up, LuJournal *journal)
{
	const LuManager *manager = up->request->manager;

	if (!manager)
		return;
	journal->manager = g_strdup(manager->name);
	journal->manager_id = g_strdup(manager->id);
	g_ptr_array_unref(journal->records);
	journal->records = copy_paths(manager->records);
}

static LuJournal *open_journal(LuUpgrade *up)
{
	LuJournal *journal = lu_journal_new();

	journal->file = g_strdup_printf("%s/%d.json", up->base, (int)up->running->process->pid);
	journal->step = g_strdup("prepare");
	journal->old_pid = up->running->process->pid;
	journal->old_start = up->running->process->start_time;
	journal->handover = g_strdup_printf("%s/%d/handover", up->base, (int)journal->old_pid);
	journal->qmp_path = g_strdup(up->running->qmp_path);
	journal->qmp_temporary = g_canonicalize_filename(up->plan->qmp_temporary, up->running->cwd);
	journal->from = g_strdup(up->running->version.text);
	journal->to = g_strdup(up->probe.version.text);
	journal->status = g_strdup(up->running->status);
	journal->unit = up->running->unit ? g_strdup(up->running->unit->name) : NULL;
	g_ptr_array_unref(journal->paths);
	journal->paths = copy_paths(up->plan->paths);
	for (guint i = 0; i < up->plan->afterwards->len; i++)
		g_ptr_array_add(journal->afterwards, g_strdup(up->plan->afterwards->pdata[i]));
	g_array_append_vals(journal->queues, up->plan->queues->data, up->plan->queues->len);
	for (guint i = 0; i < up->plan->connections->len; i++) {
		const LuConnection *connection = up->plan->connections->pdata[i];

		lu_connections_add(journal->connections, connection->path, connection->old,
				   connection->new);
	}
	/* systemd reads the pid file when the old one has ended, which must not remove it then. */
	journal->kill_old =
		up->plan->kill_old || (up->running->unit && !up->running->unit->listens);
	note_manager(up, journal);
	return journal;
}

/* The folder is the QEMU's user's alone; in another root it is made there. */
static gboolean make_folder(LuUpgrade *up, GError **errp)
{
	g_autofree char *name = g_path_get_dirname(up->journal->handover);
	g_autofree char *here = lu_process_path(up->old, name), *base = g_path_get_dirname(here);
	struct stat st;

	if (lu_journal_mkdir(base) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", base);
	if (g_mkdir(here, 0700) < 0 && errno != EEXIST)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", here);
	if (lstat(here, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    (st.st_uid != up->old->uid && lchown(here, up->old->uid, up->old->gid) < 0))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s cannot be given to user %u", here,
			       up->old->uid);
	return TRUE;
}

gboolean lu_step_prepare(LuUpgrade *up, GError **errp)
{
	up->journal = open_journal(up);
	return make_folder(up, errp) && lu_journal_write(up->journal, errp);
}

void lu_remove_folder(LuUpgrade *up, const LuProcess *process)
{
	g_autofree char *socket = process ? lu_process_path(process, up->journal->handover)
					  : g_strdup(up->journal->handover);
	g_autofree char *folder = g_path_get_dirname(socket);
	g_autofree char *lent = lu_lend_path(socket);

	g_unlink(socket);
	g_unlink(lent);
	g_rmdir(folder);
}

void lu_undo_prepare(LuUpgrade *up)
{
	if (!up->journal)
		return;
	lu_forget_records(up);
	lu_remove_folder(up, up->old);
	lu_journal_remove(up->journal);
	g_clear_pointer(&up->journal, lu_journal_free);
}

/* -------------------------------------------------------------------- start */

/*
 * Standard error is the running QEMU's own. If it is a file, or nothing at all, what the new one
 * says there can be read back.
 */
static void watch_stderr(LuUpgrade *up)
{
	struct stat st, null_st;

	for (guint i = 0; i < up->plan->descriptors->len; i++) {
		LuDescriptor *descriptor = &g_array_index(up->plan->descriptors, LuDescriptor, i);
		g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", descriptor->fd);
		int memory;

		if (descriptor->number != 2 || fstat(descriptor->fd, &st) < 0)
			continue;
		if (S_ISCHR(st.st_mode) && !stat("/dev/null", &null_st) &&
		    st.st_rdev == null_st.st_rdev) {
			memory = memfd_create("qemu-stderr", MFD_CLOEXEC);
			if (memory >= 0) {
				close(descriptor->fd);
				descriptor->fd = memory;
				up->stderr_fd = fcntl(memory, F_DUPFD_CLOEXEC, 3);
			}
		} else if (S_ISREG(st.st_mode)) {
			up->stderr_fd = open(path, O_RDONLY | O_CLOEXEC);
			up->stderr_at = st.st_size;
		}
	}
}

/* The last line that the new process wrote; NULL if it cannot be read. */
static char *last_words(LuUpgrade *up)
{
	char text[4096] = "";
	ssize_t got =
		up->stderr_fd < 0 ? 0 : pread(up->stderr_fd, text, sizeof(text) - 1, up->stderr_at);
	const char *line;

	if (got <= 0)
		return NULL;
	g_strchomp(text);
	line = strrchr(text, '\n');
	return g_strdup(line ? line + 1 : text);
}

gboolean lu_step_start(LuUpgrade *up, GError **errp)
{
	g_auto(GStrv) argv = lu_command_line_argv(up->plan->line);
	LuSpawn spawn = {.like = up->running->process,
			 .context = up->running->context,
			 .argv = argv,
			 .cwd = up->running->cwd,
			 .descriptors = up->plan->descriptors,
			 .sandboxed = lu_command_line_has(up->plan->line, "sandbox"),
			 .orphan = up->running->unit != NULL};

	watch_stderr(up);
	if (!lu_spawn_fork(&spawn, &up->child, errp))
		return FALSE;
	up->journal->new_pid = up->child.pid;
	up->journal->new_start = up->child.start_time;
	if (!lu_journal_write(up->journal, errp) || !lu_fault("forked", errp) ||
	    !lu_lend_connections(up, errp))
		return FALSE;
	return lu_spawn_exec(&up->child, argv[0], errp);
}

/* The new process put them off to put them on for itself (migration/stand-in.c). */
static void put_queues_on(LuUpgrade *up)
{
	for (guint i = 0; i < up->journal->queues->len; i++) {
		int number = g_array_index(up->journal->queues, int, i);
		g_auto(LuFd) fd = lu_descriptor_get(up->old, number, NULL);

		if (fd >= 0 && !lu_queue_attach(fd))
			lu_note(up, g_strdup_printf("queue %d of a tap device stays off: %s",
						    number, g_strerror(errno)));
	}
}

void lu_undo_start(LuUpgrade *up)
{
	g_clear_pointer(&up->new_qmp, lu_qmp_free);
	if (up->child.pid > 0)
		lu_child_clear(&up->child);
	else if (up->new)
		lu_process_kill(up->new, NULL);
	g_clear_pointer(&up->new, lu_process_free);
	if (!up->old || !up->journal)
		return;
	lu_paths_forget(up->journal->paths, up->old);
	put_queues_on(up);
}

/* -------------------------------------------------------------------- greet */

static gboolean explain_end(LuUpgrade *up, GError **errp)
{
	g_autofree char *end = NULL, *words = last_words(up);
	LuProcess child = {.pidfd = up->child.pidfd};
	gboolean ended;

	ended = lu_process_wait_exit(&child, lu_end_us(1000));
	end = lu_child_end(&up->child);
	if (!end && ended)
		end = g_strdup("has ended"); /* an orphan's status is not known here */
	if (!end)
		return lu_fail(errp, LU_ERROR_FAILED, "the new process does not answer: %s",
			       words ? words : "its monitor stays silent");
	return lu_fail(errp, LU_ERROR_FAILED, "the new process %s: %s", end,
		       words ? words : "its standard error may say why");
}

/* With a rehearsed eye: everything is compared that was to be the same. */
gboolean lu_step_greet(LuUpgrade *up, GError **errp)
{
	g_autofree char *path = lu_process_path(up->old, up->journal->qmp_temporary);
	g_autoptr(GError) error = NULL;

	up->new_qmp = lu_qmp_open(path, up->child.pidfd, lu_end_us(START_MS), &error);
	if (!up->new_qmp)
		return explain_end(up, errp);
	if (lu_qmp_peer(up->new_qmp) != up->child.pid)
		return lu_fail(errp, LU_ERROR_FAILED,
			       "at QMP socket %s process %d answers, and not the new one, %d",
			       up->journal->qmp_temporary, (int)lu_qmp_peer(up->new_qmp),
			       (int)up->child.pid);
	up->new = lu_process_open(up->child.pid, errp);
	if (!up->new)
		return FALSE;
	up->result->new_pid = up->new->pid;
	return lu_context_compare(up->running->context, up->new->pid, errp) &&
	       lu_carry_settings(up, errp) && lu_compare_processes(up, errp);
}
