/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest moves, and notices nothing: what both sides say, and what is left behind. */
#include "images.h"
#include "migrate.h"
#include "process.h"
#include "versions.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 128};

/* Both, with the payload at work in the source. */
static void start_two(LmTest *test, const VmOptions *options, Vm **source, Vm **destination)
{
	*source = migrate_source(test, options);
	*destination = migrate_destination(test, options, *source);
}

static void assert_stages(JsonNode *info)
{
	static const char *const names[] = {"hello", "regions", "share", "stop",
					    "flip",  "devices", "load",	 "commit"};
	JsonObject *object = json_node_get_object(info);
	JsonArray *stages = json_object_get_array_member(object, "stages");

	assert_int_equal(json_array_get_length(stages), G_N_ELEMENTS(names));
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		const char *name = qmp_str(json_array_get_element(stages, i), "name");

		assert_string_equal(name, names[i]);
	}
}

static void assert_main_block(JsonNode *info, const char *way)
{
	JsonObject *object = json_node_get_object(info);
	JsonArray *blocks = json_object_get_array_member(object, "blocks");

	for (guint i = 0; i < json_array_get_length(blocks); i++) {
		JsonNode *block = json_array_get_element(blocks, i);

		if (strcmp(qmp_str(block, "name"), "pc.ram"))
			continue;
		assert_string_equal(qmp_str(block, "way"), way);
		assert_int_equal(qmp_int(block, "size"), 128 << 20);
		assert_true(qmp_int(block, "flipped") > 100 << 20);
		return;
	}
	fail_msg("no block pc.ram");
}

static void test_default(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) before = NULL, info = NULL;

	start_two(test, &plain, &source, &destination);
	before = migrate_query(source);
	assert_string_equal(qmp_str(before, "status"), "none");
	assert_null(qmp_str(before, "role"));
	info = migrate_ok(source, destination, "");
	assert_stages(info);
	assert_main_block(info, "flip");
	assert_true(qmp_int(info, "flipped") > 100 << 20);
	assert_true(qmp_int(info, "populated") >= qmp_int(info, "flipped"));
	assert_true(qmp_int(info, "skipped") > 0);
	assert_true(qmp_int(info, "device-state") > 1000);
	assert_true(qmp_int(info, "channels") >= 1);
	assert_int_equal(qmp_int(info, "peer-pid"), destination->pid);
	assert_non_null(qmp_str(info, "peer-version"));
	assert_null(qmp_str(info, "error-desc"));
	assert_true(json_object_get_double_member_with_default(json_node_get_object(info),
							       "downtime", -1) > 0);
	assert_true(qmp_int(info, "returned") <= 0);
	assert_true(qmp_int(info, "lost") <= 0);
}

static void test_channels(LmTest *test, const void *arg)
{
	g_autofree char *more = g_strdup_printf(", 'channels': %s", (const char *)arg);
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	start_two(test, &plain, &source, &destination);
	info = migrate_ok(source, destination, more);
	assert_int_equal(qmp_int(info, "channels"), atoi(arg));
}

static void test_smp(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = plain;
	Vm *source, *destination;

	options.smp = atoi(arg);
	start_two(test, &options, &source, &destination);
	info = migrate_ok(source, destination, "");
}

static void test_engine(LmTest *test, const void *arg)
{
	g_autofree char *args = g_strdup_printf("engine=%s", (const char *)arg);
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = plain;
	Vm *source, *destination;

	options.plugin_args = args;
	start_two(test, &options, &source, &destination);
	info = migrate_ok(source, destination, "");
	assert_string_equal(qmp_str(info, "engine"), arg);
}

/* By kernel.io_uring_disabled; then reads and releases are plain system calls. */
static gboolean io_uring_is_forbidden(void)
{
	g_autofree char *text = NULL;

	return g_file_get_contents("/proc/sys/kernel/io_uring_disabled", &text, NULL, NULL) &&
	       *text == '2';
}

static void test_io_uring(LmTest *test, const void *arg)
{
	g_autofree char *args = g_strdup_printf("engine=vmsplice,io-uring=%s", (const char *)arg);
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = plain;
	Vm *source, *destination;

	options.plugin_args = args;
	start_two(test, &options, &source, &destination);
	info = migrate_ok(source, destination, ", 'channels': 2");
	assert_int_equal(qmp_bool(info, "io-uring"),
			 strcmp(arg, "on") == 0 && !io_uring_is_forbidden());
}

static void test_chain(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a, *b, *c;

	start_two(test, &plain, &a, &b);
	first = migrate_ok(a, b, "");
	c = migrate_destination(test, &plain, b);
	second = migrate_ok(b, c, "");
	migrate_assert_never_again(a);
	migrate_assert_never_again(b);
}

static void test_chain_after_source_quit(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a, *b, *c;

	start_two(test, &plain, &a, &b);
	first = migrate_ok(a, b, "");
	vm_do(a, "quit", NULL);
	assert_true(vm_wait_exit(a, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(a), 0);
	vm_assert_intact(b);
	c = migrate_destination(test, &plain, b);
	second = migrate_ok(b, c, "");
}

static void test_paused_arrives_paused(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;
	Beat before, after;

	start_two(test, &plain, &source, &destination);
	vm_do(source, "stop", NULL);
	assert_true(vm_has_status(source, "paused"));
	assert_true(serial_last_beat(source->serial_path, &before));
	info = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(info, "status"), "completed");
	assert_true(vm_wait_status(destination, "paused", LM_WAIT_MS));
	assert_true(serial_last_beat(source->serial_path, &after));
	assert_int_equal(before.beat, after.beat);
	vm_do(destination, "cont", NULL);
	vm_assert_intact(destination);
	migrate_assert_never_again(source);
}

static void test_refuses_cont_afterwards(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	g_autoptr(JsonNode) again = NULL;
	g_autoptr(GError) error = NULL;
	Vm *source, *destination;

	start_two(test, &plain, &source, &destination);
	info = migrate_ok(source, destination, "");
	migrate_assert_never_again(source);
	assert_true(vm_has_status(source, "postmigrate"));
	again = qmp_command(source->qmp, &error, "localhost-migrate", "{'uri': 'unix:/nowhere'}");
	assert_null(again);
	assert_non_null(error);
	vm_assert_intact(destination);
}

/* A disk that an iothread works on is in that thread's context from the start, unlike virtio-blk's.
 */
static void test_scsi_iothread(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "disk.img");
	g_autofree char *drive = g_strconcat("if=none,id=disk,format=qcow2,file=", image, NULL);
	const char *const extra[] = {"-object", "iothread,id=io",
				     "-device", "virtio-scsi-pci,iothread=io",
				     "-drive",	drive,
				     "-device", "scsi-hd,drive=disk",
				     NULL};
	VmOptions options = plain;
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	if (arg && !version_is_here(arg))
		skip();
	image_make(image, "qcow2", 16);
	options.root = version_root(arg);
	options.extra = extra;
	start_two(test, &options, &source, &destination);
	info = migrate_ok(source, destination, "");
}

static void assert_migration_events(Vm *vm)
{
	static const char *const statuses[] = {"setup", "active", "device", "completed"};
	const GPtrArray *events;
	guint next = 0;

	qmp_poll(vm->qmp);
	events = qmp_events(vm->qmp);
	for (guint i = 0; i < events->len; i++) {
		const QmpEvent *event = events->pdata[i];

		if (strcmp(event->name, "MIGRATION"))
			continue;
		assert_in_range(next, 0, G_N_ELEMENTS(statuses) - 1);
		assert_string_equal(qmp_str(event->data, "status"), statuses[next]);
		next++;
	}
	assert_int_equal(next, G_N_ELEMENTS(statuses));
}

static void test_events(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	start_two(test, &plain, &source, &destination);
	info = migrate_ok(source, destination, "");
	assert_migration_events(source);
	assert_migration_events(destination);
	assert_int_equal(qmp_count_events(source->qmp, "STOP"), 1);
	assert_int_equal(qmp_count_events(source->qmp, "RESUME"), 0);
	assert_int_equal(qmp_count_events(destination->qmp, "RESUME"), 1);
}

static void test_commands_are_listed(LmTest *test, const void *arg)
{
	static const char *const names[] = {"localhost-migrate", "localhost-migrate-incoming",
					    "query-localhost-migrate", "localhost-migrate-cancel"};
	Vm *vm = vm_start(test, &plain);
	g_autoptr(JsonNode) reply = vm_command(vm, "query-commands", NULL);
	g_autofree char *text = json_to_string(reply, FALSE);

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *quoted = g_strdup_printf("\"%s\"", names[i]);

		assert_contains(text, quoted);
	}
}

static gboolean path_exists(void *path)
{
	return access(path, F_OK) == 0;
}

static void test_incoming_by_argument(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "in.sock");
	g_autofree char *args = g_strdup_printf("incoming=unix:%s", path);
	g_autofree char *uri = g_strdup_printf("unix:%s", path);
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = plain;
	Vm *source, *destination;

	source = migrate_source(test, &plain);
	options.plugin_args = args;
	destination = migrate_destination(test, &options, source);
	assert_true(lm_wait_until(path_exists, path, LM_WAIT_MS));
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

static gboolean path_is_gone(void *path)
{
	return access(path, F_OK) != 0;
}

static void test_socket_file(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	g_autofree char *path = NULL, *uri = NULL;
	Vm *source, *destination;
	struct stat stat_buf;

	start_two(test, &plain, &source, &destination);
	path = migrate_socket_path(destination);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	assert_int_equal(stat(path, &stat_buf), 0);
	assert_true(S_ISSOCK(stat_buf.st_mode));
	assert_int_equal(stat_buf.st_mode & 07777, 0600);
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
	assert_true(lm_wait_until(path_is_gone, path, LM_WAIT_MS));
}

typedef struct FdCount {
	pid_t pid;
	int fds, threads;
} FdCount;

static gboolean count_is_back(void *opaque)
{
	FdCount *before = opaque;

	return process_count_fds(before->pid) <= before->fds &&
	       process_count_threads(before->pid) <= before->threads;
}

static void test_no_descriptor_is_left(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;
	FdCount before, before_there;

	start_two(test, &plain, &source, &destination);
	before = (FdCount){source->pid, process_count_fds(source->pid),
			   process_count_threads(source->pid)};
	before_there = (FdCount){destination->pid, process_count_fds(destination->pid),
				 process_count_threads(destination->pid)};
	info = migrate_ok(source, destination, ", 'channels': 4");
	if (!lm_wait_until(count_is_back, &before, 5000))
		fail_msg("source: %d descriptors and %d threads, were %d and %d",
			 process_count_fds(source->pid), process_count_threads(source->pid),
			 before.fds, before.threads);
	if (!lm_wait_until(count_is_back, &before_there, 5000))
		fail_msg("destination: %d descriptors and %d threads, were %d and %d",
			 process_count_fds(destination->pid),
			 process_count_threads(destination->pid), before_there.fds,
			 before_there.threads);
}

static const LmCase cases[] = {
	LM_CASE(test_default),
	LM_CASE_ARG(test_channels, "1"),
	LM_CASE_ARG(test_channels, "2"),
	LM_CASE_ARG(test_channels, "8"),
	LM_CASE_ARG(test_smp, "2"),
	LM_CASE_ARG(test_smp, "4"),
	LM_CASE_ARG(test_engine, "vmsplice"),
	LM_CASE_ARG(test_engine, "process-vm-readv"),
	LM_CASE_ARG(test_io_uring, "on"),
	LM_CASE_ARG(test_io_uring, "off"),
	LM_CASE(test_chain),
	LM_CASE(test_chain_after_source_quit),
	LM_CASE(test_paused_arrives_paused),
	LM_CASE(test_refuses_cont_afterwards),
	LM_CASE(test_scsi_iothread),
	LM_CASE_ARG(test_scsi_iothread, VERSION_10_0),
	LM_CASE_ARG(test_scsi_iothread, VERSION_11_1),
	LM_CASE(test_events),
	LM_CASE(test_commands_are_listed),
	LM_CASE(test_incoming_by_argument),
	LM_CASE(test_socket_file),
	LM_CASE(test_no_descriptor_is_left),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
