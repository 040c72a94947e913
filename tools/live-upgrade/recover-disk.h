/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a move of a disk left, of which nobody is at work any more: QEMU was killed, or ended. */
#ifndef LIVE_UPGRADE_RECOVER_DISK_H
#define LIVE_UPGRADE_RECOVER_DISK_H

#include <glib.h>

/*
 * Makes the image @file whole, or says which one is the disk (docs/move-disk.md). *@said: one line
 * for people, the caller's. @progress: qemu-img shows how far it is, on standard output.
 */
gboolean lu_recover_disk(const char *file, gboolean progress, char **said, GError **errp);

/*
 * Whether nothing is lost with the image @fd, that was made for a move and is in no use: no guest
 * has written to it, or it is a copy that is not complete. FALSE, too, where that cannot be told.
 * @file is its name.
 */
gboolean lu_disk_is_worthless(int fd, const char *file);

#endif
