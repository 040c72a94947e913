/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's locks of image files (block/file-posix.c of 7.2 to 11.1). */
#ifndef LM_IMAGE_LOCK_H
#define LM_IMAGE_LOCK_H

#include <glib.h>

/*
 * Whether any process has the image open as QEMU does. FALSE on a file system without locks: there
 * is nobody who could hold one.
 */
gboolean lm_image_is_locked(int fd);

#endif
