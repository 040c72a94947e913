/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-host.h"
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
	int fd = open(LIBVIRT_STATE "/driver.pid", O_RDWR | O_CLOEXEC);
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

static void end_host(void)
{
	end_process(libvirt_daemon_pid());
	if (host.own_virtlogd)
		end_process(virtlogd_pid());
	close_kvm();
	g_unlink(host.config);
}

/* FALSE: why not. */
static gboolean begin_host(const char *daemon, char **why)
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
		end_host();
		return FALSE;
	}
	return TRUE;
}

int libvirt_test_main(int argc, char **argv, const LmCase *cases, size_t count)
{
	g_autofree char *why = NULL;
	int status;

	if (!begin_host("libvirtd", &why))
		return lm_test_skip("%s", why);
	status = lm_test_main(argc, argv, cases, count);
	end_host();
	return status;
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

void libvirt_host_undefine(const char *name)
{
	const char *const destroy[] = {"virsh", "-q", "destroy", name, NULL};
	const char *const undefine[] = {
		"virsh", "-q", "undefine", name, "--managed-save", "--snapshots-metadata", NULL};

	if (!libvirt_daemon_pid())
		begin_daemon(NULL);
	run(destroy, NULL, NULL);
	run(undefine, NULL, NULL);
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
