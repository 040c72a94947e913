// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon.h"
#include "daemon-journal.h"
#include "error.h"
#include "handle.h"
#include "lu-libvirt.h"
#include "spawn.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <glib/gstdio.h>

#define LOCK_FILE LU_LIBVIRT_STATE "/driver.pid"
#define POLL_MS	  5
#define OTHER_MS  3000 /* for a supervisor's own attempt, when this one's has failed */

/* ---------------------------------------------------------------------- lock */

static struct flock whole_lock(void)
{
	/* As libvirt does: its first byte. */
	return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
}

/* Who holds it; 0: nobody; -1: another run of this tool. */
static pid_t holder(void)
{
	g_auto(LuFd) fd = open(LOCK_FILE, O_RDWR | O_CLOEXEC);
	struct flock lock = whole_lock();

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid;
}

static gboolean is_at(int fd, const char *path)
{
	struct stat here, there;

	return !fstat(fd, &here) && !stat(path, &there) && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

/* libvirt removes the file when it lets go of it, so what was locked must still be there. */
static gboolean take_lock(LuDaemon *daemon, GError **errp)
{
	for (int i = 0; i < 100; i++) {
		g_auto(LuFd) fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		struct flock lock = whole_lock();

		if (fd < 0)
			return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, LOCK_FILE);
		/* Unlike libvirt's it is not lost when the file is looked at elsewhere. */
		if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "another daemon of libvirt (process %d) began meanwhile",
				       (int)holder());
		if (is_at(fd, LOCK_FILE)) {
			daemon->lock_fd = lu_fd_steal(&fd);
			return TRUE;
		}
	}
	return lu_fail(errp, LU_ERROR_REFUSED, LOCK_FILE " vanishes again and again");
}

static void drop_lock(LuDaemon *daemon)
{
	if (daemon->lock_fd >= 0)
		unlink(LOCK_FILE);
	lu_fd_clear(&daemon->lock_fd);
}

/* ------------------------------------------------------------------- finding */

gboolean lu_daemon_was_interrupted(const char *base)
{
	g_autofree char *file = lu_daemon_journal_file(base);

	return g_file_test(file, G_FILE_TEST_EXISTS);
}

static gboolean check_place(const LuDaemon *daemon, GError **errp)
{
	const pid_t own = lu_proc_own_pid(daemon->process->pid);
	g_autofree char *namespace = g_strdup_printf("/proc/%d/ns/mnt", (int)daemon->process->pid);
	struct stat here, there;

	if (own <= 1)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s (process %d) is the first process of its PID namespace (a "
			       "container), which would end with it",
			       daemon->name, (int)daemon->process->pid);
	if (stat("/proc/self/ns/mnt", &here) < 0 || stat(namespace, &there) < 0 ||
	    here.st_ino != there.st_ino)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s (process %d) is in another mount namespace than this",
			       daemon->name, (int)daemon->process->pid);
	return TRUE;
}

LuDaemon *lu_daemon_find(const char *base, GError **errp)
{
	g_autofree char *file = lu_daemon_journal_file(base);
	g_autoptr(LuDaemon) daemon = NULL;
	pid_t pid = holder();

	if (!pid)
		return lu_daemon_journal_read(file);
	if (pid < 0) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"another run of this tool is at work under libvirt");
		return NULL;
	}
	daemon = g_new0(LuDaemon, 1);
	daemon->lock_fd = -1;
	daemon->journal = g_steal_pointer(&file);
	daemon->process = lu_process_open(pid, errp);
	if (!daemon->process)
		return NULL;
	daemon->name = g_path_get_basename(daemon->process->exe);
	if (!check_place(daemon, errp))
		return NULL;
	lu_daemon_describe(daemon);
	return g_steal_pointer(&daemon);
}

void lu_daemon_free(LuDaemon *daemon)
{
	if (!daemon)
		return;
	drop_lock(daemon);
	lu_process_free(daemon->process);
	g_clear_pointer(&daemon->stdio, g_array_unref);
	g_free(daemon->journal);
	g_free(daemon->name);
	g_free(daemon->exe);
	g_free(daemon->cwd);
	g_strfreev(daemon->argv);
	g_strfreev(daemon->envp);
	g_strfreev(daemon->units);
	g_free(daemon->cgroups);
	g_free(daemon->limits);
	g_free(daemon);
}

const char *lu_daemon_name(const LuDaemon *daemon)
{
	return daemon->name;
}

gboolean lu_daemon_is_away(const LuDaemon *daemon)
{
	return !daemon->process;
}

void lu_daemon_journal_remove(const char *base)
{
	g_autofree char *file = lu_daemon_journal_file(base);

	g_unlink(file);
}

/* ------------------------------------------------------------------ systemd */

/* systemctl, which does not wait for what it asks for. */
static gboolean systemctl(const LuDaemon *daemon, const char *verb, GError **errp)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_autofree char *said = NULL;
	g_autoptr(GError) error = NULL;
	int status = 0;

	g_ptr_array_add(argv, (char *)"systemctl");
	g_ptr_array_add(argv, (char *)"--no-block");
	g_ptr_array_add(argv, (char *)verb);
	for (guint i = 0; daemon->units[i]; i++)
		g_ptr_array_add(argv, daemon->units[i]);
	g_ptr_array_add(argv, NULL);
	if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
			  &said, &status, &error) ||
	    !g_spawn_check_wait_status(status, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "systemctl %s %s: %s", verb,
			       daemon->units[0], said && *said ? g_strchomp(said) : error->message);
	return TRUE;
}

/* ------------------------------------------------------------- ending, beginning */

static gboolean ask_to_end(LuDaemon *daemon, GError **errp)
{
	daemon->was_asked = TRUE;
	if (daemon->units[0])
		return systemctl(daemon, "stop", errp);
	if (syscall(SYS_pidfd_send_signal, daemon->process->pidfd, SIGTERM, NULL, 0) < 0 &&
	    errno != ESRCH)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s (process %d)", daemon->name,
				     (int)daemon->process->pid);
	return TRUE;
}

gboolean lu_daemon_stop(LuDaemon *daemon, guint deadline_ms, GError **errp)
{
	if (!daemon->process) /* a run before this one ended it */
		return take_lock(daemon, errp);
	if (!lu_daemon_journal_write(daemon, errp) || !lu_fault("daemon-stop", errp))
		return FALSE;
	if (!ask_to_end(daemon, errp))
		return FALSE;
	if (!lu_process_wait_exit(daemon->process, lu_end_us(deadline_ms)))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s (process %d) was asked to end and has not within %u ms",
			       daemon->name, (int)daemon->process->pid, deadline_ms);
	return take_lock(daemon, errp) && lu_fault("daemon-stopped", errp);
}

/* A process as this one is, but for what is known of the daemon's. */
static LuContext *make_context(const LuDaemon *daemon, GError **errp)
{
	LuContext *context = lu_context_read(getpid(), errp);

	if (!context)
		return NULL;
	g_ptr_array_unref(context->cgroups);
	context->cgroups = lu_cgroup_parse(daemon->cgroups);
	lu_context_parse_limits(daemon->limits, context->limits);
	context->oom_score_adj = daemon->oom_score_adj;
	context->umask = daemon->umask;
	context->nice = daemon->nice;
	return context;
}

static gboolean begin_process(LuDaemon *daemon, LuChild *child, GError **errp)
{
	g_autoptr(LuContext) context = make_context(daemon, errp);
	g_autoptr(LuProcess) self = context ? lu_process_open(getpid(), errp) : NULL;
	LuSpawn spawn = {.like = self,
			 .context = context,
			 .argv = daemon->argv,
			 .cwd = daemon->cwd,
			 .descriptors = daemon->stdio};

	if (!self)
		return FALSE;
	g_strfreev(self->envp);
	self->envp = g_strdupv(daemon->envp);
	return lu_spawn_fork(&spawn, child, errp) && lu_spawn_exec(child, daemon->exe, errp);
}

/* By whomever: a supervisor may have been faster. */
static gboolean wait_for_holder(const LuDaemon *daemon, LuChild *child, guint deadline_ms,
				GError **errp)
{
	gint64 end_us = lu_end_us(deadline_ms);
	g_autofree char *end = NULL;

	while (!holder()) {
		if (!end) {
			end = lu_child_end(child);
			if (end && strcmp(end, "exited with 0"))
				end_us = MIN(end_us, lu_end_us(OTHER_MS));
		}
		if (!lu_left_ms(end_us))
			return lu_fail(errp, LU_ERROR_MANAGER, "%s did not come back%s%s",
				       daemon->name, end ? ": it " : "", end ? end : "");
		poll(NULL, 0, POLL_MS);
	}
	return TRUE;
}

gboolean lu_daemon_start(LuDaemon *daemon, guint deadline_ms, GError **errp)
{
	LuChild child = {.pid = -1, .pidfd = -1, .go_fd = -1, .error_fd = -1};
	gboolean ok;

	drop_lock(daemon);
	if (daemon->process && !daemon->was_asked)
		return TRUE; /* it never went away */
	/* One that was asked to end will. */
	if (daemon->process && !lu_process_wait_exit(daemon->process, lu_end_us(deadline_ms)))
		return lu_fail(errp, LU_ERROR_MANAGER,
			       "%s (process %d) was asked to end and still has not; begin it again "
			       "when it has",
			       daemon->name, (int)daemon->process->pid);
	if (!holder()) {
		ok = daemon->units[0] ? systemctl(daemon, "start", errp)
				      : begin_process(daemon, &child, errp);
		if (!ok)
			return FALSE;
	}
	ok = wait_for_holder(daemon, &child, deadline_ms, errp);
	lu_child_release(&child);
	return ok;
}
