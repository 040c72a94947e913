/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux guest (tests/guest/guest.md) that writes to a disk and to its network while the
 * process under it is replaced twice. Its disk is checked from outside afterwards.
 */
#include "linux-guest.h"
#include "migrate.h"

#include <signal.h>
#include <string.h>

/* Without rests between bursts: there is always a read or a write of the disk under way. */
#define BUSY LINUX_APPEND " lm.fast=1"
/* 128 MiB/s: slow enough for some thousand reads and writes during the conversion. */
#define SLOWLY ", 'ram': 'share', 'bandwidth': 134217728"

static void quit(Vm *vm)
{
	vm_do(vm, "quit", NULL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
}

static void twice(LmTest *test, const LinuxDisk *disk, const VmOptions *options)
{
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a = linux_boot(test, options), *b, *c;

	assert_true(linux_disk_is_locked(disk));
	b = migrate_destination(test, options, a);
	first = migrate_ok(a, b, "");
	assert_true(linux_disk_is_locked(disk));
	quit(a);
	c = migrate_destination(test, options, b);
	second = migrate_ok(b, c, "");
	linux_power_off(c);
	/* b is still there, and holds no lock on the image. */
	assert_true(vm_alive(b));
	assert_false(linux_disk_is_locked(disk));
	linux_disk_assert_right(disk, c->serial_path);
}

static void test_twice(LmTest *test, const void *arg)
{
	LinuxDisk *disk = linux_disk_new(test, NULL, !g_strcmp0(arg, "iothread"));
	VmOptions options = linux_options(disk, LINUX_APPEND);

	if (!g_strcmp0(arg, "shared memory"))
		options.backend = "memory-backend-memfd,share=on";
	twice(test, disk, &options);
}

/* A destination that fails takes its hands off the disk, and the source goes on with it. */
static void test_comes_back(LmTest *test, const void *arg)
{
	LinuxDisk *disk = linux_disk_new(test, NULL, FALSE);
	const VmOptions options = linux_options(disk, LINUX_APPEND);
	g_autofree char *args = g_strconcat("fault=", (const char *)arg, NULL);
	VmOptions faulty = options;
	g_autoptr(JsonNode) info = NULL;
	Vm *source = linux_boot(test, &options), *destination;

	faulty.plugin_args = args;
	destination = migrate_destination(test, &faulty, source);
	info = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	assert_true(linux_disk_is_locked(disk));
	linux_power_off(source);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	linux_disk_assert_right(disk, source->serial_path);
}

/* ------------------------------------------- sharing while the kernel writes to memory */

static void note_share(JsonNode *info, guint64 blocks)
{
	JsonNode *share = json_object_get_member(json_node_get_object(info), "share");

	lm_test_note("%d MiB shared in %d chunks, the longest %d us; %d KiB were held on to; "
		     "the guest read %d blocks meanwhile",
		     (int)(qmp_int(share, "shared") >> 20), (int)qmp_int(share, "chunks"),
		     (int)qmp_int(share, "max-us"), (int)(qmp_int(share, "left") >> 10),
		     (int)blocks);
}

/* The guest's disk is read and written past the page cache: the kernel has its pages pinned. */
static void test_share_live_under_disk_load(LmTest *test, const void *arg)
{
	const char *aio = g_str_has_prefix(arg, "io_uring") ? "io_uring" : "native";
	LinuxDisk *disk = linux_disk_new(test, aio, g_str_has_suffix(arg, "iothread"));
	VmOptions options = linux_options(disk, BUSY);
	g_autoptr(JsonNode) first = NULL, second = NULL;
	guint64 before, after;
	Vm *a, *b, *c;

	options.smp = 2;
	a = linux_boot(test, &options);
	b = migrate_destination(test, &options, a);
	before = linux_disk_blocks(a);
	first = migrate_run(a, b, SLOWLY);
	after = linux_disk_blocks(a);
	migrate_assert_completed(a, b, first);
	assert_int_equal(qmp_int(first, "flipped"), 0);
	note_share(first, after - before);
	assert_true(after - before > 100);
	quit(a);
	c = migrate_destination(test, &options, b);
	second = migrate_ok(b, c, "");
	assert_int_equal(qmp_int(second, "flipped"), 0);
	quit(b);
	linux_power_off(c);
	linux_disk_assert_right(disk, c->serial_path);
}

/* Half of the memory is shared, and stays so: the guest goes on where it is, and moves later. */
static void test_share_is_cancelled_under_disk_load(LmTest *test, const void *arg)
{
	LinuxDisk *disk = linux_disk_new(test, "io_uring", TRUE);
	VmOptions options = linux_options(disk, BUSY);
	g_autoptr(JsonNode) first = NULL, second = NULL;
	g_autofree char *uri = NULL;
	g_autoptr(GError) error = NULL;
	Vm *a, *b, *c;

	options.smp = 2;
	a = linux_boot(test, &options);
	b = migrate_destination(test, &options, a);
	uri = migrate_uri(b);
	migrate_listen(b);
	migrate_begin(a, uri, SLOWLY);
	migrate_wait_stage(a, "share", LM_WAIT_MS);
	serial_wait_beats(a->serial_path, 5, LM_WAIT_MS, NULL, &error);
	must(error);
	vm_do(a, "localhost-migrate-cancel", NULL);
	first = migrate_wait(a, LM_WAIT_MS);
	assert_string_equal(qmp_str(first, "status"), "cancelled");
	migrate_assert_kept(a, first);
	vm_kill(b, SIGKILL);
	assert_true(vm_wait_exit(b, LM_WAIT_MS));
	c = migrate_destination(test, &options, a);
	second = migrate_ok(a, c, arg);
	assert_int_equal(qmp_int(second, "flipped"), 0);
	quit(a);
	linux_power_off(c);
	linux_disk_assert_right(disk, c->serial_path);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_twice, "disk and network"),
	LM_CASE_ARG(test_twice, "iothread"),
	LM_CASE_ARG(test_twice, "shared memory"),
	LM_CASE_ARG(test_comes_back, "load:fail"),
	LM_CASE_ARG(test_comes_back, "commit:fail"),
	LM_CASE_ARG(test_share_live_under_disk_load, "io_uring"),
	LM_CASE_ARG(test_share_live_under_disk_load, "io_uring, iothread"),
	LM_CASE_ARG(test_share_live_under_disk_load, "native, iothread"),
	LM_CASE_ARG(test_share_is_cancelled_under_disk_load, ", 'ram': 'share'"),
	LM_CASE_ARG(test_share_is_cancelled_under_disk_load, ", 'ram': 'share', 'live': false"),
};

int main(int argc, char **argv)
{
	const char *missing = linux_missing();

	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LM_TEST_MAIN(argc, argv, cases);
}
