/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control groups, of version 1 and 2, also both at once. */
#ifndef LIVE_UPGRADE_CGROUP_H
#define LIVE_UPGRADE_CGROUP_H

#include <glib.h>
#include <sys/types.h>

/* A line of /proc/PID/cgroup. */
typedef struct LuCgroup {
	char *controllers; /* "memory", "cpu,cpuacct", "name=systemd"; "" is version 2 */
	char *path;
} LuCgroup;

/* Of LuCgroup. */
GPtrArray *lu_cgroup_parse(const char *text);
GPtrArray *lu_cgroup_read(pid_t pid);
/* One text for all of them, in an order that does not depend on the host's. */
char *lu_cgroup_text(GPtrArray *cgroups);

/* The folder of @cgroup on this host, by the text of a mountinfo; NULL if it is not mounted. */
char *lu_cgroup_folder(const LuCgroup *cgroup, const char *mountinfo);

/* Puts process @pid where @like are, as far as it is elsewhere. */
gboolean lu_cgroup_join(GPtrArray *like, pid_t pid, GError **errp);

/* The same for a thread; @like is that of another thread (lu_cgroup_read_thread). */
GPtrArray *lu_cgroup_read_thread(pid_t pid, pid_t tid);
gboolean lu_cgroup_join_thread(GPtrArray *like, pid_t pid, pid_t tid, GError **errp);

/* The most memory that the group of @pid ever held; 0 if it has none of its own. */
guint64 lu_cgroup_peak_bytes(pid_t pid);

/* The systemd service that a path is in, if that is the innermost unit; the caller's. */
char *lu_cgroup_service(const char *path);

#endif
