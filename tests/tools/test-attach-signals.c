// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Signals that arrive while a thread is being stopped: none may be lost, and none may keep it
 * stopped. What thread.c calls goes through this program's own functions, which send them.
 */
#include "attach-victim.h"
#include "proc.h"
#include "thread.h"

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DEADLINE_MS 5000

/* What happens at the next calls. */
static struct {
	Victim *works;	     /* it leaves its poll before it is seized, and gets a signal when
				it is let go on */
	Victim *gets_signal; /* when it is seized */
	gboolean dies;	     /* this process, before it passes a signal on */
	gboolean hides;	     /* every stop, until it is asked for one the second time */
	gboolean reaps;	     /* as a program does that waits for all its children */
	guint interrupts;
} plan;

static gboolean has_state(const Victim *victim, char state)
{
	g_autofree char *is = attach_proc_status(victim->pid, "State");

	return is && *is == state;
}

static void stop_by_signal(const Victim *victim)
{
	kill(victim->pid, SIGUSR1);
	for (guint i = 0; i < 20000 && !has_state(victim, 't'); i++)
		g_usleep(500);
}

static long forward(int request, pid_t pid, void *address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

/* Instead of the C library's. */
long ptrace(enum __ptrace_request request, ...)
{
	void *address, *data;
	va_list args;
	pid_t pid;
	long rc;

	va_start(args, request);
	pid = va_arg(args, pid_t);
	address = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);
	if (request == PTRACE_SEIZE && plan.works)
		g_assert_true(victim_work(plan.works));
	if (request == PTRACE_CONT && data && plan.dies)
		kill(getpid(), SIGKILL);
	if (request == PTRACE_GETSIGINFO && plan.hides && plan.interrupts < 2)
		return -1;
	plan.interrupts += request == PTRACE_INTERRUPT;
	rc = forward(request, pid, address, data);
	if (request == PTRACE_SEIZE && plan.gets_signal)
		stop_by_signal(g_steal_pointer(&plan.gets_signal));
	if ((request == PTRACE_CONT || request == PTRACE_DETACH) && plan.works)
		kill(g_steal_pointer(&plan.works)->pid, SIGUSR1);
	if (request == PTRACE_INTERRUPT && plan.reaps) {
		plan.reaps = FALSE;
		waitpid(-1, NULL, 0);
	}
	return rc;
}

static int hold(const Victim *victim, guint deadline_ms, GError **errp)
{
	AttachThread thread = {.pid = victim->pid,
			       .end_us = g_get_monotonic_time() + (gint64)deadline_ms * 1000};
	int rc = attach_thread_hold(&thread, errp);

	if (rc == 0)
		attach_thread_release(&thread);
	attach_state_clear(&thread.state);
	return rc;
}

static void assert_got_signal(Victim *victim)
{
	for (guint i = 0; i < 10000 && !g_atomic_int_get(&victim->report->signals); i++)
		g_usleep(500);
	assert_int_equal(victim->report->signals, 1);
	for (guint i = 0; i < 2; i++)
		assert_true(victim_round(victim));
	if (victim->report->differences)
		fail_msg("%d differences: %s", victim->report->differences, victim->report->what);
	victim_stop(victim);
}

/* It was not in its poll; until it is again, it is not stopped by a signal either. */
static void test_between_two_tries(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;

	assert_true(victim_sleeps(&victim));
	memset(&plan, 0, sizeof(plan));
	plan.works = &victim;
	hold(&victim, DEADLINE_MS, &error);
	if (error)
		fail_msg("%s", error->message);
	assert_got_signal(&victim);
}

/* Who holds it is killed when it has seen the signal and not yet passed it on. */
static void test_killed_before_it_is_passed_on(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	int status = 0;
	pid_t pid;

	assert_true(victim_sleeps(&victim));
	memset(&plan, 0, sizeof(plan));
	plan.gets_signal = &victim;
	plan.dies = TRUE;
	pid = fork();
	if (!pid)
		_exit(hold(&victim, DEADLINE_MS, NULL) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_got_signal(&victim);
}

/* It stops too late, and for a signal. */
static void test_stops_too_late(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;

	assert_true(victim_sleeps(&victim));
	memset(&plan, 0, sizeof(plan));
	plan.gets_signal = &victim;
	plan.hides = TRUE;
	assert_int_equal(hold(&victim, 50, &error), -ETIMEDOUT);
	assert_got_signal(&victim);
}

/* Another thread of this program has taken the news of the stop. */
static void test_stop_is_reaped(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;

	assert_true(victim_sleeps(&victim));
	memset(&plan, 0, sizeof(plan));
	plan.reaps = TRUE;
	hold(&victim, DEADLINE_MS, &error);
	if (error)
		fail_msg("%s", error->message);
	kill(victim.pid, SIGUSR1);
	assert_got_signal(&victim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_between_two_tries),
		TEST(test_killed_before_it_is_passed_on),
		TEST(test_stops_too_late),
		TEST(test_stop_is_reaped),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
