/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unix sockets that QEMU is a client of, or was given connected: what becomes of them. */
#include "running.h"
#include "tool.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

/*
 * What the guest prints goes to this socket as well as to the harness's log. A thread reads it, for
 * the guest waits for that: a socket holds some hundred writes of one byte.
 */
typedef struct Console {
	int listener, client;
	gint stop;
	GThread *reader;
	GMutex lock; /* guards what follows */
	GString *text;
	gboolean ended;
} Console;

static gpointer console_reader(gpointer opaque)
{
	Console *console = opaque;
	struct pollfd pollfd = {.fd = console->client, .events = POLLIN};
	char data[4096];

	while (!g_atomic_int_get(&console->stop)) {
		ssize_t got;

		if (poll(&pollfd, 1, 50) <= 0)
			continue;
		got = read(console->client, data, sizeof(data));
		g_mutex_lock(&console->lock);
		console->ended = got <= 0;
		if (got > 0)
			g_string_append_len(console->text, data, got);
		g_mutex_unlock(&console->lock);
		if (got <= 0)
			break;
	}
	return NULL;
}

static void console_hang_up(Console *console)
{
	g_atomic_int_set(&console->stop, 1);
	if (console->reader)
		g_thread_join(console->reader);
	if (console->client >= 0)
		close(console->client);
	console->reader = NULL;
	console->client = -1;
}

static void console_end(gpointer opaque)
{
	Console *console = opaque;

	console_hang_up(console);
	if (console->listener >= 0)
		close(console->listener);
	g_string_free(console->text, TRUE);
	g_mutex_clear(&console->lock);
	g_free(console);
}

static Console *console_listen(LmTest *test, const char *path)
{
	Console *console = g_new0(Console, 1);
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	g_mutex_init(&console->lock);
	console->client = -1;
	console->text = g_string_new(NULL);
	console->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	lm_test_cleanup_later(test, console_end, console);
	assert_int_equal(bind(console->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(console->listener, 4), 0);
	return console;
}

/* The next client in the queue. */
static void console_accept(Console *console)
{
	struct pollfd pollfd = {.fd = console->listener, .events = POLLIN};

	console_hang_up(console);
	assert_int_equal(poll(&pollfd, 1, (int)LM_WAIT_MS), 1);
	console->client = accept4(console->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(console->client >= 0);
	g_string_truncate(console->text, 0);
	console->ended = FALSE;
	console->stop = 0;
	console->reader = g_thread_new("console", console_reader, console);
}

static guint count_lines(Console *console, gboolean *ended)
{
	guint lines = 0;

	g_mutex_lock(&console->lock);
	for (gsize i = 0; i < console->text->len; i++)
		lines += console->text->str[i] == '\n';
	*ended = console->ended;
	g_mutex_unlock(&console->lock);
	return lines;
}

/* Waits until the guest has said @more lines; FALSE: the connection has ended. */
static gboolean console_wait(Console *console, guint more)
{
	gint64 end_us = lm_end_us(LM_WAIT_MS);
	gboolean ended;
	guint wanted = count_lines(console, &ended) + more;

	while (!ended && count_lines(console, &ended) < wanted) {
		assert_true(lm_left_ms(end_us) > 0);
		g_usleep(5000);
	}
	return !ended;
}

/* Every whole line but the first, which may have begun before. */
static void console_assert_no_gap(Console *console)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	guint64 last = 0;

	g_mutex_lock(&console->lock);
	text = g_strdup(console->text->str);
	g_mutex_unlock(&console->lock);
	lines = g_strsplit_set(text, "\r\n", -1);
	for (guint i = 1; lines[i] && lines[i + 1]; i++) {
		guint64 beat;

		if (!g_str_has_prefix(lines[i], "beat "))
			continue;
		beat = g_ascii_strtoull(lines[i] + strlen("beat "), NULL, 10);
		if (last && beat != last + 1)
			fail_msg("beat %" G_GUINT64_FORMAT " follows %" G_GUINT64_FORMAT, beat,
				 last);
		last = beat;
	}
	assert_true(last > 0);
}

/* QEMU with the serial port of the harness on "socket,@how". */
static Vm *console_vm(LmTest *test, const char *before, const char *how)
{
	g_autofree char *script =
		tool_script(test, "qemu",
			    "for a; do shift; case $a in file,id=serial,*) p=${a#*path=}\n"
			    "a=\"socket,id=serial,%s,logfile=${p%%%%,*},logappend=on\" ;; esac\n"
			    "set -- \"$@\" \"$a\"; done\nexec %s %s \"$@\"\n",
			    how, before, tool_qemu());
	VmOptions options = plain;

	options.binary = script;
	return tool_spawn(test, &options);
}

static Vm *client_vm(LmTest *test, Console **console)
{
	g_autofree char *path = lm_test_path(test, "console");
	g_autofree char *how = g_strdup_printf("path=%s,server=off", path);
	Vm *vm;

	*console = console_listen(test, path);
	vm = console_vm(test, "", how);
	console_accept(*console);
	vm_assert_ready(vm);
	assert_true(console_wait(*console, 3));
	return vm;
}

/* The server is as busy with its first client as can be. */
static void test_one_client_after_the_other(LmTest *test, const void *arg)
{
	Console *console;
	Vm *vm = client_vm(test, &console);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 0);
	while (console_wait(console, 1))
		g_usleep(1000);
	console_accept(console);
	tool_assert_upgraded(vm, &run);
	assert_true(console_wait(console, 3));
	console_assert_no_gap(console);
}

static void test_one_client_only(LmTest *test, const void *arg)
{
	Console *console;
	Vm *vm = client_vm(test, &console);
	g_auto(Run) run = {0};

	close(console->listener);
	console->listener = -1;
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 3);
	assert_contains(qmp_str(run.report, "error"), "the new process exited with 1");
	tool_assert_untouched(vm);
	assert_true(console_wait(console, 5));
	console_assert_no_gap(console);
}

/* The connection itself goes to the new process. */
static void test_connected_descriptor(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "console");
	g_autofree char *perl =
		tool_script(test, "connect",
			    "exec perl -MSocket -e '$^F = 9; socket(S, PF_UNIX, SOCK_STREAM, 0); "
			    "connect(S, sockaddr_un(shift)) or die; require POSIX; "
			    "POSIX::dup2(fileno(S), 9); exec @ARGV' %s \"$@\"\n",
			    path);
	Console *console = console_listen(test, path);
	Vm *vm = console_vm(test, perl, "fd=9");

	console_accept(console);
	vm_assert_ready(vm);
	for (guint i = 0; i < 2; i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_true(console_wait(console, 5));
	}
	console_assert_no_gap(console);
}

/* A netdev that listens: its name leads to the new process. */
static void test_stream_server(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "net");
	g_autofree char *netdev =
		g_strdup_printf("stream,id=n0,server=on,addr.type=unix,addr.path=%s", path);
	const char *const extra[] = {"-netdev", netdev, "-device", "virtio-net-pci,netdev=n0",
				     NULL};
	VmOptions options = plain;
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	for (guint i = 0; i < 2; i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_int_equal(lu_running_peer_of(path), run.new_pid);
	}
}

/* ------------------------------------------------------------------ vhost-user */

static void end_daemon(gpointer pid)
{
	kill(GPOINTER_TO_INT(pid), SIGKILL);
	waitpid(GPOINTER_TO_INT(pid), NULL, 0);
}

static gboolean is_there(void *path)
{
	return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A disk by QEMU's own daemon, which serves one client at a time. */
static char *start_daemon(LmTest *test)
{
	g_autofree char *image = lm_test_path(test, "disk"), *node = NULL, *export = NULL;
	char *path = lm_test_path(test, "vhost-user");
	const char *argv[] = {"qemu-storage-daemon", "--blockdev", NULL, "--export", NULL, NULL};
	g_autoptr(GError) error = NULL;
	GPid pid;

	assert_true(g_file_set_contents(image, "", 0, NULL));
	assert_int_equal(truncate(image, 1 << 20), 0);
	argv[2] = node = g_strdup_printf("file,node-name=f,filename=%s", image);
	argv[4] = export = g_strdup_printf(
		"vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path=%s", path);
	g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
		      NULL, NULL, &pid, &error);
	must(error);
	lm_test_cleanup_later(test, end_daemon, GINT_TO_POINTER((int)pid));
	assert_true(lm_wait_until(is_there, path, LM_WAIT_MS));
	return path;
}

static void test_vhost_user(LmTest *test, const void *arg)
{
	g_autofree char *path = start_daemon(test);
	g_autofree char *chardev = g_strdup_printf("socket,id=v,path=%s", path);
	const char *const extra[] = {"-chardev", chardev, "-device", "vhost-user-blk-pci,chardev=v",
				     NULL};
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.extra = extra;
	options.backend = "memory-backend-memfd,share=on";
	vm = tool_vm(test, &options);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "vhost-user-blk-pci,chardev=v cannot be");
	assert_contains(qmp_str(run.report, "error"), "device_del");
	tool_assert_untouched(vm);
}

static const LmCase cases[] = {
	LM_CASE(test_one_client_after_the_other),
	LM_CASE(test_one_client_only),
	LM_CASE(test_connected_descriptor),
	LM_CASE(test_stream_server),
	LM_CASE(test_vhost_user),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
