// SPDX-License-Identifier: GPL-2.0-or-later
/* What /proc says, as text. */
#include "unit.h"

#include "cgroup.h"
#include "context.h"
#include "error.h"
#include "process.h"
#include "running.h"

#include <string.h>
#include <unistd.h>

static void test_split(void **state)
{
	static const char data[] = "qemu\0-append\0\0-S";
	g_auto(GStrv) items = lu_proc_split(data, sizeof(data));
	g_auto(GStrv) unended = lu_proc_split(data, sizeof(data) - 1);

	assert_int_equal(g_strv_length(items), 4);
	assert_string_equal(items[2], "");
	assert_string_equal(items[3], "-S");
	assert_int_equal(g_strv_length(unended), 4);
}

static void test_stat(void **state)
{
	guint64 start = 0;
	char is = 0;

	assert_true(lu_proc_parse_stat("12 (a) b) (c) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 "
				       "18 4711 20 21",
				       &is, &start));
	assert_int_equal(is, 'Z');
	assert_int_equal(start, 4711);
	assert_false(lu_proc_parse_stat("12 (a", &is, &start));
	assert_false(lu_proc_parse_stat("12 (a) R 1 2", &is, &start));
	assert_false(lu_proc_parse_stat(NULL, &is, &start));
}

static void test_status(void **state)
{
	g_autofree char *gid = lu_proc_status_field("Uid:\t1\t2\t3\t4\nGid:\t5\n", "Gid");

	assert_string_equal(gid, "5");
	assert_null(lu_proc_status_field("Uid:\t1\n", "Id"));
	assert_null(lu_proc_status_field(NULL, "Id"));
}

static void test_self(void **state)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(LuProcess) self = lu_process_open(getpid(), &error);
	g_autoptr(LuContext) context = lu_context_read(getpid(), &error);

	assert_non_null(self);
	assert_non_null(context);
	assert_true(lu_process_alive(self));
	assert_false(lu_process_is(self->pid, self->start_time + 1));
	assert_true(lu_context_compare(context, getpid(), &error));
	context->oom_score_adj += 1;
	assert_false(lu_context_compare(context, getpid(), &error));
	assert_non_null(strstr(error->message, "another oom_score_adj"));
	g_clear_error(&error);
	assert_null(lu_process_open(0x7fffff00, &error));
	assert_true(g_error_matches(error, LU_ERROR, LU_ERROR_REFUSED));
}

static void test_limits(void **state)
{
	g_autofree char *text = lu_proc_read(getpid(), "limits", NULL);
	struct rlimit limits[RLIM_NLIMITS];

	assert_true(lu_context_parse_limits(text, limits));
	for (guint i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit now;

		assert_int_equal(getrlimit(i, &now), 0);
		assert_int_equal(now.rlim_cur, limits[i].rlim_cur);
		assert_int_equal(now.rlim_max, limits[i].rlim_max);
	}
	assert_false(lu_context_parse_limits("", limits));
}

static void test_cpu_list(void **state)
{
	guint8 affinity[LU_CPUS / 8] = {0x0f, 0x01};
	g_autofree char *text = NULL, *all = NULL, *none = NULL;

	affinity[LU_CPUS / 8 - 1] = 0x80;
	text = lu_context_cpu_list(affinity);
	assert_string_equal(text, "0-3,8,8191");
	memset(affinity, 0xff, sizeof(affinity));
	all = lu_context_cpu_list(affinity);
	assert_string_equal(all, "0-8191");
	memset(affinity, 0, sizeof(affinity));
	none = lu_context_cpu_list(affinity);
	assert_string_equal(none, "");
}

static const char mountinfo[] =
	"25 1 0:22 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
	"26 1 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"27 1 0:24 /outer /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	"28 1 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";

static void assert_folder(const char *controllers, const char *path, const char *folder)
{
	LuCgroup cgroup = {(char *)controllers, (char *)path};
	g_autofree char *is = lu_cgroup_folder(&cgroup, mountinfo);

	if (!folder)
		assert_null(is);
	else
		assert_string_equal(is, folder);
}

static void test_cgroups(void **state)
{
	g_autoptr(GPtrArray) cgroups =
		lu_cgroup_parse("4:memory:/vm\n3:cpu,cpuacct:/a:b\n0::/user.slice\nnonsense\n");
	g_autofree char *text = lu_cgroup_text(cgroups);

	assert_int_equal(cgroups->len, 3);
	assert_string_equal(text, ":/user.slice cpu,cpuacct:/a:b memory:/vm");
	assert_folder("memory", "/vm", "/sys/fs/cgroup/memory/vm");
	assert_folder("cpu,cpuacct", "/", "/sys/fs/cgroup/cpu,cpuacct/");
	assert_folder("name=systemd", "/x", "/sys/fs/cgroup/systemd/x");
	assert_folder("", "/outer/vm", "/sys/fs/cgroup/unified/vm");
	assert_folder("", "/elsewhere", NULL);
	assert_folder("blkio", "/", NULL);
}

static void test_service(void **state)
{
	g_autofree char *service = lu_cgroup_service("/system.slice/vm.service");
	g_autofree char *inner = lu_cgroup_service(
		"/user.slice/user-0.slice/user@0.service/app.slice/a.service/sub");

	assert_string_equal(service, "vm.service");
	assert_string_equal(inner, "a.service");
	assert_null(lu_cgroup_service("/machine.slice/machine-qemu.scope/libvirt/emulator"));
	assert_null(lu_cgroup_service("/user.slice/user@0.service/app.slice/run.scope"));
	assert_null(lu_cgroup_service("/"));
}

static void test_names(void **state)
{
	static const char *const names[][3] = {
		{"/run/a", "/run/a", "/run/a.lu1"},
		{"/run/a.lu1", "/run/a", "/run/a.lu2"},
		{"/run/a.lu2", "/run/a", "/run/a.lu1"},
		{"a.lu3", "a.lu3", "a.lu3.lu1"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *public = lu_public_name(names[i][0]);
		g_autofree char *private = lu_private_name(names[i][0]);

		assert_string_equal(public, names[i][1]);
		assert_string_equal(private, names[i][2]);
	}
}

static void test_versions(void **state)
{
	LuVersion a = {7, 2, 22, NULL}, b = {10, 0, 0, NULL}, c = {7, 2, 3, NULL};

	assert_true(lu_version_compare(&a, &b) < 0);
	assert_true(lu_version_compare(&b, &a) > 0);
	assert_true(lu_version_compare(&a, &c) > 0);
	assert_int_equal(lu_version_compare(&a, &a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_split),  TEST(test_stat),	TEST(test_status),  TEST(test_self),
		TEST(test_limits), TEST(test_cpu_list), TEST(test_cgroups), TEST(test_service),
		TEST(test_names),  TEST(test_versions),
	};

	return cmocka_run_group_tests_name("tool-process", tests, NULL, NULL);
}
