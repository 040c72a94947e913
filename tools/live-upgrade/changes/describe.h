/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LIVE_UPGRADE_CHANGES_DESCRIBE_H
#define LIVE_UPGRADE_CHANGES_DESCRIBE_H

#include "plan.h"
#include "nodes.h"

typedef struct LuDescriber {
	LuPlan *plan;
	LuNodes *nodes;
} LuDescriber;

/* The value of a -blockdev for @node; the caller's. NULL: the plan refuses it. */
char *lu_describe_node(LuDescriber *describer, LuNode *node);

#endif
