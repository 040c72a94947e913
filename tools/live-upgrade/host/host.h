/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A run over all VMs of a host (qemu-live-upgrade --all).
 *
 *   1. One such run at a time: a lock, which the workers of a run that was killed hold until they
 *      have ended, so that the next run begins when nothing is under way any more.
 *   2. What VMs there are is asked of the processes and of the journals (discover.c), never of
 *      the run before: a run that is continued is a run in which less is left to do.
 *   3. Kind by kind, up to N at once, each in a process of its own (worker.c), or all of the kind
 *      in one (kinds.h). A worker that ends without a report left its VM somewhere: another one
 * settles that, as after any interrupted run (recover.c), and begins nothing anew.
 *   4. The first VM that is rolled back or lost ends the run, unless it is told to keep going:
 *      what is under way is finished, nothing is begun. So does SIGINT, SIGTERM or SIGHUP. A VM
 *      that is refused was not touched, and one that ended by itself is no failure.
 *
 * The run's own journal says what was found, done and left; it is for people and --json, and for
 * the next run to tell what it continues.
 */
#ifndef LIVE_UPGRADE_HOST_H
#define LIVE_UPGRADE_HOST_H

#include "vm.h"

typedef struct LuHostRequest {
	LuRequest each; /* which VM aside */
	guint parallel;
	gboolean keep_going;
	gboolean all_users; /* as far as this one may */
	uid_t user;	    /* otherwise */
} LuHostRequest;

typedef struct LuHostRun LuHostRun;

/* What is told on the way; all may be NULL. */
typedef struct LuHostObserver {
	void (*found)(void *opaque, const LuHostRun *run);
	/* It has begun, or has ended. */
	void (*changed)(void *opaque, const LuHostRun *run, const LuVm *vm);
	void (*tick)(void *opaque, const LuHostRun *run);
	void (*note)(void *opaque, const char *text);
	void *opaque;
} LuHostObserver;

struct LuHostRun {
	const LuHostRequest *request;
	LuHostObserver observer;
	char *base;
	GPtrArray *vms;	    /* of LuVm */
	GPtrArray *notes;   /* of char * */
	char *stopped;	    /* why nothing more is begun; NULL: it goes on */
	gboolean continued; /* a run before this one was killed */
	char *problem;	    /* of none of the VMs: a manager is away; or NULL */
	int problem_code;   /* LuErrorCode */
	double total_ms;
	guint64 peak_bytes; /* by how much the host's available memory went down at most */
};
void lu_host_run_clear(LuHostRun *run);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuHostRun, lu_host_run_clear)

/* FALSE: no VM was looked at. Otherwise what became of them is in @run. */
gboolean lu_host_upgrade(const LuHostRequest *request, LuHostRun *run, GError **errp);
/* What is where: the VMs with their states, nothing is begun or written. */
gboolean lu_host_status(const LuHostRequest *request, LuHostRun *run, GError **errp);

guint lu_host_count(const LuHostRun *run, LuVmState state);
/* 0, or the gravest LuErrorCode of its VMs. */
int lu_host_exit_code(const LuHostRun *run);
/* All of it; the caller's. */
JsonNode *lu_host_json(const LuHostRun *run);

#endif
