/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A process's main thread, held where it sleeps in its main loop's poll. */
#ifndef TOOLS_ATTACH_THREAD_H
#define TOOLS_ATTACH_THREAD_H

#include "arch.h"

typedef struct AttachThread {
	pid_t pid;
	gint64 end_us; /* no wait is longer */
	guint tries;
	gint64 held_us; /* when it was stopped, CLOCK_MONOTONIC */
	gboolean seized, stopped;
	AttachFd memory;   /* its own, while it is held */
	AttachState state; /* as it was when it was stopped */
} AttachThread;

/*
 * Stops the thread in a poll, or fails and lets it go. Only from here on, and only from the same
 * thread of this process, may the functions below be called.
 */
int attach_thread_hold(AttachThread *thread, GError **errp);
/* Detaches; the thread goes on with the registers that it has. It is stopped, or soon will be. */
void attach_thread_release(AttachThread *thread);

typedef enum AttachStop {
	ATTACH_STOP_SYSCALL, /* at the entry or the exit of a system call */
	ATTACH_STOP_EVENT,   /* asked for, or a stop of the whole process */
	ATTACH_STOP_SIGNAL,  /* a signal is about to be delivered */
} AttachStop;
/*
 * Lets it run with *@signal delivered until it stops again, also at its next system call if
 * @to_syscall.
 */
int attach_thread_step(AttachThread *thread, gboolean to_syscall, int *signal, AttachStop *stop,
		       GError **errp);
/*
 * Writes to the memory that it had when it was stopped: never to that of another program, which
 * another thread of the process may have executed.
 */
int attach_thread_write(const AttachThread *thread, guint64 address, const void *buffer,
			gsize bytes, GError **errp);
int attach_thread_registers(AttachThread *thread, AttachRegisters *registers, GError **errp);

#endif
