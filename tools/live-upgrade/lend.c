// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The running process's connections to vhost-user back ends are lent to the new one, before that
 * makes its devices. The plugin in the running one connects to a socket that the new one has from
 * its start; its name is there for that moment only.
 */
#include "error.h"
#include "steps.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define COMMAND "x-localhost-migrate-lend-vhost-user"

static gboolean listen_at(const char *here, const LuLent *lent, const LuProcess *process,
			  GError **errp)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (g_strlcpy(address.sun_path, here, sizeof(address.sun_path)) >= sizeof(address.sun_path))
		return lu_fail(errp, LU_ERROR_REFUSED, "the name %s is longer than 107 bytes",
			       here);
	g_unlink(here);
	if (bind(lent->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(lent->listener, 1) < 0 || lchown(here, process->uid, process->gid) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", here);
	return TRUE;
}

char *lu_lend_path(const char *handover)
{
	g_autofree char *folder = g_path_get_dirname(handover);

	return g_build_filename(folder, "vhost-user", NULL);
}

static gboolean lend(LuUpgrade *up, const LuLent *lent, GError **errp)
{
	g_autofree char *path = lu_lend_path(up->journal->handover);
	g_autofree char *here = lu_process_path(up->old, path);
	g_autoptr(GError) error = NULL;
	gboolean done;

	if (!listen_at(here, lent, up->old, errp))
		return FALSE;
	done = lu_qmp_do(up->old_qmp, &error, COMMAND, "{'fd': %d, 'path': %s}", lent->fd, path);
	g_unlink(here);
	return done || lu_fail(errp, LU_ERROR_REFUSED, "the plugin in process %d: %s",
			       (int)up->old->pid, error->message);
}

gboolean lu_lend_connections(LuUpgrade *up, GError **errp)
{
	for (guint i = 0; i < up->plan->lents->len; i++)
		if (!lend(up, &g_array_index(up->plan->lents, LuLent, i), errp))
			return FALSE;
	return TRUE;
}
