/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that shall end up in other images: what was asked for, and how far it is. */
#ifndef LIVE_UPGRADE_MOVE_DISK_H
#define LIVE_UPGRADE_MOVE_DISK_H

#include "qmp.h"

typedef struct LuDiskMove {
	char *disk; /* the name of its block node, drive or device */
	char *file; /* the new image, absolute */
	char *format;
	guint64 throttle; /* bytes a second; 0: no limit */
} LuDiskMove;

GPtrArray *lu_disk_moves_new(void); /* of LuDiskMove, owned */
/* DISK=FILE[,format=qcow2|raw][,throttle=BYTES[K|M|G]] is appended; a usage error if it is not. */
gboolean lu_disk_moves_parse(GPtrArray *moves, const char *text, GError **errp);
void lu_disk_moves_add(GPtrArray *moves, const char *disk, const LuDiskMove *like);

/* What a QEMU's query-localhost-migrate says of its disks. */
typedef struct LuDiskProgress {
	guint64 done_bytes, total_bytes; /* of all */
	gboolean copying;		 /* any */
	char *problem;			 /* of one that is paused or failed; NULL: none */
} LuDiskProgress;
void lu_disk_progress_clear(LuDiskProgress *progress);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuDiskProgress, lu_disk_progress_clear)
void lu_disk_progress_read(JsonNode *info, LuDiskProgress *progress);
/* Whether the guest came into that QEMU with all of @moves. */
gboolean lu_disk_moves_are_in(JsonNode *info, GPtrArray *moves);

#endif
