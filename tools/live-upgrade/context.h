/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process runs with, its program and arguments aside: user, groups, capabilities,
 * namespaces, control groups, limits, scheduling, security label. It is read from the running
 * QEMU, given to the new one, and then read from that too and compared: whatever could not be
 * given is refused by name.
 */
#ifndef LIVE_UPGRADE_CONTEXT_H
#define LIVE_UPGRADE_CONTEXT_H

#include <glib.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { LU_NAMESPACES = 8, LU_CPUS = 8192 };

typedef struct LuContext {
	uid_t uid[3]; /* real, effective, saved */
	gid_t gid[3];
	GArray *groups; /* of gid_t */
	guint64 cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
	gboolean no_new_privs;
	guint64 seccomp_filters; /* how many; they can be compared only, not given */
	mode_t umask;
	guint64 namespaces[LU_NAMESPACES]; /* inode numbers, 0: none; see lu_namespaces */
	guint64 root_dev, root_ino;
	GPtrArray *cgroups;
	struct rlimit limits[RLIM_NLIMITS];
	int policy, priority, nice, io_priority;
	guint8 affinity[LU_CPUS / 8];
	int oom_score_adj;
	char *coredump_filter;
	char *label; /* of SELinux or AppArmor; NULL: none */
	gboolean apparmor;
} LuContext;

typedef struct LuNamespace {
	const char *name;
	int flag;
} LuNamespace;
extern const LuNamespace lu_namespaces[LU_NAMESPACES];

LuContext *lu_context_read(pid_t pid, GError **errp);
void lu_context_free(LuContext *context);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuContext, lu_context_free)

/* Whether process @pid runs with the same; the first difference is the error, with both values. */
gboolean lu_context_compare(const LuContext *old, pid_t pid, GError **errp);

/*
 * In the new process, before exec. @old_fd is a pidfd of the running QEMU, @root_fd its root.
 * Returns 0, or an errno with the thing in *@what. @sandboxed: QEMU sets no_new_privs by itself.
 */
int lu_context_apply(const LuContext *context, int old_fd, int root_fd, gboolean sandboxed,
		     const char **what);

/* The text of a /proc/PID/limits, whose lines are in the order of the numbers. */
gboolean lu_context_parse_limits(const char *text, struct rlimit *limits);
/* CPU affinity as a list, "0-3,8"; the caller's. */
char *lu_context_cpu_list(const guint8 *affinity);

#endif
