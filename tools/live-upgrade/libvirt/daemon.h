/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvirt's daemon, libvirtd or virtqemud: which it is, its way out and its way back.
 *
 * It is who holds the lock on the pid file of the QEMU driver, whatever its name is. While it is
 * away this process holds that lock: so no other daemon begins to serve in between, be it started
 * by a socket, a supervisor or a person.
 *
 * It is ended as it was started: by systemd, with the sockets that would start it again, or by
 * a signal and its own command line. How it was started is in a journal before it is ended.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_DAEMON_H
#define LIVE_UPGRADE_LIBVIRT_DAEMON_H

#include <glib.h>
#include <sys/types.h>

typedef struct LuDaemon LuDaemon;

/*
 * The one that serves; if none does, the one that a run before this one ended, by its journal in
 * @base. NULL without an error: none serves, and none is known.
 */
LuDaemon *lu_daemon_find(const char *base, GError **errp);
void lu_daemon_free(LuDaemon *daemon);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuDaemon, lu_daemon_free)

/* "libvirtd", "virtqemud" */
const char *lu_daemon_name(const LuDaemon *daemon);
gboolean lu_daemon_is_away(const LuDaemon *daemon);
/* Whether a run before this one left its journal; and that is of no use any more. */
gboolean lu_daemon_was_interrupted(const char *base);
void lu_daemon_journal_remove(const char *base);

/* Ends it, if it is there, and sees to it that none begins. On failure it is, or will be, back. */
gboolean lu_daemon_stop(LuDaemon *daemon, guint deadline_ms, GError **errp);
/* Begins it again, and returns when it serves. */
gboolean lu_daemon_start(LuDaemon *daemon, guint deadline_ms, GError **errp);
#endif
