/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk that shall end up in another image, as the running QEMU has it. */
#ifndef LIVE_UPGRADE_IMAGES_H
#define LIVE_UPGRADE_IMAGES_H

#include "move-disk.h"

typedef struct LuDisk {
	const LuDiskMove *move; /* the request's */
	char *device;		/* as in query-block */
	char *old_file, *old_format;
	char *node, *file_node; /* as who manages the VM names nodes; NULL: as the plugin likes */
	guint64 bytes;		/* the guest's */
} LuDisk;
void lu_disk_free(LuDisk *disk);

#endif
