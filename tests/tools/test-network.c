/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux guests with a network of every kind are upgraded while they talk. All of it is in a
 * network namespace of this program's.
 */
#include "bridges.h"
#include "linux-guest.h"
#include "running.h"
#include "tool.h"
#include "traffic.h"
#include "versions.h"

#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define GUEST "10.0.2.15"
#define HOST  BRIDGES_HOST
/*
 * What guests are told: as LINUX_APPEND, without a disk, and with patience: what is lost of a
 * stream passt sends again after 2 s.
 */
#define APPEND                                                                                     \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.mib=64 lm.net=1 lm.net_s=8"
#define TAP    "tap,id=n0,ifname=lmtap0"
#define NIC    "virtio-net-pci,netdev=n0,romfile="
#define NIC_MQ NIC ",mq=on,vectors=6"
/* Generous: a busy machine stops a guest for longer than an upgrade does. */
#define LONGEST_MAX 5000
/* Of the pings outside of the pauses, of which there are two at most. */
#define LOST_MAX   5
#define PAUSES_MAX 2

static Vm *boot(LmTest *test, VmOptions options, const char *const *extra)
{
	g_autoptr(GError) error = NULL;
	Vm *vm;

	options.kernel = lm_test_env("LM_VMLINUZ");
	options.initrd = lm_test_env("LM_INITRAMFS");
	options.append = APPEND;
	options.memory_mib = 256;
	options.extra = extra;
	vm = tool_spawn(test, &options);
	serial_wait_beats(vm->serial_path, 5, LINUX_BOOT_MS, NULL, &error);
	must(error);
	return vm;
}

/* "net T netreset R" of the last heartbeat. */
static guint64 net_value(const Vm *vm, const char *name)
{
	g_autofree char *text = NULL;
	const char *at;

	assert_true(g_file_get_contents(vm->serial_path, &text, NULL, NULL));
	at = g_strrstr(text, name);
	assert_non_null(at);
	return g_ascii_strtoull(at + strlen(name), NULL, 10);
}

/* ------------------------------------------------------------------------- tap */

typedef struct TapCase {
	const char *netdev, *device;
	guint smp;
	const char *version; /* of the new QEMU; NULL: the installed one */
	const char *from;    /* of both, which are in a root of their own; NULL: see version */
	const char *way;     /* NULL: auto */
	gboolean bridge, macvtap;
	gboolean attach; /* the running one has no plugin yet */
} TapCase;

static void make_tap(LmTest *test)
{
	tool_run_script(test, "ip tuntap add lmtap0 mode tap\nip addr add " HOST "/24 dev lmtap0\n"
			      "ip link set lmtap0 up\n");
}

static void remove_tap(gpointer opaque)
{
	if (system("ip link del lmtap0"))
		lm_test_note("lmtap0 stays");
}

static char *make_scripts(LmTest *test, const char *log)
{
	g_autofree char *up = NULL, *down = NULL;

	up = tool_script(test, "up",
			 "echo up $1 >>%s\nip addr add " HOST "/24 dev $1\nip link set $1 up\n",
			 log);
	down = tool_script(test, "down", "echo down $1 >>%s\nip link set $1 down\n", log);
	return g_strdup_printf(",script=%s,downscript=%s", up, down);
}

/* On one end of a cable; QEMU gets its character device open, as management software gives it. */
static char *make_macvtap(LmTest *test)
{
	tool_run_script(test, "ip link add lmveth0 type veth peer name lmveth1\n"
			      "ip addr add " HOST "/24 dev lmveth0\nip link set lmveth0 up\n"
			      "ip link set lmveth1 up\n"
			      "ip link add link lmveth1 name lmmac0 address 52:54:00:12:34:56 "
			      "type macvtap mode bridge\nip link set lmmac0 up\n");
	return tool_script(
		test, "qemu-macvtap",
		"exec 9<>/dev/tap$(ip -o link show lmmac0 | cut -d: -f1)\nexec %s \"$@\"\n",
		tool_qemu());
}

static void remove_macvtap(gpointer opaque)
{
	if (system("ip link del lmveth0"))
		lm_test_note("lmveth0 stays");
}

static Vm *boot_tap(LmTest *test, const TapCase *tap, const char *log)
{
	gboolean by_name = !tap->bridge && !tap->macvtap && !tap->from;
	g_autofree char *scripts = by_name ? make_scripts(test, log) : g_strdup("");
	g_autofree char *netdev = g_strconcat(tap->netdev, scripts, NULL), *binary = NULL;
	g_autofree char *smp = g_strdup_printf("%u", MAX(tap->smp, 1));
	const char *const extra[] = {"-netdev", netdev, "-device", tap->device, "-smp", smp, NULL};

	if (tap->bridge) {
		bridges_make(test);
	} else if (tap->macvtap) {
		lm_test_cleanup_later(test, remove_macvtap, NULL);
		binary = make_macvtap(test);
	} else if (tap->from) {
		lm_test_cleanup_later(test, remove_tap, NULL);
		make_tap(test);
	}
	return boot(test,
		    (VmOptions){.root = version_root(tap->from),
				.binary = binary,
				.plugin = tap->attach ? "" : NULL},
		    extra);
}

static void assert_talked(Vm *vm, const TrafficReport *report, guint64 trips_before)
{
	assert_true(net_value(vm, " net ") > trips_before);
	assert_int_equal(net_value(vm, " netreset "), 0);
	assert_int_equal(report->connections, 0);
	assert_int_equal(report->twice, 0);
	assert_true(report->longest_ms < LONGEST_MAX);
	assert_in_range(report->lost, 0,
			LOST_MAX + PAUSES_MAX * (guint)report->longest_ms / TRAFFIC_PING_MS);
}

static void upgrade(LmTest *test, Vm *vm, const char *binary, const char *way, gboolean attach)
{
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", binary, "--way",
		 way ? way : "auto", attach ? "--plugin" : NULL, lm_test_env("LM_PLUGIN"), NULL);
	tool_assert_upgraded(vm, &run);
}

static void test_tap(LmTest *test, const void *arg)
{
	const TapCase *tap = arg;
	g_autofree char *binary = tap->from ? g_strdup("/usr/bin/qemu-system-x86_64")
					    : tool_qemu_version(test, tap->version);
	g_autofree char *log = lm_test_path(test, "scripts.log"), *said = NULL;
	TrafficReport report;
	Traffic *traffic;
	guint64 trips;
	Vm *vm;

	if (!binary || !version_is_here(tap->from)) {
		lm_test_note("no QEMU %s", tap->from ? tap->from : tap->version);
		return;
	}
	traffic = traffic_serve(test, HOST, 7);
	vm = boot_tap(test, tap, log);
	traffic_ping(traffic, GUEST);
	trips = net_value(vm, " net ");
	upgrade(test, vm, binary, tap->way, tap->attach);
	if (!tap->version)
		upgrade(test, vm, binary, tap->way, tap->attach);
	report = traffic_stop(traffic);
	traffic_note(test->test_case->name, &report);
	assert_talked(vm, &report, trips);
	assert_true(report.announcements > 0);
	if (!g_file_get_contents(log, &said, NULL, NULL))
		return;
	assert_string_equal(said, "up lmtap0\n");
}

/* The new process only rehearses, or fails when it has the tap device already. */
static void test_tap_stays(LmTest *test, const void *arg)
{
	static const TapCase tap = {.netdev = TAP ",queues=2", .device = NIC_MQ, .smp = 2};
	g_autofree char *log = lm_test_path(test, "scripts.log");
	g_autofree char *plugin = g_strdup_printf("%s,fault=commit:fail", lm_test_env("LM_PLUGIN"));
	Traffic *traffic = traffic_serve(test, HOST, 7);
	Vm *vm = boot_tap(test, &tap, log);
	g_auto(Run) rehearsed = {0}, failed = {0};
	TrafficReport report;
	guint64 trips;

	traffic_ping(traffic, GUEST);
	trips = net_value(vm, " net ");
	tool_run(test, &rehearsed, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 "--rehearse", NULL);
	assert_int_equal(rehearsed.status, 0);
	if (LM_FAULT_INJECTION) {
		tool_run(test, &failed, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(),
			 "--plugin", plugin, NULL);
		assert_int_equal(failed.status, 3);
	}
	report = traffic_stop(traffic);
	traffic_note(test->test_case->name, &report);
	tool_assert_untouched(vm);
	assert_talked(vm, &report, trips);
	/* And then it goes. */
	upgrade(test, vm, tool_qemu(), NULL, FALSE);
	trips = net_value(vm, " net ");
	g_usleep(500000);
	assert_true(net_value(vm, " net ") > trips);
	assert_int_equal(net_value(vm, " netreset "), 0);
}

/*
 * Two networks are made again in the other order. Each stays what it is, or nothing is touched: a
 * guest never is in the other's network.
 */
static void test_bridges(LmTest *test, const void *arg)
{
	static const char *const extra[] = {"-netdev", "bridge,id=n0,br=lmbr0", "-netdev",
					    "bridge,id=n1,br=lmbr1", NULL};
	static const char *const changes[][2] = {
		{"netdev_del", "{'id': 'n0'}"},
		{"netdev_del", "{'id': 'n1'}"},
		{"netdev_add", "{'type': 'bridge', 'id': 'n1', 'br': 'lmbr1'}"},
		{"netdev_add", "{'type': 'bridge', 'id': 'n0', 'br': 'lmbr0'}"}};
	const VmOptions options = {.append = "rate=8", .memory_mib = 64, .extra = extra};
	g_auto(Run) run = {0};
	Vm *vm;

	bridges_make(test);
	vm = tool_vm(test, &options);
	for (guint i = 0; arg && i < G_N_ELEMENTS(changes); i++)
		json_node_unref(tool_command(vm, changes[i][0], changes[i][1]));
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	if (arg) {
		assert_int_equal(run.status, 2);
		assert_contains(qmp_str(run.report, "error"),
				"is on bridge lmbr1, and the netdev on lmbr0");
		tool_assert_untouched(vm);
		return;
	}
	tool_assert_upgraded(vm, &run);
	for (guint i = 0; i < 2; i++) {
		g_autofree char *id = g_strdup_printf("n%u", i);
		g_autofree char *bridge = g_strdup_printf("lmbr%u", i);

		bridges_assert_on(&run, id, bridge);
	}
}

/* ----------------------------------------------------------------------- passt */

/* Traffic between passt and the echo server stays on a device that leads nowhere. */
#define PASST_NETWORK                                                                              \
	"ip link add lmdummy0 type bridge\nip addr add " HOST "/24 dev lmdummy0\n"                 \
	"ip link set lmdummy0 up\nip route add default via 10.0.2.2 dev lmdummy0\n"

static void remove_dummy(gpointer opaque)
{
	if (system("ip link del lmdummy0"))
		lm_test_note("lmdummy0 stays");
}

static void end_passt(gpointer pid)
{
	kill(GPOINTER_TO_INT(pid), SIGKILL);
	waitpid(GPOINTER_TO_INT(pid), NULL, 0);
}

static gboolean is_there(void *path)
{
	return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* It becomes nobody, before it makes its socket or after, as the version is. */
static char *start_passt(LmTest *test, const char *more)
{
	g_autofree char *folder = lm_test_path(test, "passt");
	char *path = g_build_filename(folder, "socket", NULL);
	const char *const argv[] = {"passt", "-f", "-s",       path, "-a",	 GUEST, "-n",
				    "24",    "-g", "10.0.2.2", "-i", "lmdummy0", more,	NULL};
	g_autoptr(GError) error = NULL;
	GPid pid;

	chmod(test->dir, 0711);
	assert_int_equal(g_mkdir(folder, 0777), 0);
	assert_int_equal(chmod(folder, 0777), 0);
	g_spawn_async(NULL, (char **)argv, NULL,
		      G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL,
		      NULL, NULL, &pid, &error);
	must(error);
	lm_test_cleanup_later(test, end_passt, GINT_TO_POINTER((int)pid));
	assert_true(lm_wait_until(is_there, path, LM_WAIT_MS));
	return path;
}

/* "stream,..." to a passt of the case's. */
static char *passt_netdev(LmTest *test, const char *more)
{
	g_autofree char *path = NULL;

	lm_test_cleanup_later(test, remove_dummy, NULL);
	tool_run_script(test, PASST_NETWORK);
	path = start_passt(test, more);
	return g_strdup_printf("stream,id=n0,server=off,addr.type=unix,addr.path=%s", path);
}

static Vm *boot_passt(LmTest *test)
{
	g_autofree char *netdev = passt_netdev(test, NULL);
	const char *const extra[] = {"-netdev", netdev, "-device", NIC, NULL};

	return boot(test, (VmOptions){0}, extra);
}

/* The guest's connections live in passt, which goes on. */
static void test_passt(LmTest *test, const void *arg)
{
	g_autofree char *binary = tool_qemu_version(test, arg);
	Traffic *traffic;
	TrafficReport report;
	guint64 trips;
	Vm *vm;

	if (!binary) {
		lm_test_note("no QEMU %s", (const char *)arg);
		return;
	}
	traffic = traffic_serve(test, HOST, 7);
	vm = boot_passt(test);
	traffic_begin(traffic);
	trips = net_value(vm, " net ");
	upgrade(test, vm, binary, NULL, FALSE);
	if (!arg)
		upgrade(test, vm, binary, NULL, FALSE);
	report = traffic_stop(traffic);
	traffic_note(test->test_case->name, &report);
	assert_true(net_value(vm, " net ") > trips);
	assert_int_equal(net_value(vm, " netreset "), 0);
	assert_int_equal(report.connections, 0);
	assert_true(report.silent_ms < LONGEST_MAX);
}

/* The tool is killed when the guest has moved: the next run connects what is not connected yet. */
static void test_passt_interrupted(LmTest *test, const void *arg)
{
	Traffic *traffic;
	Vm *vm;
	g_auto(Run) killed = {0}, run = {0};
	TrafficReport report;

	if (!LM_FAULT_INJECTION) {
		lm_test_note("not tested: a build without fault points");
		return;
	}
	traffic = traffic_serve(test, HOST, 7);
	vm = boot_passt(test);
	traffic_begin(traffic);
	tool_run(test, &killed, "handover:kill", "--qmp", vm->qmp_path, "--binary", tool_qemu(),
		 NULL);
	assert_int_equal(killed.status, 128 + SIGKILL);
	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, &run);
	report = traffic_stop(traffic);
	traffic_note(test->test_case->name, &report);
	assert_true(report.silent_ms < LONGEST_MAX);
	assert_int_equal(net_value(vm, " netreset "), 0);
	assert_int_equal(report.connections, 0);
}

static void test_passt_one_off(LmTest *test, const void *arg)
{
	g_autofree char *netdev = passt_netdev(test, "--one-off");
	const char *const extra[] = {"-netdev", netdev, "-device", NIC, NULL};
	const VmOptions options = {.append = "rate=8", .memory_mib = 64, .extra = extra};
	Vm *vm = tool_vm(test, &options);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "--one-off");
	tool_assert_untouched(vm);
}

static const TapCase one = {.netdev = TAP, .device = NIC};
static const TapCase to_10_0 = {.netdev = TAP, .device = NIC, .version = VERSION_10_0};
static const TapCase to_11_1 = {.netdev = TAP, .device = NIC, .version = VERSION_11_1};
static const TapCase within_11_1 = {
	.netdev = TAP ",script=no,downscript=no", .device = NIC, .from = VERSION_11_1};
static const TapCase all_queues = {
	.netdev = TAP ",queues=2", .device = NIC_MQ, .smp = 2, .way = "flip"};
static const TapCase some_queues = {.netdev = TAP ",queues=2", .device = NIC_MQ};
static const TapCase bridge = {
	.netdev = "bridge,id=n0,br=lmbr0", .device = NIC, .bridge = TRUE, .attach = TRUE};
static const TapCase macvtap = {.netdev = "tap,id=n0,fd=9", .device = NIC, .macvtap = TRUE};
static const LmCase cases[] = {
	{"test_tap", test_tap, &one},
	{"test_tap to 10.0", test_tap, &to_10_0},
	{"test_tap to 11.1", test_tap, &to_11_1},
	{"test_tap within 11.1", test_tap, &within_11_1},
	{"test_tap queues", test_tap, &all_queues},
	{"test_tap queues of which one is used", test_tap, &some_queues},
	{"test_tap bridge", test_tap, &bridge},
	{"test_tap macvtap", test_tap, &macvtap},
	LM_CASE(test_tap_stays),
	LM_CASE(test_bridges),
	LM_CASE_ARG(test_bridges, "made again"),
	{"test_passt", test_passt, VERSION_INSTALLED},
	{"test_passt to 11.1", test_passt, VERSION_11_1},
	LM_CASE(test_passt_interrupted),
	LM_CASE(test_passt_one_off),
};

int main(int argc, char **argv)
{
	const char *missing = linux_missing();
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (missing)
		return lm_test_skip("%s is not set", missing);
	if (geteuid() || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return lm_test_skip("must be root");
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	return LM_TEST_MAIN(argc, argv, cases);
}
