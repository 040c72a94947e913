/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-host.h"
#include "linux-guest.h"
#include "running.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define STATE	  "/run/libvirt/qemu"
#define DAEMON_MS 20000

static struct {
	char *daemon, *config;
	gboolean systemd; /* it is a service, begun by its sockets */
	gboolean own_virtlogd;
	struct stat kvm; /* /dev/kvm, as it was */
} host;

/* --------------------------------------------------------------------- daemons */

pid_t libvirt_daemon_pid(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int fd = open(STATE "/driver.pid", O_RDWR | O_CLOEXEC);
	gboolean held = fd >= 0 && !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;

	if (fd >= 0)
		close(fd);
	return held ? lock.l_pid : 0;
}

static gboolean run(const char *const *argv, char **out, GError **errp)
{
	g_autofree char *said = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, out, &said,
			  &status, errp))
		return FALSE;
	if (g_spawn_check_wait_status(status, NULL))
		return TRUE;
	g_set_error(errp, G_SPAWN_ERROR, 0, "%s %s: %s", argv[0], argv[1], g_strchomp(said));
	return FALSE;
}

static gboolean serves(void *opaque)
{
	return libvirt_daemon_pid() != 0;
}

static gboolean begin_daemon(GError **errp)
{
	const char *const argv[] = {host.daemon, "-d", "-f", host.config, NULL};
	const char *const units[] = {"systemctl",
				     "start",
				     "virtlogd.socket",
				     "libvirtd.socket",
				     "libvirtd-ro.socket",
				     "libvirtd.service",
				     NULL};

	if (!run(host.systemd ? units : argv, NULL, errp))
		return FALSE;
	if (lm_wait_until(serves, NULL, DAEMON_MS))
		return TRUE;
	g_set_error(errp, G_SPAWN_ERROR, 0, "%s does not serve", host.daemon);
	return FALSE;
}

void libvirt_daemon_begin(void)
{
	g_autoptr(GError) error = NULL;

	if (!libvirt_daemon_pid())
		begin_daemon(&error);
	must(error);
}

static gboolean end_process(pid_t pid)
{
	g_autoptr(LuProcess) process = pid > 0 ? lu_process_open(pid, NULL) : NULL;

	if (!process)
		return TRUE;
	kill(pid, SIGTERM);
	return lu_process_wait_exit(process, lm_end_us(DAEMON_MS));
}

void libvirt_daemon_end(void)
{
	const char *const units[] = {"systemctl",
				     "stop",
				     "libvirtd.socket",
				     "libvirtd-ro.socket",
				     "libvirtd-admin.socket",
				     "libvirtd.service",
				     NULL};

	if (host.systemd) {
		assert_true(run(units, NULL, NULL));
		return;
	}
	assert_true(end_process(libvirt_daemon_pid()));
}

void libvirt_daemon_spoil(gboolean spoilt)
{
	assert_true(g_file_set_contents(host.config, spoilt ? "spoilt = [\n" : "", -1, NULL));
}

static pid_t virtlogd_pid(void)
{
	g_autofree char *text = NULL;
	pid_t pid = g_file_get_contents("/run/virtlogd.pid", &text, NULL, NULL)
			    ? (pid_t)g_ascii_strtoll(text, NULL, 10)
			    : 0;

	return pid > 0 && !kill(pid, 0) ? pid : 0;
}

/*
 * libvirt waits until a process that it ended is gone, and the first process of a container may be
 * in no hurry: so the program runs as the child of one that reaps.
 */
static void run_under_a_reaper(void)
{
	pid_t child;
	int status, last = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		return;
	}
	for (;;) {
		pid_t pid = waitpid(-1, &status, 0);

		if (pid == child)
			last = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		if (pid == child || (pid < 0 && errno == ECHILD))
			_exit(last);
	}
}

/*
 * Where no udev gives /dev/kvm to QEMU's user, libvirt believes at each look that its cache of
 * what QEMU can do is out of date, and starts QEMU to ask.
 */
static void open_kvm(void)
{
	const struct passwd *user = getpwnam("libvirt-qemu");

	if (!user || stat("/dev/kvm", &host.kvm) < 0)
		return;
	if (chown("/dev/kvm", host.kvm.st_uid, user->pw_gid) < 0 || chmod("/dev/kvm", 0660) < 0)
		lm_test_note("/dev/kvm: %s", g_strerror(errno));
}

static void close_kvm(void)
{
	if (host.kvm.st_mode && (chown("/dev/kvm", host.kvm.st_uid, host.kvm.st_gid) < 0 ||
				 chmod("/dev/kvm", host.kvm.st_mode & 07777) < 0))
		lm_test_note("/dev/kvm: %s", g_strerror(errno));
}

gboolean libvirt_host_begin(const char *daemon, char **why)
{
	const char *const virtlogd[] = {"virtlogd", "-d", NULL};
	g_autofree char *found = g_find_program_in_path(daemon);
	g_autofree char *virsh_found = g_find_program_in_path("virsh");
	g_autoptr(GError) error = NULL;

	if (!found || !virsh_found || geteuid()) {
		*why = g_strdup_printf("%s and virsh are not installed, or this is not root",
				       daemon);
		return FALSE;
	}
	if (libvirt_daemon_pid()) {
		*why = g_strdup_printf("a daemon of libvirt (process %d) serves here already",
				       (int)libvirt_daemon_pid());
		return FALSE;
	}
	run_under_a_reaper();
	open_kvm();
	host.daemon = g_steal_pointer(&found);
	host.config = g_strdup_printf("/tmp/lm-libvirt-%d.conf", (int)getpid());
	g_file_set_contents(host.config, "", 0, NULL);
	host.systemd = g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR);
	host.own_virtlogd = !host.systemd && !virtlogd_pid();
	if ((host.own_virtlogd && !run(virtlogd, NULL, &error)) || !begin_daemon(&error)) {
		*why = g_strdup(error->message);
		libvirt_host_end();
		return FALSE;
	}
	return TRUE;
}

void libvirt_host_end(void)
{
	end_process(libvirt_daemon_pid());
	if (host.own_virtlogd)
		end_process(virtlogd_pid());
	close_kvm();
	g_unlink(host.config);
}

/* ----------------------------------------------------------------------- virsh */

static char *run_virsh(LmTest *test, const char *first, va_list args)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_autoptr(GError) error = NULL;
	char *out = NULL;

	g_ptr_array_add(argv, (char *)"virsh");
	g_ptr_array_add(argv, (char *)"-q");
	for (const char *arg = first; arg; arg = va_arg(args, const char *))
		g_ptr_array_add(argv, (char *)arg);
	g_ptr_array_add(argv, NULL);
	run((const char *const *)argv->pdata, &out, &error);
	if (error)
		lm_test_note("virsh %s: %s", first, error->message);
	must(error);
	return g_strchomp(out);
}

char *virsh(LmTest *test, const char *first, ...)
{
	va_list args;
	char *out;

	va_start(args, first);
	out = run_virsh(test, first, args);
	va_end(args);
	return out;
}

void virsh_do(LmTest *test, const char *first, ...)
{
	g_autofree char *out = NULL;
	va_list args;

	va_start(args, first);
	out = run_virsh(test, first, args);
	va_end(args);
}

char *text_between(const char *text, const char *before, const char *after)
{
	const char *from = strstr(text, before), *to;

	if (!from)
		return NULL;
	from += strlen(before);
	to = strstr(from, after);
	return to ? g_strndup(from, to - from) : NULL;
}

/* --------------------------------------------------------------------- domains */

static void end_domain(gpointer opaque)
{
	g_autofree char *name = opaque;
	const char *const destroy[] = {"virsh", "-q", "destroy", name, NULL};
	const char *const undefine[] = {
		"virsh", "-q", "undefine", name, "--managed-save", "--snapshots-metadata", NULL};

	if (!libvirt_daemon_pid())
		begin_daemon(NULL);
	run(destroy, NULL, NULL);
	run(undefine, NULL, NULL);
}

static void domain_free(gpointer opaque)
{
	Domain *domain = opaque;

	g_free(domain->name);
	g_free(domain->serial_path);
	g_free(domain->plugin);
	g_free(domain);
}

/* QEMU's user must get there. */
static char *copy_into(LmTest *test, const char *from)
{
	g_autofree char *name = g_path_get_basename(from), *content = NULL;
	g_autoptr(GError) error = NULL;
	char *path = lm_test_path(test, name);
	gsize length;

	if (g_file_test(path, G_FILE_TEST_EXISTS))
		return path;
	if (g_file_get_contents(from, &content, &length, &error))
		g_file_set_contents_full(path, content, length, G_FILE_SET_CONTENTS_CONSISTENT,
					 0755, &error);
	must(error);
	return path;
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

	chmod(test->dir, 0755);
	domain->test = test;
	domain->name = g_strdup(name);
	domain->emulator = tool_qemu();
	domain->serial_path = lm_test_path(test, log);
	domain->plugin = copy_into(test, lm_test_env("LM_PLUGIN"));
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
	g_autofree char *kernel = copy_into(test, lm_test_env("LM_VMLINUZ"));
	g_autofree char *initrd = copy_into(test, lm_test_env("LM_INITRAMFS"));
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

	payload = copy_into(test, lm_test_env("LM_PAYLOAD"));
	os = g_strdup_printf("<kernel>%s</kernel><cmdline>rate=4 mib=40</cmdline>", payload);
	domain = domain_start_os(test, name, 64, os, devices);
	serial_wait_beats(domain->serial_path, 2, LM_WAIT_MS, NULL, &error);
	must(error);
	return domain;
}

pid_t domain_pid(const Domain *domain)
{
	g_autofree char *path = g_strdup_printf(STATE "/%s.pid", domain->name), *text = NULL;

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

	assert_nothing_in(STATE, ".lu");
	assert_nothing_in(folder, ".lu");
	assert_nothing_in(channels, ".lu");
	assert_false(g_file_test("/run/qemu-live-upgrade/libvirt.daemon", G_FILE_TEST_EXISTS));
	assert_int_equal(tool_count_processes(guest), 1);
}

/* The threads of the guest's CPUs are in the groups that libvirt made for them. */
static void assert_groups(const Domain *domain, pid_t pid)
{
	g_autofree char *status = g_strdup_printf(STATE "/%s.xml", domain->name), *xml = NULL;
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

void domain_assert_upgraded(const Domain *domain, const Run *run_, pid_t old_pid)
{
	assert_int_equal(run_->status, 0);
	assert_string_equal(qmp_str(run_->report, "outcome"), "upgraded");
	assert_int_not_equal(run_->new_pid, old_pid);
	assert_true(domain_has_ended(old_pid));
	domain_assert_runs_in(domain, run_->new_pid);
	domain_assert_clean(domain);
}

void domain_upgrade(const Domain *domain, Run *run_, const char *fault, ...)
{
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	g_auto(GStrv) envp = g_get_environ();
	const char *const common[] = {lm_test_env("LM_TOOL"),
				      "--json",
				      "--binary",
				      domain->emulator,
				      "--plugin",
				      domain->plugin,
				      "--libvirt",
				      domain->name,
				      NULL};
	const char *argument;
	va_list args;

	for (guint i = 0; common[i]; i++)
		g_ptr_array_add(argv, (char *)common[i]);
	va_start(args, fault);
	while ((argument = va_arg(args, const char *)))
		g_ptr_array_add(argv, (char *)argument);
	va_end(args);
	g_ptr_array_add(argv, NULL);
	if (fault)
		envp = g_environ_setenv(envp, "QEMU_LIVE_UPGRADE_FAULT", fault, TRUE);
	tool_run_argv(domain->test, run_, (const char *const *)argv->pdata, envp);
}
