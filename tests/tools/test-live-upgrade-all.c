/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All VMs of a host at once. */
#include "own-host.h"
#include "running.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ----------------------------------------------------------------------- hosts */

static Vm *named_vm(LmTest *test, const char *name, guint memory_mib, const char *const *more)
{
	VmOptions options = {.append = "rate=8", .memory_mib = memory_mib};
	const char *extra[8] = {"-name", name};

	for (guint i = 0; more && more[i]; i++)
		extra[2 + i] = more[i];
	options.extra = extra;
	return tool_vm(test, &options);
}

/* Three VMs, the last one started is the first in turn. */
typedef struct Host {
	Vm *vms[3];
} Host;

static Host three(LmTest *test)
{
	Host host = {{named_vm(test, "large", 128, NULL), named_vm(test, "middle", 96, NULL),
		      named_vm(test, "small", 64, NULL)}};

	own_host_install(test);
	return host;
}

static void assert_outcome(const Run *run, const char *name, const char *outcome)
{
	assert_string_equal(qmp_str(own_host_vm(run, name), "outcome"), outcome);
}

static void note_vms(const Run *run)
{
	JsonArray *vms =
		run->report ? json_object_get_array_member(json_node_get_object(run->report), "vms")
			    : NULL;

	for (guint i = 0; vms && i < json_array_get_length(vms); i++) {
		JsonNode *vm = json_array_get_element(vms, i);
		const char *error = qmp_str(vm, "error");

		lm_test_note("%s: %s %s", qmp_str(vm, "name"), qmp_str(vm, "outcome"),
			     error ? error : "");
	}
}

static guint count_vms(const Run *run)
{
	return json_array_get_length(
		json_object_get_array_member(json_node_get_object(run->report), "vms"));
}

/* Moved in this run. */
static void assert_moved(const Run *run, Vm *vm, const char *name)
{
	Run one = {.status = 0, .report = own_host_vm(run, name)};

	one.new_pid = (pid_t)qmp_int(one.report, "new-pid");
	tool_assert_upgraded(vm, &one);
}

/* Its guest is in the one process that there is, which is another than it was started in. */
static void assert_moved_before(Vm *vm)
{
	Run one = {.new_pid = lu_running_peer_of(vm->qmp_path),
		   .report = json_from_string("{\"outcome\": \"upgraded\"}", NULL)};

	tool_assert_upgraded(vm, &one);
	json_node_unref(one.report);
}

static void assert_all_moved_before(const Host *host)
{
	for (guint i = 0; i < G_N_ELEMENTS(host->vms); i++)
		assert_moved_before(host->vms[i]);
}

static void run_all(LmTest *test, Run *run, const char *fault, const char *fault_vm,
		    const char *parallel)
{
	if (fault_vm)
		g_setenv("QEMU_LIVE_UPGRADE_FAULT_VM", fault_vm, TRUE);
	tool_run(test, run, fault, "--all", "--parallel", parallel, NULL);
	g_unsetenv("QEMU_LIVE_UPGRADE_FAULT_VM");
	note_vms(run);
}

/* ----------------------------------------------------------------- what is found */

static void test_nothing(LmTest *test, const void *arg)
{
	g_auto(Run) run = {0};

	run_all(test, &run, NULL, NULL, "1");
	assert_int_equal(run.status, 0);
	assert_int_equal(count_vms(&run), 0);
}

static void kill_helper(gpointer pid)
{
	kill(GPOINTER_TO_INT(pid), SIGKILL);
	waitpid(GPOINTER_TO_INT(pid), NULL, 0);
}

/* A program of QEMU's that is no VM, in the background. */
static void start_helper(LmTest *test, const char *const *argv)
{
	g_autoptr(GError) error = NULL;
	GPid pid;

	g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
		      NULL, NULL, &pid, &error);
	must(error);
	lm_test_cleanup_later(test, kill_helper, GINT_TO_POINTER(pid));
}

/* One that can be upgraded, one that cannot, one that needs not, and what is none. */
static void test_all(LmTest *test, const void *arg)
{
	static const char *const refused_extra[] = {"-gdb", "tcp:127.0.0.1:0", NULL};
	g_autofree char *socket = lm_test_path(test, "nbd"), *image = lm_test_path(test, "image");
	const char *const nbd[] = {"qemu-nbd", "-t", "-f", "raw", "-k", socket, image, NULL};
	const char *const probe[] = {tool_qemu(), "-M", "none", "-display", "none", NULL};
	Vm *refused = named_vm(test, "refused", 64, refused_extra), *current;
	Host host = three(test);
	g_auto(Run) dry = {0}, run = {0}, again = {0};

	current = named_vm(test, "current", 64, NULL);
	g_file_set_contents(image, "0123456789abcdef", -1, NULL);
	start_helper(test, nbd);
	start_helper(test, probe);
	tool_run(test, &dry, NULL, "--all", "--dry-run", NULL);
	assert_int_equal(dry.status, 2);
	assert_outcome(&dry, "small", "possible");
	assert_outcome(&dry, "refused", "refused");
	assert_outcome(&dry, "current", "current");
	tool_assert_untouched(host.vms[0]);
	tool_assert_untouched(refused);

	run_all(test, &run, NULL, NULL, arg);
	assert_int_equal(run.status, 2);
	assert_int_equal(count_vms(&run), 5);
	assert_moved(&run, host.vms[0], "large");
	assert_moved(&run, host.vms[1], "middle");
	assert_moved(&run, host.vms[2], "small");
	assert_contains(qmp_str(own_host_vm(&run, "refused"), "error"), "-gdb");
	tool_assert_untouched(refused);
	tool_assert_untouched(current);
	assert_true(qmp_int(run.report, "peak-bytes") >= 0);

	vm_kill(refused, SIGKILL);
	vm_wait_exit(refused, LM_WAIT_MS);
	run_all(test, &again, NULL, NULL, arg);
	assert_int_equal(again.status, 0);
	assert_outcome(&again, "large", "current");
	assert_all_moved_before(&host);
}

static void test_lines(LmTest *test, const void *arg)
{
	const char *argv[] = {lm_test_env("LM_TOOL"), "--all", NULL};
	const char *status_argv[] = {lm_test_env("LM_TOOL"), "status", NULL};
	Host host = three(test);
	g_auto(Run) run = {0}, status = {0};
	const char *small, *large;

	tool_run_argv(test, &run, argv, NULL);
	assert_int_equal(run.status, 0);
	small = strstr(run.out, "upgraded    small (process ");
	large = strstr(run.out, "upgraded    large (process ");
	assert_true(small && large && small < large);
	assert_contains(run.out, "summary     3 upgraded; ");
	assert_all_moved_before(&host);
	tool_run_argv(test, &status, status_argv, NULL);
	assert_int_equal(status.status, 0);
	assert_contains(status.out, "current     large (process ");
	assert_contains(status.out, ", ended\n");
}

/* Who is not root sees what is its own. */
static void test_other_user(LmTest *test, const void *arg)
{
	g_autofree char *script =
		tool_script(test, "qemu",
			    "chmod 0777 %s; chmod 0666 %s/*.serial %s/*.stderr\n"
			    "exec setpriv --reuid=65534 --regid=65534 --clear-groups %s \"$@\"\n",
			    test->dir, test->dir, test->dir, tool_qemu());
	static const char *const extra[] = {"-name", "own", NULL};
	VmOptions options = {.append = "rate=8", .memory_mib = 64, .extra = extra};
	const char *argv[] = {"/usr/bin/setpriv",
			      "--reuid=65534",
			      "--regid=65534",
			      "--clear-groups",
			      lm_test_env("LM_TOOL"),
			      "--json",
			      "--all",
			      "--way",
			      "flip",
			      NULL};
	Vm *others = named_vm(test, "others", 64, NULL), *own;
	g_auto(GStrv) envp = g_environ_unsetenv(g_get_environ(), "XDG_RUNTIME_DIR");
	g_auto(Run) run = {0}, filtered = {0};

	options.binary = script;
	own = tool_vm(test, &options);
	own_host_install(test);
	tool_run(test, &filtered, NULL, "--all", "--dry-run", "--user", "65534", NULL);
	assert_int_equal(count_vms(&filtered), 1);
	assert_outcome(&filtered, "own", "possible");
	tool_run_argv(test, &run, argv, envp);
	assert_int_equal(run.status, 0);
	assert_int_equal(count_vms(&run), 1);
	assert_moved(&run, own, "own");
	tool_assert_untouched(others);
}

/* --------------------------------------------------------------------- what fails */

static gboolean is_begun(void *opaque)
{
	g_autofree char *text = NULL;

	return g_file_get_contents(OWN_HOST_BASE "/host-run", &text, NULL, NULL) &&
	       strstr(text, "\"outcome\" : \"under-way\"");
}

/* Runs it, and does something when the first VM is under way. */
typedef struct Background {
	GPid pid;
	int status;
} Background;

static void start_in_background(LmTest *test, Background *tool, const char *parallel)
{
	const char *argv[] = {lm_test_env("LM_TOOL"), "--quiet", "--all",
			      "--parallel",	      parallel,	 NULL};
	g_autoptr(GError) error = NULL;

	unlink(OWN_HOST_BASE "/host-run");
	g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &tool->pid,
		      &error);
	must(error);
	assert_true(lm_wait_until(is_begun, NULL, LM_WAIT_MS));
}

static void wait_for_background(Background *tool)
{
	assert_int_equal(waitpid(tool->pid, &tool->status, 0), tool->pid);
}

/* A VM that ends by itself is no failure. */
static void test_vm_ends(LmTest *test, const void *arg)
{
	Host host = three(test);
	Background tool;

	start_in_background(test, &tool, "1");
	vm_kill(host.vms[0], SIGKILL);
	wait_for_background(&tool);
	assert_true(WIFEXITED(tool.status));
	assert_int_equal(WEXITSTATUS(tool.status), 0);
	assert_moved_before(host.vms[1]);
	assert_moved_before(host.vms[2]);
	assert_true(vm_wait_exit(host.vms[0], LM_WAIT_MS));
}

/* No new one is begun; what is under way comes to its end. */
static void test_terminated(LmTest *test, const void *arg)
{
	Host host = three(test);
	g_auto(Run) busy = {0}, run = {0};
	Background tool;

	start_in_background(test, &tool, "1");
	run_all(test, &busy, NULL, NULL, "1");
	assert_int_equal(busy.status, 2);
	assert_contains(busy.err, "another run of --all is at work, process ");
	kill(tool.pid, SIGTERM);
	wait_for_background(&tool);
	assert_true(WIFEXITED(tool.status));
	assert_int_equal(WEXITSTATUS(tool.status), 2);
	assert_moved_before(host.vms[2]);
	tool_assert_untouched(host.vms[0]);
	run_all(test, &run, NULL, NULL, "1");
	assert_int_equal(run.status, 0);
	assert_all_moved_before(&host);
}

/* The tool and its workers, at once. */
static void kill_tree(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
	g_autofree char *text = NULL;
	g_auto(GStrv) children = NULL;

	kill(pid, SIGSTOP);
	g_file_get_contents(path, &text, NULL, NULL);
	children = g_strsplit(text ? text : "", " ", -1);
	for (guint i = 0; children[i] && *children[i]; i++)
		kill((pid_t)g_ascii_strtoll(children[i], NULL, 10), SIGKILL);
	kill(pid, SIGKILL);
}

/* Zombies have no program. */
static guint count_emulators(void)
{
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
	const char *name;
	guint count = 0;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_strdup_printf("/proc/%s/exe", name);
		g_autofree char *program = g_file_read_link(path, NULL);

		count += program && strstr(program, "qemu-system-") != NULL;
	}
	return count;
}

static void test_all_killed(LmTest *test, const void *arg)
{
	guint delay_ms = (guint)g_ascii_strtoull(arg, NULL, 10);
	Host host = three(test);
	g_auto(Run) run = {0};
	Background tool;

	start_in_background(test, &tool, "3");
	g_usleep(delay_ms * 1000);
	kill_tree(tool.pid);
	wait_for_background(&tool);
	run_all(test, &run, NULL, NULL, "3");
	assert_int_equal(run.status, 0);
	assert_true(qmp_bool(run.report, "continued") || delay_ms);
	assert_all_moved_before(&host);
	assert_int_equal(count_emulators(), 3);
}

#if LM_FAULT_INJECTION
/* The one that fails goes on where it was, and nothing is begun after it. */
static void test_fails(LmTest *test, const void *arg)
{
	Host host = three(test);
	g_auto(Run) run = {0}, again = {0};

	run_all(test, &run, "greet:fail", "middle", "1");
	assert_int_equal(run.status, 3);
	assert_moved(&run, host.vms[2], "small");
	assert_outcome(&run, "middle", "rolled-back");
	assert_outcome(&run, "large", "not-begun");
	assert_contains(qmp_str(run.report, "stopped-by"), "middle");
	tool_assert_untouched(host.vms[1]);
	tool_assert_untouched(host.vms[0]);
	run_all(test, &again, NULL, NULL, "1");
	assert_int_equal(again.status, 0);
	assert_outcome(&again, "small", "current");
	assert_moved(&again, host.vms[1], "middle");
	assert_moved(&again, host.vms[0], "large");
}

static void test_keeps_going(LmTest *test, const void *arg)
{
	Host host = three(test);
	g_auto(Run) run = {0};

	g_setenv("QEMU_LIVE_UPGRADE_FAULT_VM", "small", TRUE);
	tool_run(test, &run, "forked:fail", "--all", "--keep-going", NULL);
	g_unsetenv("QEMU_LIVE_UPGRADE_FAULT_VM");
	assert_int_equal(run.status, 3);
	assert_outcome(&run, "small", "rolled-back");
	tool_assert_untouched(host.vms[2]);
	assert_moved(&run, host.vms[1], "middle");
	assert_moved(&run, host.vms[0], "large");
}

/* The process that upgrades one is killed: the tool settles what that left. */
static void test_worker_killed(LmTest *test, const void *arg)
{
	const gboolean moved = strcmp(arg, "greet"), silent = !strcmp(arg, "settle");
	g_autofree char *fault = g_strconcat(arg, ":kill", NULL);
	Host host = three(test);
	g_auto(Run) run = {0};

	run_all(test, &run, fault, "middle", "3");
	assert_moved(&run, host.vms[2], "small");
	assert_int_equal(run.status, moved ? 0 : 3);
	if (silent) {
		assert_outcome(&run, "middle", "ended");
		assert_moved_before(host.vms[1]);
		return;
	}
	if (moved) {
		assert_moved(&run, host.vms[1], "middle");
		assert_true(qmp_bool(own_host_vm(&run, "middle"), "recovered"));
		return;
	}
	assert_outcome(&run, "middle", "rolled-back");
	assert_contains(qmp_str(own_host_vm(&run, "middle"), "error"), "was ended by signal 9");
	tool_assert_untouched(host.vms[1]);
}

/* The tool alone is killed: its workers finish, and the next run waits for them. */
static void test_coordinator_killed(LmTest *test, const void *arg)
{
	g_autofree char *fault = g_strconcat(arg, ":kill", NULL);
	Host host = three(test);
	g_auto(Run) run = {0}, again = {0};

	run_all(test, &run, fault, NULL, "2");
	assert_int_equal(run.status, 128 + SIGKILL);
	run_all(test, &again, NULL, NULL, "2");
	assert_int_equal(again.status, 0);
	assert_true(qmp_bool(again.report, "continued"));
	assert_all_moved_before(&host);
}

/* Killed with the guest's pages: only that VM is lost, and nothing is begun after it. */
static void test_lost(LmTest *test, const void *arg)
{
	g_autofree char *plugin = g_strdup_printf("%s,fault=load:kill", lm_test_env("LM_PLUGIN"));
	Host host = three(test);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--all", "--way", "flip", "--plugin", plugin, NULL);
	assert_int_equal(run.status, 4);
	assert_outcome(&run, "small", "lost");
	tool_assert_runs_in(host.vms[1], host.vms[1]->pid);
	tool_assert_runs_in(host.vms[0], host.vms[0]->pid);
}
#endif

static const LmCase cases[] = {
	LM_CASE(test_nothing),
	LM_CASE_ARG(test_all, "1"),
	LM_CASE_ARG(test_all, "3"),
	LM_CASE(test_lines),
	LM_CASE(test_other_user),
	LM_CASE(test_vm_ends),
	LM_CASE(test_terminated),
	LM_CASE_ARG(test_all_killed, "0"),
	LM_CASE_ARG(test_all_killed, "150"),
	LM_CASE_ARG(test_all_killed, "300"),
#if LM_FAULT_INJECTION
	LM_CASE(test_fails),
	LM_CASE(test_keeps_going),
	LM_CASE_ARG(test_worker_killed, "greet"),
	LM_CASE_ARG(test_worker_killed, "begun"),
	LM_CASE_ARG(test_worker_killed, "retire"),
	LM_CASE_ARG(test_worker_killed, "settle"),
	LM_CASE_ARG(test_coordinator_killed, "host-begun"),
	LM_CASE_ARG(test_coordinator_killed, "host-one"),
	LM_CASE(test_lost),
#endif
};

static int run(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}

int main(int argc, char **argv)
{
	return own_host_main(argc, argv, run);
}
