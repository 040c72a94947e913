/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that libvirt copies itself, to raw images, when the guest runs in the new process. With
 * nothing beneath it such an image is incomplete until all is copied, so the old one stays the
 * disk; at what moment that changes only who manages the block job knows. libvirt does (its job
 * is virDomainBlockCopy), and says so in the running domain's files and in the definition.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_COPY_DISK_H
#define LIVE_UPGRADE_LIBVIRT_COPY_DISK_H

#include "upgrade.h"

gboolean lu_copy_is_libvirts(const LuDiskMove *move);
/*
 * Refuses what would not go, while nothing is touched. @qmp: the running QEMU's; @alias: what
 * libvirt calls the disk there, NULL if it has none of this target.
 */
gboolean lu_copy_check(LuQmp *qmp, const LuDiskMove *move, const char *alias, GError **errp);
/* All of @request's that are libvirt's, one after the other; what does not go well is noted. */
void lu_copy_disks(const char *uri, const char *domain, const LuRequest *request, LuResult *result);

#endif
