/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The harness itself, on a QEMU as it is installed, without the plugin. */
#include "cgroup.h"
#include "hmp-client.h"
#include "process.h"
#include "schema-check.h"
#include "vm.h"

#include <signal.h>
#include <string.h>

static const VmOptions bare = {.plugin = "", .kernel = "", .memory_mib = 16};

static void test_commands(LmTest *test, const void *arg)
{
	Vm *vm = vm_start(test, &bare);
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = NULL;
	g_autofree char *said = NULL;

	assert_true(vm_has_status(vm, "running"));
	reply = qmp_command(vm->qmp, &error, "no-such-command", NULL);
	assert_null(reply);
	assert_true(g_error_matches(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND));
	g_clear_error(&error);
	reply = qmp_command(vm->qmp, &error, "device_del", "{'id': %s}", "it's \"quoted\"");
	assert_null(reply);
	assert_contains(error->message, "it's \"quoted\"");
	g_clear_error(&error);
	said = qmp_hmp(vm->qmp, "info status", &error);
	must(error);
	assert_contains(said, "running");
	assert_true(process_count_fds(vm->pid) > 3);
	assert_true(process_count_threads(vm->pid) > 1);
	assert_true(process_smaps_bytes(vm->pid, "Rss") > 1 << 20);
}

static void test_monitor_for_people(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "hmp"), *said = NULL, *nothing = NULL;
	g_autofree char *monitor = g_strdup_printf("unix:%s,server=on,wait=off", path);
	const char *const extra[] = {"-monitor", monitor, NULL};
	VmOptions options = bare;
	g_autoptr(GError) error = NULL;
	g_autoptr(HmpClient) client = NULL;

	options.extra = extra;
	vm_start(test, &options);
	client = hmp_connect(path, LM_WAIT_MS, &error);
	must(error);
	said = hmp_command(client, "info status", LM_WAIT_MS, &error);
	must(error);
	assert_string_equal(said, "VM status: running\n");
	nothing = hmp_command(client, "stop", LM_WAIT_MS, &error);
	must(error);
	assert_string_equal(nothing, "");
}

static gboolean not_this(const QmpEvent *event, const void *opaque)
{
	return FALSE;
}

static void test_events(LmTest *test, const void *arg)
{
	Vm *vm = vm_start(test, &bare);
	gint64 before = g_get_monotonic_time();
	g_autoptr(GError) error = NULL;
	const QmpEvent *event;

	vm_assert_never_stopped(vm);
	vm_do(vm, "stop", NULL);
	assert_true(vm_wait_status(vm, "paused", LM_WAIT_MS));
	event = qmp_wait_event(vm->qmp, "STOP", NULL, NULL, LM_WAIT_MS, &error);
	must(error);
	assert_true(event->received_us >= before);
	assert_null(qmp_wait_event(vm->qmp, "STOP", NULL, NULL, 20, &error));
	assert_true(g_error_matches(error, QMP_ERROR, QMP_ERROR_TIMEOUT));
	vm_do(vm, "cont", NULL);
	assert_null(qmp_wait_event(vm->qmp, "RESUME", not_this, NULL, 50, NULL));
	assert_non_null(qmp_wait_event(vm->qmp, "RESUME", NULL, NULL, LM_WAIT_MS, NULL));
	assert_int_equal(qmp_count_events(vm->qmp, "STOP"), 1);
}

static void test_exit(LmTest *test, const void *arg)
{
	Vm *vm = vm_start(test, &bare);
	Vm *killed = vm_start(test, &bare);

	assert_true(vm_alive(vm));
	assert_false(vm_wait_exit(vm, 20));
	vm_do(vm, "quit", NULL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(vm), 0);
	vm_kill(killed, SIGKILL);
	assert_true(vm_wait_exit(killed, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(killed), 128 + SIGKILL);
	assert_false(qmp_poll(killed->qmp));
}

static void test_refused_start(LmTest *test, const void *arg)
{
	VmOptions options = bare;
	g_autofree char *said = NULL;
	Vm *vm;

	options.machine = "no-such-machine";
	vm = vm_spawn(test, &options);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(vm), 1);
	said = vm_stderr(vm);
	assert_contains(said, "unsupported machine type");
}

static void test_cgroup(LmTest *test, const void *arg)
{
	g_autoptr(GError) error = NULL;
	LmCgroup *cgroup = cgroup_new(test, &error);
	VmOptions options = bare;
	guint64 usage;

	if (!cgroup) {
		lm_test_note("not tested: %s", error->message);
		return;
	}
	options.cgroup_procs = cgroup_procs_path(cgroup);
	options.memory_mib = 64;
	options.backend = "memory-backend-ram,prealloc=on";
	vm_start(test, &options);
	usage = cgroup_usage_bytes(cgroup);
	assert_true(usage > 64 << 20);
	assert_true(cgroup_peak_bytes(cgroup) >= usage);
	if (!cgroup_reset_peak(cgroup, &error))
		lm_test_note("not tested: %s", error->message);
	assert_true(cgroup_peak_bytes(cgroup) > 60 << 20);
}

static void serial_says(LmTest *test, const char *text, const char *expected)
{
	g_autofree char *path = lm_test_path(test, "log");
	g_autoptr(GError) error = NULL;

	assert_true(g_file_set_contents(path, text, -1, NULL));
	assert_false(serial_wait_beats(path, 1, 10, NULL, &error));
	assert_contains(error->message, expected);
}

static void test_serial(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "log");
	g_autoptr(GError) error = NULL;
	Beat beat = {0};

	serial_says(test, "", "last: nothing");
	serial_says(test, "beat 1 pages 2 checked 3 gap_ms 4 errors 0\n", "last: beat 1");
	serial_says(test, "beat 1 pages 2 checked 3 gap_ms 4 errors 1\n", "not intact: beat 1");
	serial_says(test, "beat 1 errors 0\nbeat 3 errors 0\n", "not intact: beat 3");
	serial_says(test, "beat 1 errors 0\nERROR page 7\n", "not intact: ERROR page 7");
	assert_true(g_file_set_contents(path, "beat 7 pages 2 checked 3 gap_ms 4 errors 0\nbea", -1,
					NULL));
	assert_true(serial_last_beat(path, &beat));
	assert_int_equal(beat.beat, 7);
	assert_int_equal(beat.gap_ms, 4);
	assert_true(serial_wait(path, "^beat 7 ", 10, &error));
	assert_false(serial_wait(path, "^bea$", 10, &error));
}

static void test_payload(LmTest *test, const void *arg)
{
	const VmOptions options = {.plugin = "", .smp = 2, .append = "rate=4"};
	Vm *vm;

	if (!g_getenv("LM_PAYLOAD")) {
		lm_test_note("not tested: LM_PAYLOAD is not set");
		return;
	}
	vm = vm_start(test, &options);
	vm_assert_ready(vm);
	vm_assert_intact(vm);
}

static void schema_says(const char *json, const char *expected)
{
	g_autoptr(JsonNode) node = json_from_string(json, NULL);
	g_autoptr(GError) error = NULL;
	gboolean right = schema_check(&lm_qapi_LocalhostMigrateInfo, node, &error);

	assert_int_equal(right, expected == NULL);
	if (expected)
		assert_contains(error->message, expected);
}

static void test_schema(LmTest *test, const void *arg)
{
	schema_says("{\"status\": \"none\"}", NULL);
	schema_says("{\"status\": \"setup\", \"downtime\": 1.5, \"io-uring\": true, \"stages\": "
		    "[{\"name\": \"hello\", \"milliseconds\": 1}], \"flipped\": 5}",
		    NULL);
	schema_says("{}", "LocalhostMigrateInfo.status: is missing");
	schema_says("[]", "is no object");
	schema_says("{\"status\": \"nune\"}", ".status: is no value of the enum");
	schema_says("{\"status\": 1}", ".status: wrong type gint64");
	schema_says("{\"status\": \"none\", \"downTime\": 1}", ".downTime: is not in the schema");
	schema_says("{\"status\": \"none\", \"flipped\": -1}", ".flipped: is negative");
	schema_says("{\"status\": \"none\", \"stages\": 1}", ".stages: is no list");
	schema_says("{\"status\": \"none\", \"stages\": [{\"name\": \"a\"}]}",
		    ".stages[0].milliseconds: is missing");
}

static const LmCase cases[] = {
	LM_CASE(test_schema), LM_CASE(test_serial),  LM_CASE(test_commands),
	LM_CASE(test_events), LM_CASE(test_exit),    LM_CASE(test_refused_start),
	LM_CASE(test_cgroup), LM_CASE(test_payload), LM_CASE(test_monitor_for_people),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
