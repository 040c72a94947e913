// SPDX-License-Identifier: GPL-2.0-or-later
#include <glib.h>

#include "main-loop.h"

typedef struct LmCall {
	void (*function)(void *opaque);
	void *opaque;
	GMutex *lock; /* NULL: nobody waits */
	GCond *cond;
	gboolean done;
} LmCall;

static gboolean run_call(gpointer data)
{
	LmCall *call = data;

	call->function(call->opaque);
	if (!call->lock) {
		g_free(call);
		return G_SOURCE_REMOVE;
	}
	g_mutex_lock(call->lock);
	call->done = TRUE;
	g_cond_signal(call->cond);
	g_mutex_unlock(call->lock);
	return G_SOURCE_REMOVE;
}

/* g_main_context_invoke would run it here whenever QEMU does not hold the context. */
static void attach(LmCall *call)
{
	GSource *source = g_idle_source_new();

	g_source_set_priority(source, G_PRIORITY_HIGH);
	g_source_set_callback(source, run_call, call, NULL);
	g_source_attach(source, NULL);
	g_source_unref(source);
}

void lm_main_loop_call(void (*function)(void *opaque), void *opaque)
{
	GMutex lock;
	GCond cond;
	LmCall call = {.function = function, .opaque = opaque, .lock = &lock, .cond = &cond};

	g_mutex_init(&lock);
	g_cond_init(&cond);
	attach(&call);
	g_mutex_lock(&lock);
	while (!call.done)
		g_cond_wait(&cond, &lock);
	g_mutex_unlock(&lock);
	g_cond_clear(&cond);
	g_mutex_clear(&lock);
}

void lm_main_loop_post(void (*function)(void *opaque), void *opaque)
{
	LmCall *call = g_new0(LmCall, 1);

	call->function = function;
	call->opaque = opaque;
	attach(call);
}
