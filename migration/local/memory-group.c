/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Theory of operation: a control group over its limit is not told no: the kernel ends one of its
 * processes, and that may be the one that has the VM. So a group that has not some memory to spare
 * is refused beforehand.
 *
 * A page belongs to the group of the process that touched it first. What is flipped is given up in
 * the source's group and taken in the destination's, so groups that hold both processes only need
 * to spare what is held twice at a time; groups that hold the destination alone need to have room
 * for all of it. Memory that is or becomes shared stays with the source's group: unless it was
 * touched before the source came into its group, and counts elsewhere, for it is allocated anew as
 * it becomes shared. A group that has less in use than the process has private tells so.
 *
 * Pages of files that were read can be dropped, and do not count.
 */
#include "host-limits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

/* What both processes take over what they had, by measure (docs/benchmarks.md), twice. */
#define SPARE_BYTES (32ull << 20)
/* Version 1 says "no limit" by a number as large as can be. */
#define NO_LIMIT_BYTES (1ull << 60)

typedef struct Version {
	const char *mount, *limit, *usage;
	const char *cache[2]; /* in memory.stat */
} Version;

static const Version version_1 = {"/sys/fs/cgroup/memory",
				  "memory.limit_in_bytes",
				  "memory.usage_in_bytes",
				  {"total_inactive_file ", "total_active_file "}};
static const Version version_2 = {
	"/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file ", "active_file "}};

/* The path of the group of memory of a process, "/a/b", and its version; NULL: not known. */
static char *group_of(pid_t pid, const Version **version)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int)pid), *text = NULL;
	g_auto(GStrv) lines = NULL;
	char *unified = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; lines[i]; i++) {
		g_auto(GStrv) fields = g_strsplit(lines[i], ":", 3);
		g_auto(GStrv) controllers = NULL;

		if (g_strv_length(fields) != 3)
			continue;
		controllers = g_strsplit(fields[1], ",", -1);
		if (g_strv_contains((const char *const *)controllers, "memory")) {
			g_free(unified);
			*version = &version_1;
			return g_strdup(fields[2]);
		}
		if (!*fields[1] && !unified)
			unified = g_strdup(fields[2]);
	}
	*version = &version_2;
	return unified;
}

static char *read_file(const Version *version, const char *group, const char *name)
{
	g_autofree char *path = g_build_filename(version->mount, group, name, NULL);
	char *text = NULL;

	g_file_get_contents(path, &text, NULL, NULL);
	return text;
}

/* "max", and a file that is not there, are no number. */
static guint64 read_bytes(const Version *version, const char *group, const char *name,
			  guint64 otherwise)
{
	g_autofree char *text = read_file(version, group, name);
	guint64 value;

	return text && sscanf(text, "%" G_GINT64_MODIFIER "u", &value) == 1 ? value : otherwise;
}

static guint64 droppable_bytes(const Version *version, const char *group)
{
	g_autofree char *text = read_file(version, group, "memory.stat");
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	guint64 sum = 0;

	for (guint i = 0; lines[i]; i++)
		for (guint k = 0; k < G_N_ELEMENTS(version->cache); k++)
			if (g_str_has_prefix(lines[i], version->cache[k]))
				sum += g_ascii_strtoull(lines[i] + strlen(version->cache[k]), NULL,
							10);
	return sum;
}

/* @whole: what will be private here, or shared, whoever has it now. */
static int check_group(const Version *version, const char *group, guint64 more, guint64 whole,
		       GError **errp)
{
	const guint64 limit = read_bytes(version, group, version->limit, NO_LIMIT_BYTES);
	guint64 used = read_bytes(version, group, version->usage, 0);
	guint64 needed = SPARE_BYTES + more;

	used -= MIN(used, droppable_bytes(version, group));
	if (used < whole)
		needed += whole - used;
	if (limit >= NO_LIMIT_BYTES || (used <= limit && limit - used >= needed))
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, ENOMEM,
		       "%" G_GUINT64_FORMAT " bytes to spare are needed in control group %s: its "
		       "%s is %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " are in use",
		       needed, group, version->limit, limit, used);
}

/* Whether @group is @inner, or one of those that @inner is in. */
static gboolean is_around(const char *group, const char *inner)
{
	const gsize length = strcmp(group, "/") ? strlen(group) : 0;

	return !strncmp(group, inner, length) && (inner[length] == '/' || !inner[length]);
}

/* The next group outwards; FALSE: there is none. */
static gboolean go_up(char *group)
{
	char *end = strrchr(group, '/');

	if (!end || !end[1])
		return FALSE;
	end[end == group] = '\0';
	return TRUE;
}

static guint64 private_bytes(void)
{
	g_autofree char *text = NULL;
	const char *line;
	guint64 kib;

	if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL))
		return 0;
	line = strstr(text, "\nRssAnon:");
	return line && sscanf(line, "\nRssAnon: %" G_GINT64_MODIFIER "u", &kib) == 1 ? kib << 10
										     : 0;
}

static guint64 flipped_bytes(const GPtrArray *regions)
{
	guint64 bytes = 0;

	for (guint i = 0; i < regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(regions, i);

		if (region->way == LM_WAY_FLIP)
			bytes += region->used_bytes;
	}
	return bytes;
}

int lm_memory_groups_check(pid_t peer_pid, const GPtrArray *regions, GError **errp)
{
	const guint64 private = private_bytes(), flipped = MIN(private, flipped_bytes(regions));
	const Version *version = NULL, *peer_version = NULL;
	g_autofree char *mine = group_of(getpid(), &version);
	g_autofree char *theirs = group_of(peer_pid, &peer_version);
	g_autofree char *at = g_strdup(mine);
	int ret = 0;

	if (!mine)
		return 0;
	do
		ret = check_group(version, at, 0, private, errp);
	while (ret == 0 && go_up(at));
	if (!theirs || version != peer_version)
		return ret;
	do
		if (ret == 0 && !is_around(theirs, mine))
			ret = check_group(version, theirs, flipped, 0, errp);
	while (ret == 0 && go_up(theirs));
	return ret;
}
