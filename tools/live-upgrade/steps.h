/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the steps of an upgrade share; for upgrade.c and the files of its steps. */
#ifndef LIVE_UPGRADE_STEPS_H
#define LIVE_UPGRADE_STEPS_H

#include "images.h"
#include "journal.h"
#include "plan.h"
#include "probe.h"
#include "upgrade.h"

struct LuUpgrade {
	const LuRequest *request;
	LuResult *result;
	char *base; /* of journals */
	int lock_fd;
	char *lock_path;
	LuRunning *running;
	LuProbe probe;
	LuPlan *plan;
	GPtrArray *disks; /* of LuDisk, that shall move; NULL: none */
	char *attach;	  /* the plugin to load into the old QEMU first; NULL: it has one */
	LuJournal *journal;
	LuChild child;
	LuProcess *old, *new; /* old: running's, or what a journal names; NULL: it is gone */
	gboolean old_is_own;
	LuQmp *old_qmp, *new_qmp; /* old_qmp is running's */
	int stderr_fd;		  /* what the new process writes there, if it can be read */
	off_t stderr_at;
	guint64 resident_peak;
	guint next; /* step */
	gint64 begin_us;
	LuUnit *unit;	   /* of a service, for the steps after the commit */
	gboolean keep_old; /* its end would be the service's */
};

/* Kills, stops or fails here if QEMU_LIVE_UPGRADE_FAULT says so: POINT:kill, POINT:stop or
 * POINT:fail; only in a build with -Dfault_injection=true. */
gboolean lu_fault(const char *point, GError **errp);
void lu_note(LuUpgrade *up, char *text);

/* lock.c: the VM whose old process this is; what was locked before is let go. */
gboolean lu_lock(LuUpgrade *up, pid_t pid, guint64 start_time, GError **errp);
void lu_unlock(LuUpgrade *up);

/* look.c */
LuPlan *lu_make_plan(LuUpgrade *up, GError **errp);
gboolean lu_step_look(LuUpgrade *up, GError **errp);
gboolean lu_step_probe(LuUpgrade *up, GError **errp);
gboolean lu_step_plan(LuUpgrade *up, GError **errp);
/* attaching.c */
/* Whether the old QEMU has the plugin, or can be given it. */
gboolean lu_check_plugin(LuUpgrade *up, GError **errp);
/* The plugin's file if this process sees it at its place; the caller's. */
char *lu_installed_plugin(const LuProcess *process);
gboolean lu_step_attach(LuUpgrade *up, GError **errp);
/* service.c: nothing, where the QEMU is no service's main process. */
gboolean lu_step_unit(LuUpgrade *up, GError **errp);
void lu_undo_unit(LuUpgrade *up);
gboolean lu_step_follow(LuUpgrade *up, GError **errp);
/* After the end of the old process. */
gboolean lu_check_followed(LuUpgrade *up, GError **errp);
/* start.c */
gboolean lu_step_prepare(LuUpgrade *up, GError **errp);
void lu_undo_prepare(LuUpgrade *up);
/* The folder of the handover's socket, where @process (NULL: this one) sees it. */
void lu_remove_folder(LuUpgrade *up, const LuProcess *process);
gboolean lu_step_start(LuUpgrade *up, GError **errp);
void lu_undo_start(LuUpgrade *up);
/* lend.c: a name beside @handover, the caller's, which is there for a moment of start only. */
char *lu_lend_path(const char *handover);
gboolean lu_lend_connections(LuUpgrade *up, GError **errp);
gboolean lu_step_greet(LuUpgrade *up, GError **errp);
/* images.c: disks that shall end up in other images */
/* The element of query-block whose node, drive or device is called so; @drives', NULL: none. */
JsonNode *lu_find_drive(JsonNode *drives, const char *name);
gboolean lu_find_disks(LuUpgrade *up, GError **errp);
gboolean lu_step_images(LuUpgrade *up, GError **errp);
void lu_undo_images(LuUpgrade *up);
gboolean lu_step_copy(LuUpgrade *up, GError **errp);
/* How far the disks are, asked once. */
typedef enum LuCopyState {
	LU_COPY_SILENT,	 /* no answer: an error */
	LU_COPY_STOPPED, /* a problem with one: an error, and the others may go on */
	LU_COPY_RUNS,
	LU_COPY_ENDED, /* all are copied, or none was */
} LuCopyState;
LuCopyState lu_copy_look(LuQmp *qmp, const LuObserver *observer, LuResult *result, GError **errp);
/* A QEMU without a right to the folder can only empty it. */
void lu_remove_empty_journal(const char *path);
/* take.c: what a manager had, and what it says of the VM */
gboolean lu_step_take(LuUpgrade *up, GError **errp);
void lu_forget_records(LuUpgrade *up);
gboolean lu_step_record(LuUpgrade *up, GError **errp);
/* The records of this name, "first" or "last", over the old ones. */
void lu_rename_records(LuUpgrade *up, const char *which);
/* handover.c */
gboolean lu_step_handover(LuUpgrade *up, GError **errp);
/* Whether the old process's query-localhost-migrate tells of the handover to the new one. */
gboolean lu_is_of_this(const LuUpgrade *up, JsonNode *info);
/* By the same answer: its pages went with the new process. */
gboolean lu_check_not_lost(JsonNode *info, GError **errp);
/* Follows one that is under way, by the old process; TRUE: the guest is in the new one. */
gboolean lu_follow(LuUpgrade *up, GError **errp);
/* Follows by the new process, when the old one is gone. */
gboolean lu_follow_new(LuUpgrade *up, GError **errp);
/* changes/: settings of the old process are set in the new one; both must have the same things. */
gboolean lu_carry_settings(LuUpgrade *up, GError **errp);
gboolean lu_compare_processes(LuUpgrade *up, GError **errp);
/* settle.c: after the commit; these do what can be done, and note what cannot. */
gboolean lu_step_names(LuUpgrade *up, GError **errp);
gboolean lu_step_retire(LuUpgrade *up, GError **errp);
gboolean lu_step_settle(LuUpgrade *up, GError **errp);
/* recover.c: what an interrupted run left. *finished: the guest is in the new process. */
gboolean lu_recover(LuUpgrade *up, gboolean *finished, GError **errp);
/* threads.c */
void lu_threads_copy(LuUpgrade *up);

#endif
