/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process of the tool's own in which one VM is upgraded, or all of a kind that go together, so
 * that what goes wrong there harms no other. It tells what it does through a pipe, one line of
 * JSON each, about the VM that it had when the run began:
 *
 *   {"vm": 12, "step": "start"}     {"vm": 12, "stage": "flip", "done": 1, "total": 2}
 *   {"vm": 12, "report": {...}}     the last one, as --json prints it
 *
 * It never waits for who reads that: if the pipe is full, only a report is worth a wait. If the
 * reader ends, it goes on with its VM. Signals from the terminal do not reach it.
 */
#ifndef LIVE_UPGRADE_HOST_WORKER_H
#define LIVE_UPGRADE_HOST_WORKER_H

#include "kinds.h"

typedef struct LuWorker {
	pid_t pid;
	int fd; /* to be polled */
	GString *pending;
	GPtrArray *vms; /* of LuVm, of one kind */
} LuWorker;

/* For @vms, of which it keeps a reference. */
LuWorker *lu_worker_start(GPtrArray *vms, const LuRequest *request, GError **errp);
/*
 * To be called when there is something to read. FALSE: it has ended; *@end says how (the
 * caller's). The reports that it made are its VMs'.
 */
gboolean lu_worker_read(LuWorker *worker, char **end);
void lu_worker_free(LuWorker *worker);

#endif
