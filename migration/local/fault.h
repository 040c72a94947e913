/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault points, for tests. They exist only in a build with -Dfault_injection=true: elsewhere all
 * of this is empty, and the plugin knows no argument fault=.
 *
 *     fault=[SIDE.]POINT:ACTION      SIDE: source or destination; none: in either role
 *
 * POINT is one of lm_fault_points. The first LM_STAGE__MAX are the stages, reached when the stage
 * begins on this side. A fault happens once in a process, and says so on stderr. ACTION is
 *   hold    wait until cancelled (at most for ten deadlines), then go on
 *   fail    fail with -EIO "fault injected at POINT"
 *   kill    SIGKILL to this process
 *   stop    SIGSTOP to this process
 *   short   the next message is cut in its middle, and the socket shut down
 *   emfile  from now on this process gets no further descriptor (RLIMIT_NOFILE), for what was
 *           free is a memfd called LM_FAULT_FILLER now; whoever tests ends that with prlimit
 *   enomem, enospc, eperm   the call at this point fails so; for the points that are calls
 */
#ifndef LM_LOCAL_FAULT_H
#define LM_LOCAL_FAULT_H

#include <errno.h>
#include <migration/localhost.h>
#include "wait.h"

#define LM_FAULT_FILLER "fault-filler"

#ifndef LM_FAULT_INJECTION
#define LM_FAULT_INJECTION 0
#endif

typedef enum LmFaultAction {
	LM_FAULT_HOLD,
	LM_FAULT_FAIL,
	LM_FAULT_KILL,
	LM_FAULT_STOP,
	LM_FAULT_SHORT,
	LM_FAULT_EMFILE,
	LM_FAULT_ENOMEM,
	LM_FAULT_ENOSPC,
	LM_FAULT_EPERM,
	LM_FAULT_ACTION__MAX,
} LmFaultAction;

/* How the RAM goes, as a test chooses it. */
typedef enum LmFaultWay {
	LM_FAULT_FLIP,
	LM_FAULT_STOPPED, /* shared while the VM is stopped */
	LM_FAULT_LIVE,	  /* shared while it runs */
	LM_FAULT_PASS,
	LM_FAULT_REHEARSE, /* shared while it runs, and rehearsed */
	LM_FAULT_WAY__MAX,
} LmFaultWay;

typedef enum LmFaultPointNumber {
	LM_FAULT_STAGES, /* one for each stage */
	LM_FAULT_FRAME = LM_STAGE__MAX,
	LM_FAULT_RETURN,
	LM_FAULT_CHUNK,
	LM_FAULT_MEMFD_LEDGER,
	LM_FAULT_MEMFD_SHARE,
	LM_FAULT_FILL_SHARE,
	LM_FAULT_USERFAULTFD,
	LM_FAULT_MEMFD_SAVE,
	LM_FAULT_MEMFD_STATE,
	LM_FAULT_WRITE_STATE,
	LM_FAULT_POINT__MAX,
} LmFaultPointNumber;

typedef struct LmFaultPoint {
	const char *name;
	const char *what;
	guint actions; /* 1 << LmFaultAction */
	guint ways[2]; /* by LmRole: 1 << LmFaultWay, in which this side reaches it */
} LmFaultPoint;

extern const LmFaultPoint lm_fault_points[LM_FAULT_POINT__MAX];
const char *lm_fault_action_name(LmFaultAction action);
const char *lm_fault_way_name(LmFaultWay way);

#if LM_FAULT_INJECTION
/* Checks the syntax. @fault may be NULL. */
int lm_fault_check(const char *fault, GError **errp);
/* @fault without its SIDE; NULL if it is another side's, or NULL. */
const char *lm_fault_of(const char *fault, LmRole role);
/* Makes @fault this process's: it will happen, unless it was set already. NULL: none. */
void lm_fault_set(const char *fault);
/* 0 if @fault is NULL, is at another point, has happened, or let us go on. */
int lm_fault_reach(const char *fault, const char *point, const LmWait *wait, GError **errp);
/* For the points that are calls: 0, or the errno value that the call shall fail with. */
int lm_fault_errno(const char *point);
/* Whether the message that is to be sent now shall be cut. */
gboolean lm_fault_cuts(void);
#else
static inline int lm_fault_check(const char *fault, GError **errp)
{
	return 0;
}

static inline const char *lm_fault_of(const char *fault, LmRole role)
{
	return NULL;
}

static inline void lm_fault_set(const char *fault)
{
}

static inline int lm_fault_reach(const char *fault, const char *point, const LmWait *wait,
				 GError **errp)
{
	return 0;
}

static inline int lm_fault_errno(const char *point)
{
	return 0;
}

static inline gboolean lm_fault_cuts(void)
{
	return FALSE;
}
#endif

/* The same as a condition: TRUE with errno set. */
static inline gboolean lm_fault_fails(const char *point)
{
	const int err = lm_fault_errno(point);

	if (err)
		errno = err;
	return err != 0;
}

#endif
