/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A control group that lets a QEMU have no further thread: what is asked for is refused or undone,
 * and QEMU, which would abort for a thread of its own, goes on.
 */
#include "limit-group.h"
#include "migrate.h"

static const VmOptions small = {.append = "rate=8", .memory_mib = 128};

static void test_source(LmTest *test, const void *arg)
{
	LimitGroup *group = limit_group_new(test, "pids", NULL);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	limit_group_add(group, source);
	limit_group_allow(group, 0);
	text = migrate_refused(source, uri, "");
	assert_contains(text, "cannot start a thread");
	assert_contains(text, "pids.max");
	vm_assert_never_stopped(source);
	limit_group_allow(group, -1);
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static void test_destination(LmTest *test, const void *arg)
{
	LimitGroup *group = limit_group_new(test, "pids", NULL);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *path = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = NULL, info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	path = migrate_socket_path(destination);
	limit_group_add(group, destination);
	limit_group_allow(group, 0);
	reply = qmp_command(destination->qmp, &error, "localhost-migrate-incoming", "{'uri': %s}",
			    uri);
	assert_null(reply);
	assert_contains(error->message, "cannot start a thread");
	assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	limit_group_allow(group, -1);
	info = migrate_ok(source, destination, "");
}

/* Its own thread is there, those that move pages are not. */
static void test_source_pages(LmTest *test, const void *arg)
{
	LimitGroup *group = limit_group_new(test, "pids", NULL);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	limit_group_add(group, source);
	limit_group_allow(group, 3);
	text = migrate_refused(source, uri, ", 'channels': 3");
	assert_contains(text, "2 threads can be started, needed are 3");
	vm_assert_never_stopped(source);
	limit_group_allow(group, 4);
	migrate_begin(source, uri, ", 'channels': 3");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static void test_destination_pages(LmTest *test, const void *arg)
{
	LimitGroup *group = limit_group_new(test, "pids", NULL);
	Vm *source = migrate_source(test, &small), *destination;
	g_autofree char *uri = NULL, *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	destination = migrate_destination(test, &small, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	limit_group_add(group, destination);
	limit_group_allow(group, 1);
	text = migrate_refused(source, uri, ", 'channels': 2");
	assert_contains(text, "1 threads can be started, needed are 2");
	vm_assert_never_stopped(source);
	limit_group_allow(group, -1);
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
	if (!limit_group_is_there("pids"))
		return lm_test_skip("no control group with %s can be made here", "pids.max");
	return LM_TEST_MAIN(argc, argv, cases);
}
