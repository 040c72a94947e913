/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "error.h"

#define HOLD_DEADLINES 10u

/* ------------------------------------------------------------------ tables */

#define DO(action)   (1u << LM_FAULT_##action)
#define STEP_ACTIONS (DO(HOLD) | DO(FAIL) | DO(KILL) | DO(STOP) | DO(SHORT) | DO(EMFILE))
/* In the middle of a flip there is no message to be cut, and nobody who could fail. */
#define FRAME_ACTIONS (DO(HOLD) | DO(KILL) | DO(STOP) | DO(EMFILE))

#define IN(way)	 (1u << LM_FAULT_##way)
#define SHARES	 (IN(STOPPED) | IN(LIVE) | IN(REHEARSE))
#define MOVES	 (IN(FLIP) | IN(STOPPED) | IN(LIVE) | IN(PASS))
#define ALL_WAYS (MOVES | IN(REHEARSE))

#define STAGE(stage, name, what)                                                                   \
	[LM_STAGE_##stage] = {name, what, STEP_ACTIONS, {ALL_WAYS, ALL_WAYS}}

const LmFaultPoint lm_fault_points[LM_FAULT_POINT__MAX] = {
	STAGE(HELLO, "hello", "before either said what it is"),
	STAGE(REGIONS, "regions", "before the RAM blocks are compared"),
	STAGE(SHARE, "share", "before RAM is shared and passed"),
	STAGE(STOP, "stop", "before the VM stops"),
	STAGE(FLIP, "flip", "before the rest is shared, and pages flip"),
	STAGE(DEVICES, "devices", "before the device state is saved; received"),
	STAGE(LOAD, "load", "before the device state is loaded"),
	STAGE(COMMIT, "commit", "before the destination takes the ledger"),
	[LM_FAULT_FRAME] = {"frame",
			    "between two frames of pages, on the way there or back",
			    FRAME_ACTIONS,
			    {IN(FLIP), IN(FLIP)}},
	[LM_FAULT_RETURN] = {"return",
			     "before a destination gives back what it has",
			     STEP_ACTIONS,
			     {0, MOVES}},
	[LM_FAULT_CHUNK] = {"chunk",
			    "between two chunks of a live share",
			    STEP_ACTIONS,
			    {IN(LIVE) | IN(REHEARSE), 0}},
	[LM_FAULT_MEMFD_LEDGER] = {"memfd-ledger",
				   "the ledger's memfd",
				   DO(ENOMEM) | DO(ENOSPC),
				   {ALL_WAYS, 0}},
	[LM_FAULT_MEMFD_SHARE] = {"memfd-share",
				  "the memfd that RAM becomes",
				  DO(ENOMEM) | DO(ENOSPC),
				  {SHARES, 0}},
	[LM_FAULT_FILL_SHARE] = {"fill-share",
				 "allocation in that memfd",
				 DO(ENOMEM) | DO(ENOSPC),
				 {SHARES, 0}},
	[LM_FAULT_USERFAULTFD] = {"userfaultfd",
				  "what a live share needs",
				  DO(EPERM),
				  {IN(LIVE) | IN(REHEARSE), 0}},
	[LM_FAULT_MEMFD_SAVE] = {"memfd-save",
				 "the memfd that the device state is saved to",
				 DO(ENOMEM) | DO(ENOSPC),
				 {ALL_WAYS, 0}},
	[LM_FAULT_MEMFD_STATE] = {"memfd-state",
				  "the memfd that it is received in",
				  DO(ENOMEM) | DO(ENOSPC),
				  {0, ALL_WAYS}},
	[LM_FAULT_WRITE_STATE] = {"write-state",
				  "allocation in that memfd",
				  DO(ENOMEM) | DO(ENOSPC),
				  {0, ALL_WAYS}},
};

static const char *const ways[LM_FAULT_WAY__MAX] = {
	[LM_FAULT_FLIP] = "flip", [LM_FAULT_STOPPED] = "stopped",   [LM_FAULT_LIVE] = "live",
	[LM_FAULT_PASS] = "pass", [LM_FAULT_REHEARSE] = "rehearse",
};

const char *lm_fault_way_name(LmFaultWay way)
{
	return ways[way];
}

/* ----------------------------------------------------------------- actions */

/* The process's fault. Set before there are threads that could meet it. */
static struct {
	const char *fault; /* interned */
	int happened, cuts;
} process;

typedef int (*Act)(const char *point, const LmWait *wait, GError **errp);

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
	raise(SIGSTOP);
	return 0;
}

static int act_short(const char *point, const LmWait *wait, GError **errp)
{
	g_atomic_int_set(&process.cuts, 1);
	return 0;
}

static int highest_descriptor(void)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	const char *name;
	int highest = -1;

	while (dir && (name = g_dir_read_name(dir)))
		highest = MAX(highest, atoi(name));
	return highest;
}

/* What is closed later can be used again, as in a process that has used them up itself. */
static int act_emfile(const char *point, const LmWait *wait, GError **errp)
{
	int filler = memfd_create(LM_FAULT_FILLER, MFD_CLOEXEC);
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = highest_descriptor() + 1;
	setrlimit(RLIMIT_NOFILE, &limit);
	while (fcntl(filler, F_DUPFD_CLOEXEC, 0) >= 0)
		;
	return 0;
}

static const struct {
	const char *name;
	Act act;
	int err;
} actions[LM_FAULT_ACTION__MAX] = {
	[LM_FAULT_HOLD] = {"hold", act_hold, 0},      [LM_FAULT_FAIL] = {"fail", act_fail, 0},
	[LM_FAULT_KILL] = {"kill", act_kill, 0},      [LM_FAULT_STOP] = {"stop", act_stop, 0},
	[LM_FAULT_SHORT] = {"short", act_short, 0},   [LM_FAULT_EMFILE] = {"emfile", act_emfile, 0},
	[LM_FAULT_ENOMEM] = {"enomem", NULL, ENOMEM}, [LM_FAULT_ENOSPC] = {"enospc", NULL, ENOSPC},
	[LM_FAULT_EPERM] = {"eperm", NULL, EPERM},
};

const char *lm_fault_action_name(LmFaultAction action)
{
	return actions[action].name;
}

static int find_action(const char *name)
{
	for (int i = 0; i < LM_FAULT_ACTION__MAX; i++) {
		if (strcmp(actions[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* ------------------------------------------------------------------ syntax */

static gboolean is_point(const char *fault, gsize length, const char *point)
{
	return strlen(point) == length && strncmp(fault, point, length) == 0;
}

static const LmFaultPoint *find_point(const char *fault, gsize length)
{
	for (gsize i = 0; i < LM_FAULT_POINT__MAX; i++) {
		if (is_point(fault, length, lm_fault_points[i].name))
			return &lm_fault_points[i];
	}
	return NULL;
}

static const char *after_side(const char *fault, LmRole role)
{
	const char *side = role == LM_ROLE_SOURCE ? "source." : "destination.";

	return g_str_has_prefix(fault, side) ? fault + strlen(side) : NULL;
}

const char *lm_fault_of(const char *fault, LmRole role)
{
	const char *rest;

	if (!fault)
		return NULL;
	rest = after_side(fault, role);
	if (rest)
		return rest;
	return after_side(fault, LM_ROLE_SOURCE) || after_side(fault, LM_ROLE_DESTINATION) ? NULL
											   : fault;
}

int lm_fault_check(const char *fault, GError **errp)
{
	const char *rest = lm_fault_of(fault, LM_ROLE_SOURCE), *colon;
	const LmFaultPoint *point;
	int action;

	if (!fault)
		return 0;
	if (!rest)
		rest = lm_fault_of(fault, LM_ROLE_DESTINATION);
	colon = strchr(rest, ':');
	if (!colon)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\" is not [SIDE.]POINT:ACTION", fault);
	point = find_point(rest, colon - rest);
	if (!point)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\": there is no point \"%.*s\"", fault,
			       (int)(colon - rest), rest);
	action = find_action(colon + 1);
	if (action < 0)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\": there is no action \"%s\"", fault, colon + 1);
	if (!(point->actions & (1u << action)))
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "fault \"%s\": point \"%s\" has no action \"%s\"", fault,
			       point->name, colon + 1);
	return 0;
}

/* ------------------------------------------------------------------ points */

void lm_fault_set(const char *fault)
{
	fault = g_intern_string(fault);
	if (fault == process.fault)
		return;
	process.fault = fault;
	g_atomic_int_set(&process.cuts, 0);
	g_atomic_int_set(&process.happened, 0);
}

static void say(const char *fault)
{
	dprintf(STDERR_FILENO, "localhost-migrate: fault %s\n", fault);
}

/* The action that is due at @point, once; -1: none. */
static int take(const char *fault, const char *point)
{
	const char *colon = fault ? strchr(fault, ':') : NULL;

	if (!colon || !is_point(fault, colon - fault, point) ||
	    !g_atomic_int_compare_and_exchange(&process.happened, 0, 1))
		return -1;
	return find_action(colon + 1);
}

int lm_fault_reach(const char *fault, const char *point, const LmWait *wait, GError **errp)
{
	const int action = take(fault, point);

	if (action < 0 || !actions[action].act)
		return 0;
	if (action != LM_FAULT_SHORT)
		say(fault);
	return actions[action].act(point, wait, errp);
}

int lm_fault_errno(const char *point)
{
	const int action = take(process.fault, point);

	if (action < 0)
		return 0;
	say(process.fault);
	return actions[action].err;
}

gboolean lm_fault_cuts(void)
{
	if (!g_atomic_int_compare_and_exchange(&process.cuts, 1, 0))
		return FALSE;
	say(process.fault);
	return TRUE;
}
