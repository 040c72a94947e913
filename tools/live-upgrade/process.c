// SPDX-License-Identifier: GPL-2.0-or-later
#include "process.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KILL_MS 10000

/* --------------------------------------------------------------------- text */

char *lu_proc_read(pid_t pid, const char *name, gsize *length)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);
	char *text = NULL;

	return g_file_get_contents(path, &text, length, NULL) ? text : NULL;
}

GStrv lu_proc_split(const char *data, gsize length)
{
	GPtrArray *items = g_ptr_array_new();
	gsize at = 0;

	while (at < length) {
		gsize size = strnlen(data + at, length - at);

		g_ptr_array_add(items, g_strndup(data + at, size));
		at += size + 1;
	}
	g_ptr_array_add(items, NULL);
	return (GStrv)g_ptr_array_free(items, FALSE);
}

/* The name in parentheses may hold anything, parentheses too. */
gboolean lu_proc_parse_stat(const char *text, char *state, guint64 *start_time)
{
	const char *at = text ? strrchr(text, ')') : NULL;
	g_auto(GStrv) fields = NULL;

	if (!at || at[1] != ' ')
		return FALSE;
	fields = g_strsplit(at + 2, " ", -1);
	if (g_strv_length(fields) < 20)
		return FALSE;
	*state = fields[0][0];
	*start_time = g_ascii_strtoull(fields[19], NULL, 10);
	return TRUE;
}

char *lu_proc_status_field(const char *text, const char *name)
{
	g_autofree char *head = g_strconcat(name, ":", NULL);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

	for (guint i = 0; lines[i]; i++)
		if (g_str_has_prefix(lines[i], head))
			return g_strstrip(g_strdup(lines[i] + strlen(head)));
	return NULL;
}

pid_t lu_proc_own_pid(pid_t pid)
{
	g_autofree char *status = lu_proc_read(pid, "status", NULL);
	g_autofree char *pids = lu_proc_status_field(status, "NSpid");
	const char *last = pids ? strrchr(pids, '\t') : NULL;

	return pids ? (pid_t)g_ascii_strtoll(last ? last + 1 : pids, NULL, 10) : 0;
}

static int compare_gids(gconstpointer a, gconstpointer b)
{
	gid_t left = *(const gid_t *)a, right = *(const gid_t *)b;

	return left < right ? -1 : left > right;
}

GArray *lu_proc_groups(const char *text)
{
	GArray *groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
	g_autofree char *field = lu_proc_status_field(text, "Groups");
	g_auto(GStrv) numbers = g_strsplit_set(field ? field : "", "\t ", -1);

	for (guint i = 0; numbers[i]; i++) {
		gid_t gid = (gid_t)g_ascii_strtoull(numbers[i], NULL, 10);

		if (*numbers[i])
			g_array_append_val(groups, gid);
	}
	g_array_sort(groups, compare_gids);
	return groups;
}

guint64 lu_proc_status_bytes(pid_t pid, const char *name)
{
	g_autofree char *text = lu_proc_read(pid, "status", NULL);
	g_autofree char *field = lu_proc_status_field(text, name);

	return field ? g_ascii_strtoull(field, NULL, 10) * 1024 : 0;
}

/* ------------------------------------------------------------------ process */

static gboolean current_start_time(pid_t pid, guint64 *start_time)
{
	g_autofree char *text = lu_proc_read(pid, "stat", NULL);
	char state;

	return lu_proc_parse_stat(text, &state, start_time) && state != 'Z' && state != 'X';
}

gboolean lu_process_is(pid_t pid, guint64 start_time)
{
	guint64 now;

	return pid > 0 && current_start_time(pid, &now) && now == start_time;
}

gboolean lu_process_alive(const LuProcess *process)
{
	return process && lu_process_is(process->pid, process->start_time);
}

gboolean lu_process_wait_exit(const LuProcess *process, gint64 end_us)
{
	struct pollfd pollfd = {.fd = process->pidfd, .events = POLLIN};
	int n;

	do {
		n = poll(&pollfd, 1, lu_left_ms(end_us));
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

gboolean lu_process_kill(const LuProcess *process, GError **errp)
{
	if (syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return lu_fail_errno(errp, LU_ERROR_FAILED, errno, "process %d cannot be killed",
				     (int)process->pid);
	if (!lu_process_wait_exit(process, lu_end_us(KILL_MS)))
		return lu_fail(errp, LU_ERROR_FAILED, "process %d still is %d s after SIGKILL",
			       (int)process->pid, KILL_MS / 1000);
	return TRUE;
}

static char *read_link(pid_t pid, const char *name)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);

	return g_file_read_link(path, NULL);
}

static GStrv read_list(pid_t pid, const char *name)
{
	gsize length = 0;
	g_autofree char *data = lu_proc_read(pid, name, &length);

	return data && length ? lu_proc_split(data, length) : NULL;
}

/* "1000 1000 1000 1000": real, effective, saved, file system. */
static guint second_number(const char *field)
{
	g_auto(GStrv) numbers = g_strsplit_set(field ? field : "", "\t ", -1);

	return g_strv_length(numbers) > 1 ? (guint)g_ascii_strtoull(numbers[1], NULL, 10) : 0;
}

/* As it sees it: the kernel says it as seen from outside of the root that it may have. */
static char *read_cwd(pid_t pid)
{
	g_autofree char *root = read_link(pid, "root"), *cwd = read_link(pid, "cwd");

	if (!root || !cwd || !strcmp(root, "/") || !g_str_has_prefix(cwd, root))
		return g_steal_pointer(&cwd);
	return g_strdup(cwd[strlen(root)] == '/' ? cwd + strlen(root) : "/");
}

static gboolean read_all(LuProcess *process, GError **errp)
{
	g_autofree char *status = lu_proc_read(process->pid, "status", NULL);
	g_autofree char *uid = lu_proc_status_field(status, "Uid");
	g_autofree char *gid = lu_proc_status_field(status, "Gid");
	g_autofree char *exe_path = g_strdup_printf("/proc/%d/exe", (int)process->pid);

	process->uid = second_number(uid);
	process->gid = second_number(gid);
	process->groups = lu_proc_groups(status);
	if (geteuid() && process->uid != geteuid())
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "process %d is user %u's and this is user %u: only root may upgrade "
			       "the QEMU of another user",
			       (int)process->pid, process->uid, geteuid());
	process->argv = read_list(process->pid, "cmdline");
	process->envp = read_list(process->pid, "environ");
	process->exe = read_link(process->pid, "exe");
	process->cwd = read_cwd(process->pid);
	if (!process->argv || !process->exe || !process->cwd || stat(exe_path, &process->exe_stat))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "process %d has no command line or program that can be read",
			       (int)process->pid);
	if (!process->envp)
		process->envp = g_new0(char *, 1);
	if (g_str_has_suffix(process->exe, " (deleted)"))
		process->exe[strlen(process->exe) - strlen(" (deleted)")] = '\0';
	return TRUE;
}

LuProcess *lu_process_open(pid_t pid, GError **errp)
{
	g_autoptr(LuProcess) process = g_new0(LuProcess, 1);

	process->pid = pid;
	process->pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	/* The descriptor is opened first: what is read then is of the process that it names. */
	if (process->pidfd < 0 || !current_start_time(pid, &process->start_time)) {
		lu_fail(errp, LU_ERROR_REFUSED, "there is no process %d", (int)pid);
		return NULL;
	}
	return read_all(process, errp) ? g_steal_pointer(&process) : NULL;
}

void lu_process_free(LuProcess *process)
{
	if (!process)
		return;
	if (process->pidfd >= 0)
		close(process->pidfd);
	g_clear_pointer(&process->groups, g_array_unref);
	g_strfreev(process->argv);
	g_strfreev(process->envp);
	g_free(process->exe);
	g_free(process->cwd);
	g_free(process);
}

gboolean lu_process_is_called_qemu(const LuProcess *process)
{
	g_autofree char *program = g_path_get_basename(process->argv[0]);

	return strstr(program, "qemu") || strstr(program, "kvm") || strstr(process->exe, "qemu");
}

gboolean lu_process_runs(const LuProcess *process, const char *path)
{
	g_autofree char *here = lu_process_path(process, path);
	struct stat st;

	return !stat(here, &st) && st.st_dev == process->exe_stat.st_dev &&
	       st.st_ino == process->exe_stat.st_ino;
}

char *lu_process_absolute(const LuProcess *process, const char *path)
{
	return g_path_is_absolute(path) ? g_strdup(path)
					: g_build_filename(process->cwd, path, NULL);
}

char *lu_process_path(const LuProcess *process, const char *path)
{
	g_autofree char *absolute = lu_process_absolute(process, path);

	return g_strdup_printf("/proc/%d/root%s", (int)process->pid, absolute);
}
