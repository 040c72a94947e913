/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tool prints. */
#ifndef LIVE_UPGRADE_REPORT_H
#define LIVE_UPGRADE_REPORT_H

#include "upgrade.h"

#include <json-glib/json-glib.h>

typedef struct LuReport {
	gboolean json, quiet, terminal;
	gboolean bar;	    /* a progress bar stands on the last line */
	const char *domain; /* of libvirt; NULL: none */
	gboolean many;	    /* summaries follow one another: a list in JSON */
	guint count;	    /* of them so far */
} LuReport;

/* What follows is about this domain. */
void lu_report_domain(LuReport *report, const char *domain);
void lu_report_begin_list(LuReport *report, guint count);
void lu_report_end_list(LuReport *report);

LuObserver lu_report_observer(LuReport *report);
/* As --json prints it; the caller's. */
JsonNode *lu_report_node(const LuRequest *request, const LuResult *result, const GError *error);
/* The summary; @error is NULL or why it was not done. */
void lu_report_end(LuReport *report, const LuRequest *request, const LuResult *result,
		   const GError *error);

#endif
