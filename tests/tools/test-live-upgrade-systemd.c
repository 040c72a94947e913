/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs that are services of a real systemd. It is process 1 of a machine of namespaces
 * (tests/guest/in-systemd), in which this program runs a second time.
 */
#include "running.h"
#include "tool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define UNITS "/run/systemd/system"

typedef struct Service {
	LmTest *test;
	char *name; /* "vm.service" */
	char *qmp, *serial, *pid_file;
	pid_t pid; /* of the first main process */
} Service;

/* --------------------------------------------------------------------- systemd */

static char *output_of(const char *const *argv)
{
	g_autoptr(GError) error = NULL;
	char *out = NULL;

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, NULL,
		     &error);
	must(error);
	return g_strchomp(out);
}

static void systemctl(const char *verb, const char *unit)
{
	const char *argv[] = {"systemctl", verb, unit, NULL};

	g_free(output_of(argv));
}

static char *property(const Service *service, const char *name)
{
	g_autofree char *option = g_strdup_printf("--property=%s", name);
	const char *argv[] = {"systemctl", "show", "--value", option, service->name, NULL};

	return output_of(argv);
}

static void assert_property(const Service *service, const char *name, const char *value)
{
	g_autofree char *is = property(service, name);

	assert_string_equal(is, value);
}

static void assert_main_process(const Service *service, pid_t pid)
{
	g_autofree char *text = g_strdup_printf("%d", (int)pid);

	assert_property(service, "MainPID", text);
	assert_property(service, "ActiveState", "active");
	assert_property(service, "SubState", "running");
}

static void write_unit(const char *path, const char *text)
{
	g_autofree char *folder = g_path_get_dirname(path);
	g_autoptr(GError) error = NULL;

	g_mkdir_with_parents(folder, 0755);
	g_file_set_contents(path, text, -1, &error);
	must(error);
	systemctl("daemon-reload", NULL);
}

/* -------------------------------------------------------------------- services */

static void service_free(gpointer data)
{
	Service *service = data;
	g_autofree char *unit = g_build_filename(UNITS, service->name, NULL);
	g_autofree char *folder = g_strconcat(unit, ".d", NULL);
	g_autofree char *part = g_build_filename(folder, "access.conf", NULL);

	systemctl("stop", service->name);
	g_unlink(part);
	g_rmdir(folder);
	g_unlink(unit);
	g_free(service->name);
	g_free(service->qmp);
	g_free(service->serial);
	g_free(service->pid_file);
	g_free(service);
}

/* @lines of the [Service] section, a space between them; @before the command, @more arguments of
 * QEMU. */
static Service *start_service(LmTest *test, const char *lines, const char *before, const char *more)
{
	Service *service = g_new0(Service, 1);
	g_autofree char *folder = g_path_get_basename(test->dir), *path = NULL, *text = NULL;
	g_autofree char *pid = NULL, *section = g_strdelimit(g_strdup(lines), " ", '\n');
	g_autoptr(GError) error = NULL;

	service->test = test;
	service->name = g_strdup_printf("vm-%s.service", folder);
	service->qmp = lm_test_path(test, "qmp");
	service->serial = lm_test_path(test, "serial");
	service->pid_file = lm_test_path(test, "pid");
	lm_test_cleanup_later(test, service_free, service);
	path = g_build_filename(UNITS, service->name, NULL);
	text = g_strdup_printf(
		"[Service]\n%s\nExecStart=/bin/sh -c \"%s exec %s -nodefaults -no-user-config "
		"-display none -machine pc-q35-7.2 -accel tcg -cpu qemu64 -m 64 -kernel %s "
		"-append rate=8 -chardev file,id=serial,path=%s,append=on -serial chardev:serial "
		"-qmp unix:%s,server=on,wait=off -plugin %s -pidfile %s %s\"\n",
		section, before, tool_qemu(), lm_test_env("LM_PAYLOAD"), service->serial,
		service->qmp, lm_test_env("LM_PLUGIN"), service->pid_file, more);
	g_file_set_contents(service->serial, "", -1, &error);
	must(error);
	write_unit(path, text);
	systemctl("start", service->name);
	serial_wait(service->serial, "payload ready", LM_WAIT_MS, &error);
	must(error);
	pid = property(service, "MainPID");
	service->pid = (pid_t)g_ascii_strtoll(pid, NULL, 10);
	assert_true(service->pid > 0);
	return service;
}

static void upgrade(const Service *service, Run *run, const char *fault)
{
	tool_run(service->test, run, fault, "--qmp", service->qmp, "--binary", tool_qemu(), NULL);
}

/* The guest is in @pid, and nowhere else. */
static void assert_guest_in(const Service *service, pid_t pid)
{
	g_autoptr(GError) error = NULL;

	assert_int_equal(lu_running_peer_of(service->qmp), pid);
	serial_wait_beats(service->serial, 5, LM_WAIT_MS, NULL, &error);
	must(error);
}

static void assert_followed(const Service *service, const Run *run)
{
	assert_int_equal(run->status, 0);
	assert_guest_in(service, run->new_pid);
	assert_main_process(service, run->new_pid);
	if (qmp_int(run->report, "old-pid"))
		assert_int_not_equal(kill((pid_t)qmp_int(run->report, "old-pid"), 0), 0);
}

static void assert_not_touched(const Service *service)
{
	assert_guest_in(service, service->pid);
	assert_main_process(service, service->pid);
}

/* QEMU ends by itself on SIGTERM, and says so; systemd waits for that. */
static void assert_stops(const Service *service, pid_t pid)
{
	const char *argv[] = {"journalctl", "--sync", NULL};
	const char *log_argv[] = {"journalctl", "--output=cat", "--unit", service->name, NULL};
	g_autofree char *log = NULL;

	systemctl("stop", service->name);
	assert_property(service, "ActiveState", "inactive");
	assert_property(service, "Result", "success");
	assert_int_not_equal(kill(pid, 0), 0);
	g_free(output_of(argv));
	log = output_of(log_argv);
	assert_contains(log, "terminating on signal 15");
	assert_null(strstr(log, "SIGKILL"));
}

/* ----------------------------------------------------------------------- cases */

static void test_listens(LmTest *test, const void *arg)
{
	Service *service = start_service(test, arg, "", "");
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, NULL);
	assert_followed(service, &run);
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
	assert_stops(service, again.new_pid);
}

static void test_notify(LmTest *test, const void *arg)
{
	Service *service =
		start_service(test, "Type=notify NotifyAccess=all", "systemd-notify --ready;", "");
	g_auto(Run) run = {0};

	upgrade(service, &run, NULL);
	assert_followed(service, &run);
	assert_property(service, "StatusText", "upgraded from QEMU 7.2.22 to 7.2.22");
	assert_stops(service, run.new_pid);
}

/* systemd reads the file again when the main process ends. */
static void test_forking(LmTest *test, const void *arg)
{
	g_autofree char *lines = g_strdup_printf("Type=forking PIDFile=%s/pid", test->dir);
	Service *service = start_service(test, lines, "", "-daemonize");
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, NULL);
	assert_followed(service, &run);
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
	systemctl("stop", service->name);
	assert_property(service, "Result", "success");
	assert_int_not_equal(kill(again.new_pid, 0), 0);
}

/* What the refusal says to do is done, and then it is no more. */
static void test_deaf(LmTest *test, const void *arg)
{
	Service *service = start_service(test, "Type=simple", "", "");
	g_autofree char *path = g_strdup_printf(UNITS "/%s.d/access.conf", service->name);
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), service->name);
	assert_contains(qmp_str(run.report, "error"), "NotifyAccess=main");
	assert_not_touched(service);
	write_unit(path, "[Service]\nNotifyAccess=main\n");
	assert_not_touched(service);
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
	assert_stops(service, again.new_pid);
}

static void test_other_pid_file(LmTest *test, const void *arg)
{
	g_autofree char *file = lm_test_path(test, "other");
	g_autofree char *lines = g_strdup_printf("Type=forking PIDFile=%s", file);
	g_autofree char *before = g_strdup_printf("ln %s/pid %s 2>/dev/null;", test->dir, file);
	g_autofree char *own = lm_test_path(test, "pid");
	g_auto(Run) run = {0};
	g_autoptr(GError) error = NULL;
	Service *service;

	/* One file with two names, of which QEMU is told one. */
	g_file_set_contents(own, "", -1, &error);
	must(error);
	service = start_service(test, lines, before, "-daemonize");
	upgrade(service, &run, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "PIDFile=");
	assert_not_touched(service);
}

/* A filter of systemd's cannot be given to another process. */
static void test_filtered(LmTest *test, const void *arg)
{
	Service *service =
		start_service(test, "NotifyAccess=main SystemCallFilter=~@reboot", "", "");
	g_auto(Run) run = {0};

	upgrade(service, &run, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "another number of seccomp filters: 0, and");
	assert_not_touched(service);
}

static void test_all(LmTest *test, const void *arg)
{
	Service *service = start_service(test, "NotifyAccess=main", "", "");
	g_autofree char *copy = g_strconcat(tool_qemu(), ".new", NULL);
	const char *cp[] = {"cp", tool_qemu(), copy, NULL};
	g_auto(Run) run = {0};
	JsonNode *vm;

	/* In this machine only. */
	g_free(output_of(cp));
	assert_int_equal(rename(copy, tool_qemu()), 0);
	tool_run(test, &run, NULL, "--all", NULL);
	assert_int_equal(run.status, 0);
	vm = json_array_get_element(
		json_object_get_array_member(json_node_get_object(run.report), "vms"), 0);
	assert_string_equal(qmp_str(vm, "kind"), "service");
	assert_string_equal(qmp_str(vm, "unit"), service->name);
	assert_string_equal(qmp_str(vm, "outcome"), "upgraded");
	assert_main_process(service, (pid_t)qmp_int(vm, "new-pid"));
	assert_guest_in(service, (pid_t)qmp_int(vm, "new-pid"));
}

#if LM_FAULT_INJECTION
static void test_fails(LmTest *test, const void *arg)
{
	Service *service = start_service(test, "NotifyAccess=main", "", "");
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, arg);
	assert_int_equal(run.status, 3);
	assert_not_touched(service);
	assert_property(service, "StatusText", "");
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
}

static gboolean has_ended(void *pid)
{
	return kill(GPOINTER_TO_INT(pid), 0) != 0;
}

static void test_killed(LmTest *test, const void *arg)
{
	Service *service = start_service(test, "NotifyAccess=main", "", "");
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, arg);
	assert_int_equal(run.status, 128 + SIGKILL);
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
	assert_stops(service, again.new_pid);
}

/* Nobody is there to put the file back that systemd reads. */
static void test_forking_killed(LmTest *test, const void *arg)
{
	g_autofree char *lines = g_strdup_printf("Type=forking PIDFile=%s/pid", test->dir);
	Service *service = start_service(test, lines, "", "-daemonize");
	g_auto(Run) run = {0}, again = {0};

	upgrade(service, &run, arg);
	assert_int_equal(run.status, 128 + SIGKILL);
	assert_true(lm_wait_until(has_ended, GINT_TO_POINTER((int)service->pid), LM_WAIT_MS));
	upgrade(service, &again, NULL);
	assert_followed(service, &again);
}

/* It listened, and then it did not: the old process stays, for the service's sake. */
static void test_not_followed(LmTest *test, const void *arg)
{
	Service *service = start_service(test, "NotifyAccess=main", "", "");
	g_auto(Run) run = {0};

	upgrade(service, &run, "hand-on:fail");
	assert_int_equal(run.status, 0);
	assert_guest_in(service, run.new_pid);
	assert_main_process(service, service->pid);
	assert_contains(run.out, "is left as the main process of vm-");
}
#endif

static const LmCase cases[] = {
	LM_CASE_ARG(test_listens, "Type=simple NotifyAccess=main"),
	LM_CASE_ARG(test_listens, "Type=exec NotifyAccess=exec LimitCORE=0 Nice=3"),
	LM_CASE(test_notify),
	LM_CASE(test_forking),
	LM_CASE(test_deaf),
	LM_CASE(test_other_pid_file),
	LM_CASE(test_filtered),
	LM_CASE(test_all),
#if LM_FAULT_INJECTION
	LM_CASE_ARG(test_fails, "prepare:fail"),
	LM_CASE_ARG(test_fails, "greet:fail"),
	LM_CASE_ARG(test_killed, "start:kill"),
	LM_CASE_ARG(test_killed, "names:kill"),
	LM_CASE_ARG(test_killed, "follow:kill"),
	LM_CASE_ARG(test_forking_killed, "asked:kill"),
	LM_CASE(test_not_followed),
#endif
};

/* The machine cannot be made everywhere: its 77 is a skip. */
static int in_machine(char **argv)
{
	g_autoptr(GPtrArray) line = g_ptr_array_new();
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	int status = 0;

	g_ptr_array_add(line, (char *)g_getenv("LM_IN_SYSTEMD"));
	g_ptr_array_add(line, self);
	for (guint i = 1; argv[i]; i++)
		g_ptr_array_add(line, argv[i]);
	g_ptr_array_add(line, NULL);
	g_setenv("LM_IN_MACHINE", "1", TRUE);
	if (!g_spawn_sync(NULL, (char **)line->pdata, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL,
			  NULL, NULL, NULL, &status, NULL))
		return 1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return lm_test_skip("no machine with systemd can be made here");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	if (!g_getenv("LM_IN_MACHINE"))
		return in_machine(argv);
	return LM_TEST_MAIN(argc, argv, cases);
}
