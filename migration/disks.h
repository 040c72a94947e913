/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that end up in other images when their VM has moved. All: main loop only.
 */
#ifndef LM_DISKS_H
#define LM_DISKS_H

#include <migration/localhost.h>

/* Source: device, as a user names a disk, becomes the key of the trait "drive" in each of @disks.
 */
int lm_disks_resolve(GPtrArray *disks, GError **errp);

/* Destination. */
/*
 * While the VM runs in the source: refuses what cannot move, opens the new images, writes the
 * journals. In a rehearsal everything is taken back at once.
 */
int lm_disks_prepare(GPtrArray *disks, gboolean rehearsal, GError **errp);
/* The disks are this process's, the vCPUs do not run yet: the new images go on top. */
int lm_disks_switch(GError **errp);
/* The VM runs: what the new images lack is copied from now on. */
void lm_disks_begin(void);
/* The VM did not come: as before lm_disks_prepare. */
void lm_disks_forget(void);

typedef enum LmMoveState {
	LM_MOVE_PREPARED,
	LM_MOVE_COPYING,
	LM_MOVE_PAUSED, /* by an error, or by a user's block-job-pause */
	LM_MOVE_COMPLETED,
	LM_MOVE_FAILED,
} LmMoveState;
const char *lm_move_state_name(LmMoveState state);

typedef struct LmMoveStatus {
	LmMoveState state;
	const char *device, *file, *node; /* node: of the new image */
	guint64 done_bytes, total_bytes;
	gint64 left_us; /* estimated; -1: not known */
	char *error;	/* NULL: none */
} LmMoveStatus;
guint lm_disks_count(void);
const LmMoveStatus *lm_disks_status(guint i);

#endif
