// SPDX-License-Identifier: GPL-2.0-or-later
#include "remote.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

int attach_remote_read(pid_t pid, guint64 address, void *buffer, gsize bytes, GError **errp)
{
	struct iovec local = {buffer, bytes};
	struct iovec remote = {(void *)(gsize)address, bytes};
	ssize_t done = process_vm_readv(pid, &local, 1, &remote, 1, 0);

	if (done == (ssize_t)bytes)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, done < 0 ? errno : EFAULT,
				 "cannot read %" G_GSIZE_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
				 "x of process %d",
				 bytes, address, (int)pid);
}

/* Reads up to the ends of 64-byte pieces: a string may end just before memory that is not there. */
char *attach_remote_string(pid_t pid, guint64 address, gsize max)
{
	g_autoptr(GString) text = g_string_new(NULL);

	while (text->len < max) {
		guint64 at = address + text->len;
		gsize bytes = MIN(64 - at % 64, max - text->len);
		char piece[64];

		if (attach_remote_read(pid, at, piece, bytes, NULL) < 0)
			return NULL;
		g_string_append_len(text, piece, strnlen(piece, bytes));
		if (memchr(piece, 0, bytes))
			break;
	}
	return g_string_free(g_steal_pointer(&text), FALSE);
}
