/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's client, in a process of its own that speaks QMP: a call that never returns, or threads
 * that libvirt starts, are no matter of this one's, and every answer has a deadline.
 *
 *   libvirt-list                    all running domains: [{name, uuid, id}]
 *   libvirt-select {domain}         the one that all QMP goes to from now on, by name or UUID:
 *                                   {name, uuid, id, state, reason, job}; NULL numbers are 0
 *   libvirt-probe {emulator}        lets libvirt look at a QEMU, for its cache of capabilities
 *   libvirt-copy-begin {disk, file, type, format, bandwidth}
 *                                   has libvirt copy a disk to a new image; type: "file", which it
 *                                   makes, or "block"; bandwidth: bytes a second, as a string
 *   libvirt-copy-query {disk}       {active, offset, len}
 *   libvirt-copy-pivot {disk}       makes the new image the disk
 *   anything else                   QMP, by virDomainQemuMonitorCommand
 */
#ifndef LIVE_UPGRADE_LIBVIRT_RELAY_H
#define LIVE_UPGRADE_LIBVIRT_RELAY_H

#include "qmp.h"

/* The only one that is known so far. */
#define LU_LIBVIRT_URI "qemu:///system"

typedef struct LuRelay LuRelay;

LuRelay *lu_relay_open(const char *uri, GError **errp);
/* Ends it, and with it its connection to libvirt; NULL is none. */
void lu_relay_free(LuRelay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuRelay, lu_relay_free)
LuQmp *lu_relay_qmp(LuRelay *relay);

#endif
