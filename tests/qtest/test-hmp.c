/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor for people, in each version that is here. */
#include "hmp-client.h"
#include "migrate.h"
#include "versions.h"

#include <string.h>

typedef struct Monitor {
	VmOptions options;
	char *path, *arg;
	const char *extra[3];
} Monitor;

static void monitor_init(LmTest *test, Monitor *monitor, const char *version, const char *name)
{
	monitor->options =
		(VmOptions){.append = "rate=8", .memory_mib = 128, .root = version_root(version)};
	monitor->path = lm_test_path(test, name);
	monitor->arg = g_strdup_printf("unix:%s,server=on,wait=off", monitor->path);
	lm_test_cleanup_later(test, g_free, monitor->path);
	lm_test_cleanup_later(test, g_free, monitor->arg);
	monitor->extra[0] = "-monitor";
	monitor->extra[1] = monitor->arg;
	monitor->extra[2] = NULL;
	monitor->options.extra = monitor->extra;
}

static HmpClient *monitor_connect(const Monitor *monitor)
{
	g_autoptr(GError) error = NULL;
	HmpClient *client = hmp_connect(monitor->path, LM_WAIT_MS, &error);

	must(error);
	return client;
}

static char *says(HmpClient *client, const char *line)
{
	g_autoptr(GError) error = NULL;
	char *said = hmp_command(client, line, 3 * LM_WAIT_MS, &error);

	must(error);
	return said;
}

static void test_help(LmTest *test, const void *arg)
{
	g_autofree char *help = NULL, *all = NULL, *info = NULL, *none = NULL, *old = NULL;
	g_autoptr(HmpClient) client = NULL;
	Monitor monitor;

	monitor_init(test, &monitor, arg, "hmp");
	vm_start(test, &monitor.options);
	client = monitor_connect(&monitor);
	help = says(client, "help localhost_migrate");
	lm_test_note("%s", g_strchomp(help));
	assert_contains(help, "localhost_migrate");
	assert_contains(help, "-d");
	all = says(client, "help");
	assert_contains(all, "localhost_migrate");
	info = says(client, "help info");
	assert_contains(info, "info localhost_migrate");
	assert_contains(info, "info status");
	none = says(client, "info localhost_migrate");
	lm_test_note("%s", g_strchomp(none));
	old = says(client, "info status");
	assert_contains(old, "VM status: running");
}

static void start_two(LmTest *test, const char *version, Monitor *monitor, Vm **source,
		      Vm **destination)
{
	VmOptions options;

	monitor_init(test, monitor, version, "hmp");
	options = monitor->options;
	options.extra = NULL;
	*source = migrate_source(test, &monitor->options);
	*destination = migrate_destination(test, &options, *source);
	migrate_listen(*destination);
}

/* Without -d the prompt comes back when it is done, and there was a line of progress. */
static void test_waits(LmTest *test, const void *arg)
{
	g_autofree char *line = NULL, *said = NULL, *after = NULL, *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	g_autoptr(HmpClient) client = NULL;
	Vm *source, *destination;
	Monitor monitor;

	start_two(test, arg, &monitor, &source, &destination);
	client = monitor_connect(&monitor);
	uri = migrate_uri(destination);
	line = g_strconcat("localhost_migrate ", uri, NULL);
	said = says(client, line);
	lm_test_note("%s", g_strdelimit(g_strchomp(said), "\n", '|'));
	info = migrate_query(source);
	migrate_assert_completed(source, destination, info);
	assert_true(strlen(said) > 0);
	after = says(client, "info localhost_migrate");
	assert_contains(after, "completed");
	migrate_assert_never_again(source);
}

/* Rehearsed, then done: both wait, and say how long the guest was stopped. */
static void test_live(LmTest *test, const void *arg)
{
	g_autofree char *rehearse = NULL, *move = NULL, *first = NULL, *second = NULL;
	g_autofree char *after = NULL, *uri = NULL, *next_uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	g_autoptr(HmpClient) client = NULL;
	Vm *source, *destination, *next;
	Monitor monitor;

	start_two(test, arg, &monitor, &source, &destination);
	client = monitor_connect(&monitor);
	uri = migrate_uri(destination);
	rehearse = g_strconcat("localhost_migrate -r ", uri, NULL);
	first = says(client, rehearse);
	assert_contains(first, "rehearsed: stopped for");
	after = says(client, "info localhost_migrate");
	assert_contains(after, "shared live: ");
	monitor.options.extra = NULL;
	next = migrate_destination(test, &monitor.options, source);
	migrate_listen(next);
	next_uri = migrate_uri(next);
	move = g_strconcat("localhost_migrate -l ", next_uri, NULL);
	second = says(client, move);
	assert_contains(second, "completed: stopped for");
	info = migrate_query(source);
	migrate_assert_completed(source, next, info);
}

static void test_detached(LmTest *test, const void *arg)
{
	g_autofree char *line = NULL, *said = NULL, *after = NULL, *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	g_autoptr(HmpClient) client = NULL;
	Vm *source, *destination;
	Monitor monitor;

	start_two(test, arg, &monitor, &source, &destination);
	client = monitor_connect(&monitor);
	uri = migrate_uri(destination);
	line = g_strconcat("localhost_migrate -d ", uri, NULL);
	said = says(client, line);
	assert_string_equal(said, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
	after = says(client, "info localhost_migrate");
	lm_test_note("%s", g_strdelimit(g_strchomp(after), "\n", '|'));
	assert_contains(after, "completed");
}

static void test_errors(LmTest *test, const void *arg)
{
	g_autofree char *bad = NULL, *nowhere = NULL, *missing = NULL;
	g_autoptr(HmpClient) client = NULL;
	Monitor monitor;
	Vm *vm;

	monitor_init(test, &monitor, arg, "hmp");
	vm = migrate_source(test, &monitor.options);
	client = monitor_connect(&monitor);
	bad = says(client, "localhost_migrate tcp:1");
	assert_contains(bad, "Error");
	assert_contains(bad, "tcp:1");
	nowhere = says(client, "localhost_migrate unix:/nowhere");
	lm_test_note("%s", g_strdelimit(g_strchomp(nowhere), "\n", '|'));
	assert_contains(nowhere, "/nowhere");
	missing = says(client, "localhost_migrate");
	assert_true(strlen(missing) > 0);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

/* Through QMP there is no prompt that could wait: it answers at once. */
static void test_by_human_monitor_command(LmTest *test, const void *arg)
{
	g_autofree char *line = NULL, *said = NULL, *uri = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;
	Monitor monitor;

	start_two(test, arg, &monitor, &source, &destination);
	uri = migrate_uri(destination);
	line = g_strconcat("localhost_migrate -d ", uri, NULL);
	said = qmp_hmp(source->qmp, line, &error);
	must(error);
	assert_string_equal(said, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

int main(int argc, char **argv)
{
	static const LmCase each[] = {
		LM_CASE(test_help),   LM_CASE(test_waits),
		LM_CASE(test_live),   LM_CASE(test_detached),
		LM_CASE(test_errors), LM_CASE(test_by_human_monitor_command),
	};
	static const char *const versions[] = {VERSION_INSTALLED, VERSION_7_2, VERSION_10_0,
					       VERSION_11_1};
	LmCase cases[G_N_ELEMENTS(each) * G_N_ELEMENTS(versions)];
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		if (!version_is_here(versions[i])) {
			lm_test_note("no QEMU %s", versions[i]);
			continue;
		}
		for (guint j = 0; j < G_N_ELEMENTS(each); j++) {
			char *name = g_strconcat(each[j].name, " ",
						 versions[i] ? versions[i] : "installed", NULL);

			cases[names->len] = (LmCase){name, each[j].run, versions[i]};
			g_ptr_array_add(names, name);
		}
	}
	return lm_test_main(argc, argv, cases, names->len);
}
