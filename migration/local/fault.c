/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

#define HOLD_DEADLINES 10u

typedef int (*FaultAction)(const char *point, const LmWait *wait, GError **errp);

static int act_hold(const char *point, const LmWait *wait, GError **errp)
{
	LmWait hold = {.deadline_ms = G_MAXUINT, .cancel_fd = -1};
	guint deadline_ms;

	if (g_uint_checked_mul(&deadline_ms, wait->deadline_ms, HOLD_DEADLINES))
		hold.deadline_ms = deadline_ms;
	/* However it ends we go on: who was cancelled notices at its next wait. */
	lm_wait_fd(&hold, wait->cancel_fd, POLLIN, point, NULL);
	return 0;
}

static int act_fail(const char *point, const LmWait *wait, GError **errp)
{
	return lm_fail(errp, LM_ERROR_FAILED, EIO, "fault injected at %s", point);
}

static int act_kill(const char *point, const LmWait *wait, GError **errp)
{
	kill(getpid(), SIGKILL);
	return 0;
}

static int act_stop(const char *point, const LmWait *wait, GError **errp)
{
	kill(getpid(), SIGSTOP);
	return 0;
}

static const struct {
	const char *name;
	FaultAction act;
} actions[] = {
	{"hold", act_hold},
	{"fail", act_fail},
	{"kill", act_kill},
	{"stop", act_stop},
};

static FaultAction find_action(const char *name)
{
	for (gsize i = 0; i < G_N_ELEMENTS(actions); i++) {
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].act;
	}
	return NULL;
}

static gboolean is_point(const char *fault, gsize length, const char *point)
{
	return strlen(point) == length && strncmp(fault, point, length) == 0;
}

static gboolean known_point(const char *fault, gsize length)
{
	for (int stage = 0; stage < LM_STAGE__MAX; stage++) {
		if (is_point(fault, length, lm_stage_name(stage)))
			return TRUE;
	}
	return is_point(fault, length, "frame") || is_point(fault, length, "return");
}

int lm_fault_check(const char *fault, GError **errp)
{
	const char *colon;

	if (!fault)
		return 0;
	colon = strchr(fault, ':');
	if (!colon) {
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "fault \"%s\" is not POINT:ACTION",
			       fault);
	}
	if (!known_point(fault, colon - fault)) {
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\": there is no point \"%.*s\"", fault,
			       (int)(colon - fault), fault);
	}
	if (!find_action(colon + 1)) {
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\": there is no action \"%s\"", fault, colon + 1);
	}
	return 0;
}

int lm_fault_reach(const char *fault, const char *point, const LmWait *wait, GError **errp)
{
	const char *colon = fault ? strchr(fault, ':') : NULL;
	FaultAction act;

	if (!colon || !is_point(fault, colon - fault, point))
		return 0;
	act = find_action(colon + 1);
	return act ? act(point, wait, errp) : 0;
}
