/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm.h"
#include "vm-args.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec: only what is safe there. */
static void in_child(gpointer opaque)
{
	const VmOptions *options = opaque;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	if (!options->cgroup_procs)
		return;
	fd = open(options->cgroup_procs, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(126);
	close(fd);
}

static char *numbered(LmTest *test, guint number, const char *suffix)
{
	g_autofree char *name = g_strdup_printf("%u.%s", number, suffix);

	return lm_test_path(test, name);
}

static Vm *vm_new(LmTest *test, const VmOptions *options)
{
	Vm *vm = g_new0(Vm, 1);
	guint number = test->next++;

	vm->test = test;
	vm->argv = g_ptr_array_new_with_free_func(g_free);
	vm->pid = -1;
	vm->pidfd = -1;
	vm->qmp_path = numbered(test, number, "qmp");
	vm->stderr_path = numbered(test, number, "stderr");
	vm->serial_socket = numbered(test, number, "serial-socket");
	vm->serial_path = options->serial_path ? g_strdup(options->serial_path)
					       : numbered(test, number, "serial");
	g_ptr_array_add(test->vms, vm);
	return vm;
}

Vm *vm_spawn(LmTest *test, const VmOptions *options)
{
	Vm *vm = vm_new(test, options);
	GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH;
	g_autoptr(GError) error = NULL;
	int out, serial;

	vm_args_build(vm, options);
	serial = open(vm->serial_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	close(serial);
	out = open(vm->stderr_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	g_spawn_async_with_fds(NULL, (char **)vm->argv->pdata, NULL, flags, in_child,
			       (gpointer)options, &vm->pid, -1, out, out, &error);
	close(out);
	must(error);
	vm->pidfd = (int)syscall(SYS_pidfd_open, vm->pid, 0);
	assert_true(vm->pidfd >= 0);
	return vm;
}

Vm *vm_start(LmTest *test, const VmOptions *options)
{
	Vm *vm = vm_spawn(test, options);
	g_autoptr(GError) error = NULL;

	vm->qmp = qmp_connect(vm->qmp_path, vm->pidfd, LM_WAIT_MS, &error);
	must(error);
	return vm;
}

void vm_free(Vm *vm)
{
	if (vm->pid > 0 && !vm->reaped) {
		kill(vm->pid, SIGKILL);
		vm_wait_exit(vm, LM_WAIT_MS);
	}
	if (vm->pidfd >= 0)
		close(vm->pidfd);
	qmp_free(vm->qmp);
	g_ptr_array_free(vm->argv, TRUE);
	g_free(vm->qmp_path);
	g_free(vm->stderr_path);
	g_free(vm->serial_path);
	g_free(vm->serial_socket);
	g_free(vm);
}

JsonNode *vm_command_at(const char *file, int line, Vm *vm, const char *name, const char *arguments,
			...)
{
	g_autoptr(GError) error = NULL;
	JsonNode *reply;
	va_list args;

	va_start(args, arguments);
	reply = qmp_command_va(vm->qmp, &error, name, arguments, args);
	va_end(args);
	lm_must(error, file, line);
	return reply;
}

void vm_kill(Vm *vm, int signal)
{
	if (!vm->reaped)
		kill(vm->pid, signal);
}

gboolean vm_wait_exit(Vm *vm, guint timeout_ms)
{
	struct pollfd pollfd = {.fd = vm->pidfd, .events = POLLIN};

	if (vm->reaped)
		return TRUE;
	if (poll(&pollfd, 1, (int)timeout_ms) <= 0)
		return FALSE;
	vm->reaped = waitpid(vm->pid, &vm->wait_status, 0) == vm->pid;
	return vm->reaped;
}

gboolean vm_alive(Vm *vm)
{
	return !vm_wait_exit(vm, 0);
}

int vm_exit_status(const Vm *vm)
{
	assert_true(vm->reaped);
	return WIFEXITED(vm->wait_status) ? WEXITSTATUS(vm->wait_status)
					  : 128 + WTERMSIG(vm->wait_status);
}

char *vm_stderr(const Vm *vm)
{
	char *text = NULL;

	g_file_get_contents(vm->stderr_path, &text, NULL, NULL);
	return text;
}

char *vm_status(Vm *vm)
{
	g_autoptr(JsonNode) reply = vm_command(vm, "query-status", NULL);

	return g_strdup(qmp_str(reply, "status"));
}

gboolean vm_has_status(Vm *vm, const char *status)
{
	g_autofree char *is = vm_status(vm);

	return strcmp(is, status) == 0;
}

gboolean vm_wait_status(Vm *vm, const char *status, guint timeout_ms)
{
	gint64 end_us = lm_end_us(timeout_ms);

	while (!vm_has_status(vm, status)) {
		if (!lm_left_ms(end_us))
			return FALSE;
		poll(NULL, 0, 5);
	}
	return TRUE;
}

void vm_assert_ready(Vm *vm)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(vm->serial_path, 2, 3 * LM_WAIT_MS, NULL, &error);
	must(error);
}

void vm_assert_intact(Vm *vm)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *status = vm_status(vm);

	assert_string_equal(status, "running");
	serial_wait_beats(vm->serial_path, 5, LM_WAIT_MS, NULL, &error);
	must(error);
}

void vm_assert_never_stopped(Vm *vm)
{
	qmp_poll(vm->qmp);
	assert_int_equal(qmp_count_events(vm->qmp, "STOP"), 0);
}
