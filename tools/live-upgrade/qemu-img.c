// SPDX-License-Identifier: GPL-2.0-or-later
#include "qemu-img.h"
#include "error.h"

#include <fcntl.h>
#include <stdio.h>

/* In the child, before exec. */
static void keep(gpointer fd)
{
	fcntl(GPOINTER_TO_INT(fd), F_SETFD, 0);
}

char *lu_qemu_img_name(int fd)
{
	return g_strdup_printf("/proc/self/fd/%d", fd);
}

gboolean lu_qemu_img(const char *const *argv, int fd, char **out, GError **errp)
{
	const GSpawnFlags flags = G_SPAWN_SEARCH_PATH | (out ? 0 : G_SPAWN_CHILD_INHERITS_STDIN);
	g_autofree char *said = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	fflush(stdout);
	if (!g_spawn_sync(NULL, (char **)argv, NULL, flags, fd < 0 ? NULL : keep,
			  GINT_TO_POINTER(fd), out, &said, &status, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s (qemu-img is in the package qemu-utils)",
			       error->message);
	if (g_spawn_check_wait_status(status, NULL))
		return TRUE;
	return lu_fail(errp, LU_ERROR_REFUSED, "%s", g_strdelimit(g_strchomp(said), "\n", ' '));
}
