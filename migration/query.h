/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU asked through its own public interface: a QMP command, run inside the process. What a
 * command answers is stable across versions; the structs behind it are not.
 */
#ifndef LM_QUERY_H
#define LM_QUERY_H

#include <migration/localhost.h>
#include "qemu.h"

/* Frees a value that QEMU's functions made (they export no unref). Main loop only. */
void lm_qobject_free(void *object);

/*
 * Runs @command (JSON) and returns QEMU's whole answer, for lm_qobject_free; NULL and *errp with
 * QEMU's text if it failed. Main loop only, with no monitor command under way.
 */
QDict *lm_query(const char *command, GError **errp);

/*
 * The same with @execute and @arguments apart; takes @arguments (NULL: none), so that no string
 * has to be made JSON first.
 */
QDict *lm_command(const char *execute, QDict *arguments, GError **errp);

/* "running", "paused" ...; NULL and *errp if QEMU does not say. The caller frees it. */
char *lm_query_run_state(GError **errp);

#endif
