/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who has a block device, by whatever name. */
#ifndef LIVE_UPGRADE_LIBVIRT_DEVICE_USE_H
#define LIVE_UPGRADE_LIBVIRT_DEVICE_USE_H

#include "qmp.h"

/*
 * The domain that has the block device @file: @domain, by its query-block, or any that runs or is
 * defined, by libvirt's files; the caller's, NULL: none is known.
 */
char *lu_device_user(const char *domain, JsonNode *drives, const char *file);

#endif
