/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replaces the QEMU process under a running guest. The one call that a program needs. */
#ifndef LIVE_UPGRADE_UPGRADE_H
#define LIVE_UPGRADE_UPGRADE_H

#include "error.h"
#include "manager.h"
#include "move-disk.h"

#include <sys/types.h>

typedef enum LuWay {
	LU_WAY_AUTO, /* share if the plugin can, else flip */
	LU_WAY_FLIP,
	LU_WAY_SHARE,
} LuWay;

/* What is told on the way; all may be NULL. */
typedef struct LuObserver {
	/* A step begins: "start", and what it does. */
	void (*step)(void *opaque, const char *name, const char *what);
	/* Memory that has moved, of how much; in which stage of the handover. */
	void (*progress)(void *opaque, const char *stage, guint64 done, guint64 total);
	void (*note)(void *opaque, const char *text);
	void *opaque;
} LuObserver;

typedef struct LuRequest {
	pid_t pid;	    /* this QEMU; or, if it is 0 */
	const char *qmp;    /* the one behind this socket */
	const char *binary; /* as that QEMU sees it; NULL: what is installed where it was started */
	const char *plugin; /* "FILE[,ARGUMENT=VALUE]..."; NULL: the running one's */
	LuWay way;
	gboolean rehearse, dry_run, allow_downgrade;
	gboolean recover_only;	  /* settle what an interrupted run left; begin nothing */
	gboolean no_attach;	  /* refuse a QEMU that was started without the plugin */
	GPtrArray *moves;	  /* of LuDiskMove; NULL: no disk moves */
	guint deadline_s;	  /* of the handover; 0: 300 */
	const LuManager *manager; /* NULL: nobody manages the VM */
	LuObserver observer;
} LuRequest;

/* Whatever became of it; strings are NULL and numbers 0 where nothing is known. */
typedef struct LuResult {
	pid_t old_pid, new_pid;
	char *from, *to;
	char *way; /* flip, share or pass */
	double downtime_ms;
	double total_ms; /* of the whole run */
	guint64 peak_bytes;
	const char *peak_of;  /* "control group" or "resident" */
	char *command_line;   /* the new process's */
	GPtrArray *refusals;  /* of char *: all that a plan refuses */
	GPtrArray *notes;     /* of char *: what clients lose, what could not be done after it */
	guint64 copied_bytes; /* of disks that moved, and how long that took */
	double copy_ms;
	gboolean recovered;  /* an interrupted run was finished */
	gboolean disks_left; /* and it was not asked for all disks of this one */
	double away_ms;	     /* how long who manages the VM gave no answer */
} LuResult;

void lu_result_clear(LuResult *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuResult, lu_result_clear)

/* FALSE with an LuErrorCode. @result is filled in both cases. */
gboolean lu_upgrade(const LuRequest *request, LuResult *result, GError **errp);

/*
 * The same in two halves, for a VM that somebody manages (request->manager): all that is done
 * while the manager is there, and the rest, while it is away. Both @request and @result are used
 * until the end.
 */
typedef struct LuUpgrade LuUpgrade;
LuUpgrade *lu_upgrade_begin(const LuRequest *request, LuResult *result, GError **errp);
/* Goes on to the end, and frees. */
gboolean lu_upgrade_end(LuUpgrade *up, GError **errp);
/* Takes everything back, and frees; NULL is none. */
void lu_upgrade_abandon(LuUpgrade *up);
/*
 * Finishes what a run before this one left, or takes it back; no new one is begun. The manager
 * must be away. *@finished: the guest is in the new process.
 */
gboolean lu_upgrade_recover(const LuRequest *request, LuResult *result, gboolean *finished,
			    GError **errp);

/* Loads the plugin (NULL: the installed one) into a QEMU, and no more. *@said: the caller's. */
gboolean lu_attach_only(pid_t pid, const char *plugin, char **said, GError **errp);

#endif
