/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two processes: one works and starts the VMs, the other waits for it. However the first ends,
 * the kernel kills the VMs with it (PR_SET_PDEATHSIG), the second inherits and reaps them, and
 * then removes the folder and the control group. What the upgrade tool started is no child of the
 * first: the second inherits it, too, and kills it.
 */
#include "demo.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

static volatile sig_atomic_t worker, interrupted_by;

void demo_fail(const char *format, ...)
{
	va_list args;

	screen_settle();
	fflush(stdout);
	va_start(args, format);
	fputs("demo: failed: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void interrupt(int number)
{
	interrupted_by = number;
	kill(worker, SIGKILL);
}

static void catch_signals(void (*handler)(int))
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action = {.sa_handler = handler};

	for (guint i = 0; i < G_N_ELEMENTS(numbers); i++)
		sigaction(numbers[i], &action, NULL);
}

/* Whatever this process has inherited. */
static void kill_children(void)
{
	g_autofree char *path = g_strdup_printf("/proc/self/task/%d/children", (int)getpid());
	g_autofree char *text = NULL;
	g_auto(GStrv) pids = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return;
	pids = g_strsplit(g_strstrip(text), " ", -1);
	for (guint i = 0; pids[i]; i++)
		if (atoi(pids[i]) > 0)
			kill(atoi(pids[i]), SIGKILL);
}

/* FALSE if a process still is after a while. */
static gboolean reap_all(void)
{
	gint64 end_us = lm_end_us(LM_WAIT_MS);

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0 && errno == ECHILD)
			return TRUE;
		if (!pid && !lm_left_ms(end_us))
			return FALSE;
		if (!pid) {
			kill_children();
			poll(NULL, 0, 5);
		}
	}
}

/* Within a root there is an empty folder of the same name. */
static void remove_mount_points(const Demo *demo)
{
	for (guint i = 0; i < demo->qemu_count; i++) {
		g_autofree char *path = NULL;

		if (!demo->qemus[i].root)
			continue;
		path = g_build_filename(demo->qemus[i].root, demo->test->dir, NULL);
		g_rmdir(path);
	}
}

static void set_up(Demo *demo)
{
	g_autoptr(GError) error = NULL;

	demo->test = lm_test_new(&error);
	if (!demo->test)
		demo_fail("%s", error->message);
	demo->cgroup = cgroup_new(demo->test, &error);
	if (!demo->cgroup)
		screen_line("note: memory is not measured: %s", error->message);
}

static void tear_down(Demo *demo)
{
	remove_mount_points(demo);
	lm_test_free(demo->test);
}

static int wait_for_worker(void)
{
	int status = 0;

	while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
		continue;
	if (interrupted_by)
		return 128 + interrupted_by;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int supervise(void (*work)(Demo *demo), Demo *demo)
{
	int status;

	set_up(demo);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	catch_signals(SIG_IGN);
	fflush(stdout);
	worker = fork();
	if (worker < 0)
		demo_fail("fork: %s", g_strerror(errno));
	if (!worker) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		work(demo);
		exit(0);
	}
	catch_signals(interrupt);
	status = wait_for_worker();
	if (!reap_all())
		fputs("demo: a process did not end\n", stderr);
	tear_down(demo);
	if (interrupted_by)
		fputs("\ndemo: interrupted; nothing is left running\n", stderr);
	return status;
}
