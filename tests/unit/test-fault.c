/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault points: the table, their syntax, and that each action does what it says, once. */
#include "test-util.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "channel.h"
#include "fault.h"

static const LmWait hasty = {.deadline_ms = 20, .cancel_fd = -1};

/* A fault happens once: this makes it new. */
static void set(const char *fault)
{
	lm_fault_set(NULL);
	lm_fault_set(fault);
}

/* Numbers, names and what can be done where fit together. */
static void test_table(void **state)
{
	for (guint i = 0; i < LM_FAULT_POINT__MAX; i++) {
		const LmFaultPoint *point = &lm_fault_points[i];

		assert_true(point->name && *point->name && point->what && *point->what);
		assert_true(point->actions && !(point->actions >> LM_FAULT_ACTION__MAX));
		assert_true(point->ways[0] | point->ways[1]);
		assert_false((point->ways[0] | point->ways[1]) >> LM_FAULT_WAY__MAX);
		if (i < LM_STAGE__MAX)
			assert_string_equal(point->name, lm_stage_name(i));
		for (guint j = 0; j < i; j++)
			assert_string_not_equal(point->name, lm_fault_points[j].name);
	}
}

static void check_one(const LmFaultPoint *point, guint action)
{
	static const char *const sides[] = {"", "source.", "destination."};

	for (gsize i = 0; i < G_N_ELEMENTS(sides); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *fault =
			g_strdup_printf("%s%s:%s", sides[i], point->name,
					lm_fault_action_name((LmFaultAction)action));

		if (point->actions & (1u << action))
			assert_int_equal(lm_fault_check(fault, NULL), 0);
		else
			check_failure(lm_fault_check(fault, &error), &error, EINVAL,
				      LM_ERROR_REFUSED, "has no action");
	}
}

static void test_syntax(void **state)
{
	assert_int_equal(lm_fault_check(NULL, NULL), 0);
	for (guint i = 0; i < LM_FAULT_POINT__MAX; i++)
		for (guint action = 0; action < LM_FAULT_ACTION__MAX; action++)
			check_one(&lm_fault_points[i], action);
}

static void test_bad_syntax(void **state)
{
	static const char *const faults[][2] = {
		{"", "fault \"\" is not [SIDE.]POINT:ACTION"},
		{"frame", "fault \"frame\" is not [SIDE.]POINT:ACTION"},
		{"source.", "fault \"source.\" is not [SIDE.]POINT:ACTION"},
		{":kill", "there is no point \"\""},
		{"source.:kill", "there is no point \"\""},
		{"sink.frame:kill", "there is no point \"sink.frame\""},
		{"source.source.frame:kill", "there is no point \"source.frame\""},
		{"fram:kill", "there is no point \"fram\""},
		{"frames:kill", "there is no point \"frames\""},
		{"unknown:kill", "there is no point \"unknown\""},
		{"frame:", "there is no action \"\""},
		{"frame:kil", "there is no action \"kil\""},
		{"frame:kill:", "there is no action \"kill:\""},
		{"frame:kill ", "there is no action \"kill \""},
		{"frame:enospc", "point \"frame\" has no action \"enospc\""},
		{"userfaultfd:kill", "point \"userfaultfd\" has no action \"kill\""},
	};

	for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
		g_autoptr(GError) error = NULL;

		check_failure(lm_fault_check(faults[i][0], &error), &error, EINVAL,
			      LM_ERROR_REFUSED, faults[i][1]);
	}
}

static void test_sides(void **state)
{
	static const char *const plain = "frame:kill", *const one = "source.frame:kill",
				 *const other = "destination.frame:kill";

	assert_null(lm_fault_of(NULL, LM_ROLE_SOURCE));
	assert_string_equal(lm_fault_of(plain, LM_ROLE_SOURCE), "frame:kill");
	assert_string_equal(lm_fault_of(plain, LM_ROLE_DESTINATION), "frame:kill");
	assert_string_equal(lm_fault_of(one, LM_ROLE_SOURCE), "frame:kill");
	assert_null(lm_fault_of(one, LM_ROLE_DESTINATION));
	assert_string_equal(lm_fault_of(other, LM_ROLE_DESTINATION), "frame:kill");
	assert_null(lm_fault_of(other, LM_ROLE_SOURCE));
}

static void test_elsewhere(void **state)
{
	set("frame:kill");
	assert_int_equal(lm_fault_reach(NULL, "frame", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "return", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "frames", &hasty, NULL), 0);
	assert_int_equal(lm_fault_reach("frame:kill", "fram", &hasty, NULL), 0);
	assert_int_equal(lm_fault_errno("memfd-save"), 0);
	assert_false(lm_fault_cuts());
}

static void test_fail(void **state)
{
	g_autoptr(GError) error = NULL;

	set("return:fail");
	check_failure(lm_fault_reach("return:fail", "return", &hasty, &error), &error, EIO,
		      LM_ERROR_FAILED, "fault injected at return");
}

/* A session after the one that met it has the same fault set, and goes on. */
static void test_once(void **state)
{
	set("return:fail");
	assert_int_equal(lm_fault_reach("return:fail", "return", &hasty, NULL), -EIO);
	assert_int_equal(lm_fault_reach("return:fail", "return", &hasty, NULL), 0);
	lm_fault_set("return:fail");
	assert_int_equal(lm_fault_reach("return:fail", "return", &hasty, NULL), 0);
	set("return:fail");
	assert_int_equal(lm_fault_reach("return:fail", "return", &hasty, NULL), -EIO);
}

static void test_errno(void **state)
{
	static const struct {
		const char *fault, *point;
		int err;
	} faults[] = {{"memfd-save:enomem", "memfd-save", ENOMEM},
		      {"fill-share:enospc", "fill-share", ENOSPC},
		      {"userfaultfd:eperm", "userfaultfd", EPERM}};

	for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
		set(faults[i].fault);
		assert_int_equal(lm_fault_errno("memfd-state"), 0);
		assert_int_equal(lm_fault_errno(faults[i].point), faults[i].err);
		assert_int_equal(lm_fault_errno(faults[i].point), 0);
		set(faults[i].fault);
		errno = 0;
		assert_true(lm_fault_fails(faults[i].point));
		assert_int_equal(errno, faults[i].err);
		assert_false(lm_fault_fails(faults[i].point));
	}
}

/* The reader gets half of the message, and then the end; the next message cannot be sent. */
static void test_short(void **state)
{
	g_autoptr(GByteArray) payload = g_byte_array_new();
	g_auto(LmMessage) message = {0};
	g_autoptr(GError) error = NULL, theirs = NULL;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	g_byte_array_set_size(payload, 100);
	memset(payload->data, 0, payload->len);
	set("devices:short");
	assert_int_equal(lm_fault_reach("devices:short", "devices", &hasty, NULL), 0);
	check_failure(lm_channel_send(pair[0], &hasty, LM_MESSAGE_DATA, payload, NULL, 0, &error),
		      &error, EPIPE, LM_ERROR_GONE, "the peer is gone");
	check_failure(lm_channel_receive(pair[1], &hasty, &message, &theirs), &theirs, EPIPE,
		      LM_ERROR_GONE, "the peer is gone");
	assert_false(lm_fault_cuts());
	close(pair[0]);
	close(pair[1]);
}

/* Runs the fault in a child, which ends with 3, or 4 if it gets no descriptor after it. */
static int reach_in_child(const char *fault, int options)
{
	pid_t pid;
	int status;

	set(fault);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		lm_fault_reach(fault, "frame", &hasty, NULL);
		_exit(dup(0) < 0 && errno == EMFILE ? 4 : 3);
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

static void test_emfile(void **state)
{
	const int status = reach_in_child("frame:emfile", 0);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 4);
}

static void test_hold(void **state)
{
	const gint64 begin_us = g_get_monotonic_time();

	set("frame:hold");
	assert_int_equal(lm_fault_reach("frame:hold", "frame", &hasty, NULL), 0);
	assert_true(g_get_monotonic_time() - begin_us >= 10 * 20 * 1000);
}

/* Cancelled, it goes on at once, and leaves the cancellation for others to see. */
static void test_hold_cancelled(void **state)
{
	const LmWait wait = {.deadline_ms = G_MAXUINT, .cancel_fd = eventfd(1, EFD_CLOEXEC)};
	struct pollfd cancel = {.fd = wait.cancel_fd, .events = POLLIN};
	g_autoptr(GError) error = NULL;

	set("frame:hold");
	assert_int_equal(lm_fault_reach("frame:hold", "frame", &wait, &error), 0);
	assert_null(error);
	assert_int_equal(poll(&cancel, 1, 0), 1);
	close(wait.cancel_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_table), TEST(test_syntax),	     TEST(test_bad_syntax),
		TEST(test_sides), TEST(test_elsewhere),	     TEST(test_fail),
		TEST(test_once),  TEST(test_errno),	     TEST(test_short),
		TEST(test_kill),  TEST(test_stop),	     TEST(test_emfile),
		TEST(test_hold),  TEST(test_hold_cancelled),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
