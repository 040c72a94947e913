/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the new process is started with: the running one's command line with the least changes,
 * and everything that stands in the way of that, by name. Making a plan touches nothing.
 */
#ifndef LIVE_UPGRADE_PLAN_H
#define LIVE_UPGRADE_PLAN_H

#include "opts.h"
#include "reconnect.h"
#include "running.h"
#include "spawn.h"

/* A name in the file system that is to lead to the new process: a socket, or the pid file. */
typedef struct LuPath {
	char *what;	 /* "-qmp", "-pidfile" ... */
	char *path;	 /* absolute, as QEMU sees it */
	char *temporary; /* where the new process makes it, in the same folder */
} LuPath;

GPtrArray *lu_paths_new(void); /* of LuPath, owned */
void lu_paths_add(GPtrArray *paths, const char *what, const char *path, const char *temporary);

typedef struct LuPlanOptions {
	const char *program; /* as QEMU sees it */
	const char *plugin;  /* "FILE[,ARGUMENTS]"; NULL: the running one's */
	const char *
		installed; /* otherwise: for one that was attached to before; NULL: there is none */
	const char *incoming;	/* path of the handover's socket, as QEMU sees it */
	const char *cpu_append; /* ",feature=off" for -cpu host and max; NULL: none */
} LuPlanOptions;

/* A connection to a vhost-user back end. */
typedef struct LuLent {
	int fd;	      /* in the running process */
	int listener; /* here: the new process's, to which the running one's plugin connects */
} LuLent;

typedef struct LuPlan {
	const LuRunning *running;
	LuCommandLine *line;
	GArray *descriptors;
	GPtrArray *paths;
	GPtrArray *refusals;	/* of char *, one line each */
	GPtrArray *notes;	/* what the guest or its clients lose */
	GPtrArray *afterwards;	/* QMP messages for the new process when the old one is gone */
	GPtrArray *stand_ins;	/* of char *: "10:40", for the plugin's argument stand-in= */
	GPtrArray *vhost_users; /* of char *: "10:11:12:13", for the plugin's vhost-user= */
	GArray *lents;		/* of LuLent: as many */
	GArray *queues;		/* of int: the running one's, of tap devices, that get frames */
	GPtrArray *connections; /* of LuConnection, which are made after the handover */
	gboolean kill_old;	/* it must not end by itself: downscripts, vhost-user */
	char *qmp_temporary;	/* the monitor's name until it is renamed */
	int next_number;	/* 0: not known yet */
	guint monitors, serials, parallels;
} LuPlan;

LuPlan *lu_plan_make(const LuRunning *running, const LuPlanOptions *options);
void lu_plan_free(LuPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuPlan, lu_plan_free)

void lu_plan_refuse(LuPlan *plan, const char *format, ...) G_GNUC_PRINTF(2, 3);
void lu_plan_note(LuPlan *plan, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Plans a name for what was at @path and returns the new process's; the caller's. */
char *lu_plan_path(LuPlan *plan, const char *what, const char *path);
/* For a descriptor of the new process; it is free. */
int lu_plan_number(LuPlan *plan);
/* A descriptor of the running process, under @number or (-1) one that is free; -1 if refused. */
int lu_plan_descriptor(LuPlan *plan, int fd, int number, const char *what);

/* plan-chardev.c: @at is the option's place, and is moved along when others are inserted. */
void lu_plan_chardev(LuPlan *plan, guint *at);
void lu_plan_legacy_chardev(LuPlan *plan, guint *at);
void lu_plan_fdsets(LuPlan *plan);
/* plan-tap.c */
void lu_plan_tap(LuPlan *plan, LuOption *option, const char *what);
/* plan-vhost-user.c */
GArray *lu_lents_new(void);
/* Whether this chardev is a vhost-user-fs's, and what that gets in its place. */
gboolean lu_plan_has_fs(const LuPlan *plan, const char *label);
void lu_plan_fs_chardev(LuPlan *plan, LuOpts *opts, const char *what);
/* FALSE: it is no vhost-user-fs. */
gboolean lu_plan_fs(LuPlan *plan, LuOption *option, const char *driver);
/* plan-stream.c */
void lu_plan_stream(LuPlan *plan, LuOption *option, const char *what);
/* plan-net.c */
void lu_plan_netdev(LuPlan *plan, guint *at);
void lu_plan_forwards(LuPlan *plan);
void lu_plan_vnc(LuPlan *plan, guint *at);
void lu_plan_display(LuPlan *plan, guint *at);
void lu_plan_default_vnc(LuPlan *plan);
/* changes/: what the command line does not say any more. */
void lu_plan_changes(LuPlan *plan);

#endif
