/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF objects as they are mapped in another process. Everything is read from its memory, not from
 * files: so it is right when the executable or a library was deleted or replaced on disk, or is
 * in another root directory.
 */
#ifndef TOOLS_ATTACH_ELF_IMAGE_H
#define TOOLS_ATTACH_ELF_IMAGE_H

#include "error.h"

#include <elf.h>

typedef struct AttachImage {
	pid_t pid;
	guint64 bias; /* what is added to the addresses in the file */
	guint64 symbols, strings, gnu_hash;
	gboolean interpreted; /* it has a dynamic linker */
	char *build_id;	      /* in hexadecimal, or NULL */
} AttachImage;
void attach_image_clear(AttachImage *image);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AttachImage, attach_image_clear)

/* The object whose first byte is mapped at @start. */
int attach_image_open(pid_t pid, guint64 start, AttachImage *image, GError **errp);
/* The address of a symbol that it defines; 0: none. */
guint64 attach_image_symbol(const AttachImage *image, const char *name);

/* Whether this header is one of a 64-bit object for this machine; otherwise what it is. */
gboolean attach_elf_is_native(const Elf64_Ehdr *header, char **what);
/* Whether a file has all that is to be mapped of it. */
gboolean attach_elf_file_is_whole(const guint8 *data, gsize bytes);
/* The build ID of a file, in hexadecimal; NULL if it has none. The caller's. */
char *attach_elf_file_build_id(const guint8 *data, gsize bytes);

#endif
