/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <glib/gstdio.h>

struct LmCgroup {
	char *path;
	char *procs;
	const char *usage_file;
	int peak_fd; /* in version 2 a reset counts for the descriptor that made it */
	const char *reset;
};

static void cgroup_free(LmCgroup *cgroup)
{
	if (cgroup->peak_fd >= 0)
		close(cgroup->peak_fd);
	g_rmdir(cgroup->path);
	g_free(cgroup->path);
	g_free(cgroup->procs);
	g_free(cgroup);
}

/* The folder of this process's own group with the memory controller; *version is 1 or 2. */
static char *own_folder(int *version)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	char *unified = NULL;

	if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; lines[i]; i++) {
		g_auto(GStrv) fields = g_strsplit(lines[i], ":", 3);

		if (g_strv_length(fields) == 3 && strcmp(fields[1], "memory") == 0) {
			g_free(unified);
			*version = 1;
			return g_build_filename("/sys/fs/cgroup/memory", fields[2], NULL);
		}
		if (g_strv_length(fields) == 3 && !*fields[1]) {
			g_free(unified);
			unified = g_build_filename("/sys/fs/cgroup", fields[2], NULL);
		}
	}
	*version = 2;
	return unified;
}

static gboolean system_error(GError **errp, const char *what)
{
	g_set_error(errp, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", what,
		    g_strerror(errno));
	return FALSE;
}

static LmCgroup *make_in(const char *folder, const char *name, int version, GError **errp)
{
	LmCgroup *cgroup = g_new0(LmCgroup, 1);
	g_autofree char *peak = NULL;

	cgroup->path = g_build_filename(folder, name, NULL);
	cgroup->procs = g_build_filename(cgroup->path, "cgroup.procs", NULL);
	cgroup->usage_file = version == 1 ? "memory.usage_in_bytes" : "memory.current";
	cgroup->reset = version == 1 ? "0" : "reset";
	peak = g_build_filename(cgroup->path,
				version == 1 ? "memory.max_usage_in_bytes" : "memory.peak", NULL);
	if (!g_mkdir(cgroup->path, 0755)) {
		cgroup->peak_fd = open(peak, O_RDWR | O_CLOEXEC);
		/* Version 2 before Linux 6.12: the peak is there, but cannot be set back. */
		if (cgroup->peak_fd < 0 && errno == EACCES)
			cgroup->peak_fd = open(peak, O_RDONLY | O_CLOEXEC);
		if (cgroup->peak_fd >= 0)
			return cgroup;
	} else {
		cgroup->peak_fd = -1;
	}
	system_error(errp, peak);
	cgroup_free(cgroup);
	return NULL;
}

/*
 * Beside this process, or higher up: in version 2 a group that holds processes, such as a login's,
 * hands no controller down.
 */
LmCgroup *cgroup_new(LmTest *test, GError **errp)
{
	int version = 0;
	g_autofree char *folder = own_folder(&version);
	g_autofree char *name = g_path_get_basename(test->dir);
	gsize shortest = strlen(version == 1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup");
	LmCgroup *cgroup = NULL;

	if (!folder)
		g_set_error(errp, G_FILE_ERROR, G_FILE_ERROR_NOENT, "no control group");
	while (folder && !cgroup) {
		g_autofree char *child = g_steal_pointer(&folder);

		g_clear_error(errp);
		cgroup = make_in(child, name, version, errp);
		folder = g_path_get_dirname(child);
		if (strlen(folder) < shortest)
			g_clear_pointer(&folder, g_free);
	}
	if (cgroup)
		lm_test_cleanup_later(test, (GDestroyNotify)cgroup_free, cgroup);
	return cgroup;
}

const char *cgroup_procs_path(const LmCgroup *cgroup)
{
	return cgroup->procs;
}

guint64 cgroup_usage_bytes(LmCgroup *cgroup)
{
	g_autofree char *path = g_build_filename(cgroup->path, cgroup->usage_file, NULL);
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	return g_ascii_strtoull(text, NULL, 10);
}

guint64 cgroup_peak_bytes(LmCgroup *cgroup)
{
	char text[32] = "";

	if (pread(cgroup->peak_fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return g_ascii_strtoull(text, NULL, 10);
}

gboolean cgroup_reset_peak(LmCgroup *cgroup, GError **errp)
{
	if (pwrite(cgroup->peak_fd, cgroup->reset, strlen(cgroup->reset), 0) < 0)
		return system_error(errp, "the peak of memory cannot be reset");
	return TRUE;
}
