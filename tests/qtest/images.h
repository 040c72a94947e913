/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images, made by qemu-img. Each function fails the case itself. */
#ifndef LM_QTEST_IMAGES_H
#define LM_QTEST_IMAGES_H

#include "harness.h"

/* Runs a tool that must succeed; what it said is the caller's. */
char *image_tool(const char *const *argv);
/* A new image of @mib. */
void image_make(const char *path, const char *format, guint mib);
/*
 * The same, with zeros up to @from_mib and no two blocks alike beyond. A raw file with that content
 * for comparisons, the caller's path.
 */
char *image_make_full(LmTest *test, const char *path, const char *format, guint mib,
		      guint from_mib);
/* A new qcow2 image over another. */
void image_make_over(const char *path, const char *beneath, const char *beneath_format);
/* "qemu-img info" of an image that may be in use; the caller's. */
char *image_info(const char *path);
/* Whether the image itself holds anything: what is beneath it does not count. */
gboolean image_is_empty(const char *path, const char *format);
/* A file system of @bytes of its own ("8M"), in the case's folder; the case's. NULL, and a note,
 * where none may be mounted. */
const char *image_small_place(LmTest *test, const char *bytes);
/* Another name for the image @path, by which nobody can write to it; the case's. NULL, and a note,
 * where there cannot be one. */
const char *image_read_only(LmTest *test, const char *path);
/*
 * A name for the raw image @path, the caller's: in each QEMU that opens it by this one, the first
 * read that reaches the byte at @bad_mib MiB fails.
 */
char *image_with_bad_sector(LmTest *test, const char *path, guint bad_mib);
/* Whether FILE.moving says something. */
gboolean image_has_journal(const char *path);

#endif
