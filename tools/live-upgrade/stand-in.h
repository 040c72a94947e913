/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the new process has in place of a tap device until the guest is there. */
#ifndef LIVE_UPGRADE_STAND_IN_H
#define LIVE_UPGRADE_STAND_IN_H

#include <glib.h>

/*
 * Descriptors of a new tap device that leads nowhere, as many as there are in @like (of int; real
 * ones, here) and of the same kind; the caller's array of int, not closed with it.
 */
GArray *lu_stand_in_open(const GArray *like, GError **errp);

/* Whether queue @fd gets frames: FALSE for one that QEMU put off, and for what is no queue. */
gboolean lu_queue_is_attached(int fd);
gboolean lu_queue_attach(int fd);

#endif
