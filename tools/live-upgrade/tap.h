/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which descriptors of the running process are those of a netdev on a tap device. */
#ifndef LIVE_UPGRADE_TAP_H
#define LIVE_UPGRADE_TAP_H

#include "running.h"

/* Whether this -netdev, -nic or -net is a tap device that QEMU opened, or was given. */
gboolean lu_tap_is(const LuOption *option);

/* Whether a NIC of the guest uses it, or that is not known. */
gboolean lu_tap_has_nic(const LuRunning *running, const LuOption *option);

/*
 * Both return an array of int, the numbers in the running process, one for each queue and
 * in their order; the caller's. NULL with an error if they cannot be told for certain.
 */

/* A netdev by its id, as QEMU's "info network" says; also one that was added since the start. */
GArray *lu_tap_find(const LuRunning *running, const char *id, GError **errp);
/* By the @at-th option of running->line, one for which lu_tap_is says TRUE. */
GArray *lu_tap_find_option(const LuRunning *running, guint at, GError **errp);

#endif
