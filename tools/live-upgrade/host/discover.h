/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which VMs a host has, by its processes and by the journals of runs that were killed. */
#ifndef LIVE_UPGRADE_HOST_DISCOVER_H
#define LIVE_UPGRADE_HOST_DISCOVER_H

#include "host.h"

/*
 * All VMs of which this user may know, in the order of their turns; of LuVm. Those that need
 * nothing, or cannot be upgraded at all, have their state already.
 */
GPtrArray *lu_discover(const LuHostRequest *request, const char *base);

#endif
