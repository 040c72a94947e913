/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run over all VMs prints: a line for each VM that has come to its end. On a terminal those
 * that are under way stand below, each with its bar, and are drawn anew.
 */
#ifndef LIVE_UPGRADE_HOST_REPORT_H
#define LIVE_UPGRADE_HOST_REPORT_H

#include "host.h"

typedef struct LuHostReport {
	gboolean json, quiet, terminal;
	guint drawn; /* lines below the last one that stays */
} LuHostReport;

LuHostObserver lu_host_report_observer(LuHostReport *report);
void lu_host_report_end(LuHostReport *report, const LuHostRun *run);
/* For "status": a line for each VM, and what the last run did. */
void lu_host_report_status(LuHostReport *report, const LuHostRun *run);

#endif
