/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "process.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

int process_run(char **said, const char *const *argv)
{
	g_autofree char *out = NULL, *err = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
		     &status, &error);
	must(error);
	if (said)
		*said = g_strconcat(out, err, NULL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int count_entries(pid_t pid, const char *folder)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, folder);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	int count = 0;

	if (!dir)
		return -1;
	while (g_dir_read_name(dir))
		count++;
	return count;
}

int process_count_fds(pid_t pid)
{
	return count_entries(pid, "fd");
}

int process_count_threads(pid_t pid)
{
	return count_entries(pid, "task");
}

guint64 process_smaps_bytes(pid_t pid, const char *field)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", (int)pid);
	g_autofree char *prefix = g_strconcat(field, ":", NULL);
	g_autofree char *text = NULL;
	const char *at;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	at = strstr(text, prefix);
	return at ? g_ascii_strtoull(at + strlen(prefix), NULL, 10) * 1024 : 0;
}

char process_state(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
	g_autofree char *text = NULL;
	const char *name_end;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	name_end = strrchr(text, ')');
	return name_end && name_end[1] ? name_end[2] : 0;
}

guint64 process_address_bytes(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/statm", (int)pid), *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	return g_ascii_strtoull(text, NULL, 10) * (guint64)sysconf(_SC_PAGESIZE);
}
