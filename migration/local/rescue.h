/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking flipped pages back from a destination that does not give them back itself. */
#ifndef LM_LOCAL_RESCUE_H
#define LM_LOCAL_RESCUE_H

#include "session.h"

/*
 * On the source, after a withdrawal that the destination did not answer, before it sent anything
 * back: stops the destination (SIGSTOP), takes what it has not read from the pipes, and the rest
 * from its memory. Sets the bits of what is whole here again; the caller counts what is missing.
 * Does what it can: *errp says what failed first.
 */
int lm_rescue(LmSession *session, GError **errp);
/*
 * Kills the destination, and waits until it is gone: one that does not answer must not wake up
 * later and touch disks that are ours.
 */
int lm_rescue_end_destination(LmSession *session, GError **errp);

#endif
