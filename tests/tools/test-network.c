/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux guests with a network of every kind are upgraded while they talk. All of it is in a
 * network namespace of this program's.
 */
#include "linux-guest.h"
#include "running.h"
#include "tool.h"
#include "traffic.h"

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST "10.0.2.15"
#define HOST  "10.0.2.100"
/* What guests are told: as LINUX_APPEND, without a disk. */
#define APPEND                                                                                     \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.mib=64 lm.net=1"
/* Generous: a busy machine stops a guest for longer than an upgrade does. */
#define LOST_MAX    5
#define LONGEST_MAX 2000

static Vm *boot(LmTest *test, const char *const *extra)
{
	VmOptions options = {.kernel = lm_test_env("LM_VMLINUZ"),
			     .initrd = lm_test_env("LM_INITRAMFS"),
			     .append = APPEND,
			     .memory_mib = 256,
			     .extra = extra};
	g_autoptr(GError) error = NULL;
	Vm *vm = tool_spawn(test, &options);

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
	const char *way;
	guint upgrades;
} TapCase;

static char *make_scripts(LmTest *test, char **log)
{
	g_autofree char *up = NULL, *down = NULL;

	*log = lm_test_path(test, "scripts.log");
	up = tool_script(test, "up",
			 "echo up $1 >>%s\nip addr add " HOST "/24 dev $1\nip link set $1 up\n",
			 *log);
	down = tool_script(test, "down", "echo down $1 >>%s\nip link set $1 down\n", *log);
	return g_strdup_printf("script=%s,downscript=%s", up, down);
}

static void assert_talked(Vm *vm, const TrafficReport *report, guint64 trips_before)
{
	assert_true(net_value(vm, " net ") > trips_before);
	assert_int_equal(net_value(vm, " netreset "), 0);
	assert_int_equal(report->connections, 1);
	assert_int_equal(report->twice, 0);
	assert_in_range(report->lost, 0, LOST_MAX);
	assert_true(report->longest_ms < LONGEST_MAX);
}

static void test_tap(LmTest *test, const void *arg)
{
	const TapCase *tap = arg;
	g_autofree char *log = NULL, *scripts = make_scripts(test, &log), *said = NULL;
	g_autofree char *netdev = g_strdup_printf("%s,%s", tap->netdev, scripts);
	const char *const extra[] = {"-netdev", netdev, "-device", tap->device, NULL};
	Traffic *traffic = traffic_serve(test, HOST, 7);
	Vm *vm = boot(test, extra);
	TrafficReport report;
	guint64 trips;

	traffic_ping(traffic, GUEST);
	trips = net_value(vm, " net ");
	for (guint i = 0; i < tap->upgrades; i++) {
		g_auto(Run) run = {0};

		tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), "--way",
			 tap->way, NULL);
		tool_assert_upgraded(vm, &run);
	}
	report = traffic_stop(traffic);
	traffic_note(test->test_case->name, &report);
	assert_talked(vm, &report, trips);
	assert_true(g_file_get_contents(log, &said, NULL, NULL));
	assert_string_equal(said, "up lmtap0\n");
}

static const TapCase virtio = {"tap,id=n0,ifname=lmtap0",
			       "virtio-net-pci,netdev=n0,romfile=", "auto", 2};

static const LmCase cases[] = {
	{"test_tap virtio", test_tap, &virtio},
};

int main(int argc, char **argv)
{
	const char *missing = linux_missing();
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (missing)
		return lm_test_skip("%s is not set", missing);
	if (geteuid() || unshare(CLONE_NEWNET) < 0)
		return lm_test_skip("must be root");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	return LM_TEST_MAIN(argc, argv, cases);
}
