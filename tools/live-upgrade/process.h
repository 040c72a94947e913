/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process, and what /proc says of it. */
#ifndef LIVE_UPGRADE_PROCESS_H
#define LIVE_UPGRADE_PROCESS_H

#include <glib.h>
#include <sys/stat.h>
#include <sys/types.h>

typedef struct LuProcess {
	pid_t pid;
	int pidfd;
	guint64 start_time; /* with the pid it names the process for good */
	char *exe;	    /* as it was started; its file may have been replaced since */
	struct stat exe_stat;
	GStrv argv, envp;
	char *cwd;
	uid_t uid; /* effective */
	gid_t gid;
	GArray *groups; /* of gid_t, ascending: the supplementary ones */
} LuProcess;

/* Fails if there is none, or it is a zombie, or this user may not look at it. */
LuProcess *lu_process_open(pid_t pid, GError **errp);
void lu_process_free(LuProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuProcess, lu_process_free)

/* Whether this very process still runs. */
gboolean lu_process_is(pid_t pid, guint64 start_time);
gboolean lu_process_alive(const LuProcess *process);
gboolean lu_process_wait_exit(const LuProcess *process, gint64 end_us);
/* SIGKILL, and waits. */
gboolean lu_process_kill(const LuProcess *process, GError **errp);

/* By its program's name, which is all that can be said without looking into it. */
gboolean lu_process_is_called_qemu(const LuProcess *process);
/* Whether the program at @path, as the process sees it, is the very file that it runs. */
gboolean lu_process_runs(const LuProcess *process, const char *path);

/* Where @path, as the process sees it, is for this one. Relative to @cwd (NULL: the process's). */
char *lu_process_path(const LuProcess *process, const char *path);
char *lu_process_absolute(const LuProcess *process, const char *path);

/* The text of /proc/PID/NAME; NULL if it cannot be read. */
char *lu_proc_read(pid_t pid, const char *name, gsize *length);
/* Parts of it, for which there are tests. */
GStrv lu_proc_split(const char *data, gsize length);
/* Start time and state of a /proc/PID/stat. */
gboolean lu_proc_parse_stat(const char *text, char *state, guint64 *start_time);
/* The value behind "NAME:" in a /proc/PID/status; the caller's. */
char *lu_proc_status_field(const char *text, const char *name);
/* Its id in its own PID namespace; 0: that cannot be read. */
pid_t lu_proc_own_pid(pid_t pid);
/* "Groups:" of a /proc/PID/status, of gid_t, ascending. */
GArray *lu_proc_groups(const char *text);
/* kB behind "NAME:", in bytes. */
guint64 lu_proc_status_bytes(pid_t pid, const char *name);

#endif
