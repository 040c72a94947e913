/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices and what is behind them that were plugged or removed, settings, and what is refused. */
#include "changed-vm.h"
#include "running.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ------------------------------------------------------------------- removed */

/* What is unplugged goes in the background. */
typedef struct Going {
	Vm *vm;
	const char *command, *arguments;
} Going;

static gboolean is_done(void *opaque)
{
	Going *going = opaque;
	g_autoptr(QmpClient) qmp = qmp_connect(going->vm->qmp_path, -1, LM_WAIT_MS, NULL);
	g_autoptr(JsonNode) reply = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	reply = qmp_command(qmp, NULL, going->command, going->arguments);
#pragma GCC diagnostic pop
	return reply != NULL;
}

static void at_last(Vm *vm, const char *command, const char *arguments)
{
	Going going = {vm, command, arguments};

	assert_true(lm_wait_until(is_done, &going, LM_WAIT_MS));
}

static void test_removed(LmTest *test, const void *arg)
{
	g_autofree char *path = changed_image(test, "disk", "raw", NULL);
	g_autofree char *node = g_strdup_printf(
		"driver=raw,node-name=gone,file.driver=file,file.filename=%s", path);
	const char *const more[] = {"-blockdev", node,
				    "-device",	 "scsi-hd,bus=scsi.0,drive=gone,id=disk",
				    "-netdev",	 "user,id=net9",
				    "-device",	 "usb-tablet,bus=xhci.0,id=nic9",
				    "-chardev",	 "null,id=char9",
				    "-device",	 "virtserialport,bus=vs.0,chardev=char9,id=port9",
				    "-object",	 "iothread,id=thread9",
				    NULL};
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	change(vm, "device_del", "{'id': 'disk'}");
	at_last(vm, "blockdev-del", "{'node-name': 'gone'}");
	change(vm, "device_del", "{'id': 'nic9'}");
	at_last(vm, "netdev_del", "{'id': 'net9'}");
	change(vm, "device_del", "{'id': 'port9'}");
	at_last(vm, "chardev-remove", "{'id': 'char9'}");
	change(vm, "object-del", "{'id': 'thread9'}");
	changed_upgrade(test, vm, &run);
	for (const char *const *word = (const char *const[]){"gone", "nic9", "net9", "port9",
							     "char9", "thread9", NULL};
	     *word; word++)
		assert_null(strstr(qmp_str(run.report, "command-line"), *word));
	/* The same names again, for other things. */
	change(vm, "netdev_add", "{'type': 'user', 'id': 'net9'}");
	change(vm, "device_add",
	       "{'driver': 'virtio-net-pci', 'bus': 'rp1', 'netdev': 'net9', 'id': 'disk', "
	       "'romfile': ''}");
	changed_upgrade_twice(test, vm, &run);
}

/* ---------------------------------------------------------------------- other */

static void test_hot_plugged(LmTest *test, const void *arg)
{
	g_autofree char *socket = lm_test_path(test, "port");
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	changed_plug(test, vm);
	changed_upgrade_twice(test, vm, &run);
	assert_int_equal(lu_running_peer_of(socket), run.new_pid);
}

static guint count(const char *text, const char *part)
{
	guint times = 0;

	for (; (text = strstr(text, part)); text++)
		times++;
	return times;
}

/* A descriptor to the monitor, under a name; what follows is sent with it. */
static void send_with_descriptor(Vm *vm, int fd, const char *name)
{
	g_autofree char *text = g_strdup_printf("{\"execute\": \"qmp_capabilities\"} {\"execute\": "
						"\"getfd\", \"arguments\": {\"fdname\": \"%s\"}}",
						name);
	g_autofree char *next = g_strdup_printf(
		"{\"execute\": \"netdev_add\", \"arguments\": {\"type\": \"tap\", \"id\": "
		"\"tap1\", \"fd\": \"%s\"}}",
		name);
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {text, strlen(text)};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int monitor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_autoptr(GString) answer = g_string_new(NULL);
	gint64 end_us = lm_end_us(LM_WAIT_MS);

	*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
				   .cmsg_level = SOL_SOCKET,
				   .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	g_strlcpy(address.sun_path, vm->qmp_path, sizeof(address.sun_path));
	assert_int_equal(connect(monitor, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(sendmsg(monitor, &message, 0), strlen(text));
	assert_int_equal(send(monitor, next, strlen(next), 0), strlen(next));
	/* The greeting and three answers. */
	while (!strstr(answer->str, "error") && count(answer->str, "\"return\"") < 3 &&
	       lm_left_ms(end_us)) {
		char part[512];
		ssize_t got = recv(monitor, part, sizeof(part), 0);

		assert_true(got > 0);
		g_string_append_len(answer, part, got);
	}
	assert_null(strstr(answer->str, "error"));
	close(monitor);
}

static gboolean has_tap(pid_t pid, const char *name)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fdinfo", (int)pid);
	g_autofree char *wanted = g_strdup_printf("iff:\t%s\n", name);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *entry;

	while (dir && (entry = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, entry, NULL), *text = NULL;

		if (g_file_get_contents(path, &text, NULL, NULL) && strstr(text, wanted))
			return TRUE;
	}
	return FALSE;
}

/* A tap device that came as a descriptor: the device is the same one afterwards. */
static void test_hot_tap(LmTest *test, const void *arg)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	assert_true(tap >= 0);
	g_snprintf(request.ifr_name, sizeof(request.ifr_name), "lmc%d", (int)getpid() % 100000);
	assert_int_equal(ioctl(tap, TUNSETIFF, &request), 0);
	send_with_descriptor(vm, tap, "fd-net0");
	close(tap);
	change(vm, "device_add",
	       "{'driver': 'virtio-net-pci', 'id': 'nic1', 'netdev': 'tap1', 'bus': 'rp1', "
	       "'romfile': ''}");
	for (int i = 0; i < 2; i++) {
		run_clear(&run);
		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
		tool_assert_upgraded(vm, &run);
		assert_true(has_tap(run.new_pid, request.ifr_name));
	}
}

static void test_settings(LmTest *test, const void *arg)
{
	g_autofree char *path = changed_image(test, "disk", "raw", NULL);
	g_autofree char *drive = g_strdup_printf("if=none,id=d0,format=raw,file=%s", path);
	const char *const more[] = {"-drive",  drive,
				    "-device", "virtio-blk-pci,drive=d0,id=disk",
				    "-object", "iothread,id=t1",
				    "-object", "throttle-group,id=g1,x-iops-total=50",
				    NULL};
	Vm *vm = changed_vm(test, more);
	g_auto(Run) run = {0};

	change(vm, "block_set_io_throttle",
	       "{'device': 'd0', 'bps': 0, 'bps_rd': 1000000, 'bps_wr': 2000000, 'iops': 300, "
	       "'iops_rd': 0, 'iops_wr': 0, 'iops_max': 900, 'iops_max_length': 4, 'group': "
	       "'slow'}");
	change(vm, "blockdev-add", "{'driver': 'null-co', 'node-name': 'unused', 'size': 65536}");
	change(vm, "block-set-write-threshold", "{'node-name': 'unused', 'write-threshold': 4096}");
	change(vm, "qom-set", "{'path': '/objects/t1', 'property': 'poll-max-ns', 'value': 77}");
	change(vm, "qom-set",
	       "{'path': '/objects/g1', 'property': 'limits', 'value': {'bps-total': 123}}");
	change(vm, "migrate-set-parameters",
	       "{'max-bandwidth': 5000000, 'downtime-limit': 77, 'announce-rounds': 7}");
	change(vm, "migrate-set-capabilities",
	       "{'capabilities': [{'capability': 'events', 'state': true}, {'capability': "
	       "'auto-converge', 'state': true}, {'capability': 'postcopy-ram', 'state': "
	       "true}]}");
	changed_upgrade_twice(test, vm, &run);
}

/* One in plain text, and one that is encrypted with it. */
static void test_secrets(LmTest *test, const void *arg)
{
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	change(vm, "object-add",
	       "{'qom-type': 'secret', 'id': 'zero', 'format': 'base64', 'data': "
	       "'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='}");
	change(vm, "object-add",
	       "{'qom-type': 'secret', 'id': 'another', 'keyid': 'zero', "
	       "'iv': 'AAECAwQFBgcICQoLDA0ODw==', 'format': 'base64', "
	       "'data': 'f9Etr7fpWZ0LhJrYwuPCHw=='}");
	for (int i = 0; i < 2; i++) {
		g_autofree char *command_line = NULL;

		changed_upgrade(test, vm, &run);
		command_line = tool_proc(run.new_pid, "cmdline");
		assert_null(memmem(qmp_str(run.report, "command-line"),
				   strlen(qmp_str(run.report, "command-line")),
				   "AAECAwQFBgcICQoLDA0ODxAR", 24));
	}
}

/* -------------------------------------------------------------------- refused */

static void test_refused(LmTest *test, const void *arg)
{
	static const struct {
		const char *command, *arguments, *text, *undo, *with;
	} changes[] = {
		{"object-add", "{'qom-type': 'authz-simple', 'id': 'a1', 'identity': 'x'}",
		 "object a1 (authz-simple) was added after the start", "object-del",
		 "{'id': 'a1'}"},
		{"chardev-add",
		 "{'id': 'c1', 'backend': {'type': 'file', 'data': {'out': '/dev/null'}}}",
		 "chardev c1 (file) was added after the start", "chardev-remove", "{'id': 'c1'}"},
		{"netdev_add", "{'type': 'user', 'id': 'u1', 'net': '10.7.0.0/24'}",
		 "the mask of its net 10.7.0.0", "netdev_del", "{'id': 'u1'}"},
		{"netdev_add", "{'type': 'hubport', 'id': 'n1', 'hubid': 1}", "netdev n1",
		 "netdev_del", "{'id': 'n1'}"},
		{"blockdev-add",
		 "{'driver': 'quorum', 'node-name': 'q1', 'vote-threshold': 1, 'children': "
		 "[{'driver': 'null-co'}, {'driver': 'null-co'}]}",
		 "block node q1 (quorum", "blockdev-del", "{'node-name': 'q1'}"},
	};
	Vm *vm = changed_vm(test, NULL);
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
		change(vm, changes[i].command, "%s", changes[i].arguments);
		changed_assert_refused(test, vm, tool_qemu(), changes[i].text);
		change(vm, changes[i].undo, "%s", changes[i].with);
	}
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
}

/* Which one it was has no name. */
static void test_unnamed_removed(LmTest *test, const void *arg)
{
	const char *const more[] = {"-device", "usb-tablet,bus=xhci.0", "-device",
				    "usb-kbd,bus=xhci.0", NULL};
	Vm *vm = changed_vm(test, more);

	change(vm, "device_del", "{'id': '/machine/peripheral-anon/device[0]'}");
	changed_assert_refused(test, vm, tool_qemu(),
			       "2 devices without an id are on the command line and 1 are left");
}

static void test_password(LmTest *test, const void *arg)
{
	const char *const more[] = {"-vnc", "127.0.0.1:0,to=99,password=on", NULL};
	Vm *vm = changed_vm(test, more);

	change(vm, "set_password", "{'protocol': 'vnc', 'password': 'x'}");
	changed_assert_refused(test, vm, tool_qemu(), "password");
}

/* A new process that is not what the plan said: it is asked, and does not get the guest. */
static void test_compared(LmTest *test, const void *arg)
{
	static const struct {
		const char *edit, *text;
	} edits[] = {
		{"set -- \"$@\" -object iothread,id=extra", "object extra is not there in process"},
		{"set -- \"$@\" -device usb-tablet,bus=xhci.0,id=more", "device more is not there"},
		{"for a; do shift; set -- \"$@\" \"${a%,iops-total=7}\"; done; set -- \"$@\" "
		 "-chardev "
		 "null,id=c9",
		 "chardev c9 is not there"},
		{"for a; do shift; case $a in *node-name=b,*) a=$a,read-only=on;; esac; set -- "
		 "\"$@\" "
		 "\"$a\"; done",
		 "block node b: ro is false in process"},
		{"for a; do shift; case $a in *node-name=b,*) a=driver=null-co,node-name=c;; esac; "
		 "set -- \"$@\" \"$a\"; done",
		 "write threshold of block node b: "},
	};
	const char *const more[] = {"-blockdev", "driver=null-co,node-name=b,size=4096", NULL};
	Vm *vm = changed_vm(test, more);

	change(vm, "block-set-write-threshold", "{'node-name': 'b', 'write-threshold': 4096}");
	for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
		g_autofree char *name = g_strdup_printf("other-qemu%u", i);
		g_autofree char *script = tool_script(
			test, name, "case \" $* \" in *-incoming*) %s;; esac\nexec %s \"$@\"\n",
			edits[i].edit, tool_qemu());

		changed_assert_refused(test, vm, script, edits[i].text);
	}
}

static const LmCase cases[] = {
	LM_CASE(test_removed),	       LM_CASE(test_hot_plugged), LM_CASE(test_hot_tap),
	LM_CASE(test_settings),	       LM_CASE(test_secrets),	  LM_CASE(test_refused),
	LM_CASE(test_unnamed_removed), LM_CASE(test_password),	  LM_CASE(test_compared),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
