/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens between two of a run's steps: another run, another VM, a QEMU that is slow. */
#include "tool.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib/gstdio.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

/* ------------------------------------------------------------------ late answers */

/*
 * QEMU does not answer for a time, from before the guest is asked for, and then answers all that it
 * was asked. Each reply is that of its own question: what the tool says may be "run this again",
 * but the guest is in one place, and the next run finds it.
 */
static void test_stalled(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0}, again = {0};

	g_setenv("QEMU_LIVE_UPGRADE_REPLY_MS", "1000", TRUE);
	tool_start(test, &run, "greet:stop", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		   "--way", "flip", NULL);
	tool_wait_stopped(&run);
	kill(vm->pid, SIGSTOP);
	kill(run.pid, SIGCONT);
	g_usleep(strtoul(arg, NULL, 10) * 1000);
	kill(vm->pid, SIGCONT);
	tool_finish(&run);
	g_unsetenv("QEMU_LIVE_UPGRADE_REPLY_MS");
	assert_true(run.status == 0 || run.status == 3 || run.status == 4);
	if (run.status == 4)
		assert_contains(qmp_str(run.report, "error"), "run this again");
	if (run.status)
		tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, run.status ? &again : &run);
}

/* ------------------------------------------------------------------ two at once */

/* A VM that was started later has taken the socket of another. */
static void test_other_answers(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain), *other = tool_vm(test, &plain);
	g_autofree char *kept = g_strconcat(vm->qmp_path, ".kept", NULL);
	g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);
	g_autofree char *answers = g_strdup_printf("process %d answers", (int)other->pid);
	g_auto(Run) run = {0};

	assert_int_equal(rename(vm->qmp_path, kept), 0);
	assert_int_equal(rename(other->qmp_path, vm->qmp_path), 0);
	tool_run(test, &run, NULL, "--binary", tool_qemu(), pid, NULL);
	assert_int_equal(rename(vm->qmp_path, other->qmp_path), 0);
	assert_int_equal(rename(kept, vm->qmp_path), 0);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), answers);
	tool_assert_untouched(vm);
	tool_assert_untouched(other);
}

static Vm *vm_with_two_monitors(LmTest *test, char **second)
{
	g_autofree char *qmp = NULL;
	const char *extra[] = {"-qmp", NULL, NULL};
	VmOptions options = plain;

	*second = lm_test_path(test, "second");
	qmp = g_strdup_printf("unix:%s,server=on,wait=off", *second);
	extra[1] = qmp;
	options.extra = extra;
	return tool_vm(test, &options);
}

/* A VM with two monitors, upgraded by both. */
static void test_other_run(LmTest *test, const void *arg)
{
	g_autofree char *second = NULL;
	Vm *vm = vm_with_two_monitors(test, &second);
	g_auto(Run) run = {0}, other = {0};

	tool_start(test, &run, "plan:stop", "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_wait_stopped(&run);
	tool_run(test, &other, NULL, "--qmp", second, "--binary", tool_qemu(), NULL);
	assert_int_equal(other.status, 2);
	assert_contains(qmp_str(other.report, "error"), "another run of this tool");
	kill(run.pid, SIGCONT);
	tool_finish(&run);
	tool_assert_upgraded(vm, &run);
}

/* One is killed after the other looked for what was left, and before it begins. */
static void test_left_meanwhile(LmTest *test, const void *arg)
{
	g_autofree char *second = NULL;
	Vm *vm = vm_with_two_monitors(test, &second);
	g_auto(Run) killed = {0}, run = {0}, again = {0};

	tool_start(test, &run, "recovered:stop", "--qmp", second, "--binary", tool_qemu(), NULL);
	tool_wait_stopped(&run);
	tool_run(test, &killed, "start:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(killed.status, 128 + SIGKILL);
	kill(run.pid, SIGCONT);
	tool_finish(&run);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "interrupted at \"start\"");
	tool_run(test, &again, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &again);
}

/* ------------------------------------------------------------------ the journal */

/* It cannot be written any more when the guest has moved: the steps are done all the same. */
static void test_journal_spoilt(LmTest *test, const void *arg)
{
	g_autofree char *file = lm_test_path(test, "pid"), *text = NULL;
	const char *const extra[] = {"-pidfile", file, NULL};
	g_autofree char *journal = NULL, *within = NULL;
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	journal = g_strdup_printf("/run/qemu-live-upgrade/%d.json", (int)vm->pid);
	within = g_build_filename(journal, "within", NULL);
	tool_start(test, &run, "handover:stop", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		   NULL);
	tool_wait_stopped(&run);
	assert_int_equal(g_unlink(journal), 0);
	assert_int_equal(g_mkdir_with_parents(within, 0700), 0);
	kill(run.pid, SIGCONT);
	tool_finish(&run);
	assert_int_equal(g_rmdir(within), 0);
	assert_int_equal(g_rmdir(journal), 0);
	tool_assert_upgraded(vm, &run);
	assert_true(g_file_get_contents(file, &text, NULL, NULL));
	assert_int_equal(strtol(text, NULL, 10), run.new_pid);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_stalled, "1300"), LM_CASE_ARG(test_stalled, "2300"),
	LM_CASE_ARG(test_stalled, "3300"), LM_CASE_ARG(test_stalled, "4300"),
	LM_CASE(test_other_answers),	   LM_CASE(test_other_run),
	LM_CASE(test_left_meanwhile),	   LM_CASE(test_journal_spoilt),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
