/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a daemon was started, as its process says and as a file keeps it; for daemon.c. */
#ifndef LIVE_UPGRADE_LIBVIRT_DAEMON_JOURNAL_H
#define LIVE_UPGRADE_LIBVIRT_DAEMON_JOURNAL_H

#include "cgroup.h"
#include "context.h"
#include "daemon.h"
#include "process.h"

struct LuDaemon {
	char *journal;
	char *name;
	LuProcess *process; /* NULL: it is away */
	gboolean was_asked; /* to end */
	int lock_fd;
	GStrv units; /* of systemd, the sockets that start it first; empty: not systemd's */
	/* How it is begun without systemd. */
	char *exe, *cwd;
	GStrv argv, envp;
	char *cgroups, *limits; /* as /proc has them */
	int oom_score_adj, nice;
	mode_t umask;
	GArray *stdio; /* of LuDescriptor, as far as it could be had */
};

/* Fills in how it was started, from daemon->process. */
void lu_daemon_describe(LuDaemon *daemon);

char *lu_daemon_journal_file(const char *base);
gboolean lu_daemon_journal_write(const LuDaemon *daemon, GError **errp);
/* NULL: there is none, or it is of no use. */
LuDaemon *lu_daemon_journal_read(const char *file);

/* For tests. */
char *lu_daemon_journal_text(const LuDaemon *daemon);
LuDaemon *lu_daemon_journal_parse(const char *text);

#endif
