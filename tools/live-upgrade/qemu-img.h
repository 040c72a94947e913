/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img, which is in a package of its own. */
#ifndef LIVE_UPGRADE_QEMU_IMG_H
#define LIVE_UPGRADE_QEMU_IMG_H

#include <glib.h>

/*
 * Runs @argv ("qemu-img" and so on) to its end; what it says on stderr is the error. @out: what it
 * says on stdout, the caller's; NULL: its stdout is this process's. It gets descriptor @fd (-1:
 * none), under the same number: an argument of lu_qemu_img_name is that file, whatever became of
 * its name.
 */
gboolean lu_qemu_img(const char *const *argv, int fd, char **out, GError **errp);
/* The caller's. */
char *lu_qemu_img_name(int fd);

#endif
