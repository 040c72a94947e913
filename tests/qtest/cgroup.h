/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A control group that holds the VMs of one case, to see what they take together. */
#ifndef LM_QTEST_CGROUP_H
#define LM_QTEST_CGROUP_H

#include "harness.h"

typedef struct LmCgroup LmCgroup;

/* NULL and *errp where this process may not make one. Goes at the end of the case. */
LmCgroup *cgroup_new(LmTest *test, GError **errp);
/* A process joins by writing "0" here. */
const char *cgroup_procs_path(const LmCgroup *cgroup);
guint64 cgroup_usage_bytes(LmCgroup *cgroup);
/* The peak since the last reset. */
guint64 cgroup_peak_bytes(LmCgroup *cgroup);
/* FALSE with version 2 before Linux 6.12, which cannot. */
gboolean cgroup_reset_peak(LmCgroup *cgroup, GError **errp);

#endif
