/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs that are not any more what their command line says: changed by QMP while they run, upgraded,
 * compared, and upgraded again from the command line that the first upgrade made.
 */
#include "running.h"
#include "tool.h"
#include "versions.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Places for everything that is plugged. */
#define PLACES                                                                                     \
	"-m", "64,slots=4,maxmem=1G", "-smp", "1,maxcpus=3", "-device",                            \
		"pcie-root-port,id=rp0,slot=10,chassis=10", "-device",                             \
		"{\"driver\": \"pcie-root-port\", \"id\": \"rp1\", \"slot\": 11, \"chassis\": "    \
		"11}",                                                                             \
		"-device", "virtio-scsi-pci,id=scsi", "-device", "virtio-serial-pci,id=vs",        \
		"-device", "qemu-xhci,id=xhci"

static Vm *vm_of(LmTest *test, const char *binary, const char *const *more)
{
	static const char *const places[] = {PLACES};
	g_autoptr(GPtrArray) extra = g_ptr_array_new();
	VmOptions options = {.append = "rate=8", .memory_mib = 64, .binary = binary};

	for (guint i = 0; i < G_N_ELEMENTS(places); i++)
		g_ptr_array_add(extra, (char *)places[i]);
	for (; more && *more; more++)
		g_ptr_array_add(extra, (char *)*more);
	g_ptr_array_add(extra, NULL);
	options.extra = (const char *const *)extra->pdata;
	return tool_vm(test, &options);
}

static Vm *vm_with(LmTest *test, const char *const *more)
{
	return vm_of(test, NULL, more);
}

static char *image(LmTest *test, const char *name, const char *format, const char *backing)
{
	char *path = lm_test_path(test, name);
	g_autofree char *command =
		backing ? g_strdup_printf("qemu-img create -q -f %s -F raw -b %s %s", format,
					  backing, path)
			: g_strdup_printf("qemu-img create -q -f %s %s 8M", format, path);

	assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
	return path;
}

/* A command with '%s' for the words that follow. */
static void run_command(Vm *vm, const char *name, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void run_command(Vm *vm, const char *name, const char *format, ...)
{
	g_autofree char *arguments = NULL;
	va_list args;

	va_start(args, format);
	arguments = g_strdup_vprintf(format, args);
	va_end(args);
	json_node_unref(tool_command(vm, name, arguments));
}

static char *human(Vm *vm, const char *line)
{
	g_autofree char *arguments = g_strdup_printf("{'command-line': '%s'}", line);
	g_autoptr(JsonNode) reply = tool_command(vm, "human-monitor-command", arguments);

	return g_strdup(json_node_get_string(reply));
}

/* Blocks that a disk's device writes, or reads and finds written; QEMU says so on stderr. */
static void pattern(Vm *vm, const char *device, const char *what, int number, int at_kib)
{
	g_autofree char *line = g_strdup_printf("qemu-io -d %s \\\"%s -P %d %dk 64k\\\"", device,
						what, number, at_kib);
	g_autofree char *before = vm_stderr(vm), *said = NULL, *after = NULL;

	said = human(vm, line);
	assert_string_equal(said, "");
	after = vm_stderr(vm);
	assert_null(strstr(after + strlen(before), "failed"));
	assert_contains(after + strlen(before), "65536/65536 bytes at offset");
}

/* -------------------------------------------------------- what a QEMU answers */

static void scrub(JsonNode *node);

static void scrub_object(JsonObject *object)
{
	static const char *const volatile_members[] = {"thread-id", "actual-size", "hotplugged",
						       "format-specific", "frontend-open"};
	g_autoptr(GList) members = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(volatile_members); i++)
		json_object_remove_member(object, volatile_members[i]);
	members = json_object_get_members(object);
	for (GList *m = members; m; m = m->next) {
		JsonNode *value = json_object_get_member(object, m->data);

		if (JSON_NODE_HOLDS_VALUE(value) &&
		    json_node_get_value_type(value) == G_TYPE_STRING &&
		    (*json_node_get_string(value) == '#' ||
		     g_str_has_prefix(json_node_get_string(value), "lu-medium")))
			json_object_set_string_member(object, m->data, "#");
		else
			scrub(value);
	}
}

static void scrub(JsonNode *node)
{
	if (JSON_NODE_HOLDS_OBJECT(node))
		scrub_object(json_node_get_object(node));
	for (guint i = 0;
	     JSON_NODE_HOLDS_ARRAY(node) && i < json_array_get_length(json_node_get_array(node));
	     i++)
		scrub(json_array_get_element(json_node_get_array(node), i));
}

static int by_text(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A list's elements in an order of their own, without what is a process's own. */
static void append_list(GString *text, Vm *vm, const char *command, const char *arguments)
{
	g_autoptr(JsonNode) reply = tool_command(vm, command, arguments);
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

	scrub(reply);
	for (guint i = 0; i < json_array_get_length(json_node_get_array(reply)); i++)
		g_ptr_array_add(
			lines, json_to_string(json_array_get_element(json_node_get_array(reply), i),
					      FALSE));
	g_ptr_array_sort(lines, by_text);
	g_string_append_printf(text, "%s\n", command);
	for (guint i = 0; i < lines->len; i++)
		if (!strstr(lines->pdata[i], ".lu1") && !strstr(lines->pdata[i], ".lu2") &&
		    !strstr(lines->pdata[i], "server=on") &&
		    !strstr(lines->pdata[i], "\"node-name\":\"#\"")) /* of an unnamed node */
			g_string_append_printf(text, "%s\n", (char *)lines->pdata[i]);
}

static char *answers(Vm *vm)
{
	static const struct {
		const char *command, *arguments;
	} questions[] = {
		{"qom-list", "{'path': '/machine/peripheral'}"},
		{"qom-list", "{'path': '/machine/peripheral-anon'}"},
		{"qom-list", "{'path': '/objects'}"},
		{"query-memory-devices", NULL},
		{"query-hotpluggable-cpus", NULL},
		{"query-iothreads", NULL},
		{"query-named-block-nodes", "{'flat': true}"},
		{"query-block", NULL},
		{"query-chardev", NULL},
		{"query-migrate-capabilities", NULL},
	};
	g_autoptr(JsonNode) parameters = tool_command(vm, "query-migrate-parameters", NULL);
	g_autofree char *network = human(vm, "info network"), *more = NULL;
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < G_N_ELEMENTS(questions); i++)
		append_list(text, vm, questions[i].command, questions[i].arguments);
	more = json_to_string(parameters, FALSE);
	g_string_append_printf(text, "%s\n%s", more, network);
	return g_string_free(text, FALSE);
}

static void assert_same_answers(const char *before, const char *after)
{
	g_auto(GStrv) old = g_strsplit(before, "\n", -1), new = g_strsplit(after, "\n", -1);

	for (guint i = 0; old[i] || new[i]; i++)
		if (!old[i] || !new[i] || strcmp(old[i], new[i]))
			fail_msg("before: %s\nafter:  %s", old[i] ? old[i] : "nothing",
				 new[i] ? new[i] : "nothing");
}

/* The command line is that of the last. */
static void upgrade(LmTest *test, Vm *vm, Run *run)
{
	g_autofree char *before = answers(vm), *after = NULL;

	run_clear(run);
	tool_run(test, run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, run);
	after = answers(vm);
	assert_same_answers(before, after);
}

static void upgrade_twice(LmTest *test, Vm *vm, Run *run)
{
	upgrade(test, vm, run);
	upgrade(test, vm, run);
}

static void assert_refused(LmTest *test, Vm *vm, const char *binary, const char *text)
{
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), text);
	assert_null(strchr(qmp_str(run.report, "error"), '\n'));
	tool_assert_untouched(vm);
}

/* ---------------------------------------------------------------------- disks */

#define HOT "/machine/peripheral/hot/virtio-backend"

static void plug_disk(Vm *vm, const char *path)
{
	run_command(vm, "blockdev-add",
		    "{'driver': 'file', 'filename': '%s', 'node-name': 'libvirt-3-storage', "
		    "'auto-read-only': true, 'discard': 'unmap'}",
		    path);
	run_command(vm, "blockdev-add",
		    "{'driver': 'qcow2', 'node-name': 'libvirt-3-format', 'read-only': false, "
		    "'file': 'libvirt-3-storage'}");
	run_command(vm, "object-add",
		    "{'qom-type': 'iothread', 'id': 'thread9', 'poll-max-ns': 5000}");
	run_command(vm, "device_add",
		    "{'driver': 'virtio-blk-pci', 'id': 'hot', 'drive': 'libvirt-3-format', "
		    "'bus': 'rp0', 'addr': '0x0', 'iothread': 'thread9', 'serial': 'S1', "
		    "'write-cache': 'on'}");
}

static void test_hot_disk(LmTest *test, const void *arg)
{
	g_autofree char *path = image(test, "disk", "qcow2", NULL);
	Vm *vm = vm_with(test, NULL);
	g_auto(Run) run = {0};

	plug_disk(vm, path);
	pattern(vm, HOT, "write", 17, 64);
	upgrade(test, vm, &run);
	pattern(vm, HOT, "read", 17, 64);
	pattern(vm, HOT, "write", 18, 256);
	upgrade(test, vm, &run);
	pattern(vm, HOT, "read", 17, 64);
	pattern(vm, HOT, "read", 18, 256);
}

/* Without ids, and with a node in another. */
static void test_unnamed(LmTest *test, const void *arg)
{
	g_autofree char *first = image(test, "first", "raw", NULL);
	g_autofree char *second = image(test, "second", "raw", NULL), *overlay = NULL;
	g_autofree char *line = g_strdup_printf(
		"driver=raw,node-name=cold,file.driver=file,file.filename=%s", first);
	const char *const more[] = {"-blockdev", line, "-device",
				    "virtio-blk-pci,drive=cold,share-rw=on", NULL};
	Vm *vm = vm_with(test, more);
	g_auto(Run) run = {0};

	overlay = image(test, "overlay", "qcow2", first);
	run_command(vm, "blockdev-add",
		    "{'driver': 'raw', 'node-name': 'two', 'file': {'driver': 'file', "
		    "'filename': '%s'}}",
		    second);
	run_command(vm, "device_add",
		    "{'driver': 'virtio-blk-pci', 'drive': 'two', 'bus': 'rp1', 'share-rw': true}");
	run_command(vm, "blockdev-add",
		    "{'driver': 'qcow2', 'node-name': 'over', 'backing': null, 'file': {'driver': "
		    "'file', 'filename': '%s'}}",
		    overlay);
	run_command(vm, "blockdev-snapshot", "{'node': 'cold', 'overlay': 'over'}");
	upgrade_twice(test, vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "drive=over");
}

/* With the options and names that libvirt gives. */
static Vm *vm_with_disk(LmTest *test, const char *binary, const char *path)
{
	g_autofree char *storage = g_strdup_printf(
		"{\"driver\": \"file\", \"filename\": \"%s\", \"node-name\": "
		"\"libvirt-1-storage\", \"auto-read-only\": true, \"discard\": \"unmap\"}",
		path);
	const char *const more[] = {
		"-blockdev",
		storage,
		"-blockdev",
		"{\"node-name\": \"libvirt-1-format\", \"read-only\": false, \"discard\": "
		"\"unmap\", \"driver\": \"qcow2\", \"file\": \"libvirt-1-storage\"}",
		"-device",
		"{\"driver\": \"virtio-blk-pci\", \"drive\": \"libvirt-1-format\", \"id\": "
		"\"hot\", \"bootindex\": 1}",
		NULL};

	return vm_of(test, binary, more);
}

static void add_overlay(Vm *vm, const char *path, int number)
{
	run_command(vm, "blockdev-add",
		    "{'driver': 'file', 'filename': '%s', 'node-name': 'libvirt-%d-storage', "
		    "'auto-read-only': true, 'discard': 'unmap'}",
		    path, number);
	run_command(vm, "blockdev-add",
		    "{'driver': 'qcow2', 'node-name': 'libvirt-%d-format', 'read-only': false, "
		    "'discard': 'unmap', 'file': 'libvirt-%d-storage', 'backing': null}",
		    number, number);
}

static void create_overlay(LmTest *test, const char *path, const char *base)
{
	g_autofree char *command =
		g_strdup_printf("qemu-img create -q -f qcow2 -u -F qcow2 -b %s %s 8M", base, path);

	assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

static void test_snapshots(LmTest *test, const void *arg)
{
	g_autofree char *base = image(test, "base", "qcow2", NULL);
	g_autofree char *first = lm_test_path(test, "first"), *second = NULL;
	Vm *vm = vm_with_disk(test, NULL, base);
	g_auto(Run) run = {0};

	second = lm_test_path(test, "second");
	pattern(vm, HOT, "write", 1, 0);
	create_overlay(test, first, base);
	add_overlay(vm, first, 2);
	run_command(vm, "blockdev-snapshot",
		    "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	pattern(vm, HOT, "write", 2, 64);
	upgrade(test, vm, &run);
	pattern(vm, HOT, "read", 1, 0);
	pattern(vm, HOT, "read", 2, 64);
	create_overlay(test, second, first);
	add_overlay(vm, second, 3);
	run_command(vm, "blockdev-snapshot",
		    "{'node': 'libvirt-2-format', 'overlay': 'libvirt-3-format'}");
	pattern(vm, HOT, "write", 3, 128);
	upgrade(test, vm, &run);
	pattern(vm, HOT, "read", 1, 0);
	pattern(vm, HOT, "read", 2, 64);
	pattern(vm, HOT, "read", 3, 128);
	assert_contains(qmp_str(run.report, "command-line"), "\"drive\":\"libvirt-3-format\"");
}

static gboolean no_jobs(void *opaque)
{
	g_autoptr(JsonNode) jobs = tool_command(opaque, "query-block-jobs", NULL);

	return !json_array_get_length(json_node_get_array(jobs));
}

static gboolean job_is_ready(void *opaque)
{
	g_autoptr(JsonNode) jobs = tool_command(opaque, "query-block-jobs", NULL);

	return json_array_get_length(json_node_get_array(jobs)) &&
	       qmp_bool(json_array_get_element(json_node_get_array(jobs), 0), "ready");
}

/* The chain becomes shorter at its top, and at its bottom. */
static void test_commit_and_stream(LmTest *test, const void *arg)
{
	g_autofree char *base = image(test, "base", "qcow2", NULL);
	g_autofree char *first = lm_test_path(test, "first"), *second = NULL;
	Vm *vm = vm_with_disk(test, NULL, base);
	g_auto(Run) run = {0};

	second = lm_test_path(test, "second");
	pattern(vm, HOT, "write", 1, 0);
	create_overlay(test, first, base);
	add_overlay(vm, first, 2);
	run_command(vm, "blockdev-snapshot",
		    "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	pattern(vm, HOT, "write", 2, 64);
	run_command(vm, "block-commit",
		    "{'job-id': 'j', 'device': 'libvirt-2-format', 'base-node': "
		    "'libvirt-1-format'}");
	assert_true(lm_wait_until(job_is_ready, vm, LM_WAIT_MS));
	assert_refused(test, vm, tool_qemu(), "block job j is active");
	run_command(vm, "job-complete", "{'id': 'j'}");
	assert_true(lm_wait_until(no_jobs, vm, LM_WAIT_MS));
	run_command(vm, "blockdev-del", "{'node-name': 'libvirt-2-format'}");
	run_command(vm, "blockdev-del", "{'node-name': 'libvirt-2-storage'}");
	upgrade(test, vm, &run);
	pattern(vm, HOT, "read", 2, 64);
	create_overlay(test, second, base);
	add_overlay(vm, second, 4);
	run_command(vm, "blockdev-snapshot",
		    "{'node': 'libvirt-1-format', 'overlay': 'libvirt-4-format'}");
	upgrade(test, vm, &run);
	run_command(vm, "block-stream", "{'job-id': 's', 'device': 'libvirt-4-format'}");
	assert_true(lm_wait_until(no_jobs, vm, LM_WAIT_MS));
	upgrade_twice(test, vm, &run);
	pattern(vm, HOT, "read", 1, 0);
	pattern(vm, HOT, "read", 2, 64);
}

/* Options of a node that stays, changed while it is open. */
static void test_reopened(LmTest *test, const void *arg)
{
	g_autofree char *path = image(test, "disk", "raw", NULL);
	g_autofree char *file = g_strdup_printf("driver=file,node-name=f,filename=%s", path);
	const char *const more[] = {"-blockdev", file, "-blockdev",
				    "driver=raw,node-name=r,file=f,read-only=on", NULL};
	Vm *vm = vm_with(test, more);
	g_auto(Run) run = {0};

	run_command(vm, "blockdev-reopen",
		    "{'options': [{'driver': 'raw', 'node-name': 'r', 'file': 'f', 'read-only': "
		    "false, 'cache': {'no-flush': true}, 'detect-zeroes': 'on'}]}");
	upgrade_twice(test, vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "cache.no-flush=on");
}

/* -drive: a chain with names and without, one that came since and one that is gone. */
static void test_drives(LmTest *test, const void *arg)
{
	g_autofree char *first = image(test, "first", "raw", NULL);
	g_autofree char *second = image(test, "second", "raw", NULL);
	g_autofree char *one = lm_test_path(test, "one"), *two = lm_test_path(test, "two");
	g_autofree char *named = g_strdup_printf(
		"if=none,id=d0,node-name=bottom,driver=raw,file.driver=file,file.filename=%s,"
		"cache.no-flush=on,discard=unmap",
		first);
	g_autofree char *gone = g_strdup_printf("if=none,id=d1,format=raw,file=%s", second);
	const char *const more[] = {"-drive", named, "-device", "virtio-blk-pci,drive=d0,id=disk",
				    "-drive", gone,  NULL};
	Vm *vm = vm_with(test, more);
	g_autofree char *add = g_strdup_printf(
		"drive_add 0 if=none,id=d2,format=raw,file=%s,cache.direct=on", second);
	g_autofree char *said = NULL, *deleted = NULL;
	g_auto(Run) run = {0};

	run_command(vm, "blockdev-snapshot-sync",
		    "{'device': 'd0', 'snapshot-file': '%s', 'snapshot-node-name': 'middle'}", one);
	run_command(vm, "blockdev-snapshot-sync", "{'device': 'd0', 'snapshot-file': '%s'}", two);
	deleted = human(vm, "drive_del d1");
	said = human(vm, add);
	assert_contains(said, "OK");
	run_command(vm, "device_add",
		    "{'driver': 'scsi-hd', 'id': 'hot', 'bus': 'scsi.0', 'drive': 'd2'}");
	pattern(vm, "/machine/peripheral/disk/virtio-backend", "write", 5, 0);
	pattern(vm, "hot", "write", 6, 0);
	upgrade_twice(test, vm, &run);
	pattern(vm, "/machine/peripheral/disk/virtio-backend", "read", 5, 0);
	pattern(vm, "hot", "read", 6, 0);
	assert_contains(qmp_str(run.report, "command-line"), "backing.node-name=middle");
	assert_null(strstr(qmp_str(run.report, "command-line"), "id=d1"));
}

/* --------------------------------------------------------------------- media */

static void test_media(LmTest *test, const void *arg)
{
	g_autofree char *first = image(test, "first", "raw", NULL);
	g_autofree char *second = image(test, "second", "raw", NULL);
	g_autofree char *drive =
		g_strdup_printf("if=none,id=cd,media=cdrom,format=raw,file=%s", first);
	g_autofree char *node =
		g_strdup_printf("driver=raw,node-name=m,read-only=on,file.driver=file,"
				"file.filename=%s",
				first);
	const char *const more[] = {
		"-drive",    drive, "-device", "scsi-cd,bus=scsi.0,drive=cd,id=one",
		"-blockdev", node,  "-device", "scsi-cd,bus=scsi.0,drive=m,id=two",
		"-cdrom",    first, NULL};
	Vm *vm = vm_with(test, more);
	g_auto(Run) run = {0};

	run_command(vm, "eject", "{'id': 'one', 'force': true}");
	run_command(vm, "blockdev-change-medium",
		    "{'id': 'two', 'filename': '%s', 'format': 'raw'}", second);
	run_command(vm, "blockdev-change-medium",
		    "{'device': 'ide2-cd0', 'filename': '%s', 'format': 'raw'}", second);
	upgrade_twice(test, vm, &run);
	assert_null(strstr(qmp_str(run.report, "command-line"), "-cdrom"));
	run_command(vm, "blockdev-change-medium",
		    "{'id': 'one', 'filename': '%s', 'format': 'raw'}", second);
	run_command(vm, "eject", "{'id': 'two', 'force': true}");
	run_command(vm, "eject", "{'device': 'ide2-cd0', 'force': true}");
	upgrade_twice(test, vm, &run);
	assert_null(strstr(qmp_str(run.report, "command-line"), "lu-medium"));
}

/* ------------------------------------------------------------------- removed */

/* What is unplugged goes in the background. */
typedef struct Going {
	Vm *vm;
	const char *command, *arguments;
} Going;

static gboolean is_done(void *opaque)
{
	Going *going = opaque;
	g_autoptr(QmpClient) qmp = qmp_connect(going->vm->qmp_path, -1, LM_WAIT_MS, NULL);
	g_autoptr(JsonNode) reply = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	reply = qmp_command(qmp, NULL, going->command, going->arguments);
#pragma GCC diagnostic pop
	return reply != NULL;
}

static void at_last(Vm *vm, const char *command, const char *arguments)
{
	Going going = {vm, command, arguments};

	assert_true(lm_wait_until(is_done, &going, LM_WAIT_MS));
}

static void test_removed(LmTest *test, const void *arg)
{
	g_autofree char *path = image(test, "disk", "raw", NULL);
	g_autofree char *node = g_strdup_printf(
		"driver=raw,node-name=gone,file.driver=file,file.filename=%s", path);
	const char *const more[] = {"-blockdev", node,
				    "-device",	 "scsi-hd,bus=scsi.0,drive=gone,id=disk",
				    "-netdev",	 "user,id=net9",
				    "-device",	 "usb-tablet,bus=xhci.0,id=nic9",
				    "-chardev",	 "null,id=char9",
				    "-device",	 "virtserialport,bus=vs.0,chardev=char9,id=port9",
				    "-object",	 "iothread,id=thread9",
				    NULL};
	Vm *vm = vm_with(test, more);
	g_auto(Run) run = {0};

	run_command(vm, "device_del", "{'id': 'disk'}");
	at_last(vm, "blockdev-del", "{'node-name': 'gone'}");
	run_command(vm, "device_del", "{'id': 'nic9'}");
	at_last(vm, "netdev_del", "{'id': 'net9'}");
	run_command(vm, "device_del", "{'id': 'port9'}");
	at_last(vm, "chardev-remove", "{'id': 'char9'}");
	run_command(vm, "object-del", "{'id': 'thread9'}");
	upgrade(test, vm, &run);
	for (const char *const *word = (const char *const[]){"gone", "nic9", "net9", "port9",
							     "char9", "thread9", NULL};
	     *word; word++)
		assert_null(strstr(qmp_str(run.report, "command-line"), *word));
	/* The same names again, for other things. */
	run_command(vm, "netdev_add", "{'type': 'user', 'id': 'net9'}");
	run_command(vm, "device_add",
		    "{'driver': 'virtio-net-pci', 'bus': 'rp1', 'netdev': 'net9', 'id': 'disk', "
		    "'romfile': ''}");
	upgrade_twice(test, vm, &run);
}

/* ---------------------------------------------------------------------- other */

static void plug_others(LmTest *test, Vm *vm)
{
	g_autofree char *socket = lm_test_path(test, "port");

	run_command(vm, "netdev_add", "{'type': 'user', 'id': 'net1', 'restrict': true}");
	run_command(vm, "device_add",
		    "{'driver': 'virtio-net-pci', 'id': 'nic1', 'netdev': 'net1', 'bus': 'rp1', "
		    "'romfile': '', "
		    "'mac': '52:54:00:01:02:03'}");
	run_command(vm, "object-add",
		    "{'qom-type': 'memory-backend-ram', 'id': 'mem1', 'size': 134217728}");
	run_command(vm, "device_add", "{'driver': 'pc-dimm', 'id': 'dimm1', 'memdev': 'mem1'}");
	run_command(vm, "device_add",
		    "{'driver': 'qemu64-x86_64-cpu', 'id': 'cpu1', 'socket-id': 0, 'core-id': 1, "
		    "'thread-id': 0}");
	run_command(vm, "chardev-add",
		    "{'id': 'char1', 'backend': {'type': 'socket', 'data': {'addr': {'type': "
		    "'unix', 'data': {'path': '%s'}}, 'server': true, 'wait': false}}}",
		    socket);
	run_command(vm, "device_add",
		    "{'driver': 'virtserialport', 'id': 'port1', 'bus': 'vs.0', 'chardev': "
		    "'char1', 'name': 'org.example.1'}");
	run_command(vm, "device_add", "{'driver': 'usb-hub', 'id': 'hub1', 'bus': 'xhci.0'}");
	run_command(vm, "device_add", "{'driver': 'usb-tablet', 'id': 'tab1', 'bus': 'xhci.0'}");
	run_command(vm, "device_add", "{'driver': 'virtio-scsi-pci', 'id': 'ctl1', 'bus': 'rp0'}");
	run_command(vm, "blockdev-add",
		    "{'driver': 'null-co', 'node-name': 'null1', 'size': 65536}");
	run_command(vm, "device_add",
		    "{'driver': 'scsi-hd', 'id': 'behind', 'bus': 'ctl1.0', 'drive': 'null1'}");
}

static void test_hot_plugged(LmTest *test, const void *arg)
{
	g_autofree char *socket = lm_test_path(test, "port");
	Vm *vm = vm_with(test, NULL);
	g_auto(Run) run = {0};

	plug_others(test, vm);
	upgrade_twice(test, vm, &run);
	assert_int_equal(lu_running_peer_of(socket), run.new_pid);
}

/* A descriptor to the monitor, under a name; what follows is sent with it. */
static void send_with_descriptor(Vm *vm, int fd, const char *name)
{
	g_autofree char *text = g_strdup_printf("{\"execute\": \"qmp_capabilities\"} {\"execute\": "
						"\"getfd\", \"arguments\": {\"fdname\": \"%s\"}}",
						name);
	g_autofree char *next = g_strdup_printf(
		"{\"execute\": \"netdev_add\", \"arguments\": {\"type\": \"tap\", \"id\": "
		"\"tap1\", \"fd\": \"%s\"}}",
		name);
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {text, strlen(text)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_autoptr(GString) answer = g_string_new(NULL);
	gint64 end_us = lm_end_us(LM_WAIT_MS);

	*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
				   .cmsg_level = SOL_SOCKET,
				   .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	g_strlcpy(address.sun_path, vm->qmp_path, sizeof(address.sun_path));
	assert_int_equal(connect(monitor, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(sendmsg(monitor, &message, 0), strlen(text));
	assert_int_equal(send(monitor, next, strlen(next), 0), strlen(next));
	/* The greeting and three answers. */
	while (strstr(answer->str, "error") == NULL &&
	       g_strv_length(g_strsplit(answer->str, "\"return\"", -1)) < 4 && lm_left_ms(end_us)) {
		char part[512];
		ssize_t got = recv(monitor, part, sizeof(part), 0);

		assert_true(got > 0);
		g_string_append_len(answer, part, got);
	}
	assert_null(strstr(answer->str, "error"));
	close(monitor);
}

static gboolean has_tap(pid_t pid, const char *name)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fdinfo", (int)pid);
	g_autofree char *wanted = g_strdup_printf("iff:\t%s\n", name);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *entry;

	while (dir && (entry = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, entry, NULL), *text = NULL;

		if (g_file_get_contents(path, &text, NULL, NULL) && strstr(text, wanted))
			return TRUE;
	}
	return FALSE;
}

/* A tap device that came as a descriptor: the device is the same one afterwards. */
static void test_hot_tap(LmTest *test, const void *arg)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	Vm *vm = vm_with(test, NULL);
	g_auto(Run) run = {0};

	assert_true(tap >= 0);
	g_snprintf(request.ifr_name, sizeof(request.ifr_name), "lmc%d", (int)getpid() % 100000);
	assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
	send_with_descriptor(vm, tap, "fd-net0");
	close(tap);
	run_command(vm, "device_add",
		    "{'driver': 'virtio-net-pci', 'id': 'nic1', 'netdev': 'tap1', 'bus': 'rp1', "
		    "'romfile': ''}");
	for (int i = 0; i < 2; i++) {
		run_clear(&run);
		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_true(has_tap(run.new_pid, request.ifr_name));
	}
}

static void test_settings(LmTest *test, const void *arg)
{
	g_autofree char *path = image(test, "disk", "raw", NULL);
	g_autofree char *drive = g_strdup_printf("if=none,id=d0,format=raw,file=%s", path);
	const char *const more[] = {"-drive",  drive,
				    "-device", "virtio-blk-pci,drive=d0,id=disk",
				    "-object", "iothread,id=t1",
				    "-object", "throttle-group,id=g1,x-iops-total=50",
				    NULL};
	Vm *vm = vm_with(test, more);
	g_auto(Run) run = {0};

	run_command(vm, "block_set_io_throttle",
		    "{'device': 'd0', 'bps': 0, 'bps_rd': 1000000, 'bps_wr': 2000000, 'iops': 300, "
		    "'iops_rd': 0, 'iops_wr': 0, 'iops_max': 900, 'iops_max_length': 4, 'group': "
		    "'slow'}");
	run_command(vm, "blockdev-add",
		    "{'driver': 'null-co', 'node-name': 'unused', 'size': 65536}");
	run_command(vm, "block-set-write-threshold",
		    "{'node-name': 'unused', 'write-threshold': 4096}");
	run_command(vm, "qom-set",
		    "{'path': '/objects/t1', 'property': 'poll-max-ns', 'value': 77}");
	run_command(vm, "qom-set",
		    "{'path': '/objects/g1', 'property': 'limits', 'value': {'bps-total': 123}}");
	run_command(vm, "migrate-set-parameters",
		    "{'max-bandwidth': 5000000, 'downtime-limit': 77, 'announce-rounds': 7}");
	run_command(vm, "migrate-set-capabilities",
		    "{'capabilities': [{'capability': 'events', 'state': true}, {'capability': "
		    "'auto-converge', 'state': true}, {'capability': 'postcopy-ram', 'state': "
		    "true}]}");
	upgrade_twice(test, vm, &run);
}

/* One in plain text, and one that is encrypted with it. */
static void test_secrets(LmTest *test, const void *arg)
{
	Vm *vm = vm_with(test, NULL);
	g_auto(Run) run = {0};

	run_command(vm, "object-add",
		    "{'qom-type': 'secret', 'id': 'zero', 'format': 'base64', 'data': "
		    "'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='}");
	run_command(vm, "object-add",
		    "{'qom-type': 'secret', 'id': 'another', 'keyid': 'zero', "
		    "'iv': 'AAECAwQFBgcICQoLDA0ODw==', 'format': 'base64', "
		    "'data': 'f9Etr7fpWZ0LhJrYwuPCHw=='}");
	for (int i = 0; i < 2; i++) {
		g_autofree char *command_line = NULL;

		upgrade(test, vm, &run);
		command_line = tool_proc(run.new_pid, "cmdline");
		assert_null(memmem(qmp_str(run.report, "command-line"),
				   strlen(qmp_str(run.report, "command-line")),
				   "AAECAwQFBgcICQoLDA0ODxAR", 24));
	}
}

/* -------------------------------------------------------------------- refused */

static void test_refused(LmTest *test, const void *arg)
{
	static const struct {
		const char *command, *arguments, *text, *undo, *with;
	} changes[] = {
		{"object-add", "{'qom-type': 'authz-simple', 'id': 'a1', 'identity': 'x'}",
		 "object a1 (authz-simple) was added after the start", "object-del",
		 "{'id': 'a1'}"},
		{"chardev-add",
		 "{'id': 'c1', 'backend': {'type': 'file', 'data': {'out': '/dev/null'}}}",
		 "chardev c1 (file) was added after the start", "chardev-remove", "{'id': 'c1'}"},
		{"netdev_add", "{'type': 'user', 'id': 'u1', 'net': '10.7.0.0/24'}",
		 "the mask of its net 10.7.0.0", "netdev_del", "{'id': 'u1'}"},
		{"netdev_add", "{'type': 'hubport', 'id': 'n1', 'hubid': 1}", "netdev n1",
		 "netdev_del", "{'id': 'n1'}"},
		{"blockdev-add",
		 "{'driver': 'quorum', 'node-name': 'q1', 'vote-threshold': 1, 'children': "
		 "[{'driver': 'null-co'}, {'driver': 'null-co'}]}",
		 "block node q1 (quorum", "blockdev-del", "{'node-name': 'q1'}"},
	};
	Vm *vm = vm_with(test, NULL);
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
		run_command(vm, changes[i].command, "%s", changes[i].arguments);
		assert_refused(test, vm, tool_qemu(), changes[i].text);
		run_command(vm, changes[i].undo, "%s", changes[i].with);
	}
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
}

static void test_password(LmTest *test, const void *arg)
{
	const char *const more[] = {"-vnc", "127.0.0.1:0,to=99,password=on", NULL};
	Vm *vm = vm_with(test, more);

	run_command(vm, "set_password", "{'protocol': 'vnc', 'password': 'x'}");
	assert_refused(test, vm, tool_qemu(), "password");
}

/* A new process that is not what the plan said: it is asked, and does not get the guest. */
static void test_compared(LmTest *test, const void *arg)
{
	static const struct {
		const char *edit, *text;
	} edits[] = {
		{"set -- \"$@\" -object iothread,id=extra", "object extra is not there in process"},
		{"set -- \"$@\" -device usb-tablet,bus=xhci.0,id=more", "device more is not there"},
		{"for a; do shift; set -- \"$@\" \"${a%,iops-total=7}\"; done; set -- \"$@\" "
		 "-chardev "
		 "null,id=c9",
		 "chardev c9 is not there"},
		{"for a; do shift; case $a in *node-name=b,*) a=$a,read-only=on;; esac; set -- "
		 "\"$@\" "
		 "\"$a\"; done",
		 "block node b: ro is false in process"},
	};
	const char *const more[] = {"-blockdev", "driver=null-co,node-name=b,size=4096", NULL};
	Vm *vm = vm_with(test, more);

	for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
		g_autofree char *name = g_strdup_printf("other-qemu%u", i);
		g_autofree char *script = tool_script(
			test, name, "case \" $* \" in *-incoming*) %s;; esac\nexec %s \"$@\"\n",
			edits[i].edit, tool_qemu());

		assert_refused(test, vm, script, edits[i].text);
	}
}

/* ------------------------------------------------------------------- versions */

static void upgrade_to(LmTest *test, Vm *vm, Run *run, const char *version)
{
	g_autofree char *binary = tool_qemu_version(test, version);

	run_clear(run);
	tool_run(test, run, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	tool_assert_upgraded(vm, run);
}

static void test_versions(LmTest *test, const void *arg)
{
	static const char *const needed[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};
	g_autofree char *path = image(test, "base", "qcow2", NULL), *first = NULL, *binary = NULL;
	Vm *vm;
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!version_is_here(needed[i])) {
			lm_test_note("no QEMU %s", needed[i]);
			return;
		}
	binary = tool_qemu_version(test, VERSION_7_2);
	vm = vm_with_disk(test, binary, path);
	first = lm_test_path(test, "first");
	plug_others(test, vm);
	create_overlay(test, first, path);
	add_overlay(vm, first, 2);
	run_command(vm, "blockdev-snapshot",
		    "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	pattern(vm, HOT, "write", 2, 64);
	run_command(vm, "block_set_io_throttle",
		    "{'id': '" HOT "', 'bps': 5000000, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, "
		    "'iops_rd': 0, 'iops_wr': 0}");
	upgrade_to(test, vm, &run, VERSION_10_0);
	pattern(vm, HOT, "read", 2, 64);
	pattern(vm, HOT, "write", 3, 128);
	run_command(vm, "object-add", "{'qom-type': 'iothread', 'id': 'thread9'}");
	upgrade_to(test, vm, &run, VERSION_11_1);
	pattern(vm, HOT, "read", 2, 64);
	pattern(vm, HOT, "read", 3, 128);
}

static const LmCase cases[] = {
	LM_CASE(test_hot_disk),	 LM_CASE(test_unnamed),
	LM_CASE(test_snapshots), LM_CASE(test_commit_and_stream),
	LM_CASE(test_reopened),	 LM_CASE(test_media),
	LM_CASE(test_removed),	 LM_CASE(test_hot_plugged),
	LM_CASE(test_hot_tap),	 LM_CASE(test_drives),
	LM_CASE(test_versions),	 LM_CASE(test_settings),
	LM_CASE(test_secrets),	 LM_CASE(test_refused),
	LM_CASE(test_password),	 LM_CASE(test_compared),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
