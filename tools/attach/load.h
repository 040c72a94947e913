/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is called in the process while its main thread is held. */
#ifndef TOOLS_ATTACH_LOAD_H
#define TOOLS_ATTACH_LOAD_H

#include "check.h"

typedef struct AttachJob {
	pid_t pid;
	const char *plugin_path;
	AttachFlags flags;
	gint64 end_us;
	AttachFacts facts;
	AttachTarget target;

	AttachReport report;
	guint64 handle;	  /* dlopen's */
	guint64 attached; /* the address of the plugin's LmAttached */
} AttachJob;

/* Holds the main thread, loads the plugin, lets it go. Fills report, handle and attached. */
int attach_job_load(AttachJob *job, GError **errp);
/* The same for unloading job->handle. */
int attach_job_unload(AttachJob *job, GError **errp);

#endif
