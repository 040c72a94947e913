/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "limit-group.h"

#include <stdio.h>
#include <string.h>
#include <glib/gstdio.h>

struct LimitGroup {
	char *path, *procs;
	const char *limit, *usage;
	const char *none; /* what lifts the limit */
};

/* Version 1 has a hierarchy for each controller. */
static const struct Kind {
	const char *controller, *mount, *limit, *usage, *none;
} kinds[] = {
	{"pids", "/sys/fs/cgroup/pids", "pids.max", "pids.current", "max"},
	{"pids", "/sys/fs/cgroup", "pids.max", "pids.current", "max"},
	{"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "-1"},
	{"memory", "/sys/fs/cgroup", "memory.max", "memory.current", "max"},
};

static void group_free(gpointer data)
{
	LimitGroup *group = data;

	g_rmdir(group->path);
	g_free(group->path);
	g_free(group->procs);
	g_free(group);
}

/* Not g_file_set_contents, which writes another file and renames it. */
static gboolean write_file(const LimitGroup *group, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(group->path, name, NULL);
	FILE *file = fopen(path, "w");
	gboolean written = file && fputs(text, file) >= 0;

	return file && fclose(file) == 0 && written;
}

static gboolean has_file(const LimitGroup *group, const char *name)
{
	g_autofree char *path = g_build_filename(group->path, name, NULL);

	return g_file_test(path, G_FILE_TEST_EXISTS);
}

static LimitGroup *try_kind(const struct Kind *kind, const char *folder, const char *name)
{
	LimitGroup *group = g_new0(LimitGroup, 1);

	group->path = g_build_filename(folder, name, NULL);
	group->procs = g_build_filename(group->path, "cgroup.procs", NULL);
	group->limit = kind->limit;
	group->usage = kind->usage;
	group->none = kind->none;
	if (g_mkdir(group->path, 0755) == 0 && has_file(group, kind->limit))
		return group;
	group_free(group);
	return NULL;
}

static LimitGroup *make(const char *controller, const char *parent, const char *name)
{
	LimitGroup *group = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(kinds) && !group; i++)
		if (!strcmp(kinds[i].controller, controller))
			group = try_kind(&kinds[i], parent ? parent : kinds[i].mount, name);
	return group;
}

LimitGroup *limit_group_new(LmTest *test, const char *controller, const LimitGroup *parent)
{
	g_autofree char *base = g_path_get_basename(test->dir);
	g_autofree char *name = g_strdup_printf("%s-%u", base, test->next++);
	LimitGroup *group = make(controller, parent ? parent->path : NULL, name);

	if (group)
		lm_test_cleanup_later(test, group_free, group);
	return group;
}

gboolean limit_group_is_there(const char *controller)
{
	g_autofree char *name = g_strdup_printf("lm-try-%u", g_random_int());
	LimitGroup *group = make(controller, NULL, name);

	if (group)
		group_free(group);
	return group != NULL;
}

const char *limit_group_procs(const LimitGroup *group)
{
	return group->procs;
}

void limit_group_add(const LimitGroup *group, const Vm *vm)
{
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);

	assert_true(write_file(group, "cgroup.procs", pid));
}

void limit_group_allow(const LimitGroup *group, gint64 more)
{
	g_autofree char *usage = g_build_filename(group->path, group->usage, NULL), *text = NULL;

	if (more < 0) {
		assert_true(write_file(group, group->limit, group->none));
		return;
	}
	assert_true(g_file_get_contents(usage, &text, NULL, NULL));
	more += g_ascii_strtoll(text, NULL, 10);
	g_free(text);
	text = g_strdup_printf("%" G_GINT64_FORMAT, more);
	assert_true(write_file(group, group->limit, text));
}
