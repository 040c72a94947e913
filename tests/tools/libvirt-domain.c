/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-domain.h"
#include "linux-guest.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static void domain_free(gpointer opaque)
{
	Domain *domain = opaque;

	g_free(domain->name);
	g_free(domain->serial_path);
	g_free(domain->plugin);
	g_free(domain);
}

static void end_domain(gpointer name)
{
	libvirt_host_undefine(name);
	g_free(name);
}

/* @os: of the element, and what may follow it. */
static char *describe_domain(const Domain *domain, guint memory_mib, const char *os,
			     const char *serial, const char *devices)
{
	return g_strdup_printf(
		"<domain type='qemu'><name>%s</name><memory unit='MiB'>%u</memory><vcpu>2</vcpu>\n"
		"<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>%s\n"
		"<features><acpi/></features>\n"
		"<cpu mode='custom' match='exact'><model>qemu64</model></cpu>\n"
		"<devices><emulator>%s</emulator>\n"
		"%s%s</devices></domain>\n",
		domain->name, memory_mib, os, domain->emulator, serial, devices ? devices : "");
}

static Domain *new_domain(LmTest *test, const char *name)
{
	Domain *domain = g_new0(Domain, 1);
	g_autofree char *log = g_strdup_printf("%s.log", name);

	chmod(test->dir, 0755); /* QEMU's user must get there */
	domain->test = test;
	domain->name = g_strdup(name);
	domain->emulator = tool_qemu();
	domain->serial_path = lm_test_path(test, log);
	domain->plugin = lm_test_copy(test, lm_test_env("LM_PLUGIN"), 0644);
	lm_test_cleanup_later(test, domain_free, domain);
	return domain;
}

static void define_and_start(const Domain *domain, const char *xml)
{
	g_autofree char *file = g_strdup_printf("%s.xml", domain->name);
	g_autofree char *path = lm_test_path(domain->test, file);

	assert_true(g_file_set_contents(path, xml, -1, NULL));
	libvirt_daemon_begin();
	virsh_do(domain->test, "define", path, NULL);
	lm_test_cleanup_later(domain->test, end_domain, g_strdup(domain->name));
	virsh_do(domain->test, "start", domain->name, NULL);
}

Domain *domain_start_os(LmTest *test, const char *name, guint memory_mib, const char *os,
			const char *devices)
{
	Domain *domain = new_domain(test, name);
	g_autofree char *serial = g_strdup_printf("<serial type='file'><source path='%s' "
						  "append='on'/><target port='0'/></serial>\n",
						  domain->serial_path);
	g_autofree char *whole_os = g_strconcat(os, "</os>", NULL);
	g_autofree char *xml = describe_domain(domain, memory_mib, whole_os, serial, devices);

	define_and_start(domain, xml);
	return domain;
}

static void start_linux(const Domain *domain, const char *options, const char *more,
			const char *devices)
{
	LmTest *test = domain->test;
	g_autofree char *kernel = lm_test_copy(test, lm_test_env("LM_VMLINUZ"), 0644);
	g_autofree char *initrd = lm_test_copy(test, lm_test_env("LM_INITRAMFS"), 0644);
	g_autofree char *os = g_strdup_printf(
		"<kernel>%s</kernel><initrd>%s</initrd><cmdline>console=ttyS0 quiet panic=-1 "
		"tsc=reliable no_timer_check mitigations=off nokaslr lm.mib=64 %s</cmdline></os>%s",
		kernel, initrd, options, more);
	g_autofree char *serial = g_strdup_printf("<serial type='pty'><log file='%s' append='on'/>"
						  "<target port='0'/></serial>\n",
						  domain->serial_path);
	g_autofree char *xml = describe_domain(domain, 512, os, serial, devices);
	g_autoptr(GError) error = NULL;

	define_and_start(domain, xml);
	serial_wait_beats(domain->serial_path, 2, LINUX_BOOT_MS, NULL, &error);
	must(error);
}

Domain *domain_start_linux(LmTest *test, const char *name, const char *options, const char *devices)
{
	Domain *domain = new_domain(test, name);

	start_linux(domain, options, "", devices);
	return domain;
}

Domain *domain_start_fs(LmTest *test, const char *name, const char *emulator, const char *socket)
{
	Domain *domain = new_domain(test, name);
	g_autofree char *devices =
		g_strdup_printf("<filesystem type='mount'><driver type='virtiofs'/>"
				"<source socket='%s'/><target dir='lm'/></filesystem>\n",
				socket);

	domain->emulator = emulator;
	start_linux(domain, "lm.disk=1 lm.fs=1 lm.disk_mib=32 lm.acpi=1",
		    "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
		    devices);
	return domain;
}

Domain *domain_start(LmTest *test, const char *name, const char *devices)
{
	g_autofree char *payload = NULL, *os = NULL;
	g_autoptr(GError) error = NULL;
	Domain *domain;

	payload = lm_test_copy(test, lm_test_env("LM_PAYLOAD"), 0644);
	os = g_strdup_printf("<kernel>%s</kernel><cmdline>rate=4 mib=40</cmdline>", payload);
	domain = domain_start_os(test, name, 64, os, devices);
	serial_wait_beats(domain->serial_path, 2, LM_WAIT_MS, NULL, &error);
	must(error);
	return domain;
}

pid_t domain_pid(const Domain *domain)
{
	g_autofree char *path = g_strdup_printf(LIBVIRT_STATE "/%s.pid", domain->name),
			*text = NULL;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return (pid_t)g_ascii_strtoll(text, NULL, 10);
}

static void assert_nothing_in(const char *folder, const char *part)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir)))
		if (strstr(name, part))
			fail_msg("%s/%s is left", folder, name);
}

void domain_assert_clean(const Domain *domain)
{
	g_autofree char *id = virsh(domain->test, "domid", domain->name, NULL);
	g_autofree char *folder =
		g_strdup_printf("/var/lib/libvirt/qemu/domain-%s-%s", id, domain->name);
	g_autofree char *channels = g_strdup_printf(
		"/var/lib/libvirt/qemu/channel/target/domain-%s-%s", id, domain->name);
	g_autofree char *guest = g_strdup_printf("guest=%s,", domain->name);

	assert_nothing_in(LIBVIRT_STATE, ".lu");
	assert_nothing_in(folder, ".lu");
	assert_nothing_in(channels, ".lu");
	assert_false(g_file_test("/run/qemu-live-upgrade/libvirt.daemon", G_FILE_TEST_EXISTS));
	assert_int_equal(tool_count_processes(guest), 1);
}

/* The threads of the guest's CPUs are in the groups that libvirt made for them. */
static void assert_groups(const Domain *domain, pid_t pid)
{
	g_autofree char *status = g_strdup_printf(LIBVIRT_STATE "/%s.xml", domain->name),
			*xml = NULL;
	const char *at;

	assert_true(g_file_get_contents(status, &xml, NULL, NULL));
	at = strstr(xml, "<vcpus>");
	assert_non_null(at);
	for (int cpu = 0; cpu < 2; cpu++) {
		g_autofree char *before = g_strdup_printf("<vcpu id=\"%d\" pid=\"", cpu);
		g_autofree char *plain = g_strdup_printf("<vcpu id='%d' pid='", cpu);
		g_autofree char *tid = text_between(at, strstr(at, plain) ? plain : before,
						    strstr(at, plain) ? "'" : "\"");
		g_autofree char *name = g_strdup_printf("task/%s/cgroup", tid);
		g_autofree char *groups = tool_proc(pid, name);
		g_autofree char *group = g_strdup_printf("libvirt-qemu/vcpu%d\n", cpu);

		if (strstr(groups, "libvirt-qemu"))
			assert_contains(groups, group);
	}
}

void domain_assert_runs_in(const Domain *domain, pid_t pid)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *state = virsh(domain->test, "domstate", domain->name, NULL);
	g_autofree char *said = virsh(domain->test, "qemu-monitor-command", domain->name,
				      "{\"execute\": \"query-status\"}", NULL);

	assert_string_equal(state, "running");
	assert_contains(said, "\"status\":\"running\"");
	assert_int_equal(domain_pid(domain), pid);
	assert_groups(domain, pid);
	serial_wait_beats(domain->serial_path, 3, LM_WAIT_MS, NULL, &error);
	must(error);
}

static gboolean is_gone(void *pid)
{
	return kill(GPOINTER_TO_INT(pid), 0) < 0;
}

gboolean domain_has_ended(pid_t pid)
{
	return lm_wait_until(is_gone, GINT_TO_POINTER(pid), LM_WAIT_MS);
}

void domain_assert_upgraded(const Domain *domain, const Run *run, pid_t old_pid)
{
	assert_int_equal(run->status, 0);
	assert_string_equal(qmp_str(run->report, "outcome"), "upgraded");
	assert_int_not_equal(run->new_pid, old_pid);
	assert_true(domain_has_ended(old_pid));
	domain_assert_runs_in(domain, run->new_pid);
	domain_assert_clean(domain);
}

void domain_upgrade(const Domain *domain, Run *run, const char *fault, ...)
{
	const char *const common[] = {"--binary",  domain->emulator, "--plugin", domain->plugin,
				      "--libvirt", domain->name,     NULL};
	va_list args;

	va_start(args, fault);
	tool_run_list(domain->test, run, fault, common, args);
	va_end(args);
}
