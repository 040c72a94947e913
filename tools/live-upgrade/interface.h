/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network interfaces as a process sees them: by netlink, for /sys is that of who mounted it. */
#ifndef LIVE_UPGRADE_INTERFACE_H
#define LIVE_UPGRADE_INTERFACE_H

#include "process.h"

/* The bridge that the interface is a port of, the caller's; NULL: none, or it cannot be told. */
char *lu_interface_master(const LuProcess *process, const char *interface);

#endif
