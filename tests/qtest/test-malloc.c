/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU with the plugin under the checks of the C library: every part of the heap is checked when it
 * is freed (MALLOC_CHECK_=3 ends the process where one was damaged), and what is allocated or freed
 * is filled with a pattern (MALLOC_PERTURB_). The sanitizers cannot be used inside of QEMU, which
 * is not built with them.
 */
#include "migrate.h"
#include "versions.h"

#include <string.h>

#define CHECKER "libc_malloc_debug.so.0"

typedef struct Way {
	const char *name, *more;
	const char *backend;
} Way;

static const Way ways[] = {
	{"flip", ", 'channels': 2", NULL},
	{"flip, by process_vm_readv", "", NULL},
	{"share, live", ", 'ram': 'share'", NULL},
	{"share, stopped", ", 'ram': 'share', 'live': false", NULL},
	{"pass", "", "memory-backend-memfd,share=on"},
};

/* A test of this that ran without the checker would say nothing. */
static void assert_checked(const Vm *vm)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)vm->pid), *maps = NULL;

	assert_true(g_file_get_contents(path, &maps, NULL, NULL));
	assert_contains(maps, CHECKER);
}

static void quit(Vm *vm)
{
	g_autofree char *said = NULL;

	vm_do(vm, "quit", NULL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	said = vm_stderr(vm);
	if (vm_exit_status(vm))
		fail_msg("exit status %d: %s", vm_exit_status(vm), said);
	assert_null(strstr(said, "corrupted"));
}

/* There and on: a destination that becomes a source has other parts of the heap in use. */
static void upgrade(LmTest *test, const Way *way, const char *const *path, guint count)
{
	VmOptions options = {.append = "rate=8",
			     .memory_mib = 128,
			     .root = version_root(path[0]),
			     .backend = way->backend};
	Vm *source;

	lm_test_note("%s", way->name);
	if (strstr(way->name, "readv"))
		options.plugin_args = "engine=process-vm-readv";
	source = migrate_source(test, &options);
	assert_checked(source);
	for (guint i = 1; i < count; i++) {
		g_autoptr(JsonNode) info = NULL;
		Vm *destination;

		options.root = version_root(path[i]);
		destination = migrate_destination(test, &options, source);
		assert_checked(destination);
		info = migrate_ok(source, destination, way->more);
		quit(source);
		vm_assert_intact(destination);
		source = destination;
	}
	quit(source);
}

static void test_upgrades(LmTest *test, const void *arg)
{
	const char *const there[] = {VERSION_7_2, VERSION_7_2, VERSION_7_2};
	const char *const on[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};
	const gboolean all = version_is_here(VERSION_10_0) && version_is_here(VERSION_11_1);

	for (guint i = 0; i < G_N_ELEMENTS(ways); i++)
		upgrade(test, &ways[i], all ? on : there, G_N_ELEMENTS(there));
}

/* The pages come back, and both sides undo what they had begun. */
static void test_comes_back(LmTest *test, const void *arg)
{
	VmOptions options = {
		.append = "rate=8", .memory_mib = 128, .root = version_root(VERSION_7_2)};
	Vm *source = migrate_source(test, &options), *destination, *third;
	g_autoptr(JsonNode) info = NULL, again = NULL;

	options.plugin_args = arg;
	destination = migrate_destination(test, &options, source);
	assert_checked(destination);
	info = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	options.plugin_args = NULL;
	third = migrate_destination(test, &options, source);
	again = migrate_ok(source, third, "");
	quit(source);
	quit(third);
}

static const LmCase cases[] = {
	LM_CASE(test_upgrades),
	LM_CASE_ARG(test_comes_back, "fault=load:fail"),
	LM_CASE_ARG(test_comes_back, "fault=regions:fail"),
};

int main(int argc, char **argv)
{
	if (!version_is_here(VERSION_7_2))
		return lm_test_skip("no QEMU %s", VERSION_7_2);
	g_setenv("LD_PRELOAD", CHECKER, TRUE);
	g_setenv("MALLOC_CHECK_", "3", TRUE);
	g_setenv("MALLOC_PERTURB_", "165", TRUE);
	return LM_TEST_MAIN(argc, argv, cases);
}
