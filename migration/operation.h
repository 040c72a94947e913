/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One local migration of this process, outgoing or incoming: its session, the thread that runs
 * it, and how it ended. There is at most one; it stays until the next begins, for queries.
 */
#ifndef LM_OPERATION_H
#define LM_OPERATION_H

#include <migration/localhost.h>
#include "qemu.h"

typedef struct LmOperation {
	LmRole role;
	char *path; /* of the socket */
	LmOptions options;
	GPtrArray *disks; /* of LmDisk, to move; a source's; NULL: none */
	GThread *thread;

	GMutex lock; /* guards what follows */
	LmSession *session;
	LmListener *listener; /* incoming, while it waits or runs */
	gboolean cancel_asked;
	LmState end_state; /* LM_STATE_NONE: not ended yet */
	LmOutcome outcome;
	char *error; /* one line, if it failed */

	const LmInventory *described; /* what a source said of itself; the session's */
	LmState announced;	      /* the last MIGRATION event; the worker's */
} LmOperation;

/* Defaults from the plugin's arguments. */
extern LmOptions lm_default_options;

/* Main loop only: the last operation, or NULL; whether it is under way. */
LmOperation *lm_operation_current(void);
gboolean lm_operation_is_active(void);

/* Main loop only. Both check what can be checked at once and start a thread for the rest. */
/* @disks: of LmDisk, each device as the user names it; NULL: none. Takes a reference. */
bool lm_outgoing_start(const char *uri, const LmOptions *options, GPtrArray *disks, Error **errp);
bool lm_incoming_start(const char *uri, Error **errp);
void lm_operation_cancel(void);

/* Main loop only: what query-localhost-migrate and info localhost_migrate show. */
typedef struct LmReport {
	LmStatus status;
	const char *owner; /* "source", "destination", "lost" */
} LmReport;
/* FALSE if there was no operation yet. Clear report->status. */
gboolean lm_operation_report(LmReport *report);

/* For outgoing.c and incoming.c: */
/*
 * Takes @path and @listener (NULL for a source), and a reference to @disks (may be NULL). False,
 * and the last operation stays the current one, where no thread can be made: a limit is no reason
 * for QEMU to end.
 */
bool lm_operation_begin(LmRole role, const LmHostOps *ops, char *path, LmListener *listener,
			const LmOptions *options, GPtrArray *disks, GThreadFunc worker,
			Error **errp);
/* The worker's last act: publishes how it ended. @error may be NULL; takes it. */
void lm_operation_end(LmOperation *operation, LmOutcome outcome, GError *error);
/* LmHostOps.changed: sends the MIGRATION event if the state is a new one. */
void lm_operation_changed(void *opaque);

/*
 * Runs a callback of LmHostOps in the main loop and waits for it. Returns its result and its
 * error.
 */
typedef struct LmHop {
	LmOperation *operation;
	void *arg; /* each callback's own */
	guint64 number;
	int rc;
	GError **errp;
} LmHop;
int lm_operation_hop(LmOperation *operation, void (*function)(LmHop *hop), void *arg,
		     guint64 number, GError **errp);

#endif
