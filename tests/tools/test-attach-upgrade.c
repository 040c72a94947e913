// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The host's QEMU is upgraded from release to release, as packages do it, under a VM that was
 * started with an ordinary command line; the tool takes the guest along.
 */
#include "attach-vm.h"
#include "own-usr.h"
#include "tool.h"
#include "versions.h"

#include <unistd.h>

static const char *const sandbox[] = {
	"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	NULL};

static Vm *ordinary_vm(LmTest *test, const char *const *extra)
{
	VmOptions options = attach_options();
	g_autofree char *program = own_usr_program(test);

	options.memory_mib = 64;
	options.binary = program;
	options.extra = extra;
	return tool_vm(test, &options);
}

static gboolean has_note(JsonNode *report, const char *part)
{
	JsonArray *notes = json_object_get_array_member(json_node_get_object(report), "notes");

	for (guint i = 0; i < json_array_get_length(notes); i++)
		if (g_strrstr(json_array_get_string_element(notes, i), part))
			return TRUE;
	return FALSE;
}

static void run(LmTest *test, Vm *vm, Run *run, const char *more)
{
	run_clear(run);
	tool_run(test, run, NULL, "--qmp", vm->qmp_path, "--plugin", lm_test_env("LM_PLUGIN"),
		 "--way", "share", more, NULL);
}

/* The version that runs behind the VM's monitor. */
static void assert_version(Vm *vm, const char *version)
{
	g_autoptr(JsonNode) reply = tool_command(vm, "query-version", NULL);
	JsonNode *numbers = json_object_get_member(json_node_get_object(reply), "qemu");
	g_autofree char *is = g_strdup_printf("%d_%d", (int)qmp_int(numbers, "major"),
					      (int)qmp_int(numbers, "minor"));

	assert_string_equal(is, version);
}

/* Its memory is shared by the first of them, and passes in the second. */
static void test_release_by_release(LmTest *test, const void *arg)
{
	static const char *const versions[] = {VERSION_10_0, VERSION_11_1};
	g_auto(Run) result = {0};
	Vm *vm = ordinary_vm(test, arg ? sandbox : NULL);

	run(test, vm, &result, NULL);
	assert_int_equal(result.status, 2); /* the very program that runs */
	tool_assert_untouched(vm);
	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		const char *root = version_root(versions[i]);
		pid_t pid = i ? result.new_pid : vm->pid;

		if (!root)
			skip();
		assert_int_equal(own_usr_replace(pid, root), 0);
		run(test, vm, &result, "--dry-run");
		assert_int_equal(result.status, 0);
		assert_true(has_note(result.report, "would be loaded") == !i);
		run(test, vm, &result, NULL);
		tool_assert_upgraded(vm, &result);
		assert_true(has_note(result.report, "main thread was stopped for") == !i);
		assert_version(vm, versions[i]);
	}
}

/* Two steps at once, and nothing is attached where that is forbidden. */
static void test_no_attach(LmTest *test, const void *arg)
{
	const char *root = version_root(VERSION_11_1);
	g_auto(Run) result = {0};
	Vm *vm;

	if (!root)
		skip();
	vm = ordinary_vm(test, NULL);
	assert_int_equal(own_usr_replace(vm->pid, root), 0);
	run(test, vm, &result, "--no-attach");
	assert_int_equal(result.status, 2);
	assert_contains(qmp_str(result.report, "error"), "--no-attach forbids");
	assert_false(attach_is_mapped(vm));
	tool_assert_untouched(vm);
	run(test, vm, &result, NULL);
	tool_assert_upgraded(vm, &result);
	assert_version(vm, VERSION_11_1);
}

static const LmCase cases[] = {
	LM_CASE(test_release_by_release),
	LM_CASE_ARG(test_release_by_release, "in a sandbox"),
	LM_CASE(test_no_attach),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
