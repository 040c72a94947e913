/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Upgrades that fail, and tools that are killed: the guest is in one place, and the tool knows it.
 */
#include "journal.h"
#include "running.h"
#include "tool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

static void test_new_exits(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *binary =
		tool_script(test, "spoilt-qemu",
			    "case \"$*\" in *-incoming*) echo 'no luck today' >&2; exit 7 ;; esac\n"
			    "exec %s \"$@\"\n",
			    tool_qemu());
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	assert_int_equal(run.status, 3);
	assert_contains(qmp_str(run.report, "error"), "exited with 7: no luck today");
	tool_assert_untouched(vm);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &again);
}

static void test_other_context(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *binary =
		tool_script(test, "nice-qemu", "exec nice -n 7 %s \"$@\"\n", tool_qemu());
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "another scheduling: policy 0, priority 0, "
						      "nice 7");
	tool_assert_untouched(vm);
}

#if LM_FAULT_INJECTION
/* The new process fails at a point of the handover: see migration/local/fault.h. */
static void test_handover_fails(LmTest *test, const void *arg)
{
	const char *fault = arg;
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *plugin = g_strdup_printf("%s,fault=%s", lm_test_env("LM_PLUGIN"), fault);
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 plugin, NULL);
	assert_in_range(run.status, 2, 3);
	assert_null(strstr(qmp_str(run.report, "error"), "Could not load plugin"));
	if (strstr(fault, "load"))
		assert_int_equal(run.status, 3);
	tool_assert_untouched(vm);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 lm_test_env("LM_PLUGIN"), NULL);
	tool_assert_upgraded(vm, &again);
}

/* Killed with the guest's pages: it is lost, the tool says so and leaves what there is. */
static void test_lost(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *plugin = g_strdup_printf("%s,fault=load:kill", lm_test_env("LM_PLUGIN"));
	g_autofree char *journal = NULL, *pid = NULL;
	g_auto(Run) run = {0}, same = {0}, again = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 plugin, "--way", "flip", NULL);
	assert_int_equal(run.status, 4);
	assert_string_equal(qmp_str(run.report, "outcome"), "lost");
	assert_true(vm_alive(vm));
	tool_run(test, &same, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(same.status, 4);
	assert_string_equal(qmp_str(same.report, "error"), qmp_str(run.report, "error"));
	/* With both processes gone there is nothing to look for. */
	vm_kill(vm, SIGKILL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	journal = g_strdup_printf("/run/qemu-live-upgrade/%d.json", (int)vm->pid);
	assert_true(g_file_test(journal, G_FILE_TEST_EXISTS));
	pid = g_strdup_printf("%d", (int)vm->pid);
	tool_run(test, &again, NULL, pid, NULL);
	assert_int_equal(again.status, 2);
	assert_false(g_file_test(journal, G_FILE_TEST_EXISTS));
}

static void test_tool_fails(LmTest *test, const void *arg)
{
	g_autofree char *fault = g_strconcat(arg, ":fail", NULL);
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0};

	tool_run(test, &run, fault, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 3);
	assert_contains(qmp_str(run.report, "error"), "fault injected");
	tool_assert_untouched(vm);
}

/* The tool is killed at a step; run again, it finishes, or takes back and does it anew. */
static void test_tool_killed(LmTest *test, const void *arg)
{
	g_autofree char *fault = g_strconcat(arg, ":kill", NULL);
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, fault, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &again);
}

/*
 * In the next upgrade the old process is one that came by a handover itself: that it says so does
 * not mean that the guest has left it.
 */
static void test_next_killed(LmTest *test, const void *arg)
{
	g_autofree char *fault = g_strconcat(arg, ":kill", NULL);
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) first = {0}, run = {0}, again = {0};

	tool_run(test, &first, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &first);
	tool_run(test, &run, fault, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &again);
	assert_int_not_equal(again.new_pid, first.new_pid);
}

/*
 * Process ids that QEMU says are those of its PID namespace: a new process that holds the guest's
 * pages is not to be taken for another one.
 */
static void test_pid_namespace_killed(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_autofree char *inner =
		tool_script(test, "inner", "%s \"$@\" & exec sleep 600\n", tool_qemu());
	g_autofree char *outer = tool_script(
		test, "outer", "exec unshare --pid --fork --kill-child --mount-proc %s \"$@\"\n",
		inner);
	g_autofree char *plugin = g_strdup_printf("%s,fault=load:stop", lm_test_env("LM_PLUGIN"));
	g_auto(Run) run = {0}, again = {0};
	Vm *vm;

	options.binary = outer;
	vm = tool_vm(test, &options);
	tool_run(test, &run, "begun:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 "--plugin", plugin, "--way", "flip", NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 lm_test_env("LM_PLUGIN"), NULL);
	assert_int_equal(again.status, 0);
	tool_assert_runs_in(vm, again.new_pid);
}

/* The same of a rehearsal: one that is completed must not be taken for a guest that has moved. */
static void test_rehearsal_killed(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, "begun:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 "--rehearse", NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--rehearse",
		 NULL);
	assert_int_equal(again.status, 0);
	assert_string_equal(qmp_str(again.report, "outcome"), "rehearsed");
	tool_assert_untouched(vm);
}

/* By the process id that it was first run with. */
static void test_tool_killed_pid(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);
	g_auto(Run) run = {0}, again = {0};

	tool_run(test, &run, "retire:kill", "--binary", tool_qemu(), pid, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_run(test, &again, NULL, "--binary", tool_qemu(), pid, NULL);
	tool_assert_upgraded(vm, &again);
	assert_true(qmp_bool(again.report, "recovered"));
}

/* What the new process had to wait with until the old one was gone does not wait for more. */
static void test_forwards_are_early(LmTest *test, const void *arg)
{
	const int forward = tool_free_port();
	g_autofree char *net = g_strdup_printf("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:22", forward);
	const char *const extra[] = {"-netdev", net, "-device", "virtio-net-pci,netdev=n0", NULL};
	VmOptions options = plain;
	g_auto(Run) run = {0}, again = {0};
	g_autofree char *notes = NULL;
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	tool_run(test, &run, "retire:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	tool_assert_answers(forward);
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &again);
	tool_assert_answers(forward);
	/* Not asked for twice. */
	notes = json_to_string(again.report, FALSE);
	assert_null(strstr(notes, "hostfwd_add"));
}

/* ------------------------------------------------------ a monitor without answers */

static void G_GNUC_NORETURN serve_errors(int fd)
{
	FILE *stream;
	char line[4096];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	listen(fd, 5);
	for (;;) {
		int client = accept(fd, NULL, NULL);

		stream = client >= 0 ? fdopen(client, "r+") : NULL;
		if (!stream)
			_exit(1);
		fputs("{\"QMP\": {}}\n", stream);
		while (fflush(stream) == 0 && fgets(line, sizeof(line), stream))
			fputs(strstr(line, "qmp_capabilities")
				      ? "{\"return\": {}}\n"
				      : "{\"error\": {\"class\": \"GenericError\", \"desc\": "
					"\"not now\"}}\n",
			      stream);
		fclose(stream);
	}
}

static pid_t start_errors(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	pid = fork();
	if (!pid)
		serve_errors(fd);
	close(fd);
	while (lu_running_peer_of(path) != pid)
		g_usleep(5000);
	return pid;
}

/* Nothing is touched when the old process cannot be asked where the guest is. */
static void test_cannot_be_asked(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "qmp"), *pid = NULL;
	g_autoptr(LuJournal) journal = lu_journal_new();
	const pid_t old = start_errors(path), new = getpid();
	g_autoptr(LuProcess) process = lu_process_open(old, NULL);
	g_autoptr(LuProcess) self = lu_process_open(new, NULL);
	g_auto(Run) run = {0};

	assert_non_null(process);
	journal->file = g_strdup_printf("/run/qemu-live-upgrade/%d.json", (int)old);
	journal->step = g_strdup("handover");
	journal->old_pid = old;
	journal->old_start = process->start_time;
	journal->new_pid = new;
	journal->new_start = self->start_time;
	journal->qmp_path = g_strdup(path);
	journal->qmp_temporary = g_strconcat(path, ".lu1", NULL);
	journal->handover = lm_test_path(test, "handover");
	journal->from = g_strdup("7.2.22");
	journal->to = g_strdup("7.2.22");
	journal->status = g_strdup("running");
	g_mkdir_with_parents("/run/qemu-live-upgrade", 0711);
	assert_true(lu_journal_write(journal, NULL));
	pid = g_strdup_printf("%d", (int)old);
	tool_run(test, &run, NULL, pid, NULL);
	lu_journal_remove(journal);
	lm_test_note("%s", run.out);
	assert_true(lu_process_alive(process));
	kill(old, SIGKILL);
	waitpid(old, NULL, 0);
	assert_int_equal(run.status, 2);
	assert_string_equal(qmp_str(run.report, "outcome"), "refused");
	assert_contains(qmp_str(run.report, "error"), "not now");
}
#endif

static const LmCase cases[] = {
	LM_CASE(test_new_exits),
	LM_CASE(test_other_context),
#if LM_FAULT_INJECTION
	LM_CASE_ARG(test_handover_fails, "hello:kill"),
	LM_CASE_ARG(test_handover_fails, "regions:fail"),
	LM_CASE_ARG(test_handover_fails, "load:fail"),
	LM_CASE(test_lost),
	LM_CASE_ARG(test_tool_fails, "prepare"),
	LM_CASE_ARG(test_tool_fails, "forked"),
	LM_CASE_ARG(test_tool_fails, "greet"),
	LM_CASE_ARG(test_tool_killed, "plan"),
	LM_CASE_ARG(test_tool_killed, "prepare"),
	LM_CASE_ARG(test_tool_killed, "forked"),
	LM_CASE_ARG(test_tool_killed, "start"),
	LM_CASE_ARG(test_tool_killed, "greet"),
	LM_CASE_ARG(test_tool_killed, "begun"),
	LM_CASE_ARG(test_tool_killed, "handover"),
	LM_CASE_ARG(test_next_killed, "start"),
	LM_CASE_ARG(test_next_killed, "greet"),
	LM_CASE_ARG(test_next_killed, "begun"),
	LM_CASE_ARG(test_next_killed, "retire"),
	LM_CASE(test_pid_namespace_killed),
	LM_CASE(test_rehearsal_killed),
	LM_CASE_ARG(test_tool_killed, "names"),
	LM_CASE_ARG(test_tool_killed, "retire"),
	LM_CASE_ARG(test_tool_killed, "settle"),
	LM_CASE(test_tool_killed_pid),
	LM_CASE(test_forwards_are_early),
	LM_CASE(test_cannot_be_asked),
#endif
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
