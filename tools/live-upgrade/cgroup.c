// SPDX-License-Identifier: GPL-2.0-or-later
#include "cgroup.h"
#include "error.h"
#include "handle.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void cgroup_free(gpointer data)
{
	LuCgroup *cgroup = data;

	g_free(cgroup->controllers);
	g_free(cgroup->path);
	g_free(cgroup);
}

static gint compare(gconstpointer a, gconstpointer b)
{
	const LuCgroup *const *left = a, *const *right = b;

	return strcmp((*left)->controllers, (*right)->controllers);
}

GPtrArray *lu_cgroup_parse(const char *text)
{
	GPtrArray *cgroups = g_ptr_array_new_with_free_func(cgroup_free);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

	for (guint i = 0; lines[i]; i++) {
		g_auto(GStrv) fields = g_strsplit(lines[i], ":", 3);
		LuCgroup *cgroup;

		if (g_strv_length(fields) < 3)
			continue;
		cgroup = g_new0(LuCgroup, 1);
		cgroup->controllers = g_strdup(fields[1]);
		cgroup->path = g_strdup(fields[2]);
		g_ptr_array_add(cgroups, cgroup);
	}
	g_ptr_array_sort(cgroups, compare);
	return cgroups;
}

GPtrArray *lu_cgroup_read(pid_t pid)
{
	g_autofree char *text = lu_proc_read(pid, "cgroup", NULL);

	return lu_cgroup_parse(text);
}

char *lu_cgroup_text(GPtrArray *cgroups)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < cgroups->len; i++) {
		const LuCgroup *cgroup = cgroups->pdata[i];

		g_string_append_printf(text, "%s%s:%s", i ? " " : "", cgroup->controllers,
				       cgroup->path);
	}
	return g_string_free(text, FALSE);
}

/* ------------------------------------------------------------------ folders */

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPEROPTIONS" (proc(5)). */
static gboolean is_mount_of(const char *line, const LuCgroup *cgroup, char **root, char **point)
{
	const char *rest = strstr(line, " - ");
	g_auto(GStrv) head = NULL, tail = NULL, options = NULL, wanted = NULL;

	if (!rest)
		return FALSE;
	head = g_strsplit(line, " ", 6);
	tail = g_strsplit(rest + 3, " ", 3);
	if (g_strv_length(head) < 6 || g_strv_length(tail) < 3)
		return FALSE;
	if (strcmp(tail[0], *cgroup->controllers ? "cgroup" : "cgroup2"))
		return FALSE;
	options = g_strsplit(tail[2], ",", -1);
	wanted = g_strsplit(cgroup->controllers, ",", -1);
	for (guint i = 0; wanted[i] && *wanted[i]; i++)
		if (!g_strv_contains((const char *const *)options, wanted[i]))
			return FALSE;
	*root = g_strdup(head[3]);
	*point = g_strdup(head[4]);
	return TRUE;
}

char *lu_cgroup_folder(const LuCgroup *cgroup, const char *mountinfo)
{
	g_auto(GStrv) lines = g_strsplit(mountinfo ? mountinfo : "", "\n", -1);

	for (guint i = 0; lines[i]; i++) {
		g_autofree char *root = NULL, *point = NULL;
		const char *path = cgroup->path;

		if (!is_mount_of(lines[i], cgroup, &root, &point))
			continue;
		/* A group above the mount's root is not in this mount. */
		if (strcmp(root, "/")) {
			if (!g_str_has_prefix(path, root))
				continue;
			path += strlen(root);
		}
		return g_build_filename(point, path, NULL);
	}
	return NULL;
}

static char *folder_of(const LuCgroup *cgroup)
{
	g_autofree char *mountinfo = NULL;

	g_file_get_contents("/proc/self/mountinfo", &mountinfo, NULL, NULL);
	return lu_cgroup_folder(cgroup, mountinfo);
}

static gboolean write_pid(const char *folder, const char *file, pid_t pid, GError **errp)
{
	g_autofree char *path = g_build_filename(folder, file, NULL);
	g_autofree char *text = g_strdup_printf("%d", (int)pid);
	g_auto(LuFd) fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno,
				     "%d cannot join control group %s", (int)pid, folder);
	return TRUE;
}

static const char *path_in(GPtrArray *cgroups, const char *controllers)
{
	for (guint i = 0; i < cgroups->len; i++) {
		const LuCgroup *cgroup = cgroups->pdata[i];

		if (!strcmp(cgroup->controllers, controllers))
			return cgroup->path;
	}
	return NULL;
}

static gboolean join(GPtrArray *like, GPtrArray *now, gboolean is_thread, pid_t id, GError **errp)
{
	for (guint i = 0; i < like->len; i++) {
		const LuCgroup *cgroup = like->pdata[i];
		const char *file = !is_thread		  ? "cgroup.procs"
				   : *cgroup->controllers ? "tasks"
							  : "cgroup.threads";
		g_autofree char *folder = NULL;

		if (!g_strcmp0(path_in(now, cgroup->controllers), cgroup->path))
			continue;
		folder = folder_of(cgroup);
		if (!folder)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "control group %s:%s of the running QEMU is not mounted "
				       "here",
				       cgroup->controllers, cgroup->path);
		if (!write_pid(folder, file, id, errp))
			return FALSE;
	}
	return TRUE;
}

gboolean lu_cgroup_join(GPtrArray *like, pid_t pid, GError **errp)
{
	g_autoptr(GPtrArray) now = lu_cgroup_read(pid);

	return join(like, now, FALSE, pid, errp);
}

GPtrArray *lu_cgroup_read_thread(pid_t pid, pid_t tid)
{
	g_autofree char *name = g_strdup_printf("task/%d/cgroup", (int)tid);
	g_autofree char *text = lu_proc_read(pid, name, NULL);

	return lu_cgroup_parse(text);
}

gboolean lu_cgroup_join_thread(GPtrArray *like, pid_t pid, pid_t tid, GError **errp)
{
	g_autoptr(GPtrArray) now = lu_cgroup_read_thread(pid, tid);

	return join(like, now, TRUE, tid, errp);
}

/* ------------------------------------------------------------------- memory */

guint64 lu_cgroup_peak_bytes(pid_t pid)
{
	g_autoptr(GPtrArray) cgroups = lu_cgroup_read(pid);

	for (guint i = 0; i < cgroups->len; i++) {
		const LuCgroup *cgroup = cgroups->pdata[i];
		gboolean unified = !*cgroup->controllers;
		g_autofree char *folder = NULL, *path = NULL, *text = NULL;

		if ((!unified && strcmp(cgroup->controllers, "memory")) ||
		    !strcmp(cgroup->path, "/"))
			continue;
		folder = folder_of(cgroup);
		if (!folder)
			continue;
		path = g_build_filename(
			folder, unified ? "memory.peak" : "memory.max_usage_in_bytes", NULL);
		if (g_file_get_contents(path, &text, NULL, NULL))
			return g_ascii_strtoull(text, NULL, 10);
	}
	return 0;
}

char *lu_cgroup_service(const char *path)
{
	g_auto(GStrv) parts = g_strsplit(path, "/", -1);

	for (guint i = g_strv_length(parts); i-- > 0;) {
		if (g_str_has_suffix(parts[i], ".scope") || g_str_has_suffix(parts[i], ".slice"))
			return NULL;
		if (g_str_has_suffix(parts[i], ".service"))
			return g_strdup(parts[i]);
	}
	return NULL;
}
