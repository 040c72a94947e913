// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"
#include "cgroup.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#define NOTIFY_SOCKET "/run/systemd/notify"
#define ANSWER_MS     5000
#define POLL_MS	      20
#define HOW                                                                                        \
	"NotifyAccess=main in its [Service] section and \"systemctl daemon-reload\" let it "       \
	"follow, "                                                                                 \
	"without a restart (systemd.md)"

void lu_unit_free(LuUnit *unit)
{
	if (!unit)
		return;
	g_free(unit->name);
	g_free(unit->pid_file);
	g_free(unit);
}

/* ------------------------------------------------------------------------ asking */

/* "NAME=VALUE", a line each; NULL if systemd does not answer. */
static char *show(const LuUnit *unit)
{
	const char *argv[] = {"systemctl", unit->of_user ? "--user" : "--system",
			      "show",	   "--property=MainPID,NotifyAccess,PIDFile,StatusText",
			      "--",	   unit->name,
			      NULL};
	g_autofree char *out = NULL;
	GSpawnFlags flags = G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, flags, NULL, NULL, &out, NULL, NULL, NULL) ||
	    !strstr(out, "MainPID="))
		return NULL;
	return g_steal_pointer(&out);
}

/* Of one of those; the caller's. "" if it is not there. */
static char *property(const char *shown, const char *name)
{
	g_autofree char *head = g_strconcat(name, "=", NULL);
	g_auto(GStrv) lines = g_strsplit(shown ? shown : "", "\n", -1);

	for (guint i = 0; lines[i]; i++)
		if (g_str_has_prefix(lines[i], head))
			return g_strdup(lines[i] + strlen(head));
	return g_strdup("");
}

static pid_t main_pid(const char *shown)
{
	g_autofree char *text = property(shown, "MainPID");

	return (pid_t)g_ascii_strtoll(text, NULL, 10);
}

static char *service_of(pid_t pid, gboolean *of_user)
{
	g_autoptr(GPtrArray) cgroups = lu_cgroup_read(pid);

	for (guint i = 0; i < cgroups->len; i++) {
		const LuCgroup *cgroup = cgroups->pdata[i];
		char *service;

		if (*cgroup->controllers && strcmp(cgroup->controllers, "name=systemd"))
			continue;
		service = lu_cgroup_service(cgroup->path);
		*of_user = strstr(cgroup->path, "/user@") != NULL;
		if (service)
			return service;
	}
	return NULL;
}

LuUnit *lu_unit_find(pid_t pid)
{
	g_autoptr(LuUnit) unit = g_new0(LuUnit, 1);
	g_autofree char *shown = NULL, *access = NULL, *pid_file = NULL;

	unit->name = service_of(pid, &unit->of_user);
	if (!unit->name)
		return NULL;
	shown = show(unit);
	/* If nobody answers, nobody says that it is not. */
	if (shown && main_pid(shown) != pid)
		return NULL;
	access = property(shown, "NotifyAccess");
	pid_file = property(shown, "PIDFile");
	unit->listens = *access && strcmp(access, "none");
	if (*pid_file)
		unit->pid_file = g_steal_pointer(&pid_file);
	return g_steal_pointer(&unit);
}

char *lu_unit_of_main_process(pid_t pid)
{
	g_autoptr(LuUnit) unit = lu_unit_find(pid);

	return unit ? g_steal_pointer(&unit->name) : NULL;
}

/* ---------------------------------------------------------------------- checking */

/* Who adopts an orphan of this process; -1 if that cannot be found out. */
static pid_t who_adopts(void)
{
	pid_t child, parent = -1;
	int ends[2], status;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	child = fork();
	if (!child) {
		pid_t self = getpid(), now;

		if (fork())
			_exit(0);
		while ((now = getppid()) == self)
			poll(NULL, 0, 1);
		_exit(write(ends[1], &now, sizeof(now)) != sizeof(now));
	}
	close(ends[1]);
	if (child > 0)
		waitpid(child, &status, 0);
	if (child < 0 || read(ends[0], &parent, sizeof(parent)) != sizeof(parent))
		parent = -1;
	close(ends[0]);
	return parent;
}

static gboolean same_pid_namespace(const LuProcess *process)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/ns/pid", (int)process->pid);
	struct stat here, there;

	return !stat("/proc/self/ns/pid", &here) && !stat(path, &there) &&
	       here.st_ino == there.st_ino;
}

gboolean lu_unit_check(const LuUnit *unit, const LuProcess *process, const char *pid_file,
		       GError **errp)
{
	g_autofree char *what =
		g_strdup_printf("QEMU %d is the main process of systemd's %s, which would end with "
				"it",
				(int)process->pid, unit->name);
	pid_t parent;

	if (geteuid() || unit->of_user)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s; that it can be followed is for root and services of the "
			       "system only",
			       what);
	if (!unit->listens && !unit->pid_file)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s; " HOW, what);
	if (!unit->listens && g_strcmp0(unit->pid_file, pid_file))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s: its PIDFile= is %s and the VM's -pidfile is %s; " HOW, what,
			       unit->pid_file, pid_file ? pid_file : "not given");
	if (!same_pid_namespace(process))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s, and it is in another PID namespace",
			       what);
	parent = who_adopts();
	if (parent != 1)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "%s: a new one would be adopted by process %d and not by systemd; "
			       "run this by systemd-run --pipe --wait",
			       what, (int)parent);
	return TRUE;
}

/* ----------------------------------------------------------------------- telling */

static gboolean notify(pid_t sender, const char *message, GError **errp)
{
	g_autofree char *before = g_strdup(g_getenv("NOTIFY_SOCKET"));
	int rc;

	g_setenv("NOTIFY_SOCKET", NOTIFY_SOCKET, TRUE);
	rc = sd_pid_notify(sender, 0, message);
	if (before)
		g_setenv("NOTIFY_SOCKET", before, TRUE);
	else
		g_unsetenv("NOTIFY_SOCKET");
	if (rc <= 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, -rc, "systemd at " NOTIFY_SOCKET);
	return TRUE;
}

static gboolean wait_property(const LuUnit *unit, const char *name, const char *value)
{
	gint64 end_us = lu_end_us(ANSWER_MS);

	for (;;) {
		g_autofree char *shown = show(unit), *is = property(shown, name);

		if (!strcmp(is, value))
			return TRUE;
		if (!lu_left_ms(end_us))
			return FALSE;
		poll(NULL, 0, POLL_MS);
	}
}

gboolean lu_unit_try(const LuUnit *unit, pid_t sender, const char *status, GError **errp)
{
	g_autofree char *message = g_strconcat("STATUS=", status, NULL);

	if (!unit->listens)
		return TRUE;
	if (!notify(sender, message, errp))
		return FALSE;
	return wait_property(unit, "StatusText", status) ||
	       lu_fail(errp, LU_ERROR_REFUSED,
		       "systemd does not listen to the main process %d of %s, which would end with "
		       "it",
		       (int)sender, unit->name);
}

gboolean lu_unit_wait_main(const LuUnit *unit, pid_t pid)
{
	g_autofree char *value = g_strdup_printf("%d", (int)pid);

	return wait_property(unit, "MainPID", value);
}

/* What systemd will read there. */
static gboolean check_pid_file(const LuUnit *unit, pid_t pid, GError **errp)
{
	g_autofree char *text = NULL;

	if (g_file_get_contents(unit->pid_file, &text, NULL, NULL) &&
	    g_ascii_strtoll(text, NULL, 10) == pid)
		return TRUE;
	return lu_fail(errp, LU_ERROR_FAILED, "PIDFile=%s of %s says %s, and not %d",
		       unit->pid_file, unit->name, text ? g_strchomp(text) : "nothing", (int)pid);
}

gboolean lu_unit_hand_on(const LuUnit *unit, pid_t old_pid, pid_t new_pid, const char *status,
			 GError **errp)
{
	g_autofree char *message = g_strdup_printf("MAINPID=%d\nSTATUS=%s", (int)new_pid, status);

	if (!unit->listens)
		return check_pid_file(unit, new_pid, errp);
	return notify(old_pid, message, errp) &&
	       (lu_unit_wait_main(unit, new_pid) ||
		lu_fail(errp, LU_ERROR_FAILED, "systemd does not take %d as the main process of %s",
			(int)new_pid, unit->name));
}
