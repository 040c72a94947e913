// SPDX-License-Identifier: GPL-2.0-or-later
/* A QEMU that was started without the plugin gets it while its guest runs, and is migrated then. */
#include "attach-vm.h"
#include "process.h"
#include "versions.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define SHARE ", 'ram': 'share'"

static const char *const sandbox[] = {
	"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	NULL};
static const char *const iothread[] = {
	"-object",   "iothread,id=io0",
	"-blockdev", "null-co,node-name=n0,size=1048576,read-zeroes=on",
	"-device",   "virtio-blk-pci,drive=n0,iothread=io0",
	NULL};

static void note(const AttachReport *report)
{
	lm_test_note("main thread stopped for %.2f ms, %.1f ms in all, %u tries, %s",
		     report->stopped_us / 1000.0, report->total_us / 1000.0, report->tries,
		     report->by_path ? "by path" : "by memfd");
}

/* Attached, then moved to a QEMU that was started with -plugin. */
static void attach_and_migrate(LmTest *test, VmOptions options, const char *more)
{
	Vm *source = migrate_source(test, &options), *destination;
	AttachReport report = attach_must(source, NULL);
	g_autoptr(JsonNode) info = NULL;

	note(&report);
	attach_assert_there(source);
	options.plugin = NULL;
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, more);
	migrate_assert_never_again(source);
}

static void test_default(LmTest *test, const void *arg)
{
	attach_and_migrate(test, attach_options(), arg);
}

static void test_sandbox(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();

	options.extra = sandbox;
	attach_and_migrate(test, options, arg);
}

static void test_many_threads(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();

	options.extra = iothread;
	options.smp = 4;
	attach_and_migrate(test, options, arg);
}

static void test_kvm(LmTest *test, const void *arg)
{
	VmOptions options = {.plugin = "", .accel = "kvm", .memory_mib = 64};

	if (access("/dev/kvm", F_OK))
		skip();
	options.bios = lm_test_env("LM_ROM");
	attach_and_migrate(test, options, arg);
}

static void test_version(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();

	if (!version_is_here(arg))
		skip();
	options.root = version_root(arg);
	attach_and_migrate(test, options, "");
}

/* From a QEMU that nobody prepared, to a newer one. */
static void test_to_newer_version(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	if (!version_is_here(VERSION_7_2) || !version_is_here(arg))
		skip();
	options.root = version_root(VERSION_7_2);
	source = migrate_source(test, &options);
	attach_must(source, NULL);
	options.root = version_root(arg);
	options.plugin = NULL;
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, SHARE);
}

/* A destination may be attached to as well. */
static void test_incoming(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	source = migrate_source(test, &options);
	destination = migrate_destination(test, &options, source);
	attach_must(source, NULL);
	attach_must(destination, NULL);
	info = migrate_ok(source, destination, "");
	attach_assert_there(destination);
}

/* ------------------------------------------------------------- what it leaves */

static void test_nothing_but_the_plugin(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);
	int fds = process_count_fds(vm->pid), threads = process_count_threads(vm->pid);

	attach_must(vm, NULL);
	attach_assert_there(vm);
	assert_int_equal(process_count_fds(vm->pid), fds);
	assert_int_equal(process_count_threads(vm->pid), threads);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static void test_deleted_executable(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *copy = NULL;
	g_auto(AttachFacts) facts = {0};
	g_autoptr(GError) error = NULL;
	Vm *vm;

	copy = attach_copy_of_qemu(test, &options, NULL, NULL);
	vm = migrate_source(test, &options);
	g_unlink(copy);
	attach_check(vm->pid, lm_test_env("LM_PLUGIN"), 0, &facts, &error);
	must(error);
	must(facts.refusal);
	assert_true(facts.deleted);
	assert_string_equal(facts.executable, copy);
	lm_test_note("%s", facts.version);
	attach_must(vm, NULL);
	attach_assert_there(vm);
	vm_assert_intact(vm);
}

/* A QEMU that dropped its privileges cannot read a file in the case's folder. */
static void test_unreadable(LmTest *test, const void *arg)
{
	static const char *const as_nobody[] = {"-runas", "nobody", NULL};
	VmOptions options = attach_options();
	g_autofree char *build = attach_other_build(test, 1);
	AttachReport report;
	Vm *vm;

	if (geteuid())
		skip();
	options.extra = as_nobody;
	vm = migrate_source(test, &options);
	g_chmod(build, 0600);
	report = attach_must(vm, build);
	note(&report);
	assert_false(report.by_path);
	attach_assert_there(vm);
	vm_assert_intact(vm);
}

/* ------------------------------------------------------------ the main loop is busy */

static void test_blocked_main_loop(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *fifo = lm_test_path(test, "fifo"), *command = NULL;
	g_autoptr(JsonNode) reply = NULL;
	g_autoptr(GError) error = NULL;
	Vm *vm = migrate_source(test, &options);
	int rc, fd;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	/* Nobody opens the other end: the main thread waits in open(). */
	command = g_strdup_printf("pmemsave 0 4096 \"%s\"", fifo);
	qmp_set_timeout(vm->qmp, 300);
	/* It does not answer any more. */
	reply = qmp_command(vm->qmp, &error, "human-monitor-command", "{'command-line': %s}",
			    command);
	if (reply)
		fail_msg("%s", json_node_get_string(reply));
	g_clear_error(&error);
	rc = attach_load(vm->pid, lm_test_env("LM_PLUGIN"), 0, 500, NULL, &error);
	assert_true(rc < 0);
	assert_true(g_error_matches(error, ATTACH_ERROR, ATTACH_ERROR_TIMEOUT));
	lm_test_note("%s", error->message);
	assert_false(attach_is_mapped(vm));
	fd = open(fifo, O_RDONLY);
	attach_must(vm, NULL);
	close(fd);
	assert_true(attach_is_mapped(vm));
}

static gpointer ask_again_and_again(gpointer data)
{
	Vm *vm = ((gpointer *)data)[0];
	gint *stop = ((gpointer *)data)[1];
	guint count = 0;

	for (; !g_atomic_int_get(stop); count++) {
		g_autoptr(GError) error = NULL;
		JsonNode *reply = qmp_command(vm->qmp, &error, "query-qmp-schema", NULL);

		if (!reply)
			break;
		json_node_unref(reply);
	}
	return GUINT_TO_POINTER(count);
}

/* The main loop answers one command after the other, and is seldom in its poll. */
static void test_busy_main_loop(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);
	gint stop = 0;
	gpointer data[2] = {vm, &stop};
	GThread *thread = g_thread_new("ask", ask_again_and_again, data);
	guint count;

	for (guint i = 0; i < 10; i++) {
		g_autofree char *build = attach_other_build(test, i);
		AttachReport report = attach_must(vm, build);

		if (!i)
			note(&report);
	}
	g_atomic_int_set(&stop, 1);
	count = GPOINTER_TO_UINT(g_thread_join(thread));
	lm_test_note("%u commands were answered meanwhile", count);
	assert_true(count > 0);
	attach_assert_there(vm);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_default, ""),
	LM_CASE_ARG(test_default, SHARE),
	LM_CASE_ARG(test_sandbox, ""),
	LM_CASE_ARG(test_sandbox, SHARE),
	LM_CASE_ARG(test_many_threads, ""),
	LM_CASE_ARG(test_many_threads, SHARE),
	LM_CASE_ARG(test_kvm, ""),
	LM_CASE_ARG(test_kvm, SHARE),
	LM_CASE_ARG(test_version, VERSION_10_0),
	LM_CASE_ARG(test_version, VERSION_11_1),
	LM_CASE_ARG(test_to_newer_version, VERSION_10_0),
	LM_CASE_ARG(test_to_newer_version, VERSION_11_1),
	LM_CASE(test_incoming),
	LM_CASE(test_nothing_but_the_plugin),
	LM_CASE(test_deleted_executable),
	LM_CASE(test_unreadable),
	LM_CASE(test_blocked_main_loop),
	LM_CASE(test_busy_main_loop),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
