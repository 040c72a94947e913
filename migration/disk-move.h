/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk on its way into another image: what disks.c, disk-check.c and disk-job.c share. */
#ifndef LM_DISK_MOVE_H
#define LM_DISK_MOVE_H

#include <migration/localhost.h>
#include "disks.h"
#include "qemu.h"

typedef struct LmMove {
	LmDisk *disk;
	gboolean mirror; /* into a raw image, which cannot have another one beneath */

	/* What the guest has: */
	char *old_node, *old_file, *old_format;
	GPtrArray *old_images; /* file names, the chain's */
	guint64 virtual_bytes;
	guint64 allocated_bytes; /* of the chain */
	gboolean direct, no_flush;
	char *detect_zeroes;

	/* What it will have: */
	char *node;	 /* of the new image; NULL: not added */
	char *file_node; /* and of its file */
	char *job;	 /* the same name as node; NULL: not begun, or over */
	int journal_fd;	 /* -1: none */

	LmMoveStatus status; /* device and file are disk's */
	gint64 begin_us;
} LmMove;

LmMove *lm_move_new(const LmDisk *disk);
void lm_move_free(LmMove *move);

/* The element of query-block's answer that @name is of, for lm_qobject_free. */
QDict *lm_move_find_drive(const char *name, GError **errp);
/* As long as it says something, the new image alone is not the disk (move-journal.h). */
int lm_move_write_journal(LmMove *move, GError **errp);
/* @info is an element of query-block's answer: refuses what cannot move, and notes the rest. */
int lm_move_look(LmMove *move, QDict *info, GError **errp);
/* Whether the new file, which QEMU has not opened yet, can be the target. */
int lm_move_check_file(const LmMove *move, GError **errp);
/* Whether the new image, which QEMU has opened, is one; @image is QAPI's ImageInfo. */
int lm_move_check_image(const LmMove *move, QDict *image, GError **errp);

/* Whether QEMU let go of @node: only what nothing uses, and what a monitor added, it does. */
bool lm_move_delete_node(const char *node);
/* Starts QEMU's job, and sees how far it is (@job: an element of query-jobs, NULL: it is gone). */
void lm_move_begin(LmMove *move);
void lm_move_poll(LmMove *move, QDict *job);

#endif
