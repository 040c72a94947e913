/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A control group that limits what the VMs in it may have: threads, or memory. */
#ifndef LM_QTEST_LIMIT_GROUP_H
#define LM_QTEST_LIMIT_GROUP_H

#include "vm.h"

typedef struct LimitGroup LimitGroup;

/*
 * For @controller, "pids" or "memory": of version 1, or of version 2 where the group may have
 * children; within @parent, unless that is NULL. NULL where none can be made. Goes at the end of
 * the case.
 */
LimitGroup *limit_group_new(LmTest *test, const char *controller, const LimitGroup *parent);
/* Whether some can be made at all, to be asked before there is a case. */
gboolean limit_group_is_there(const char *controller);
/* A process joins by writing "0" here. */
const char *limit_group_procs(const LimitGroup *group);
void limit_group_add(const LimitGroup *group, const Vm *vm);
/* So much more than is in use; -1: no limit. */
void limit_group_allow(const LimitGroup *group, gint64 more);

#endif
