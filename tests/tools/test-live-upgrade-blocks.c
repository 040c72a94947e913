/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that were plugged, snapshotted, committed, streamed, reopened; media that were changed. */
#include "changed-vm.h"
#include "versions.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------------- disks */

#define HOT "/machine/peripheral/hot/virtio-backend"

static void plug_disk(Vm *vm, const char *path)
{
	change(vm, "blockdev-add",
	       "{'driver': 'file', 'filename': '%s', 'node-name': 'libvirt-3-storage', "
	       "'auto-read-only': true, 'discard': 'unmap'}",
	       path);
	change(vm, "blockdev-add",
	       "{'driver': 'qcow2', 'node-name': 'libvirt-3-format', 'read-only': false, "
	       "'file': 'libvirt-3-storage'}");
	change(vm, "object-add", "{'qom-type': 'iothread', 'id': 'thread9', 'poll-max-ns': 5000}");
	change(vm, "device_add",
	       "{'driver': 'virtio-blk-pci', 'id': 'hot', 'drive': 'libvirt-3-format', "
	       "'bus': 'rp0', 'addr': '0x0', 'iothread': 'thread9', 'serial': 'S1', "
	       "'write-cache': 'on'}");
}

static void test_hot_disk(LmTest *test, const void *arg)
{
	g_autofree char *path = changed_image(test, "disk", "qcow2", NULL);
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	plug_disk(vm, path);
	changed_pattern(vm, HOT, "write", 17, 64);
	changed_upgrade(test, vm, &run);
	changed_pattern(vm, HOT, "read", 17, 64);
	changed_pattern(vm, HOT, "write", 18, 256);
	changed_upgrade(test, vm, &run);
	changed_pattern(vm, HOT, "read", 17, 64);
	changed_pattern(vm, HOT, "read", 18, 256);
}

/* Without ids, and with a node in another. */
static void test_unnamed(LmTest *test, const void *arg)
{
	g_autofree char *first = changed_image(test, "first", "raw", NULL);
	g_autofree char *second = changed_image(test, "second", "raw", NULL), *overlay = NULL;
	g_autofree char *line = g_strdup_printf(
		"driver=raw,node-name=cold,file.driver=file,file.filename=%s", first);
	const char *const more[] = {"-blockdev", line, "-device",
				    "virtio-blk-pci,drive=cold,share-rw=on", NULL};
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	overlay = changed_image(test, "overlay", "qcow2", first);
	change(vm, "blockdev-add",
	       "{'driver': 'raw', 'node-name': 'two', 'file': {'driver': 'file', "
	       "'filename': '%s'}}",
	       second);
	change(vm, "device_add",
	       "{'driver': 'virtio-blk-pci', 'drive': 'two', 'bus': 'rp1', 'share-rw': true}");
	change(vm, "blockdev-add",
	       "{'driver': 'qcow2', 'node-name': 'over', 'backing': null, 'file': {'driver': "
	       "'file', 'filename': '%s'}}",
	       overlay);
	change(vm, "blockdev-snapshot", "{'node': 'cold', 'overlay': 'over'}");
	changed_upgrade_twice(test, vm, &run);
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

	return changed_vm_of(test, binary, more);
}

static void add_overlay(Vm *vm, const char *path, int number)
{
	change(vm, "blockdev-add",
	       "{'driver': 'file', 'filename': '%s', 'node-name': 'libvirt-%d-storage', "
	       "'auto-read-only': true, 'discard': 'unmap'}",
	       path, number);
	change(vm, "blockdev-add",
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
	g_autofree char *base = changed_image(test, "base", "qcow2", NULL);
	g_autofree char *first = lm_test_path(test, "first"), *second = NULL;
	Vm *vm = vm_with_disk(test, NULL, base);
	g_auto(Run) run = {0};

	second = lm_test_path(test, "second");
	changed_pattern(vm, HOT, "write", 1, 0);
	create_overlay(test, first, base);
	add_overlay(vm, first, 2);
	change(vm, "blockdev-snapshot",
	       "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	changed_pattern(vm, HOT, "write", 2, 64);
	changed_upgrade(test, vm, &run);
	changed_pattern(vm, HOT, "read", 1, 0);
	changed_pattern(vm, HOT, "read", 2, 64);
	create_overlay(test, second, first);
	add_overlay(vm, second, 3);
	change(vm, "blockdev-snapshot",
	       "{'node': 'libvirt-2-format', 'overlay': 'libvirt-3-format'}");
	changed_pattern(vm, HOT, "write", 3, 128);
	changed_upgrade(test, vm, &run);
	changed_pattern(vm, HOT, "read", 1, 0);
	changed_pattern(vm, HOT, "read", 2, 64);
	changed_pattern(vm, HOT, "read", 3, 128);
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
	g_autofree char *base = changed_image(test, "base", "qcow2", NULL);
	g_autofree char *first = lm_test_path(test, "first"), *second = NULL;
	Vm *vm = vm_with_disk(test, NULL, base);
	g_auto(Run) run = {0};

	second = lm_test_path(test, "second");
	changed_pattern(vm, HOT, "write", 1, 0);
	create_overlay(test, first, base);
	add_overlay(vm, first, 2);
	change(vm, "blockdev-snapshot",
	       "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	changed_pattern(vm, HOT, "write", 2, 64);
	change(vm, "block-commit",
	       "{'job-id': 'j', 'device': 'libvirt-2-format', 'base-node': "
	       "'libvirt-1-format'}");
	assert_true(lm_wait_until(job_is_ready, vm, LM_WAIT_MS));
	changed_assert_refused(test, vm, tool_qemu(), "block job j is active");
	change(vm, "job-complete", "{'id': 'j'}");
	assert_true(lm_wait_until(no_jobs, vm, LM_WAIT_MS));
	change(vm, "blockdev-del", "{'node-name': 'libvirt-2-format'}");
	change(vm, "blockdev-del", "{'node-name': 'libvirt-2-storage'}");
	changed_upgrade(test, vm, &run);
	changed_pattern(vm, HOT, "read", 2, 64);
	create_overlay(test, second, base);
	add_overlay(vm, second, 4);
	change(vm, "blockdev-snapshot",
	       "{'node': 'libvirt-1-format', 'overlay': 'libvirt-4-format'}");
	changed_upgrade(test, vm, &run);
	change(vm, "block-stream", "{'job-id': 's', 'device': 'libvirt-4-format'}");
	assert_true(lm_wait_until(no_jobs, vm, LM_WAIT_MS));
	changed_upgrade_twice(test, vm, &run);
	changed_pattern(vm, HOT, "read", 1, 0);
	changed_pattern(vm, HOT, "read", 2, 64);
}

/* Options of a node that stays, changed while it is open. */
static void test_reopened(LmTest *test, const void *arg)
{
	g_autofree char *path = changed_image(test, "disk", "raw", NULL);
	g_autofree char *file = g_strdup_printf("driver=file,node-name=f,filename=%s", path);
	const char *const more[] = {"-blockdev", file, "-blockdev",
				    "driver=raw,node-name=r,file=f,read-only=on", NULL};
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	change(vm, "blockdev-reopen",
	       "{'options': [{'driver': 'raw', 'node-name': 'r', 'file': 'f', 'read-only': "
	       "false, 'cache': {'no-flush': true}, 'detect-zeroes': 'on'}]}");
	changed_upgrade_twice(test, vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "cache.no-flush=on");
}

/* -drive: a chain with names and without, one that came since and one that is gone. */
static void test_drives(LmTest *test, const void *arg)
{
	g_autofree char *first = changed_image(test, "first", "raw", NULL);
	g_autofree char *second = changed_image(test, "second", "raw", NULL);
	g_autofree char *one = lm_test_path(test, "one"), *two = lm_test_path(test, "two");
	g_autofree char *named = g_strdup_printf(
		"if=none,id=d0,node-name=bottom,driver=raw,file.driver=file,file.filename=%s,"
		"cache.no-flush=on,discard=unmap",
		first);
	g_autofree char *gone = g_strdup_printf("if=none,id=d1,format=raw,file=%s", second);
	const char *const more[] = {"-drive", named, "-device", "virtio-blk-pci,drive=d0,id=disk",
				    "-drive", gone,  NULL};
	Vm *vm = changed_vm(test, more);
	g_autofree char *add = g_strdup_printf(
		"drive_add 0 if=none,id=d2,format=raw,file=%s,cache.direct=on", second);
	g_autofree char *said = NULL, *deleted = NULL;
	g_auto(Run) run = {0};

	change(vm, "blockdev-snapshot-sync",
	       "{'device': 'd0', 'snapshot-file': '%s', 'snapshot-node-name': 'middle'}", one);
	change(vm, "blockdev-snapshot-sync", "{'device': 'd0', 'snapshot-file': '%s'}", two);
	deleted = changed_human(vm, "drive_del d1");
	said = changed_human(vm, add);
	assert_contains(said, "OK");
	change(vm, "device_add",
	       "{'driver': 'scsi-hd', 'id': 'hot', 'bus': 'scsi.0', 'drive': 'd2'}");
	changed_pattern(vm, "/machine/peripheral/disk/virtio-backend", "write", 5, 0);
	changed_pattern(vm, "hot", "write", 6, 0);
	changed_upgrade_twice(test, vm, &run);
	changed_pattern(vm, "/machine/peripheral/disk/virtio-backend", "read", 5, 0);
	changed_pattern(vm, "hot", "read", 6, 0);
	assert_contains(qmp_str(run.report, "command-line"), "backing.node-name=middle");
	assert_null(strstr(qmp_str(run.report, "command-line"), "id=d1"));
}

/* --------------------------------------------------------------------- media */

static void test_media(LmTest *test, const void *arg)
{
	g_autofree char *first = changed_image(test, "first", "raw", NULL);
	g_autofree char *second = changed_image(test, "second", "raw", NULL);
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
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	change(vm, "eject", "{'id': 'one', 'force': true}");
	change(vm, "blockdev-change-medium", "{'id': 'two', 'filename': '%s', 'format': 'raw'}",
	       second);
	change(vm, "blockdev-change-medium",
	       "{'device': 'ide2-cd0', 'filename': '%s', 'format': 'raw'}", second);
	changed_upgrade_twice(test, vm, &run);
	assert_null(strstr(qmp_str(run.report, "command-line"), "-cdrom"));
	change(vm, "blockdev-change-medium", "{'id': 'one', 'filename': '%s', 'format': 'raw'}",
	       second);
	change(vm, "eject", "{'id': 'two', 'force': true}");
	change(vm, "eject", "{'device': 'ide2-cd0', 'force': true}");
	changed_upgrade_twice(test, vm, &run);
	assert_null(strstr(qmp_str(run.report, "command-line"), "lu-medium"));
}

/* ---------------------------------------------------------- other kinds of nodes */

/* usb-storage has its drive elsewhere than others. */
static void test_usb_storage(LmTest *test, const void *arg)
{
	g_autofree char *first = changed_image(test, "first", "raw", NULL), *overlay = NULL;
	g_autofree char *second = changed_image(test, "second", "raw", NULL);
	g_autofree char *node = g_strdup_printf(
		"driver=raw,node-name=stick,file.driver=file,file.filename=%s", first);
	const char *const more[] = {"-blockdev", node, "-device",
				    "usb-storage,bus=xhci.0,drive=stick,id=cold", NULL};
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	changed_upgrade(test, vm, &run);
	overlay = changed_image(test, "overlay", "qcow2", first);
	change(vm, "blockdev-add",
	       "{'driver': 'qcow2', 'node-name': 'over', 'backing': null, 'file': {'driver': "
	       "'file', 'filename': '%s'}}",
	       overlay);
	change(vm, "blockdev-snapshot", "{'node': 'stick', 'overlay': 'over'}");
	change(vm, "blockdev-add",
	       "{'driver': 'raw', 'node-name': 'second', 'file': {'driver': 'file', 'filename': "
	       "'%s'}}",
	       second);
	change(vm, "device_add",
	       "{'driver': 'usb-storage', 'id': 'hot', 'bus': 'xhci.0', 'drive': 'second'}");
	changed_upgrade_twice(test, vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "drive=over");
}

/* It measures how fast the machine is, and gives up where others are at work. */
static gboolean is_created(void *command)
{
	int status = 1;

	return g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) && !status;
}

/* The key is a secret that came since, too. */
static void test_encrypted(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "luks");
	g_autofree char *command = g_strdup_printf(
		"qemu-img create -q -f qcow2 --object secret,id=k,data=abc -o "
		"encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 %s 8M",
		path);
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	assert_true(lm_wait_until(is_created, command, LM_WAIT_MS));
	change(vm, "object-add", "{'qom-type': 'secret', 'id': 'key1', 'data': 'abc'}");
	change(vm, "blockdev-add",
	       "{'driver': 'qcow2', 'node-name': 'hidden', 'encrypt': {'format': 'luks', "
	       "'key-secret': 'key1'}, 'file': {'driver': 'file', 'filename': '%s'}}",
	       path);
	change(vm, "device_add",
	       "{'driver': 'virtio-blk-pci', 'id': 'hot', 'drive': 'hidden', 'bus': 'rp0'}");
	changed_pattern(vm, HOT, "write", 9, 64);
	changed_upgrade_twice(test, vm, &run);
	changed_pattern(vm, HOT, "read", 9, 64);
}

static void end_server(gpointer pid)
{
	kill(GPOINTER_TO_INT(pid), SIGKILL);
	waitpid(GPOINTER_TO_INT(pid), NULL, 0);
}

static gboolean is_socket_there(void *path)
{
	return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A filter with a group over a node that is no file. */
static void test_throttled_nbd(LmTest *test, const void *arg)
{
	g_autofree char *path = changed_image(test, "disk", "raw", NULL);
	g_autofree char *socket = lm_test_path(test, "nbd");
	const char *const argv[] = {"qemu-nbd", "-t",	"-e", "9",   "-f", "raw",
				    "-k",	socket, "-x", "one", path, NULL};
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};
	GPid server = 0;

	assert_true(g_spawn_async(NULL, (char **)argv, NULL,
				  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
				  &server, NULL));
	lm_test_cleanup_later(test, end_server, GINT_TO_POINTER(server));
	assert_true(lm_wait_until(is_socket_there, socket, LM_WAIT_MS));
	change(vm, "object-add",
	       "{'qom-type': 'throttle-group', 'id': 'slow', 'limits': {'iops-total': 1000}}");
	change(vm, "blockdev-add",
	       "{'driver': 'nbd', 'node-name': 'remote', 'export': 'one', 'server': {'type': "
	       "'unix', 'path': '%s'}}",
	       socket);
	change(vm, "blockdev-add",
	       "{'driver': 'throttle', 'node-name': 'filter', 'throttle-group': 'slow', 'file': "
	       "{'driver': 'raw', 'offset': 4096, 'size': 1048576, 'file': 'remote'}}");
	change(vm, "device_add",
	       "{'driver': 'virtio-blk-pci', 'id': 'hot', 'drive': 'filter', 'bus': 'rp0'}");
	changed_pattern(vm, HOT, "write", 9, 64);
	changed_upgrade_twice(test, vm, &run);
	changed_pattern(vm, HOT, "read", 9, 64);
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
	g_autofree char *path = changed_image(test, "base", "qcow2", NULL), *first = NULL,
			*binary = NULL;
	Vm *vm;
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!version_is_here(needed[i])) {
			lm_test_note("no QEMU %s", needed[i]);
			return;
		}
	tool_adopt(test);
	binary = tool_qemu_version(test, VERSION_7_2);
	vm = vm_with_disk(test, binary, path);
	first = lm_test_path(test, "first");
	changed_plug(test, vm);
	create_overlay(test, first, path);
	add_overlay(vm, first, 2);
	change(vm, "blockdev-snapshot",
	       "{'node': 'libvirt-1-format', 'overlay': 'libvirt-2-format'}");
	changed_pattern(vm, HOT, "write", 2, 64);
	change(vm, "block_set_io_throttle",
	       "{'id': '" HOT "', 'bps': 5000000, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, "
	       "'iops_rd': 0, 'iops_wr': 0}");
	upgrade_to(test, vm, &run, VERSION_10_0);
	changed_pattern(vm, HOT, "read", 2, 64);
	changed_pattern(vm, HOT, "write", 3, 128);
	change(vm, "object-add", "{'qom-type': 'iothread', 'id': 'thread9'}");
	upgrade_to(test, vm, &run, VERSION_11_1);
	changed_pattern(vm, HOT, "read", 2, 64);
	changed_pattern(vm, HOT, "read", 3, 128);
}

static const LmCase cases[] = {
	LM_CASE(test_hot_disk),	 LM_CASE(test_unnamed),
	LM_CASE(test_snapshots), LM_CASE(test_commit_and_stream),
	LM_CASE(test_reopened),	 LM_CASE(test_drives),
	LM_CASE(test_media),	 LM_CASE(test_usb_storage),
	LM_CASE(test_encrypted), LM_CASE(test_throttled_nbd),
	LM_CASE(test_versions),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
