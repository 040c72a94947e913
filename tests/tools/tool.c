/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tool.h"
#include "running.h"
#include "versions.h"

#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

void run_clear(Run *run)
{
	g_clear_pointer(&run->report, json_node_unref);
	g_clear_pointer(&run->out, g_free);
	g_clear_pointer(&run->err, g_free);
}

const char *tool_qemu(void)
{
	static char *path;

	if (!path)
		path = g_find_program_in_path(g_getenv("LM_QEMU") ? g_getenv("LM_QEMU")
								  : "qemu-system-x86_64");
	assert_non_null(path);
	return path;
}

static void remove_tree(gpointer path)
{
	const char *argv[] = {"rm", "-rf", path, NULL};

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
		     NULL);
	g_free(path);
}

char *tool_qemu_version(LmTest *test, const char *version)
{
	const char *root = version_root(version);
	g_autofree char *top = lm_test_path(test, version), *command = NULL;
	g_autoptr(GError) error = NULL;
	int status = 0;

	if (!version_is_here(version))
		return NULL;
	if (!root)
		return g_strdup(tool_qemu());
	/* Modules and ROMs are looked for beside the program. */
	command = g_strdup_printf(
		"set -e; [ ! -e '%s' ] || exit 0; mkdir -p '%s/usr/bin'; cd '%s/usr'; r='%s'; "
		"ln -s $r/usr/lib $r/usr/share .; cp $r/usr/bin/qemu-system-x86_64 bin; "
		"l=$r/usr/lib/x86_64-linux-gnu; patchelf --set-interpreter "
		"$r/usr/lib64/ld-linux-x86-64.so.2 --force-rpath --set-rpath $l:$l/pulseaudio "
		"bin/qemu-system-x86_64",
		top, top, top, root);
	lm_test_cleanup_later(test, remove_tree, g_strdup(top));
	g_spawn_sync(NULL, (char **)(const char *[]){"sh", "-c", command, NULL}, NULL,
		     G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error);
	must(error);
	assert_int_equal(status, 0);
	return g_build_filename(top, "usr/bin/qemu-system-x86_64", NULL);
}

/* ------------------------------------------------------------------ processes */

/* What the tool starts becomes this process's child when the tool ends. */
static void kill_new(gpointer pid)
{
	kill(GPOINTER_TO_INT(pid), SIGKILL);
	waitpid(GPOINTER_TO_INT(pid), NULL, 0);
}

/* Also one that a killed tool left: it is the only process that names the case's folder. */
static void kill_left(gpointer opaque)
{
	g_autofree char *folder = opaque;
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		int pid = (int)g_ascii_strtoll(name, NULL, 10);
		g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", name), *text = NULL;
		gsize length = 0;

		if (pid <= 0 || pid == getpid() ||
		    !g_file_get_contents(path, &text, &length, NULL) || !length)
			continue;
		if (memmem(text, length, folder, strlen(folder)))
			kill_new(GINT_TO_POINTER(pid));
	}
}

void tool_adopt(LmTest *test)
{
	/* Once more than needed does no harm: a case may have clean-ups of its own already. */
	lm_test_cleanup_later(test, kill_left, g_strdup(test->dir));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Vm *tool_spawn(LmTest *test, const VmOptions *options)
{
	tool_adopt(test);
	return vm_spawn(test, options);
}

Vm *tool_vm(LmTest *test, const VmOptions *options)
{
	Vm *vm = tool_spawn(test, options);

	vm_assert_ready(vm);
	return vm;
}

static void note_run(const char *program, const Run *run)
{
	g_autofree char *name = g_path_get_basename(program);
	const char *said = strrchr(g_strchomp(run->err), '\n');

	said = said ? said + 1 : run->err;
	lm_test_note("%s: status %d%s%s", name, run->status, *said ? ", " : "", said);
	if (qmp_str(run->report, "error"))
		lm_test_note("%s: %s", qmp_str(run->report, "outcome"),
			     qmp_str(run->report, "error"));
}

static void note_end(Run *run, const char *program, int status)
{
	run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	run->report = json_from_string(run->out, NULL);
	run->new_pid = run->report && JSON_NODE_HOLDS_OBJECT(run->report)
			       ? (pid_t)qmp_int(run->report, "new-pid")
			       : -1;
	note_run(program, run);
}

void tool_run_argv(LmTest *test, Run *run, const char *const *argv, char **envp)
{
	g_autoptr(GError) error = NULL;
	int status;

	g_spawn_sync(NULL, (char **)argv, envp, G_SPAWN_DEFAULT, NULL, NULL, &run->out, &run->err,
		     &status, &error);
	must(error);
	note_end(run, argv[0], status);
}

static GPtrArray *arguments(const char *const *first, va_list more)
{
	GPtrArray *argv = g_ptr_array_new();
	const char *argument;

	g_ptr_array_add(argv, (char *)lm_test_env("LM_TOOL"));
	g_ptr_array_add(argv, (char *)"--json");
	for (; *first; first++)
		g_ptr_array_add(argv, (char *)*first);
	while ((argument = va_arg(more, const char *)))
		g_ptr_array_add(argv, (char *)argument);
	g_ptr_array_add(argv, NULL);
	return argv;
}

static GStrv environment(const char *fault)
{
	GStrv envp = g_get_environ();

	return fault ? g_environ_setenv(envp, "QEMU_LIVE_UPGRADE_FAULT", fault, TRUE) : envp;
}

void tool_run_list(LmTest *test, Run *run, const char *fault, const char *const *first,
		   va_list more)
{
	g_autoptr(GPtrArray) argv = arguments(first, more);
	g_auto(GStrv) envp = environment(fault);

	tool_run_argv(test, run, (const char *const *)argv->pdata, envp);
}

void tool_start(LmTest *test, Run *run, const char *fault, ...)
{
	const char *const none[] = {NULL};
	g_autoptr(GPtrArray) argv = NULL;
	g_auto(GStrv) envp = environment(fault);
	g_autoptr(GError) error = NULL;
	va_list args;

	va_start(args, fault);
	argv = arguments(none, args);
	va_end(args);
	g_spawn_async_with_pipes(NULL, (char **)argv->pdata, envp, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
				 NULL, &run->pid, NULL, &run->out_fd, &run->err_fd, &error);
	must(error);
}

void tool_wait_stopped(const Run *run)
{
	int status;

	assert_int_equal(waitpid(run->pid, &status, WUNTRACED), run->pid);
	assert_true(WIFSTOPPED(status));
}

static char *read_all(int fd)
{
	g_autoptr(GIOChannel) channel = g_io_channel_unix_new(fd);
	char *text = NULL;

	g_io_channel_set_close_on_unref(channel, TRUE);
	g_io_channel_read_to_end(channel, &text, NULL, NULL);
	return text ? text : g_strdup("");
}

void tool_finish(Run *run)
{
	int status;

	assert_int_equal(waitpid(run->pid, &status, 0), run->pid);
	run->out = read_all(run->out_fd);
	run->err = read_all(run->err_fd);
	note_end(run, lm_test_env("LM_TOOL"), status);
}

void tool_run(LmTest *test, Run *run, const char *fault, ...)
{
	const char *const none[] = {NULL};
	va_list args;

	va_start(args, fault);
	tool_run_list(test, run, fault, none, args);
	va_end(args);
}

char *tool_script(LmTest *test, const char *name, const char *format, ...)
{
	g_autofree char *text = NULL, *whole = NULL;
	g_autoptr(GError) error = NULL;
	char *path = lm_test_path(test, name);
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	whole = g_strconcat("#!/bin/sh\n", text, NULL);
	g_file_set_contents_full(path, whole, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0755, &error);
	must(error);
	return path;
}

void tool_run_script(LmTest *test, const char *text)
{
	g_autofree char *script = tool_script(test, "script", "set -e\n%s\n", text);
	g_auto(Run) run = {0};

	tool_run_argv(test, &run, (const char *const[]){script, "script", NULL}, NULL);
	if (run.status)
		fail_msg("%s", run.err);
}

/* ------------------------------------------------------------------ assertions */

int tool_free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	close(fd);
	return ntohs(address.sin_port);
}

void tool_assert_answers(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((guint16)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

JsonNode *tool_command(Vm *vm, const char *name, const char *arguments)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(QmpClient) qmp = qmp_connect(vm->qmp_path, -1, LM_WAIT_MS, &error);
	JsonNode *reply;

	must(error);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	reply = qmp_command(qmp, &error, name, arguments);
#pragma GCC diagnostic pop
	must(error);
	return reply;
}

void tool_assert_runs_in(Vm *vm, pid_t pid)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) status = NULL;

	assert_int_equal(lu_running_peer_of(vm->qmp_path), pid);
	status = tool_command(vm, "query-status", NULL);
	assert_string_equal(qmp_str(status, "status"), "running");
	serial_wait_beats(vm->serial_path, 5, LM_WAIT_MS, NULL, &error);
	must(error);
}

static void assert_nothing_left(Vm *vm)
{
	g_autoptr(GDir) dir = g_dir_open(vm->test->dir, 0, NULL);
	g_autofree char *journal = g_strdup_printf("/run/qemu-live-upgrade/%d.json", (int)vm->pid);
	g_autofree char *folder = g_strdup_printf("/run/qemu-live-upgrade/%d", (int)vm->pid);
	const char *name;

	while ((name = g_dir_read_name(dir)))
		if (strstr(name, ".lu1") || strstr(name, ".lu2"))
			fail_msg("%s is left", name);
	assert_false(g_file_test(journal, G_FILE_TEST_EXISTS));
	assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
}

guint tool_count_processes(const char *word)
{
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
	const char *name;
	guint count = 0;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", name), *text = NULL;
		gsize length = 0;

		if (g_ascii_isdigit(*name) && g_file_get_contents(path, &text, &length, NULL) &&
		    length)
			count += memmem(text, length, word, strlen(word)) != NULL;
	}
	return count;
}

void tool_assert_upgraded(Vm *vm, const Run *run)
{
	assert_int_equal(run->status, 0);
	assert_string_equal(qmp_str(run->report, "outcome"), "upgraded");
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	assert_true(run->new_pid > 0 && run->new_pid != vm->pid);
	tool_assert_runs_in(vm, run->new_pid);
	assert_int_equal(tool_count_processes(vm->qmp_path), 1);
	assert_nothing_left(vm);
}

void tool_assert_untouched(Vm *vm)
{
	assert_true(vm_alive(vm));
	tool_assert_runs_in(vm, vm->pid);
	assert_int_equal(tool_count_processes(vm->qmp_path), 1);
	assert_nothing_left(vm);
}

char *tool_proc(pid_t pid, const char *name)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);
	char *text = NULL;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return text;
}
