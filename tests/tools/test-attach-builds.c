// SPDX-License-Identifier: GPL-2.0-or-later
/* Several builds of the plugin in one QEMU, and plugins that do not load. */
#include "attach-vm.h"
#include "process.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define SHARE ", 'ram': 'share'"

static void assert_refused(Vm *vm, const char *plugin, AttachErrorCode code, const char *text)
{
	g_autoptr(GError) error = NULL;
	int rc = attach_load(vm->pid, plugin, 0, ATTACH_MS, NULL, &error);

	assert_true(rc < 0);
	lm_test_note("%s", error->message);
	assert_true(error->domain == ATTACH_ERROR);
	assert_int_equal(error->code, code);
	assert_contains(error->message, text);
	assert_null(strchr(error->message, '\n'));
	if (code == ATTACH_ERROR_REFUSED) { /* it was loaded, and is not any more */
		g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)vm->pid);
		g_autofree char *maps = NULL;

		assert_true(g_file_get_contents(path, &maps, NULL, NULL));
		assert_null(strstr(maps, plugin));
	}
}

/* A migration that fails after the RAM was shared; the guest stays. */
static void share_and_stay(LmTest *test, VmOptions *options, Vm *source)
{
	g_autoptr(JsonNode) info = NULL;
	Vm *destination;

	if (!LM_FAULT_INJECTION)
		skip();
	options->plugin = NULL;
	options->plugin_args = "fault=load:fail";
	destination = migrate_destination(test, options, source);
	info = migrate_run(source, destination, SHARE);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	vm_kill(destination, SIGKILL);
	options->plugin_args = NULL;
}

static void migrate_away(LmTest *test, VmOptions *options, Vm *source, const char *more)
{
	g_autoptr(JsonNode) info = NULL;
	Vm *destination;

	options->plugin = NULL;
	destination = migrate_destination(test, options, source);
	info = migrate_ok(source, destination, more);
}

static void test_same_build(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);

	attach_must(vm, NULL);
	assert_refused(vm, lm_test_env("LM_PLUGIN"), ATTACH_ERROR_THERE, "has this build");
	attach_assert_there(vm);
	vm_assert_intact(vm);
}

static void test_same_build_from_start(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autoptr(JsonNode) info = NULL;
	Vm *vm;

	options.plugin = NULL;
	vm = migrate_source(test, &options);
	assert_refused(vm, lm_test_env("LM_PLUGIN"), ATTACH_ERROR_THERE, "has this build");
	info = migrate_query(vm);
	assert_false(qmp_bool(info, "attached"));
}

static void test_newer_build(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *newer = attach_other_build(test, 1), *newest = attach_other_build(test, 2);
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	Vm *vm;

	if (arg) /* the older one was there from the start */
		options.plugin = NULL;
	vm = migrate_source(test, &options);
	if (!arg)
		attach_must(vm, NULL);
	attach_must(vm, newer);
	attach_must(vm, newest);
	attach_assert_there(vm);
	text = qmp_hmp(vm->qmp, "info localhost_migrate", &error);
	must(error);
	assert_contains(text, "status: none");
	migrate_away(test, &options, vm, "");
}

/* What was migrated and came back with the older one can be migrated with the newer one. */
static void test_newer_build_after_failure(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *newer = attach_other_build(test, 1);
	g_autofree char *text = NULL;
	Vm *vm = migrate_source(test, &options);

	attach_must(vm, NULL);
	text = migrate_refused(vm, "unix:/nowhere/at/all", "");
	attach_must(vm, newer);
	migrate_away(test, &options, vm, "");
}

/* A plugin that is not used has no thread, no descriptor and no timer; also after a failure. */
static void test_idle_after_failure(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *first = NULL, *second = NULL;
	Vm *vm = migrate_source(test, &options);
	int threads = process_count_threads(vm->pid), fds;

	attach_must(vm, NULL);
	first = migrate_refused(vm, "unix:/nowhere/at/all", "");
	fds = process_count_fds(vm->pid); /* QEMU itself may open an eventfd at its first use */
	second = migrate_refused(vm, "unix:/nowhere/at/all", "");
	assert_int_equal(process_count_fds(vm->pid), fds);
	assert_int_equal(process_count_threads(vm->pid), threads);
	attach_assert_there(vm);
}

/* QEMU does not know that RAM was shared, the older build does. */
static void test_newer_build_would_lose_ram(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *newer = attach_other_build(test, 1);
	Vm *vm = migrate_source(test, &options);

	attach_must(vm, NULL);
	share_and_stay(test, &options, vm);
	assert_refused(vm, newer, ATTACH_ERROR_REFUSED, "keeps the guest's RAM as shared memory");
	attach_assert_there(vm);
	migrate_away(test, &options, vm, SHARE);
}

static void test_guest_has_left(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *newer = attach_other_build(test, 1);
	Vm *vm = migrate_source(test, &options);

	attach_must(vm, NULL);
	migrate_away(test, &options, vm, "");
	assert_refused(vm, newer, ATTACH_ERROR_REFUSED, "has moved the guest to another process");
	migrate_assert_never_again(vm);
}

/* -------------------------------------------------------------- does not load */

static void assert_nothing_left(Vm *vm, int fds)
{
	assert_false(attach_is_mapped(vm));
	assert_int_equal(process_count_fds(vm->pid), fds);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
	attach_must(vm, NULL);
	attach_assert_there(vm);
}

/* A library that the plugin needs is not there, by its name. */
static void test_missing_library(LmTest *test, const void *arg)
{
	static const char library[] = "liburing.so.2";
	VmOptions options = attach_options();
	g_autofree char *data = NULL, *path = NULL;
	g_autoptr(GError) error = NULL;
	gsize length;
	char *at;
	Vm *vm;
	int fds;

	if (arg && !(options.root = g_getenv(arg)))
		skip();
	g_file_get_contents(lm_test_env("LM_PLUGIN"), &data, &length, &error);
	must(error);
	at = memmem(data, length, library, sizeof(library));
	assert_non_null(at);
	memcpy(at, "libnowhere.so", sizeof(library) - 1);
	path = arg ? attach_write_elsewhere(test, data, length)
		   : attach_write_file(test, "localhost-migrate-x.so", data, length);
	vm = migrate_source(test, &options);
	fds = process_count_fds(vm->pid);
	assert_refused(vm, path, ATTACH_ERROR_LOAD, "libnowhere.so: cannot open shared object");
	assert_nothing_left(vm, fds);
}

static void test_cut_off(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	g_autofree char *data = NULL, *path = NULL;
	g_autoptr(GError) error = NULL;
	gsize length;
	Vm *vm = migrate_source(test, &options);
	int fds = process_count_fds(vm->pid);

	g_file_get_contents(lm_test_env("LM_PLUGIN"), &data, &length, &error);
	must(error);
	path = attach_write_file(test, "localhost-migrate-x.so", data, 40000);
	assert_refused(vm, path, ATTACH_ERROR_PLUGIN, "is cut off");
	assert_nothing_left(vm, fds);
}

/* A shared object, and none of ours. */
static void test_stranger(LmTest *test, const void *arg)
{
	VmOptions options = attach_options();
	Vm *vm = migrate_source(test, &options);
	int fds = process_count_fds(vm->pid);
	Dl_info about;

	/* This program has such a library, and QEMU has not. */
	assert_true(dladdr((void *)_cmocka_run_group_tests, &about));
	assert_refused(vm, about.dli_fname, ATTACH_ERROR_PLUGIN,
		       "is no plugin that can be attached");
	assert_nothing_left(vm, fds);
}

static const LmCase cases[] = {
	LM_CASE(test_same_build),
	LM_CASE(test_same_build_from_start),
	LM_CASE(test_newer_build),
	LM_CASE_ARG(test_newer_build, "beside -plugin"),
	LM_CASE(test_newer_build_after_failure),
	LM_CASE(test_idle_after_failure),
	LM_CASE(test_newer_build_would_lose_ram),
	LM_CASE(test_guest_has_left),
	LM_CASE(test_missing_library),
	LM_CASE_ARG(test_missing_library, "LM_ROOT_10_0"),
	LM_CASE(test_cut_off),
	LM_CASE(test_stranger),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
