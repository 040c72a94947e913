/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A plan for a command line, without a QEMU: another process stands for the running one. */
#ifndef LM_TOOL_PLAN_OF_H
#define LM_TOOL_PLAN_OF_H

#include "plan.h"

#define QMP "-qmp unix:/r/q,server=on,wait=off "

/* 0: this very process, which has copies of its own descriptors, then. */
extern pid_t plan_of_pid;

/* "qemu " QMP @arguments; free *keep after the plan. */
LuPlan *plan_of(const char *arguments, LuRunning **keep);

#endif
