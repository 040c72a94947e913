/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault points, for tests: "POINT:ACTION". POINT is a stage's name (reached when the stage
 * begins on this side), "frame" (after a frame was sent), or "return" (before pages go back).
 * ACTION is
 *   hold  wait until cancelled (at most for ten deadlines), then go on
 *   fail  fail with -EIO "fault injected at POINT"
 *   kill  SIGKILL to this process
 *   stop  SIGSTOP to this process
 */
#ifndef LM_LOCAL_FAULT_H
#define LM_LOCAL_FAULT_H

#include <migration/localhost.h>
#include "wait.h"

/* Checks the syntax. @fault may be NULL. */
int lm_fault_check(const char *fault, GError **errp);
/* 0 if @fault is NULL, is at another point, or let us go on. */
int lm_fault_reach(const char *fault, const char *point, const LmWait *wait, GError **errp);

#endif
