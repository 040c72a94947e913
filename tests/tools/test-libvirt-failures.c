/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Under a real libvirt: upgrades that are refused or fail, and tools that are killed at each of
 * their steps. The guest is in one place, libvirt knows it, and its daemon is back.
 */
#include "journal.h"
#include "libvirt-domain.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

static void assert_untouched(const Domain *domain, pid_t pid)
{
	assert_true(libvirt_daemon_pid() > 0);
	domain_assert_runs_in(domain, pid);
	domain_assert_clean(domain);
}

static void assert_upgrades(const Domain *domain)
{
	g_auto(Run) run = {0};
	pid_t old = domain_pid(domain);

	domain_upgrade(domain, &run, NULL, NULL);
	domain_assert_upgraded(domain, &run, old);
}

/* ---------------------------------------------------------------------- kills */

static const char *const points[] = {"prepare",	    "forked",	      "start",	     "greet",
				     "daemon-stop", "daemon-stopped", "staged",	     "take",
				     "begun",	    "handover",	      "record",	     "names",
				     "retire",	    "settle",	      "daemon-start"};

/* What libvirt says of a domain whose upgrade is in between need not be right; it lives. */
static void assert_in_one_place(const Domain *domain)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(domain->serial_path, 3, LM_WAIT_MS, NULL, &error);
	must(error);
}

static void run_killed(const Domain *domain, const char *point)
{
	g_autofree char *fault = g_strdup_printf("%s:kill", point);
	g_auto(Run) run = {0};

	domain_upgrade(domain, &run, fault, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	assert_in_one_place(domain);
}

/* The next run finishes it or begins anew; @old was the process before the one that was killed. */
static void assert_settles(const Domain *domain, pid_t old)
{
	g_auto(Run) run = {0};

	domain_upgrade(domain, &run, NULL, NULL);
	domain_assert_upgraded(domain, &run, old);
}

/* One domain for all of them: each round begins with what the one before left, settled. */
static void test_killed(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-killed", NULL);

	for (guint i = 0; i < G_N_ELEMENTS(points); i++) {
		pid_t old = domain_pid(domain);

		lm_test_note("killed at %s", points[i]);
		run_killed(domain, points[i]);
		assert_settles(domain, old);
	}
}

/* Somebody began the daemon before the tool was run again: it must find the guest, too. */
static void test_killed_and_daemon_begun(LmTest *test, const void *arg)
{
	static const char *const after[] = {"staged", "handover", "record", "names", "retire"};
	Domain *domain = domain_start(test, "lm-begun", NULL);

	for (guint i = 0; i < G_N_ELEMENTS(after); i++) {
		g_autofree char *state = NULL;
		pid_t old = domain_pid(domain);

		lm_test_note("killed at %s", after[i]);
		run_killed(domain, after[i]);
		libvirt_daemon_begin();
		state = virsh(test, "domstate", domain->name, NULL);
		lm_test_note("libvirt says %s", state);
		/* From record on its files lead to the new process. */
		if (i >= 2) {
			assert_string_equal(state, "running");
			virsh_do(test, "suspend", domain->name, NULL);
			virsh_do(test, "resume", domain->name, NULL);
		}
		assert_settles(domain, old);
	}
}

/* The run that settles is about another domain. */
static void test_killed_and_another(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-first", NULL);
	Domain *other = domain_start(test, "lm-second", NULL);
	pid_t old = domain_pid(domain);

	run_killed(domain, "handover");
	assert_upgrades(other);
	assert_true(domain_has_ended(old));
	domain_assert_runs_in(domain, domain_pid(domain));
	domain_assert_clean(domain);
}

static gboolean is_stopped(void *pid)
{
	g_autofree char *stat = tool_proc(GPOINTER_TO_INT(pid), "stat");

	return strstr(stat, ") T ") != NULL;
}

/* A guest that is lost is told of, whoever is upgraded next, and who is is. */
static void test_another_is_lost(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-first", NULL);
	Domain *other = domain_start(test, "lm-second", NULL);
	g_autofree char *plugin = g_strdup_printf("%s,fault=load:stop", domain->plugin);
	const pid_t lost = domain_pid(domain), old = domain_pid(other);
	g_autoptr(LuJournal) journal = NULL;
	g_auto(Run) run = {0}, next = {0};

	domain_upgrade(domain, &run, "begun:kill", "--plugin", plugin, "--way", "flip", NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	journal = lu_journal_find("/run/qemu-live-upgrade", lost, NULL);
	assert_non_null(journal);
	assert_true(lm_wait_until(is_stopped, GINT_TO_POINTER(journal->new_pid), LM_WAIT_MS));
	kill(lost, SIGKILL);
	assert_true(domain_has_ended(lost));
	domain_upgrade(other, &next, NULL, NULL);
	kill(journal->new_pid, SIGKILL);
	assert_int_equal(next.status, 4);
	assert_contains(next.out, "\"lost\"");
	assert_contains(next.out, "lm-first");
	assert_true(domain_has_ended(old));
	domain_assert_runs_in(other, domain_pid(other));
	assert_true(domain_has_ended(journal->new_pid));
	assert_upgrades(other);
}

/* ------------------------------------------------------------------- failures */

static void test_fails(LmTest *test, const void *arg)
{
	static const char *const faults[] = {"start:fail",	 "greet:fail",
					     "daemon-stop:fail", "daemon-stopped:fail",
					     "take:fail",	 "staged:fail"};
	Domain *domain = domain_start(test, "lm-fails", NULL);
	pid_t pid = domain_pid(domain);

	for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
		g_auto(Run) run = {0};

		domain_upgrade(domain, &run, faults[i], NULL);
		assert_in_range(run.status, 2, 3);
		assert_contains(qmp_str(run.report, "error"), "fault injected");
		assert_untouched(domain, pid);
	}
	assert_upgrades(domain);
}

static void test_handover_fails(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-handover", NULL);
	g_autofree char *plugin = g_strdup_printf("%s,fault=load:fail", domain->plugin);
	pid_t pid = domain_pid(domain);
	g_auto(Run) run = {0};

	domain_upgrade(domain, &run, NULL, "--plugin", plugin, NULL);
	assert_int_equal(run.status, 3);
	assert_untouched(domain, pid);
	assert_upgrades(domain);
}

/* The tool waits at this point until it is told to go on; what is done meanwhile is @meanwhile. */
static void run_with_a_break(const Domain *domain, Run *run, const char *point,
			     void (*meanwhile)(const Domain *domain), const char *deadline)
{
	g_autofree char *script = tool_script(
		domain->test, "with-a-break",
		"QEMU_LIVE_UPGRADE_FAULT=%s:stop '%s' --json --binary '%s' --plugin '%s' "
		"--deadline %s --libvirt %s >'%s/out' 2>'%s/err' &\n"
		"pid=$!; echo $pid >'%s/pid.tmp'; mv '%s/pid.tmp' '%s/pid'; wait $pid\n",
		point, lm_test_env("LM_TOOL"), tool_qemu(), domain->plugin, deadline, domain->name,
		domain->test->dir, domain->test->dir, domain->test->dir, domain->test->dir,
		domain->test->dir);
	const char *argv[] = {script, NULL};
	g_autofree char *pid_path = lm_test_path(domain->test, "pid"), *text = NULL;
	g_autofree char *out = lm_test_path(domain->test, "out"), *said = NULL;
	g_autoptr(GError) error = NULL;
	gint64 end_us = lm_end_us(LM_WAIT_MS);
	GPid pid;
	pid_t tool;
	int status;

	g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid,
		      &error);
	must(error);
	while (!g_file_get_contents(pid_path, &text, NULL, NULL) && lm_left_ms(end_us))
		g_usleep(5000);
	tool = text ? (pid_t)g_ascii_strtoll(text, NULL, 10) : -1;
	assert_true(tool > 0);
	for (;;) {
		g_autofree char *stat = tool_proc(tool, "stat");

		if (strstr(stat, ") T "))
			break;
		assert_true(lm_left_ms(end_us));
		g_usleep(5000);
	}
	meanwhile(domain);
	kill(tool, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	run->status = WEXITSTATUS(status);
	assert_true(g_file_get_contents(out, &said, NULL, NULL));
	run->report = json_from_string(said, NULL);
	run->new_pid = run->report ? (pid_t)qmp_int(run->report, "new-pid") : -1;
	g_unlink(pid_path);
}

static gpointer wake_daemon(gpointer pid)
{
	g_usleep(3 * G_USEC_PER_SEC);
	kill(GPOINTER_TO_INT(pid), SIGCONT);
	return NULL;
}

static void put_daemon_to_sleep(const Domain *domain)
{
	pid_t pid = libvirt_daemon_pid();

	kill(pid, SIGSTOP);
	g_thread_unref(g_thread_new("wake", wake_daemon, GINT_TO_POINTER(pid)));
}

/* A daemon that takes its time is waited for, and begun again when it has ended at last. */
static void test_daemon_does_not_end(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-noend", NULL);
	pid_t pid = domain_pid(domain);
	g_auto(Run) run = {0};

	run_with_a_break(domain, &run, "daemon-stop", put_daemon_to_sleep, "1");
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"),
			"was asked to end and has not within 1000 ms");
	assert_untouched(domain, pid);
	assert_upgrades(domain);
}

static void spoil_daemon(const Domain *domain)
{
	libvirt_daemon_spoil(TRUE);
}

static void test_daemon_does_not_come_back(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-noback", NULL);
	pid_t pid = domain_pid(domain);
	g_auto(Run) run = {0};

	run_with_a_break(domain, &run, "daemon-stop", spoil_daemon, "60");
	libvirt_daemon_spoil(FALSE);
	assert_int_equal(run.status, 5);
	assert_string_equal(qmp_str(run.report, "outcome"), "no-libvirt");
	assert_contains(qmp_str(run.report, "error"), "libvirtd did not come back");
	assert_in_one_place(domain);
	assert_int_equal(domain_pid(domain), run.new_pid);
	/* The next run brings it back first, by the journal. */
	assert_upgrades(domain);
	assert_true(domain_has_ended(pid));
}

static void attach_and_suspend(const Domain *domain)
{
	virsh_do(domain->test, "suspend", domain->name, NULL);
}

/* The daemon serves until the last moment, and does what it is asked for. */
static void test_changed_meanwhile(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-changed", NULL);
	pid_t pid = domain_pid(domain);
	g_auto(Run) run = {0};

	run_with_a_break(domain, &run, "daemon-stop", attach_and_suspend, "60");
	assert_in_range(run.status, 2, 3);
	assert_contains(qmp_str(run.report, "error"), "the guest was running and is paused");
	virsh_do(test, "resume", domain->name, NULL);
	assert_untouched(domain, pid);
}

static void begin_daemon_meanwhile(const Domain *domain)
{
	const char *argv[] = {"libvirtd", "--pid-file", "/run/lm-other.pid", NULL};
	g_autofree char *said = NULL;

	/* Nobody takes the domain from the tool's hands: this one ends. */
	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &said, NULL,
		     NULL);
	lm_test_note("the other daemon: %s", said);
	assert_int_equal(libvirt_daemon_pid(), -1);
}

static void test_no_daemon_begins_meanwhile(LmTest *test, const void *arg)
{
	Domain *domain = domain_start(test, "lm-other", NULL);
	pid_t pid = domain_pid(domain);
	g_auto(Run) run = {0};

	run_with_a_break(domain, &run, "daemon-stopped", begin_daemon_meanwhile, "60");
	domain_assert_upgraded(domain, &run, pid);
}

/* ------------------------------------------------------------------- refusals */

static void assert_refused(const Run *run, const char *text)
{
	assert_int_equal(run->status, 2);
	assert_string_equal(qmp_str(run->report, "outcome"), "refused");
	assert_contains(qmp_str(run->report, "error"), text);
}

static void test_refusals(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "disk.img"), *copy = lm_test_path(test, "copy");
	g_autofree char *devices = g_strdup_printf(
		"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source "
		"file='%s'/><target dev='vda' bus='virtio'/></disk>",
		image);
	g_auto(Run) absent = {0}, by_pid = {0}, job = {0}, off = {0};
	g_autofree char *pid_text = NULL;
	Domain *domain, nobody;
	pid_t pid;

	assert_true(g_file_set_contents(image, "", 0, NULL) && !truncate(image, 4 << 20));
	domain = domain_start(test, "lm-refused", devices);
	nobody = *domain;
	nobody.name = (char *)"lm-nobody";
	pid = domain_pid(domain);
	domain_upgrade(&nobody, &absent, NULL, NULL);
	assert_refused(&absent, "libvirt has no domain lm-nobody");
	pid_text = g_strdup_printf("%d", (int)pid);
	tool_run(test, &by_pid, NULL, "--binary", tool_qemu(), pid_text, NULL);
	assert_refused(&by_pid, "is libvirt's domain lm-refused (--libvirt lm-refused)");
	virsh_do(test, "blockcopy", domain->name, "vda", copy, "--transient-job", "--wait", NULL);
	domain_upgrade(domain, &job, NULL, NULL);
	assert_refused(&job, "libvirt domain lm-refused has a block job");
	virsh_do(test, "blockjob", domain->name, "vda", "--abort", NULL);
	assert_untouched(domain, pid);
	assert_upgrades(domain);
	virsh_do(test, "destroy", domain->name, NULL);
	domain_upgrade(domain, &off, NULL, NULL);
	assert_refused(&off, "libvirt domain lm-refused is shut off, not running");
}

/* Somebody who may run the tool, and is not root. */
static void test_not_root(LmTest *test, const void *arg)
{
	g_autofree char *tool = lm_test_copy(test, lm_test_env("LM_TOOL"), 0755);
	g_autofree char *setpriv = g_find_program_in_path("setpriv");
	const char *argv[] = {setpriv,	   "--reuid", "65534", "--clear-groups", tool, "--json",
			      "--libvirt", "lm-any",  NULL};
	g_auto(Run) run = {0};

	chmod(test->dir, 0755);
	tool_run_argv(test, &run, argv, NULL);
	assert_refused(&run, "only root may upgrade domains of libvirt, and this is user 65534");
}

static const LmCase cases[] = {
	LM_CASE(test_killed),
	LM_CASE(test_killed_and_daemon_begun),
	LM_CASE(test_killed_and_another),
	LM_CASE(test_another_is_lost),
	LM_CASE(test_fails),
	LM_CASE(test_handover_fails),
	LM_CASE(test_daemon_does_not_end),
	LM_CASE(test_daemon_does_not_come_back),
	LM_CASE(test_changed_meanwhile),
	LM_CASE(test_no_daemon_begins_meanwhile),
	LM_CASE(test_refusals),
	LM_CASE(test_not_root),
};

int main(int argc, char **argv)
{
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}
