/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions called in a thread that is held. Why its tracer may die meanwhile: attach.c. */
#ifndef TOOLS_ATTACH_CALL_H
#define TOOLS_ATTACH_CALL_H

#include "thread.h"

#define ATTACH_DATA_BYTES 4352 /* for arguments: a path */

typedef struct AttachCall {
	AttachThread *thread;
	guint64 trampoline;  /* where its code is, in the process */
	guint64 frame, data; /* on the thread's stack */
	int signal;	     /* which tells that a function has returned */
	gboolean laid;	     /* the trampoline is in place */
	gboolean entered;    /* the thread has the frame's registers, no longer its own */
	gboolean lost;	     /* a call did not return: hands off */
	glong original[ATTACH_TRAMPOLINE / sizeof(glong)];
} AttachCall;

/*
 * Prepares the thread's stack, and the trampoline at @entry: code that does not run any more (the
 * program's entry point). Registers are not touched yet.
 */
int attach_call_begin(AttachCall *call, AttachThread *thread, guint64 entry, GError **errp);
/* Calls function(arguments[0], ...) and waits for its result. */
int attach_call(AttachCall *call, guint64 function, guint64 first, guint64 second, guint64 third,
		guint64 *result, GError **errp);
/* Puts the code back and lets the thread go; it restores itself. Also after a failure. */
void attach_call_end(AttachCall *call);

/* Text for an argument: at call->data until it is set again. */
int attach_call_set_data(AttachCall *call, const char *text, GError **errp);

#endif
