/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel keeps the peak of a control group. Where that cannot be set back (version 2 before
 * Linux 6.12), usage is read every few milliseconds instead.
 */
#include "demo.h"

static gboolean sampled;
static guint64 before_bytes, most_bytes;

void memory_begin(Demo *demo)
{
	if (!demo->cgroup)
		return;
	sampled = !cgroup_reset_peak(demo->cgroup, NULL);
	before_bytes = most_bytes = cgroup_usage_bytes(demo->cgroup);
}

void memory_sample(Demo *demo)
{
	if (demo->cgroup && sampled)
		most_bytes = MAX(most_bytes, cgroup_usage_bytes(demo->cgroup));
}

gint64 memory_end(Demo *demo)
{
	if (!demo->cgroup)
		return -1;
	memory_sample(demo);
	if (!sampled)
		most_bytes = cgroup_peak_bytes(demo->cgroup);
	return most_bytes > before_bytes ? (gint64)(most_bytes - before_bytes) : 0;
}

const char *memory_how(void)
{
	return sampled ? "this kernel cannot set the peak of a control group back: the peak is "
			 "of readings every few milliseconds"
		       : NULL;
}
