// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls in another process's main thread: nothing of it may differ afterwards. */
#include "attach-victim.h"
#include "call.h"
#include "remote.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <cmocka.h>

#define DEADLINE_MS 20000
#define KILLS	    200

typedef struct Attached {
	AttachThread thread;
	AttachCall call;
} Attached;

/* A forked victim has everything where this process has it. */
static int begin(Attached *attached, const Victim *victim, guint deadline_ms, GError **errp)
{
	int rc;

	*attached = (Attached){
		.thread = {.pid = victim->pid,
			   .end_us = g_get_monotonic_time() + (gint64)deadline_ms * 1000}};
	rc = attach_thread_hold(&attached->thread, errp);
	if (rc == 0)
		rc = attach_call_begin(&attached->call, &attached->thread, getauxval(AT_ENTRY),
				       errp);
	return rc;
}

static void end(Attached *attached)
{
	attach_call_end(&attached->call);
	attach_state_clear(&attached->thread.state);
}

static void must(GError *error)
{
	if (error)
		fail_msg("%s", error->message);
}

static void assert_same(Victim *victim)
{
	for (guint i = 0; i < 2; i++)
		assert_true(victim_round(victim));
	if (victim->report->differences)
		fail_msg("%d differences: %s", victim->report->differences, victim->report->what);
}

/* Calls one function, with everything around it. */
static int call_once(const Victim *victim, guint deadline_ms, void *function, guint64 first,
		     guint64 second, guint64 third, guint64 *result, GError **errp)
{
	Attached attached;
	int rc = begin(&attached, victim, deadline_ms, errp);

	if (rc == 0) {
		rc = attach_call(&attached.call, (guint64)function, first, second, third, result,
				 errp);
		end(&attached);
	}
	return rc;
}

static void test_nothing_called(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	Attached attached;

	begin(&attached, &victim, DEADLINE_MS, &error);
	must(error);
	end(&attached);
	assert_same(&victim);
	assert_int_equal(victim.report->interrupted, 0);
	victim_stop(&victim);
}

static void test_result(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);

	for (guint i = 0; i < 100; i++) {
		g_autoptr(GError) error = NULL;
		guint64 result = 0;

		call_once(&victim, DEADLINE_MS, victim_add_and_spoil, i, 20, 3, &result, &error);
		must(error);
		assert_int_equal(result, i + 23);
		/* errno is for the caller to keep (load.c): here the function's own is expected. */
		assert_true(victim_round(&victim));
	}
	assert_int_equal(victim.report->differences, 100);
	assert_string_equal(victim.report->what, "errno");
	assert_int_equal(victim.report->interrupted, 0);
	victim_stop(&victim);
}

static void test_several_calls(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	Attached attached;
	guint64 result = 0;

	begin(&attached, &victim, DEADLINE_MS, &error);
	must(error);
	for (guint i = 0; i < 5; i++) {
		attach_call(&attached.call, (guint64)victim_sleep_ms, i, 0, 0, &result, &error);
		must(error);
		assert_int_equal(result, 0);
	}
	end(&attached);
	assert_same(&victim);
	assert_int_equal(victim.report->interrupted, 0);
	victim_stop(&victim);
}

/* What would be restarted with the time that is left returns EINTR, as for a handler. */
static void test_poll_with_timeout(void **state)
{
	Victim victim = victim_start(VICTIM_POLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 0;

	call_once(&victim, DEADLINE_MS, victim_sleep_ms, 1, 0, 0, &result, &error);
	must(error);
	assert_same(&victim);
	assert_int_equal(victim.report->interrupted, 1);
	victim_stop(&victim);
}

static void test_code_is_put_back(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 0, code[2];

	call_once(&victim, DEADLINE_MS, victim_sleep_ms, 0, 0, 0, &result, &error);
	must(error);
	attach_remote_read(victim.pid, getauxval(AT_ENTRY), code, sizeof(code), &error);
	must(error);
	assert_memory_equal(code, (void *)getauxval(AT_ENTRY), sizeof(code));
	victim_stop(&victim);
}

static void test_signal_is_not_lost(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 1;

	call_once(&victim, DEADLINE_MS, victim_raise, SIGUSR1, 0, 0, &result, &error);
	must(error);
	assert_int_equal(result, 0);
	assert_same(&victim);
	assert_int_equal(victim.report->signals, 1);
	victim_stop(&victim);
}

static void crash(void *function)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 1;
	int rc = call_once(&victim, DEADLINE_MS, function, 0, 0, 0, &result, &error);

	assert_int_equal(rc, -EFAULT);
	assert_non_null(strstr(error->message, "ended with a signal"));
	assert_int_equal(result, 1);
	assert_same(&victim);
	victim_stop(&victim);
}

static void test_crash(void **state)
{
	crash(victim_crash);
}

static void test_abort(void **state)
{
	crash(abort);
}

/* What somebody sends is no crash of the call: the signal is delivered, and the call goes on. */
static void test_crash_signal_from_outside(void **state)
{
	static const int signals[] = {SIGABRT, SIGSEGV, SIGTRAP};
	Victim victim = victim_start(VICTIM_PPOLL);

	for (guint i = 0; i < G_N_ELEMENTS(signals); i++) {
		g_autoptr(GError) error = NULL;
		guint64 result = 1;

		call_once(&victim, DEADLINE_MS, victim_raise, (guint64)signals[i], 0, 0, &result,
			  &error);
		must(error);
		assert_int_equal(result, 0);
	}
	assert_same(&victim);
	assert_int_equal(victim.report->signals, G_N_ELEMENTS(signals));
	victim_stop(&victim);
}

static void test_call_takes_too_long(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 1;
	int rc = call_once(&victim, 100, victim_sleep_ms, 1000, 0, 0, &result, &error);

	assert_int_equal(rc, -ETIMEDOUT);
	assert_same(&victim);
	victim_stop(&victim);
}

static void test_process_ends(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result;
	int rc = call_once(&victim, DEADLINE_MS, victim_raise, SIGKILL, 0, 0, &result, &error);

	assert_int_equal(rc, -ESRCH);
	assert_non_null(strstr(error->message, "has ended"));
	victim_stop(&victim);
}

/* It sleeps elsewhere: it is not called, and goes on sleeping there. */
static void test_not_in_poll(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	g_autoptr(GError) error = NULL;
	guint64 result = 1;

	/* A call that is left alone after its deadline is such a place. */
	call_once(&victim, 20, victim_sleep_ms, 3000, 0, 0, &result, &error);
	g_clear_error(&error);
	assert_int_equal(call_once(&victim, 100, victim_sleep_ms, 0, 0, 0, &result, &error),
			 -ETIMEDOUT);
	assert_non_null(strstr(error->message, "main loop's poll"));
	assert_same(&victim);
	victim_stop(&victim);
}

/* ------------------------------------------------------------- a killed tracer */

static G_GNUC_NORETURN void trace_for_ever(const Victim *victim)
{
	guint64 result;

	for (;;) {
		Attached attached;

		if (begin(&attached, victim, DEADLINE_MS, NULL) < 0)
			_exit(1);
		for (guint i = 0; i < 4; i++)
			attach_call(&attached.call, (guint64)victim_sleep_ms, 0, 0, 0, &result,
				    NULL);
		end(&attached);
	}
}

static void test_killed_tracer(void **state)
{
	Victim victim = victim_start(VICTIM_PPOLL);
	guint kills = g_getenv("LM_LONG") ? 20 * KILLS : KILLS;

	srand(1);
	for (guint i = 0; i < kills; i++) {
		pid_t tracer;

		assert_true(victim_sleeps(&victim));
		tracer = fork();
		if (!tracer)
			trace_for_ever(&victim);
		g_usleep((gulong)rand() % 3000);
		kill(tracer, SIGKILL);
		waitpid(tracer, NULL, 0);
		if (!victim_round(&victim))
			fail_msg("the process did not go on after kill %u", i);
	}
	assert_same(&victim);
	victim_stop(&victim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_called),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_several_calls),
		cmocka_unit_test(test_poll_with_timeout),
		cmocka_unit_test(test_code_is_put_back),
		cmocka_unit_test(test_signal_is_not_lost),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_crash_signal_from_outside),
		cmocka_unit_test(test_call_takes_too_long),
		cmocka_unit_test(test_process_ends),
		cmocka_unit_test(test_not_in_poll),
		cmocka_unit_test(test_killed_tracer),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
