// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who attaches is killed, or suspended, at each step: before and after each call by which it looks
 * at or changes the process. These calls go through this program's own functions, which count them.
 * The guest must go on every time, and the next attach must work. A version in a root does not see
 * the plugin and gets a copy of it, which takes more steps.
 *
 * In the short form every fifth step is tried in roots; LM_LONG=1: all of them.
 */
#include "attach-vm.h"
#include "process.h"
#include "versions.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

/* Shared with the attachers. */
typedef struct Steps {
	guint count;	/* of the calls so far */
	guint kill_at;	/* the attacher dies at this call; 0: never */
	gboolean after; /* when it was made */
	int signal;	/* of which it dies */
} Steps;
static Steps *steps;

static void die_at(guint count, gboolean after)
{
	if (count && count == steps->kill_at && after == steps->after)
		kill(getpid(), steps->signal);
}

/* Instead of the C library's; nobody here asks for the requests that return data. */
long ptrace(enum __ptrace_request request, ...)
{
	/* How often it is asked whether a thread has stopped varies. */
	guint count = request == PTRACE_GETSIGINFO ? 0 : ++steps->count;
	va_list args;
	pid_t pid;
	void *address, *data;
	long rc;

	va_start(args, request);
	pid = va_arg(args, pid_t);
	address = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);
	die_at(count, FALSE);
	rc = syscall(SYS_ptrace, request, pid, address, data);
	die_at(count, TRUE);
	return rc;
}

ssize_t pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
	guint count = ++steps->count;
	ssize_t rc;

	die_at(count, FALSE);
	rc = syscall(SYS_pwrite64, fd, buffer, bytes, offset);
	die_at(count, TRUE);
	return rc;
}

static pid_t start_child(const Vm *vm, const char *build, const Steps *plan)
{
	pid_t pid;

	*steps = *plan;
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* to be suspended, as by a shell */
	_exit(attach_load(vm->pid, build, 0, ATTACH_MS, NULL, NULL) ? 1 : 0);
}

static int wait_child(pid_t pid, int options)
{
	int status;

	while (waitpid(pid, &status, options) < 0 && errno == EINTR)
		;
	return status;
}

/* How it ended, as of waitpid. */
static int attach_in_child(const Vm *vm, const char *build, guint kill_at, gboolean after)
{
	const Steps plan = {.kill_at = kill_at, .after = after, .signal = SIGKILL};

	return wait_child(start_child(vm, build, &plan), 0);
}

static void assert_goes_on(Vm *vm, guint step, gboolean after)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(vm->serial_path, 1, LM_WAIT_MS, NULL, &error);
	if (error)
		fail_msg("killed %s step %u: %s", after ? "after" : "before", step, error->message);
	assert_true(vm_has_status(vm, "running"));
}

/* Another build of the plugin, which a QEMU in a root does not see. */
static char *another_build(LmTest *test, const void *version, guint number)
{
	g_autofree char *build = attach_other_build(test, number), *data = NULL;
	g_autoptr(GError) error = NULL;
	gsize bytes;

	if (!version_root(version))
		return g_steal_pointer(&build);
	g_file_get_contents(build, &data, &bytes, &error);
	must(error);
	g_unlink(build);
	return attach_write_elsewhere(test, data, bytes);
}

static guint count_steps(LmTest *test, Vm *vm, const void *version)
{
	g_autofree char *build = another_build(test, version, 999999);
	int status = attach_in_child(vm, build, 0, FALSE);

	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	return steps->count;
}

/* Whether it was killed: how often it has to try changes the count of the last steps a little. */
static gboolean kill_at(LmTest *test, Vm *vm, const void *version, guint step, gboolean after)
{
	g_autofree char *build = another_build(test, version, 2 * step + (guint)after);
	int status = attach_in_child(vm, build, step, after);

	assert_goes_on(vm, step, after);
	g_unlink(build);
	if (WIFSIGNALED(status))
		return TRUE;
	assert_int_equal(WEXITSTATUS(status), 0);
	return FALSE;
}

static void test_each_step(LmTest *test, const void *version)
{
	VmOptions options = attach_options();
	guint stride = g_getenv("LM_LONG") || !version_root(version) ? 1 : 5, count, tried = 0,
	      killed = 0;
	g_autofree char *last = NULL;
	int fds, threads;
	Vm *vm;

	if (!version_is_here(version))
		skip();
	options.root = version_root(version);
	options.smp = 2;
	options.append = "rate=64";
	vm = migrate_source(test, &options);
	fds = process_count_fds(vm->pid);
	threads = process_count_threads(vm->pid);
	count = count_steps(test, vm, version);
	for (guint step = 1; step <= count; step += stride, tried += 2) {
		killed += kill_at(test, vm, version, step, FALSE);
		killed += kill_at(test, vm, version, step, TRUE);
	}
	lm_test_note("%u steps, killed %u times; %d descriptors more than before", count, killed,
		     process_count_fds(vm->pid) - fds);
	assert_true(killed >= tried * 3 / 4);
	assert_int_equal(process_count_threads(vm->pid), threads);
	*steps = (Steps){0};
	last = another_build(test, version, 1000000);
	attach_must(vm, last);
	attach_assert_there(vm);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

/* As by Ctrl-Z; the guest goes on before who attaches does. */
static void suspend_at(LmTest *test, Vm *vm, const void *version, guint step)
{
	const Steps plan = {.kill_at = step, .signal = SIGTSTP};
	g_autofree char *build = another_build(test, version, 1000 + step);
	pid_t pid = start_child(vm, build, &plan);
	int status;

	status = wait_child(pid, WUNTRACED);
	assert_goes_on(vm, step, FALSE);
	if (WIFSTOPPED(status)) {
		kill(pid, SIGCONT);
		status = wait_child(pid, 0);
	}
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	g_unlink(build);
}

static void test_suspended(LmTest *test, const void *version)
{
	VmOptions options = attach_options();
	guint stride = g_getenv("LM_LONG") ? 1 : 3, count;
	Vm *vm;

	if (!version_is_here(version))
		skip();
	options.append = "rate=64";
	vm = migrate_source(test, &options);
	count = count_steps(test, vm, version);
	for (guint step = 1; step <= count; step += stride)
		suspend_at(test, vm, version, step);
	attach_assert_there(vm);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_suspended, VERSION_7_2),
	LM_CASE_ARG(test_each_step, VERSION_7_2),
	LM_CASE_ARG(test_each_step, VERSION_10_0),
	LM_CASE_ARG(test_each_step, VERSION_11_1),
};

int main(int argc, char **argv)
{
	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	g_assert_true(steps != MAP_FAILED);
	return LM_TEST_MAIN(argc, argv, cases);
}
