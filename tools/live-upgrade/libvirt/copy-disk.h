/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that libvirt copies itself (virDomainBlockCopy), when the guest runs in the new process:
 *   to raw images       With nothing beneath it such an image is incomplete until all is copied,
 *                       so the old one stays the disk. At what moment that changes only who
 *                       manages the block job knows, and libvirt says so in the running domain's
 *                       files and in the definition.
 *   to block devices    A domain's QEMU sees no device that is not the domain's, and may not open
 *                       it. libvirt can let it.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_COPY_DISK_H
#define LIVE_UPGRADE_LIBVIRT_COPY_DISK_H

#include "upgrade.h"

gboolean lu_copy_is_libvirts(const LuDiskMove *move);
/*
 * Refuses what would not go, while nothing is touched. @qmp: the QEMU's that @domain runs in;
 * @alias: what libvirt calls the disk there, NULL if it has none of this target.
 */
gboolean lu_copy_check(LuQmp *qmp, const LuDiskMove *move, const char *domain, const char *alias,
		       GError **errp);
/*
 * All of @request's that are libvirt's, one after the other. FALSE with LU_ERROR_MANAGER: one is
 * not in its new image; each such one is noted.
 */
gboolean lu_copy_disks(const char *domain, const LuRequest *request, LuResult *result,
		       GError **errp);
/* Until those that went with the guest are copied, which QEMU does; what does not go well is
 * noted. @moves (may be NULL): whose empty journals are removed then. */
void lu_follow_disks(const char *domain, GPtrArray *moves, const LuObserver *observer,
		     LuResult *result);

#endif
