/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A control group that lets a QEMU have no further thread: what is asked for is refused or undone,
 * and QEMU, which would abort for a thread of its own, goes on.
 */
#include "migrate.h"

#include <glib/gstdio.h>
#include <string.h>

/* Version 1 has a hierarchy of its own for it; version 2 where the group may have children. */
static const char *const folders[] = {"/sys/fs/cgroup/pids", "/sys/fs/cgroup"};

typedef struct Group {
	char *path;
} Group;

static void group_free(gpointer data)
{
	Group *group = data;

	g_rmdir(group->path);
	g_free(group->path);
	g_free(group);
}

static char *group_file(const Group *group, const char *name)
{
	return g_build_filename(group->path, name, NULL);
}

/* Not g_file_set_contents, which writes another file and renames it. */
static gboolean write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	gboolean written = file && fputs(text, file) >= 0;

	return file && fclose(file) == 0 && written;
}

static Group *group_new(LmTest *test)
{
	Group *group = g_new0(Group, 1);
	g_autofree char *name = g_path_get_basename(test->dir);

	for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *max = NULL;

		g_free(group->path);
		group->path = g_build_filename(folders[i], name, NULL);
		if (g_mkdir(group->path, 0755))
			continue;
		max = group_file(group, "pids.max");
		if (g_file_test(max, G_FILE_TEST_EXISTS)) {
			lm_test_cleanup_later(test, group_free, group);
			return group;
		}
		g_rmdir(group->path);
	}
	g_free(group->path);
	g_free(group);
	return NULL;
}

static void group_add(const Group *group, const Vm *vm)
{
	g_autofree char *procs = group_file(group, "cgroup.procs");
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);

	assert_true(write_file(procs, pid));
}

/* So many threads more than there are; -1: no limit. */
static void group_allow(const Group *group, int more)
{
	g_autofree char *max = group_file(group, "pids.max"),
			*current = group_file(group, "pids.current"), *text = NULL;

	if (more >= 0) {
		assert_true(g_file_get_contents(current, &text, NULL, NULL));
		more += (int)g_ascii_strtoll(text, NULL, 10);
		g_free(text);
		text = g_strdup_printf("%d", more);
	}
	assert_true(write_file(max, text ? text : "max"));
}

static const VmOptions small = {.append = "rate=8", .memory_mib = 128};

static void test_source(LmTest *test, const void *arg)
{
	Group *group = group_new(test);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	group_add(group, source);
	group_allow(group, 0);
	text = migrate_refused(source, uri, "");
	assert_contains(text, "cannot start a thread");
	assert_contains(text, "pids.max");
	vm_assert_never_stopped(source);
	group_allow(group, -1);
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static void test_destination(LmTest *test, const void *arg)
{
	Group *group = group_new(test);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *path = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = NULL, info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	path = migrate_socket_path(destination);
	group_add(group, destination);
	group_allow(group, 0);
	reply = qmp_command(destination->qmp, &error, "localhost-migrate-incoming", "{'uri': %s}",
			    uri);
	assert_null(reply);
	assert_contains(error->message, "cannot start a thread");
	assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	group_allow(group, -1);
	info = migrate_ok(source, destination, "");
}

/* Its own thread is there, those that move pages are not. */
static void test_source_pages(LmTest *test, const void *arg)
{
	Group *group = group_new(test);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	group_add(group, source);
	group_allow(group, 3);
	text = migrate_refused(source, uri, ", 'channels': 3");
	assert_contains(text, "2 threads can be started, needed are 3");
	vm_assert_never_stopped(source);
	group_allow(group, 4);
	migrate_begin(source, uri, ", 'channels': 3");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static void test_destination_pages(LmTest *test, const void *arg)
{
	Group *group = group_new(test);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	group_add(group, destination);
	group_allow(group, 1);
	text = migrate_refused(source, uri, ", 'channels': 2");
	assert_contains(text, "1 threads can be started, needed are 2");
	vm_assert_never_stopped(source);
	group_allow(group, -1);
	migrate_begin(source, uri, ", 'channels': 2");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static const LmCase cases[] = {
	LM_CASE(test_source),
	LM_CASE(test_destination),
	LM_CASE(test_source_pages),
	LM_CASE(test_destination_pages),
};

int main(int argc, char **argv)
{
	gboolean is_there = FALSE;

	for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
		g_autofree char *path = g_build_filename(folders[i], "lm-try-XXXXXX", NULL);
		g_autofree char *max =
			g_mkdtemp(path) ? g_build_filename(path, "pids.max", NULL) : NULL;

		is_there |= max && g_file_test(max, G_FILE_TEST_EXISTS);
		g_rmdir(path);
	}
	if (!is_there)
		return lm_test_skip("no control group with %s can be made here", "pids.max");
	return LM_TEST_MAIN(argc, argv, cases);
}
