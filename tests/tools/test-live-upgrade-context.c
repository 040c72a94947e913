// SPDX-License-Identifier: GPL-2.0-or-later
/* The new process is what the old one was: its user, namespaces, control groups, limits. */
#include "cgroup.h"
#include "running.h"
#include "tool.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

static void assert_same_proc(pid_t old, pid_t new, char *const *before, const char *const *names)
{
	for (guint i = 0; names[i]; i++) {
		g_autofree char *now = tool_proc(new, names[i]);

		assert_string_equal(now, before[i]);
	}
}

static char *status_line(pid_t pid, const char *name)
{
	g_autofree char *text = tool_proc(pid, "status");

	return lu_proc_status_field(text, name);
}

static void test_context(LmTest *test, const void *arg)
{
	static const char *const names[] = {"cgroup", "limits", "oom_score_adj", "coredump_filter",
					    NULL};
	g_autoptr(GError) error = NULL;
	LmCgroup *cgroup = cgroup_new(test, &error);
	g_autofree char *script = tool_script(
		test, "qemu",
		"echo 300 >/proc/self/oom_score_adj\necho 0x31 >/proc/self/coredump_filter\n"
		"umask 027\nulimit -n 700\nulimit -c 0\nexec nice -n 3 taskset 2 %s \"$@\"\n",
		tool_qemu());
	VmOptions options = plain;
	char *before[4];
	g_autofree char *cpus = NULL, *new_cpus = NULL, *umask_text = NULL;
	g_auto(Run) run = {0};
	Vm *vm;

	options.binary = script;
	if (cgroup)
		options.cgroup_procs = cgroup_procs_path(cgroup);
	vm = tool_vm(test, &options);
	for (guint i = 0; names[i]; i++)
		before[i] = tool_proc(vm->pid, names[i]);
	cpus = status_line(vm->pid, "Cpus_allowed_list");
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	assert_same_proc(vm->pid, run.new_pid, before, names);
	new_cpus = status_line(run.new_pid, "Cpus_allowed_list");
	assert_string_equal(new_cpus, cpus);
	assert_string_equal(cpus, "1");
	umask_text = status_line(run.new_pid, "Umask");
	assert_string_equal(umask_text, "0027");
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)run.new_pid), 3);
	for (guint i = 0; names[i]; i++)
		g_free(before[i]);
	/* The control group must be empty when it is removed, before the others are killed. */
	kill(run.new_pid, SIGKILL);
	waitpid(run.new_pid, NULL, 0);
}

/* Namespaces of its own, and a socket that only they have. */
static void test_namespaces(LmTest *test, const void *arg)
{
	g_autofree char *inner = tool_script(
		test, "inner",
		"mount -t tmpfs none /mnt\nexec %s \"$@\" -monitor unix:/mnt/mon,server,nowait\n",
		tool_qemu());
	g_autofree char *script =
		tool_script(test, "qemu", "exec unshare -m -n -u -i %s \"$@\"\n", inner);
	static const char *const names[] = {"mnt", "net", "uts", "ipc"};
	VmOptions options = plain;
	g_autofree char *monitor = NULL;
	char *before[4];
	g_auto(Run) run = {0};
	Vm *vm;

	options.binary = script;
	vm = tool_vm(test, &options);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path = g_strdup_printf("/proc/%d/ns/%s", (int)vm->pid, names[i]);

		before[i] = g_file_read_link(path, NULL);
	}
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path =
			g_strdup_printf("/proc/%d/ns/%s", (int)run.new_pid, names[i]);
		g_autofree char *now = g_file_read_link(path, NULL);

		assert_string_equal(now, before[i]);
		g_free(before[i]);
	}
	monitor = g_strdup_printf("/proc/%d/root/mnt/mon", (int)run.new_pid);
	assert_int_equal(lu_running_peer_of(monitor), run.new_pid);
}

#define AS_NOBODY "setpriv --reuid 65534 --regid 65534 --clear-groups "

typedef struct User {
	const char *become; /* the words before QEMU's */
	uid_t uid;
	uid_t folder_uid; /* the case's folder is this user's and group's */
	gid_t folder_gid;
	mode_t folder_mode;
} User;

/* The user must get at the plugin, the guest and the folder. */
static Vm *vm_of_user(LmTest *test, const User *user, char **plugin)
{
	g_autofree char *kernel = lm_test_copy(test, lm_test_env("LM_PAYLOAD"), 0644);
	g_autofree char *script =
		tool_script(test, "qemu", "exec %s%s \"$@\"\n", user->become, tool_qemu());
	g_autofree char *serial = lm_test_path(test, "user.serial");
	VmOptions options = plain;

	*plugin = lm_test_copy(test, lm_test_env("LM_PLUGIN"), 0644);
	assert_int_equal(chown(test->dir, user->folder_uid, user->folder_gid), 0);
	assert_int_equal(chmod(test->dir, user->folder_mode), 0);
	assert_true(g_file_set_contents(serial, "", 0, NULL));
	assert_int_equal(chown(serial, user->uid, user->uid), 0);
	options.kernel = kernel;
	options.plugin = *plugin;
	options.binary = script;
	options.serial_path = serial;
	return tool_vm(test, &options);
}

static Vm *vm_of_nobody(LmTest *test, char **plugin)
{
	static const User nobody = {.become = AS_NOBODY,
				    .uid = 65534,
				    .folder_uid = 65534,
				    .folder_gid = 65534,
				    .folder_mode = 0700};

	return vm_of_user(test, &nobody, plugin);
}

/* Of memory that was shared live there is nothing to say; @not_live: that it was not, and why. */
static void assert_live(const Run *run, gboolean not_live)
{
	g_autofree char *report = json_to_string(run->report, FALSE);

	if (access("/dev/userfaultfd", R_OK | W_OK))
		return;
	if (strstr(report, "memory was shared while the guest was stopped") ? !not_live : not_live)
		fail_msg("shared live: %s", report);
}

static gboolean everybody_may(void)
{
	g_autofree char *text = NULL;

	return !g_file_get_contents("/proc/sys/vm/unprivileged_userfaultfd", &text, NULL, NULL) ||
	       *text == '1';
}

static void test_root_for_nobody(LmTest *test, const void *arg)
{
	g_autofree char *plugin = NULL, *uid = NULL;
	Vm *vm = vm_of_nobody(test, &plugin);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	uid = status_line(run.new_pid, "Uid");
	assert_string_equal(uid, "65534\t65534\t65534\t65534");
	assert_live(&run, FALSE); /* root has lent it the device */
}

static void test_nobody_for_nobody(LmTest *test, const void *arg)
{
	g_autofree char *plugin = NULL, *tool = NULL, *script = NULL;
	g_autofree char *runtime = lm_test_path(test, "run");
	Vm *vm = vm_of_nobody(test, &plugin);
	g_auto(GStrv) envp = g_environ_setenv(g_get_environ(), "XDG_RUNTIME_DIR", runtime, TRUE);
	g_auto(Run) run = {0};

	assert_int_equal(mkdir(runtime, 0700), 0);
	assert_int_equal(chown(runtime, 65534, 65534), 0);
	tool = lm_test_copy(test, lm_test_env("LM_TOOL"), 0755);
	script = tool_script(test, "as-nobody", "exec " AS_NOBODY "%s \"$@\"\n", tool);
	tool_run_argv(test, &run,
		      (const char *const[]){script, "--json", "--qmp", vm->qmp_path, "--binary",
					    tool_qemu(), NULL},
		      envp);
	tool_assert_upgraded(vm, &run);
	assert_live(&run, !everybody_may());
}

static void test_nobody_for_root(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *tool = lm_test_copy(test, lm_test_env("LM_TOOL"), 0755), *script = NULL;
	g_auto(GStrv) envp = g_environ_setenv(g_get_environ(), "XDG_RUNTIME_DIR", "/tmp", TRUE);
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);
	g_auto(Run) run = {0};

	assert_int_equal(chmod(test->dir, 0711), 0);
	script = tool_script(test, "as-nobody", "exec " AS_NOBODY "%s \"$@\"\n", tool);
	tool_run_argv(test, &run, (const char *const[]){script, "--json", pid, NULL}, envp);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "only root may upgrade");
	tool_assert_untouched(vm);
	g_rmdir("/tmp/qemu-live-upgrade");
}

/* A folder in which QEMU may make its sockets by a group of its user's only. */
static const User of_group = {.become = "setpriv --reuid 12345 --regid 12345 --groups 12345,12346 ",
			      .uid = 12345,
			      .folder_gid = 12346,
			      .folder_mode = 0770};

static void test_folder_of_group(LmTest *test, const void *arg)
{
	g_autofree char *plugin = NULL, *groups = NULL;
	Vm *vm = vm_of_user(test, &of_group, &plugin);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	groups = status_line(run.new_pid, "Groups");
	assert_string_equal(groups, "12345 12346");
}

/* What QEMU may do there by a capability, its user may not, in whose name sockets are renamed. */
static void test_folder_of_another(LmTest *test, const void *arg)
{
	static const User user = {.become =
					  "setpriv --reuid 12345 --regid 12345 --clear-groups "
					  "--inh-caps +dac_override --ambient-caps +dac_override ",
				  .uid = 12345,
				  .folder_mode = 0755};
	g_autofree char *plugin = NULL;
	Vm *vm = vm_of_user(test, &user, &plugin);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "user 12345 cannot write to");
	assert_contains(qmp_str(run.report, "error"), test->dir);
	tool_assert_untouched(vm);
}

#if LM_FAULT_INJECTION
/* The name is root's when the guest has moved: the only one there is stays until it can be renamed.
 */
static void test_folder_is_sticky(LmTest *test, const void *arg)
{
	g_autofree char *plugin = NULL, *private = NULL, *pid = NULL;
	Vm *vm = vm_of_user(test, &of_group, &plugin);
	g_auto(Run) killed = {0}, closed = {0}, run = {0};

	private = g_strconcat(vm->qmp_path, ".lu1", NULL);
	tool_run(test, &killed, "handover:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 NULL);
	assert_int_equal(killed.status, 128 + SIGKILL);
	assert_int_equal(chmod(test->dir, 01770), 0);
	assert_int_equal(chown(vm->qmp_path, 0, 0), 0);
	tool_run(test, &closed, NULL, "--qmp", vm->qmp_path, NULL);
	assert_int_equal(closed.status, 0);
	assert_int_equal(lu_running_peer_of(private), closed.new_pid);
	assert_int_equal(chmod(test->dir, 0770), 0);
	pid = g_strdup_printf("%d", (int)closed.new_pid);
	tool_run(test, &run, NULL, pid, NULL);
	tool_assert_upgraded(vm, &run);
}
#endif

static const LmCase cases[] = {
	LM_CASE(test_context),		 LM_CASE(test_namespaces),
	LM_CASE(test_root_for_nobody),	 LM_CASE(test_nobody_for_nobody),
	LM_CASE(test_nobody_for_root),	 LM_CASE(test_folder_of_group),
	LM_CASE(test_folder_of_another),
#if LM_FAULT_INJECTION
	LM_CASE(test_folder_is_sticky),
#endif
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
