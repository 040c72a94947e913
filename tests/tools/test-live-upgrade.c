/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMUs are upgraded by the tool, and everything about them leads to the new process. */
#include "running.h"
#include "tool.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <fcntl.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

static char *pid_text(const Vm *vm)
{
	return g_strdup_printf("%d", (int)vm->pid);
}

static void test_by_pid(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_autofree char *pid = pid_text(vm);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--binary", tool_qemu(), "--way", "flip", pid, NULL);
	tool_assert_upgraded(vm, &run);
	assert_string_equal(qmp_str(run.report, "way"), "flip");
	assert_int_equal(qmp_int(run.report, "old-pid"), vm->pid);
	assert_non_null(qmp_str(run.report, "from"));
	assert_non_null(qmp_str(run.report, "to"));
	assert_true(qmp_int(run.report, "peak-bytes") > 16 << 20);
	assert_true(json_object_get_double_member(json_node_get_object(run.report), "stopped-ms") >
		    0);
}

/* Again and again, by the name that stays. */
static void test_by_qmp(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	pid_t last = vm->pid;

	for (int i = 0; i < 3; i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_int_not_equal(run.new_pid, last);
		last = run.new_pid;
	}
}

static void test_serial_socket_and_pid_file(LmTest *test, const void *arg)
{
	g_autofree char *pid_file = lm_test_path(test, "pid");
	const char *const extra[] = {"-pidfile", pid_file, NULL};
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.serial_socket = TRUE;
	options.extra = extra;
	vm = tool_vm(test, &options);
	chmod(vm->serial_socket, 0660);
	for (int i = 0; i < 2; i++) {
		g_autofree char *text = NULL;
		struct stat st;

		run_clear(&run);
		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_int_equal(lu_running_peer_of(vm->serial_socket), run.new_pid);
		assert_true(!stat(vm->serial_socket, &st) && (st.st_mode & 0777) == 0660);
		assert_true(g_file_get_contents(pid_file, &text, NULL, NULL));
		assert_int_equal(atoi(text), run.new_pid);
	}
}

/* The longest time, in microseconds, in which a name did not lead to a listening socket. */
static gpointer connect_again_and_again(gpointer data)
{
	const char *path = ((gpointer *)data)[0];
	gint *stop = ((gpointer *)data)[1];
	gint64 since_us = 0, longest_us = 0;

	while (!g_atomic_int_get(stop)) {
		gint64 now_us = g_get_monotonic_time();
		int fd = lu_unix_connect(path);

		/* A full queue is that of a socket that is there. */
		if (fd >= 0 || errno == EAGAIN)
			since_us = 0;
		else if (!since_us)
			since_us = now_us;
		if (since_us)
			longest_us = MAX(longest_us, g_get_monotonic_time() - since_us);
		if (fd >= 0)
			close(fd);
	}
	return GINT_TO_POINTER((int)longest_us);
}

static void test_no_gap(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_auto(Run) run = {0};
	gint stop = 0;
	gpointer data[2] = {NULL, &stop};
	GThread *thread;
	int longest_us;
	Vm *vm;

	options.serial_socket = TRUE;
	vm = tool_vm(test, &options);
	data[0] = vm->serial_socket;
	thread = g_thread_new("connect", connect_again_and_again, data);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	g_atomic_int_set(&stop, 1);
	longest_us = GPOINTER_TO_INT(g_thread_join(thread));
	tool_assert_upgraded(vm, &run);
	lm_test_note("the name was gone for %d us", longest_us);
	/* The old QEMU removes the name when it ends; the tool puts it back at once. */
	assert_in_range(longest_us, 0, 50000);
}

/* Started with an ordinary command line, it gets the plugin first. */
static void test_attaches(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_auto(Run) look = {0}, run = {0};
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	tool_run(test, &look, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 lm_test_env("LM_PLUGIN"), "--dry-run", NULL);
	assert_int_equal(look.status, 0);
	json_node_unref(tool_command(vm, "query-version", NULL));
	tool_assert_untouched(vm);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--plugin",
		 lm_test_env("LM_PLUGIN"), NULL);
	tool_assert_upgraded(vm, &run);
}

/* Only that. */
static void test_attach_command(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_autofree char *pid = NULL;
	g_auto(Run) run = {0}, again = {0};
	g_autoptr(JsonNode) info = NULL;
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	pid = pid_text(vm);
	tool_run(test, &run, NULL, "--plugin", lm_test_env("LM_PLUGIN"), "attach", pid, NULL);
	assert_int_equal(run.status, 0);
	info = tool_command(vm, "query-localhost-migrate", NULL);
	assert_string_equal(qmp_str(info, "status"), "none");
	tool_run(test, &again, NULL, "--plugin", lm_test_env("LM_PLUGIN"), "attach", pid, NULL);
	assert_int_equal(again.status, 2);
	tool_assert_untouched(vm);
}

static void test_machine_alias(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.machine = "q35";
	vm = tool_vm(test, &options);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "-machine pc-q35-");
}

static void test_dry_run(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--dry-run", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 NULL);
	assert_int_equal(run.status, 0);
	assert_string_equal(qmp_str(run.report, "outcome"), "possible");
	assert_contains(qmp_str(run.report, "command-line"), "-incoming defer");
	tool_assert_untouched(vm);
	assert_true(run.new_pid <= 0);
}

/* --------------------------------------------------------------------- network */

static void test_ports(LmTest *test, const void *arg)
{
	int serial = tool_free_port(), monitor = tool_free_port(), forward = tool_free_port();
	int vnc = 100 + getpid() % 1000;
	g_autofree char *chardev =
		g_strdup_printf("socket,id=c1,host=127.0.0.1,port=%d,server=on,wait=off", serial);
	g_autofree char *telnet = g_strdup_printf("telnet:127.0.0.1:%d,server,nowait", monitor);
	g_autofree char *net = g_strdup_printf("user,id=n0,hostfwd=tcp:127.0.0.1:%d-:22", forward);
	g_autofree char *display = g_strdup_printf("127.0.0.1:%d", vnc);
	const char *const extra[] = {"-chardev", chardev,
				     "-device",	 "virtio-serial",
				     "-device",	 "virtserialport,chardev=c1",
				     "-monitor", telnet,
				     "-netdev",	 net,
				     "-device",	 "virtio-net-pci,netdev=n0",
				     "-vnc",	 display,
				     NULL};
	VmOptions options = plain;
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	for (int i = 0; i < 2; i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		tool_assert_answers(serial);
		tool_assert_answers(monitor);
		tool_assert_answers(forward);
		tool_assert_answers(5900 + vnc);
	}
}

/* ---------------------------------------------------------------------- drives */

static void test_snapshot_is_followed(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "disk"), *overlay = NULL, *drive = NULL;
	g_autofree char *arguments = NULL;
	g_autoptr(JsonNode) reply = NULL;
	const char *extra[] = {"-drive", NULL, "-device", "virtio-blk-pci,drive=d0", NULL};
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	overlay = lm_test_path(test, "overlay");
	drive = g_strdup_printf("file=%s,format=raw,if=none,id=d0", image);
	extra[1] = drive;
	options.extra = extra;
	assert_true(g_file_set_contents(image, "", 0, NULL));
	assert_int_equal(truncate(image, 1 << 20), 0);
	vm = tool_vm(test, &options);
	arguments = g_strdup_printf("{'device': 'd0', 'snapshot-file': '%s', 'format': 'qcow2'}",
				    overlay);
	reply = tool_command(vm, "blockdev-snapshot-sync", arguments);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), overlay);
}

/* A descriptor set, as management software gives it: its number is closed by QEMU. */
static void test_descriptor_set(LmTest *test, const void *arg)
{
	g_autofree char *log = lm_test_path(test, "fdset.log");
	g_autofree char *script = tool_script(
		test, "qemu",
		"exec 9>>%s\nexec %s \"$@\" -add-fd fd=9,set=4,opaque=log "
		"-chardev file,id=f,path=/dev/fdset/4,append=on -device isa-debugcon,chardev=f\n",
		log, tool_qemu());
	VmOptions options = plain;
	g_auto(Run) run = {0};
	Vm *vm;

	options.binary = script;
	vm = tool_vm(test, &options);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	assert_contains(qmp_str(run.report, "command-line"), "set=4,opaque=log");
}

static const LmCase cases[] = {
	LM_CASE(test_by_pid),
	LM_CASE(test_by_qmp),
	LM_CASE(test_serial_socket_and_pid_file),
	LM_CASE(test_no_gap),
	LM_CASE(test_attaches),
	LM_CASE(test_attach_command),
	LM_CASE(test_machine_alias),
	LM_CASE(test_dry_run),
	LM_CASE(test_ports),
	LM_CASE(test_snapshot_is_followed),
	LM_CASE(test_descriptor_set),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
