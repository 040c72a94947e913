/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file beside an image that a disk is moving to, FILE.moving. As long as it says something, FILE
 * alone is not the disk: it says what else belongs to it. Who made the file beforehand, empty,
 * with the rights that QEMU needs, need not give QEMU rights to the folder.
 *
 * A key file, for people and for "qemu-live-upgrade recover":
 *
 *     [move]
 *     way=pull           FILE is the disk, over FROM, which its header names
 *                        mirror: FROM is the disk, FILE a copy that is not complete
 *     from=/old.img
 *     from-format=raw
 *     to=/new.qcow2
 *     to-format=qcow2
 */
#ifndef LM_MOVE_JOURNAL_H
#define LM_MOVE_JOURNAL_H

#include <glib.h>

typedef struct LmMoveJournal {
	gboolean mirror; /* way=mirror; else pull */
	char *from, *from_format, *to, *to_format;
} LmMoveJournal;
void lm_move_journal_clear(LmMoveJournal *journal);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmMoveJournal, lm_move_journal_clear)

#define LM_MOVE_JOURNAL_SUFFIX ".moving"

/* The file's name with the suffix; the caller frees it. */
char *lm_move_journal_path(const char *file);

/*
 * Makes the journal of journal->to durable. Returns its descriptor, which keeps the journal for
 * lm_move_journal_end; -errno and *errp if it cannot be written, or if there is one of an earlier
 * move that says something (-EEXIST).
 */
int lm_move_journal_begin(const LmMoveJournal *journal, GError **errp);
/* The move is over, or did not begin. Empties the journal for good, removes it if it may. */
void lm_move_journal_end(const char *file, int fd);

/* What the journal of @file says: 1; 0 if there is none, or an empty one; -errno and *errp. */
int lm_move_journal_read(const char *file, LmMoveJournal *journal, GError **errp);

#endif
