// SPDX-License-Identifier: GPL-2.0-or-later
/* Command lines before and after; no QEMU is asked. */
#include "unit.h"

#include "plan-of.h"

#include <string.h>

#define NEW_QMP "-qmp unix:/r/q.lu1,server=on,wait=off "
#define TAIL	" -incoming defer -plugin /p/localhost-migrate.so,incoming=unix:/r/1/handover"
#define PLUGIN	" -plugin /p/localhost-migrate.so"

static const struct {
	const char *before, *after;
} edited[] = {
	{"-M q35 -cpu max" PLUGIN, "-M pc-q35-7.2 -cpu max" TAIL},
	{"-machine q35,accel=tcg" PLUGIN, "-machine pc-q35-7.2,accel=tcg -cpu qemu64" TAIL},
	{"-machine accel=tcg" PLUGIN, "-machine accel=tcg -machine pc-q35-7.2 -cpu qemu64" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -S -incoming tcp::1 -loadvm x -daemonize" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -plugin /p/localhost-migrate.so,channels=2,fault=a:b,"
	 "incoming=unix:/old",
	 "-M pc-q35-7.2 -cpu qemu64 -incoming defer -plugin "
	 "/p/localhost-migrate.so,channels=2,incoming=unix:/r/1/handover"},
	{"-M pc-q35-7.2 -cpu qemu64 -pidfile pid" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -pidfile pid.lu1" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -pidfile /r/p.lu1" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -pidfile /r/p.lu2" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -serial file:/l/log" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -chardev file,id=serial0,path=/l/log,append=on "
	 "-serial chardev:serial0" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -serial unix:/r/s,server -monitor none" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -serial unix:/r/s.lu1,server=on,wait=off -monitor none" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -chardev socket,id=c,path=/r/c,server=on,logfile=/l/c" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -chardev "
	 "socket,id=c,path=/r/c.lu1,server=on,logfile=/l/c,logappend=on,wait=off" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -chardev file,id=c,path=/l/c" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -chardev file,id=c,path=/l/c,append=on" TAIL},
	{"-M pc-q35-7.2 -cpu qemu64 -vnc unix:/r/v" PLUGIN,
	 "-M pc-q35-7.2 -cpu qemu64 -vnc unix:/r/v.lu1" TAIL},
};

static void test_edited(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(edited); i++) {
		LuRunning *running = NULL;
		g_autoptr(LuPlan) plan = plan_of(edited[i].before, &running);
		g_autofree char *text = lu_command_line_text(plan->line);
		g_autofree char *after = g_strconcat("/new " NEW_QMP, edited[i].after, NULL);

		assert_int_equal(plan->refusals->len, 0);
		assert_string_equal(text, after);
		assert_string_equal(plan->qmp_temporary, "/r/q.lu1");
		lu_running_free(running);
	}
}

static const struct {
	const char *arguments, *refusal;
} refused[] = {
	{"-runas nobody" PLUGIN, "-runas nobody"},
	{"-chroot /x" PLUGIN, "-chroot /x"},
	{"-snapshot" PLUGIN, "-snapshot"},
	{"-readconfig f" PLUGIN, "-readconfig f"},
	{"-spice port=1" PLUGIN, "-spice port=1"},
	{"-device vfio-pci,host=1:2.3" PLUGIN, "vfio-pci"},
	{"-device '{\"driver\": \"usb-host\"}'" PLUGIN, "usb-host"},
	{"-drive file=x,snapshot=on" PLUGIN, "temporary image"},
	{"-netdev tap,id=t,ifname=nowhere0" PLUGIN, "0 descriptors of interface nowhere0"},
	{"-netdev tap,id=t,fd=999" PLUGIN, "descriptor 999"},
	{"-netdev tap,id=t,fd=name" PLUGIN, "by a name only"},
	{"-netdev tap,id=t,fd=0" PLUGIN, "no tap device"},
	{"-netdev tap,id=t" PLUGIN, "0 descriptors of tap devices"},
	{"-nic bridge" PLUGIN, "0 descriptors of tap devices"},
	{"-netdev socket,id=s,connect=:1" PLUGIN, "a socket back end"},
	{"-netdev socket,id=s,fd=0" PLUGIN, "no datagram socket"},
	{"-netdev dgram,id=s,local.type=inet,local.port=1" PLUGIN, "a dgram back end"},
	{"-netdev stream,id=s,addr.type=inet,addr.host=h,addr.port=1" PLUGIN, "unix socket"},
	{"-netdev stream,id=s,addr.type=unix,addr.path=/nowhere" PLUGIN, "or has ended"},
	{"-netdev stream,id=s,server=on,addr.type=inet,addr.port=1" PLUGIN, "does not listen"},
	{"-netdev vhost-user,id=s,chardev=c" PLUGIN, "unplug the NIC"},
	{"-netdev vde,id=s" PLUGIN, "the switch knows"},
	{"-netdev l2tpv3,id=s,src=a,dst=b,txsession=1" PLUGIN, "a l2tpv3 back end"},
	{"-netdev passt,id=s" PLUGIN, "started passt"},
	{"-netdev af-xdp,id=s,ifname=x" PLUGIN, "its rings"},
	{"-netdev unheard,id=s" PLUGIN, "does not know"},
	{"-device vhost-user-fs-pci,chardev=c" PLUGIN, "does not save its state"},
	{"-device vhost-user-blk-pci,chardev=c" PLUGIN, "with a new back end"},
	{"-nic user,hostfwd=tcp::1-:2" PLUGIN, "only if it has an id"},
	{"-chardev udp,id=u,port=1" PLUGIN, "a udp backend"},
	{"-chardev socket,id=c,port=1,server=on" PLUGIN, "is not found"},
	{"-chardev socket,id=c,fd=0" PLUGIN, "is not connected"},
	{"-vnc :1,password=on" PLUGIN, "password"},
	{"-serial mon:file:/x" PLUGIN, "mon:file:/x"},
	{"-m 1", "names no plugin"},
};

static void test_refused(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
		LuRunning *running = NULL;
		g_autoptr(LuPlan) plan = plan_of(refused[i].arguments, &running);

		assert_in_range(plan->refusals->len, 1, 2);
		if (!strstr(plan->refusals->pdata[0], refused[i].refusal))
			fail_msg("\"%s\" does not say \"%s\"", (char *)plan->refusals->pdata[0],
				 refused[i].refusal);
		lu_running_free(running);
	}
}

/* A new number is above all that the command line mentions, in any writing. */
static void test_numbers(void **state)
{
	static const struct {
		const char *arguments;
		int number;
	} lines[] = {
		{"-m 64", 10},
		{"-netdev tap,id=t,fd=27 -m 4096", 28},
		{"-netdev tap,id=t,fds=27:31:29,vhostfds=40:41", 42},
		{"-netdev '{\"type\": \"tap\", \"id\": \"t\", \"fd\": \"27\"}'", 28},
		{"-object secret,id=s,file=/proc/self/fd/35 -add-fd fd=12,set=99", 36},
	};

	for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_autofree char *text = g_strconcat("qemu ", lines[i].arguments, NULL);
		LuPlan plan = {0};
		g_auto(GStrv) argv = NULL;

		assert_true(g_shell_parse_argv(text, NULL, &argv, NULL));
		plan.line = lu_command_line_parse(argv, NULL);
		assert_int_equal(lu_plan_number(&plan), lines[i].number);
		assert_int_equal(lu_plan_number(&plan), lines[i].number + 1);
		lu_command_line_free(plan.line);
	}
}

static void test_paths(void **state)
{
	LuRunning *running = NULL;
	g_autoptr(LuPlan) plan = plan_of("-pidfile pid -serial unix:s,server" PLUGIN, &running);
	static const char *const expected[][2] = {
		{"/r/q", "/r/q.lu1"}, {"/w/pid", "/w/pid.lu1"}, {"/w/s", "/w/s.lu1"}};

	assert_int_equal(plan->paths->len, G_N_ELEMENTS(expected));
	for (guint i = 0; i < plan->paths->len; i++) {
		const LuPath *path = plan->paths->pdata[i];

		assert_string_equal(path->path, expected[i][0]);
		assert_string_equal(path->temporary, expected[i][1]);
	}
	lu_running_free(running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_edited), TEST(test_refused),
					   TEST(test_numbers), TEST(test_paths)};

	return cmocka_run_group_tests_name("tool-plan", tests, NULL, NULL);
}
