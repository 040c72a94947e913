/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock and the journal of a run over all VMs of a host. */
#ifndef LIVE_UPGRADE_HOST_RUN_JOURNAL_H
#define LIVE_UPGRADE_HOST_RUN_JOURNAL_H

#include "host.h"

/*
 * One run at a time: fails if another one is at work. If one was killed, waits for its workers.
 * *@fd is to be kept open by this process and its workers.
 */
gboolean lu_run_lock(LuHostRun *run, int *fd, GError **errp);

/* Written anew as a whole. */
gboolean lu_run_journal_write(const LuHostRun *run, gboolean finished, GError **errp);
/* What the last one says; NULL if there is none. */
JsonNode *lu_run_journal_read(const char *base);
/* Its process is no more, and it did not come to its end. */
gboolean lu_run_was_killed(JsonNode *journal);

#endif
