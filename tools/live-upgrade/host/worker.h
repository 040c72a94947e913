/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process of the tool's own in which one VM is upgraded, so that what goes wrong there harms no
 * other. It tells what it does through a pipe, one line of JSON each:
 *
 *   {"step": "start"}   {"stage": "flip", "done": 1, "total": 2}   {"note": "..."}
 *   {"report": {...}}   the last one, as --json prints it
 *
 * It never waits for who reads that: if the pipe is full, only the last line is worth a wait. If
 * the reader ends, it goes on with its VM. Signals from the terminal do not reach it.
 */
#ifndef LIVE_UPGRADE_HOST_WORKER_H
#define LIVE_UPGRADE_HOST_WORKER_H

#include "kinds.h"

typedef struct LuWorker {
	pid_t pid;
	int fd; /* to be polled */
	GString *pending;
	GPtrArray *notes; /* of char * */
} LuWorker;

LuWorker *lu_worker_start(LuVm *vm, gpointer state, const LuRequest *request, GError **errp);
/*
 * To be called when there is something to read. FALSE: it has ended, and its report is the VM's,
 * if it made one; *@end says how it ended, if it made none (the caller's).
 */
gboolean lu_worker_read(LuWorker *worker, LuVm *vm, char **end);
void lu_worker_free(LuWorker *worker);

#endif
