// SPDX-License-Identifier: GPL-2.0-or-later
#include "proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

char *attach_proc_path(pid_t pid, const char *name)
{
	return g_strdup_printf("/proc/%d/%s", (int)pid, name);
}

char *attach_proc_read(pid_t pid, const char *name)
{
	g_autofree char *path = attach_proc_path(pid, name);
	char *text = NULL;

	g_file_get_contents(path, &text, NULL, NULL);
	return text;
}

char *attach_proc_link(pid_t pid, const char *name)
{
	g_autofree char *path = attach_proc_path(pid, name);

	return g_file_read_link(path, NULL);
}

char *attach_proc_status(pid_t pid, const char *name)
{
	g_autofree char *text = attach_proc_read(pid, "status");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	gsize length = strlen(name);

	for (guint i = 0; lines[i]; i++)
		if (!strncmp(lines[i], name, length) && lines[i][length] == ':')
			return g_strstrip(g_strdup(lines[i] + length + 1));
	return NULL;
}

gint64 attach_proc_status_number(pid_t pid, const char *name)
{
	g_autofree char *value = attach_proc_status(pid, name);

	return value ? g_ascii_strtoll(value, NULL, 10) : -1;
}

char *attach_proc_comm(pid_t pid)
{
	char *text = attach_proc_read(pid, "comm");

	return text ? g_strchomp(text) : g_strdup("?");
}

/* -------------------------------------------------------------------- maps */

static void mapping_free(gpointer data)
{
	AttachMapping *mapping = data;

	g_free(mapping->path);
	g_free(mapping);
}

static AttachMapping *parse_mapping(const char *line)
{
	unsigned int major_, minor_;
	AttachMapping m = {0};
	int path_at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m.start,
		   &m.end, &m.offset, &major_, &minor_, &m.ino, &path_at) != 6)
		return NULL;
	m.dev = makedev(major_, minor_);
	m.path = g_strdup(line + path_at);
	return g_memdup2(&m, sizeof(m));
}

GPtrArray *attach_proc_maps(pid_t pid)
{
	GPtrArray *maps = g_ptr_array_new_with_free_func(mapping_free);
	g_autofree char *text = attach_proc_read(pid, "maps");
	g_auto(GStrv) lines = text ? g_strsplit(text, "\n", -1) : NULL;

	for (guint i = 0; lines && lines[i]; i++) {
		AttachMapping *mapping = parse_mapping(lines[i]);

		if (mapping)
			g_ptr_array_add(maps, mapping);
	}
	return maps;
}

const AttachMapping *attach_proc_next_file(const GPtrArray *maps, guint *index)
{
	while (*index < maps->len) {
		const AttachMapping *mapping = maps->pdata[(*index)++];

		if (mapping->ino && !mapping->offset)
			return mapping;
	}
	return NULL;
}

/* ------------------------------------------------------------ single values */

/* Behind the name, which may have any character, the start time is the 20th word. */
static char *start_time(pid_t pid)
{
	g_autofree char *text = attach_proc_read(pid, "stat");
	const char *name_end = text ? strrchr(text, ')') : NULL;
	g_auto(GStrv) words = g_strsplit(name_end ? name_end : "", " ", -1);

	return g_strv_length(words) > 20 ? g_strdup(words[20]) : NULL;
}

/* The auxiliary vector of each execution has random addresses of its own. */
char *attach_proc_identity(pid_t pid)
{
	g_autofree char *path = attach_proc_path(pid, "auxv"), *vector = NULL, *sum = NULL;
	g_autofree char *started = start_time(pid);
	gsize length = 0;

	if (!started || !g_file_get_contents(path, &vector, &length, NULL) || !length)
		return NULL;
	sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)vector, length);
	return g_strdup_printf("%s %s", started, sum);
}

guint64 attach_proc_auxv(pid_t pid, guint64 type)
{
	g_autofree char *path = attach_proc_path(pid, "auxv");
	g_autofree char *data = NULL;
	gsize length = 0;

	if (!g_file_get_contents(path, &data, &length, NULL))
		return 0;
	for (gsize i = 0; i + 16 <= length; i += 16) {
		guint64 entry[2];

		memcpy(entry, data + i, sizeof(entry));
		if (entry[0] == type)
			return entry[1];
	}
	return 0;
}

int attach_proc_syscall(pid_t pid)
{
	g_autofree char *text = attach_proc_read(pid, "syscall");
	int number;

	if (!text)
		return -2;
	return sscanf(text, "%d ", &number) == 1 ? number : -1;
}
