/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tool refuses: by name, with its exit status, and nothing is touched. */
#include "tool.h"

#include <string.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

static void assert_refused(const Run *run, int status, const char *text)
{
	assert_int_equal(run->status, status);
	assert_non_null(run->report);
	assert_contains(qmp_str(run->report, "error"), text);
	assert_null(strchr(qmp_str(run->report, "error"), '\n'));
}

static void test_usage(LmTest *test, const void *arg)
{
	static const char *const lines[][4] = {
		{NULL},
		{"1", "2", NULL},
		{"nothing", NULL},
		{"--way", "sideways", "1", NULL},
		{"--unknown", "1", NULL},
		{"--qmp", "/nowhere", "1", NULL},
	};

	for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, lines[i][0], lines[i][0] ? lines[i][1] : NULL,
			 lines[i][0] && lines[i][1] ? lines[i][2] : NULL, NULL);
		assert_int_equal(run.status, 1);
		assert_contains(run.err, "qemu-live-upgrade: ");
	}
}

static void test_no_qemu(LmTest *test, const void *arg)
{
	g_autofree char *self = g_strdup_printf("%d", (int)getpid());
	g_auto(Run) not = {0}, none = {0}, nobody = {0};

	tool_run(test, &not, NULL, self, NULL);
	assert_refused(&not, 2, "not a QEMU");
	tool_run(test, &none, NULL, "2147483600", NULL);
	assert_refused(&none, 2, "there is no process 2147483600");
	tool_run(test, &nobody, NULL, "--qmp", "/nowhere/qmp", NULL);
	assert_refused(&nobody, 2, "/nowhere/qmp");
}

static void test_no_plugin(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--no-attach",
		 NULL);
	assert_refused(&run, 2, "--no-attach forbids to load it");
	tool_assert_untouched(vm);
	run_clear(&run);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 "/nowhere/localhost-migrate.so", NULL);
	assert_refused(&run, 2, "/nowhere/localhost-migrate.so");
	tool_assert_untouched(vm);
}

/* Its only client is somebody else. */
static void test_monitor_in_use(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);
	g_autoptr(GError) error = NULL;
	g_autoptr(QmpClient) client = qmp_connect(vm->qmp_path, -1, LM_WAIT_MS, &error);
	g_auto(Run) run = {0};

	must(error);
	tool_run(test, &run, NULL, pid, NULL);
	assert_refused(&run, 2, "another client");
	g_clear_pointer(&client, qmp_free);
	tool_assert_untouched(vm);
}

static void test_no_monitor(LmTest *test, const void *arg)
{
	g_autofree char *script =
		tool_script(test, "qemu",
			    "for a; do shift; case $a in -qmp|unix:*) ;; *) set -- \"$@\" \"$a\"; "
			    "esac; done\nexec %s \"$@\"\n",
			    tool_qemu());
	VmOptions options = plain;
	g_autofree char *pid = NULL;
	g_auto(Run) run = {0};
	Vm *vm;

	options.binary = script;
	vm = tool_vm(test, &options);
	pid = g_strdup_printf("%d", (int)vm->pid);
	tool_run(test, &run, NULL, pid, NULL);
	assert_refused(&run, 2, "has no QMP socket");
	assert_true(vm_alive(vm));
}

static void test_same_binary(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, NULL);
	assert_refused(&run, 2, "which is what is installed");
	tool_assert_untouched(vm);
}

/* Answers what the tool asks a program for, as a QEMU of another version would. */
static char *other_qemu(LmTest *test, int major, const char *machine)
{
	return tool_script(test, "other-qemu",
			   "echo '{\"QMP\": {}}' >&3\n"
			   "while read -r line <&3; do case $line in\n"
			   "*query-version*) echo '{\"return\": {\"qemu\": {\"major\": %d, "
			   "\"minor\": 0, \"micro\": 0}}}' ;;\n"
			   "*query-machines*) echo '{\"return\": [{\"name\": \"%s\"}]}' ;;\n"
			   "*) echo '{\"return\": {}}' ;;\n"
			   "esac >&3; done\n",
			   major, machine);
}

static void test_binaries(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) missing = {0}, not_qemu = {0}, older = {0}, lacks = {0}, downgrade = {0};
	g_autofree char *binary = NULL, *second = NULL;

	tool_run(test, &missing, NULL, "--qmp", vm->qmp_path, "--binary", "/nowhere/qemu", NULL);
	assert_refused(&missing, 2, "there is no program /nowhere/qemu");
	tool_run(test, &not_qemu, NULL, "--qmp", vm->qmp_path, "--binary", "/bin/true", NULL);
	assert_refused(&not_qemu, 2, "/bin/true is no QEMU");
	binary = other_qemu(test, 6, "pc-q35-7.2");
	tool_run(test, &older, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	assert_refused(&older, 2, "QEMU 6.0.0, older than the running 7.2");
	tool_run(test, &downgrade, NULL, "--dry-run", "--allow-downgrade", "--qmp", vm->qmp_path,
		 "--binary", binary, NULL);
	assert_int_equal(downgrade.status, 0);
	second = other_qemu(test, 12, "pc-q35-12.0");
	tool_run(test, &lacks, NULL, "--qmp", vm->qmp_path, "--binary", second, NULL);
	assert_refused(&lacks, 2, "has no machine type pc-q35-7.2");
	tool_assert_untouched(vm);
}

static void test_options(LmTest *test, const void *arg)
{
	const char *const *extra = arg;
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_refused(&run, 2, "cannot be handed over");
	assert_contains(qmp_str(run.report, "error"), extra[1] ? extra[1] : extra[0]);
	tool_assert_untouched(vm);
}

static const char *const gdb[] = {"-gdb", "tcp:127.0.0.1:0", NULL};
static const char *const socket_net[] = {"-netdev", "socket,id=n1,listen=127.0.0.1:0", NULL};

static const LmCase cases[] = {
	LM_CASE(test_usage),
	LM_CASE(test_no_qemu),
	LM_CASE(test_no_plugin),
	LM_CASE(test_monitor_in_use),
	LM_CASE(test_no_monitor),
	LM_CASE(test_same_binary),
	LM_CASE(test_binaries),
	{"test_options gdb", test_options, gdb},
	{"test_options socket", test_options, socket_net},
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
