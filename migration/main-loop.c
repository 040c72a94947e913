// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include "main-loop.h"

#define STAY_US (50 * G_GINT64_CONSTANT(1000))

typedef struct LmCall {
	void (*function)(void *opaque);
	void *opaque;
	gboolean awaited, done;
} LmCall;

static GMutex lock; /* guards what follows, and LmCall.done */
static GCond called, done;
static gboolean staying;	    /* the main loop shall take the next call where it is */
static gboolean waiting;	    /* it does: calls go to the queue, not to the context */
static GQueue queue = G_QUEUE_INIT; /* of LmCall */

static void run(LmCall *call)
{
	call->function(call->opaque);
	if (!call->awaited) {
		g_free(call);
		return;
	}
	g_mutex_lock(&lock);
	/* Before the caller can make its next call. */
	waiting = staying;
	call->done = TRUE;
	g_cond_broadcast(&done);
	g_mutex_unlock(&lock);
}

/* NULL: the main loop is to go on. */
static LmCall *next_call(gint64 end_us)
{
	LmCall *call;

	g_mutex_lock(&lock);
	while (staying && g_queue_is_empty(&queue) && g_cond_wait_until(&called, &lock, end_us))
		;
	call = g_queue_pop_head(&queue);
	if (!call)
		staying = waiting = FALSE;
	g_mutex_unlock(&lock);
	return call;
}

static gboolean run_call(gpointer data)
{
	LmCall *call = data;

	do
		run(call);
	while ((call = next_call(g_get_monotonic_time() + STAY_US)));
	return G_SOURCE_REMOVE;
}

/* g_main_context_invoke would run it here whenever QEMU does not hold the context. */
static void attach(LmCall *call)
{
	GSource *source;

	g_mutex_lock(&lock);
	if (waiting) {
		g_queue_push_tail(&queue, call);
		g_cond_signal(&called);
		g_mutex_unlock(&lock);
		return;
	}
	g_mutex_unlock(&lock);
	source = g_idle_source_new();
	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_set_callback(source, run_call, call, NULL);
	g_source_attach(source, NULL);
	g_source_unref(source);
}

void lm_main_loop_call(void (*function)(void *opaque), void *opaque)
{
	LmCall call = {.function = function, .opaque = opaque, .awaited = TRUE};

	attach(&call);
	g_mutex_lock(&lock);
	while (!call.done)
		g_cond_wait(&done, &lock);
	g_mutex_unlock(&lock);
}

void lm_main_loop_post(void (*function)(void *opaque), void *opaque)
{
	LmCall *call = g_new0(LmCall, 1);

	call->function = function;
	call->opaque = opaque;
	attach(call);
}

void lm_main_loop_stay(void)
{
	g_mutex_lock(&lock);
	staying = TRUE;
	g_mutex_unlock(&lock);
}

void lm_main_loop_leave(void)
{
	g_mutex_lock(&lock);
	staying = FALSE;
	g_cond_signal(&called);
	g_mutex_unlock(&lock);
}
