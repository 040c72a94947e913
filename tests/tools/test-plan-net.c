// SPDX-License-Identifier: GPL-2.0-or-later
/* Command lines with tap devices and sockets that this process has; no QEMU is asked. */
#include "unit.h"

#include "plan-of.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define REST   " -M pc-q35-7.2 -cpu qemu64 -plugin /p/localhost-migrate.so"
#define BEFORE "/new -qmp unix:/r/q.lu1,server=on,wait=off "
#define AFTER                                                                                      \
	" -M pc-q35-7.2 -cpu qemu64 -incoming defer -plugin "                                      \
	"/p/localhost-migrate.so,incoming=unix:/r/1/handover"

/* Descriptors at numbers that no plan gives to anything else. */
static int tap(const char *name, int number)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	g_strlcpy(ifr.ifr_name, name, sizeof(ifr.ifr_name));
	assert_true(fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0);
	assert_int_equal(dup2(fd, number), number);
	close(fd);
	return number;
}

/* What there is until now is the running process's. */
static void begin(void)
{
	plan_of_pid = fork();
	if (plan_of_pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static void end(void)
{
	kill(plan_of_pid, SIGKILL);
	waitpid(plan_of_pid, NULL, 0);
	plan_of_pid = 0;
}

static const LuDescriptor *descriptor_at(const LuPlan *plan, int number)
{
	for (guint i = 0; i < plan->descriptors->len; i++)
		if (g_array_index(plan->descriptors, LuDescriptor, i).number == number)
			return &g_array_index(plan->descriptors, LuDescriptor, i);
	return NULL;
}

static char *interface_at(const LuPlan *plan, int number)
{
	const LuDescriptor *descriptor = descriptor_at(plan, number);
	struct ifreq ifr = {0};

	if (!descriptor || ioctl(descriptor->fd, TUNGETIFF, &ifr) < 0)
		return NULL;
	return g_strdup(ifr.ifr_name);
}

typedef struct Expected {
	const char *before, *after, *plugin;
	int real; /* number of the first real descriptor */
	const char *interface;
} Expected;

static void assert_planned(const Expected *expected)
{
	LuRunning *running = NULL;
	g_autofree char *before = g_strconcat(expected->before, REST, NULL);
	g_autoptr(LuPlan) plan = plan_of(before, &running);
	g_autofree char *text = lu_command_line_text(plan->line);
	g_autofree char *after =
		g_strconcat(BEFORE, expected->after, AFTER, expected->plugin, NULL);
	g_autofree char *interface = interface_at(plan, expected->real);

	if (plan->refusals->len)
		fail_msg("%s", (char *)plan->refusals->pdata[0]);
	assert_string_equal(text, after);
	if (expected->interface)
		assert_string_equal(interface, expected->interface);
	lu_running_free(running);
}

static const Expected taps[] = {
	{"-netdev tap,id=t,ifname=lut0,script=no,downscript=no,vnet_hdr=on,sndbuf=0",
	 "-netdev tap,id=t,sndbuf=0,fd=10", ",stand-in=10:11", 11, "lut0"},
	{"-netdev tap,id=t,ifname=lutq,queues=2,downscript=no", "-netdev tap,id=t,fds=10:11",
	 ",stand-in=10:12/11:13", 13, "lutq"},
	{"-netdev '{\"type\": \"tap\", \"id\": \"t\", \"ifname\": \"lutq\", \"queues\": 2, "
	 "\"downscript\": \"no\"}'",
	 "-netdev '{\"type\":\"tap\",\"id\":\"t\",\"fds\":\"10:11\"}'", ",stand-in=10:12/11:13", 12,
	 "lutq"},
	/* What was given stays what it is. */
	{"-netdev tap,id=t,fd=200", "-netdev tap,id=t,fd=200", ",stand-in=200:201", 201, "lut0"},
	{"-netdev '{\"type\":\"tap\",\"fds\":\"201:202\",\"id\":\"t\"}'",
	 "-netdev '{\"type\":\"tap\",\"fds\":\"201:202\",\"id\":\"t\"}'",
	 ",stand-in=201:203/202:204", 203, "lutq"},
	/* The helper's is what nothing else names; -netdev comes before -nic. */
	{"-nic tap,ifname=lutq,queues=2,downscript=no -netdev bridge,br=b,id=t",
	 "-nic tap,fds=10:11 -netdev tap,id=t,fd=14", ",stand-in=10:12/11:13/14:15", 15, "lut0"},
	{"-nic tap,downscript=no,ifname=lut0,model=e1000 -net nic -net tap,queues=2,downscript=no",
	 "-nic tap,model=e1000,fd=10 -net nic -net tap,fds=12:13", ",stand-in=10:11/12:14/13:15",
	 14, "lutq"},
};

static void test_taps(void **state)
{
	int fds[] = {tap("lut0", 200), tap("lutq", 201), tap("lutq", 202)};

	begin();
	for (guint i = 0; i < G_N_ELEMENTS(taps); i++)
		assert_planned(&taps[i]);
	end();
	for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
		close(fds[i]);
}

/* Only queues that are on are put on again when the guest stays. */
static void test_queues_are_remembered(void **state)
{
	int first = tap("lutq", 201), second = tap("lutq", 202);
	struct ifreq off = {.ifr_flags = IFF_DETACH_QUEUE};
	LuRunning *running = NULL;
	g_autoptr(LuPlan) plan = NULL;

	assert_int_equal(ioctl(second, TUNSETQUEUE, &off), 0);
	begin();
	plan = plan_of("-netdev tap,id=t,fds=201:202" REST, &running);
	end();
	assert_int_equal(plan->queues->len, 1);
	assert_int_equal(g_array_index(plan->queues, int, 0), 201);
	lu_running_free(running);
	close(first);
	close(second);
}

static void assert_refused(const char *arguments, const char *why)
{
	LuRunning *running = NULL;
	g_autofree char *text = g_strconcat(arguments, REST, NULL);
	g_autoptr(LuPlan) plan = plan_of(text, &running);

	assert_int_equal(plan->refusals->len, 1);
	if (!strstr(plan->refusals->pdata[0], why))
		fail_msg("\"%s\" does not say \"%s\"", (char *)plan->refusals->pdata[0], why);
	lu_running_free(running);
}

static void test_refused(void **state)
{
	int first = tap("lut0", 200), second = tap("lut0", 201);

	begin();
	assert_refused("-netdev tap,id=t,ifname=lut0", "2 descriptors of interface lut0, and the "
						       "netdev 1 queues");
	assert_refused("-netdev bridge,id=t", "2 descriptors of tap devices that the command line "
					      "does not name, and should have 1");
	if (g_access("/dev/vhost-net", R_OK))
		assert_refused("-netdev tap,id=t,fds=200:201,vhostfds=202:203", "/dev/vhost-net");
	end();
	close(first);
	close(second);
}

/* Its downscript would be run by the old process. */
static void test_downscript(void **state)
{
	int fd = tap("lut0", 200);

	begin();
	for (guint i = 0; i < 2; i++) {
		LuRunning *running = NULL;
		g_autoptr(LuPlan) plan =
			plan_of(i ? "-netdev tap,id=t,ifname=lut0,downscript=/bin/true" REST
				  : "-netdev tap,id=t,ifname=lut0,downscript=/nowhere" REST,
				&running);

		assert_int_equal(plan->refusals->len, 0);
		assert_int_equal(plan->kill_old, i);
		lu_running_free(running);
	}
	end();
	close(fd);
}

/* --------------------------------------------------------------------- sockets */

/* A connection to a socket that this process listens at itself. */
static void make_connection(const char *path, int fds[2])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
}

static void test_stream(void **state)
{
	g_autofree char *folder = g_dir_make_tmp("stream-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "s", NULL);
	g_autofree char *before = g_strdup_printf(
		"-netdev stream,id=s,server=off,addr.type=unix,addr.path=%s,reconnect=1", path);
	g_autofree char *json =
		g_strdup_printf("-netdev '{\"type\":\"stream\",\"id\":\"s\",\"addr\":{\"type\":"
				"\"unix\",\"path\":\"%s\"}}'",
				path);
	const Expected expected[] = {
		{before, "-netdev stream,id=s,server=off,addr.type=fd,addr.str=10",
		 ",stand-in=10:11", 0, NULL},
		{json,
		 "-netdev '{\"type\":\"stream\",\"id\":\"s\",\"addr\":{\"type\":\"fd\",\"str\":"
		 "\"10\"}}'",
		 ",stand-in=10:11", 0, NULL},
	};
	int fds[2];

	make_connection(path, fds);
	for (guint i = 0; i < G_N_ELEMENTS(expected); i++)
		assert_planned(&expected[i]);
	close(fds[0]);
	close(fds[1]);
	g_unlink(path);
	g_rmdir(folder);
}

static void test_given_sockets(void **state)
{
	static const Expected expected[] = {
		{"-netdev dgram,id=s,local.type=fd,local.str=200",
		 "-netdev dgram,id=s,local.type=fd,local.str=200", "", 0, NULL},
		{"-netdev socket,id=s,fd=200", "-netdev socket,id=s,fd=200", "", 0, NULL},
		{"-chardev socket,id=c,fd=201", "-chardev socket,id=c,fd=201", ",stand-in=201:202",
		 0, NULL},
	};
	int datagrams[2], stream[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
	assert_int_equal(dup2(datagrams[0], 200), 200);
	assert_int_equal(dup2(stream[0], 201), 201);
	for (guint i = 0; i < G_N_ELEMENTS(expected); i++)
		assert_planned(&expected[i]);
	assert_refused("-chardev socket,id=c,fd=201 -mon chardev=c,mode=control", "has negotiated");
	assert_refused("-netdev socket,id=s,fd=201", "middle of a frame");
	for (guint i = 0; i < 2; i++) {
		close(datagrams[i]);
		close(stream[i]);
		close(200 + (int)i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_taps),    TEST(test_queues_are_remembered),
		TEST(test_refused), TEST(test_downscript),
		TEST(test_stream),  TEST(test_given_sockets),
	};

	if (geteuid() || access("/dev/net/tun", R_OK) || unshare(CLONE_NEWNET) < 0) {
		g_print("1..0 # SKIP tap devices need root and /dev/net/tun\n");
		return 0;
	}
	return cmocka_run_group_tests_name("tool-plan-net", tests, NULL, NULL);
}
