/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault points: their syntax, and that each action does what it says, at its point only. */
#include "test-util.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "fault.h"

static const LmWait hasty = {.deadline_ms = 20, .cancel_fd = -1};

static void test_syntax(void **state)
{
	static const char *const actions[] = {"hold", "fail", "kill", "stop"};

	assert_int_equal(lm_fault_check(NULL, NULL), 0);
	for (gsize i = 0; i < G_N_ELEMENTS(actions); i++) {
		for (int stage = 0; stage < LM_STAGE__MAX + 2; stage++) {
			const char *point = stage == LM_STAGE__MAX	 ? "frame"
					    : stage == LM_STAGE__MAX + 1 ? "return"
									 : lm_stage_name(stage);
			g_autofree char *fault = g_strdup_printf("%s:%s", point, actions[i]);

			assert_int_equal(lm_fault_check(fault, NULL), 0);
		}
	}
}

static void test_bad_syntax(void **state)
{
	static const char *const faults[][2] = {
		{"", "fault \"\" is not POINT:ACTION"},
		{"frame", "fault \"frame\" is not POINT:ACTION"},
		{":kill", "there is no point \"\""},
		{"fram:kill", "there is no point \"fram\""},
		{"frames:kill", "there is no point \"frames\""},
		{"unknown:kill", "there is no point \"unknown\""},
		{"frame:", "there is no action \"\""},
		{"frame:kil", "there is no action \"kil\""},
		{"frame:kill:", "there is no action \"kill:\""},
		{"frame:kill ", "there is no action \"kill \""},
	};

	for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
		g_autoptr(GError) error = NULL;

		check_failure(lm_fault_check(faults[i][0], &error), &error, EINVAL,
			      LM_ERROR_REFUSED, faults[i][1]);
	}
}

static void test_elsewhere(void **state)
{
	assert_int_equal(lm_fault_reach(NULL, "frame", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "return", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "frames", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "fram", &hasty, NULL), 0);
}

static void test_fail(void **state)
{
	g_autoptr(GError) error = NULL;

	check_failure(lm_fault_reach("return:fail", "return", &hasty, &error), &error, EIO,
		      LM_ERROR_FAILED, "fault injected at return");
}

/* Runs the fault in a child; its wait status. */
static int reach_in_child(const char *fault, int options)
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		lm_fault_reach(fault, "frame", &hasty, NULL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, options), pid);
	if (WIFSTOPPED(status)) {
		int end;

		assert_int_equal(kill(pid, SIGCONT), 0);
		assert_int_equal(waitpid(pid, &end, 0), pid);
		assert_true(WIFEXITED(end) && WEXITSTATUS(end) == 3);
	}
	return status;
}

static void test_kill(void **state)
{
	const int status = reach_in_child("frame:kill", 0);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_stop(void **state)
{
	const int status = reach_in_child("frame:stop", WUNTRACED);

	assert_true(WIFSTOPPED(status));
	assert_int_equal(WSTOPSIG(status), SIGSTOP);
}

static void test_hold(void **state)
{
	const gint64 begin_us = g_get_monotonic_time();

	assert_int_equal(lm_fault_reach("frame:hold", "frame", &hasty, NULL), 0);
	assert_true(g_get_monotonic_time() - begin_us >= 10 * 20 * 1000);
}

/* Cancelled, it goes on at once, and leaves the cancellation for others to see. */
static void test_hold_cancelled(void **state)
{
	const LmWait wait = {.deadline_ms = G_MAXUINT, .cancel_fd = eventfd(1, EFD_CLOEXEC)};
	struct pollfd cancel = {.fd = wait.cancel_fd, .events = POLLIN};
	g_autoptr(GError) error = NULL;

	assert_int_equal(lm_fault_reach("frame:hold", "frame", &wait, &error), 0);
	assert_null(error);
	assert_int_equal(poll(&cancel, 1, 0), 1);
	close(wait.cancel_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_syntax), TEST(test_bad_syntax),     TEST(test_elsewhere),
		TEST(test_fail),   TEST(test_kill),	      TEST(test_stop),
		TEST(test_hold),   TEST(test_hold_cancelled),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
