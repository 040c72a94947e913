/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names in the file system that pass from one process to the other.
 *
 * The new process makes its socket beside the old one, under a private name. At the commit a
 * second link to it is renamed over the public name, so that there is no moment without one. The
 * old process removes the public name when it ends, for it bound it; the private name is kept
 * until then, to put the public one back at once.
 *
 * All of this is done with the rights of the user whose QEMU it is (as-user.h).
 */
#ifndef LIVE_UPGRADE_PATHS_H
#define LIVE_UPGRADE_PATHS_H

#include "process.h"

/* @process: the one by whose file system the names are meant, and as whose user. */

/* Touches nothing. Why a name could not be taken over, the caller's; NULL: each can. */
char *lu_paths_check(GPtrArray *paths, const LuProcess *process);
/* The public names lead to the new process from now on. Says in @problems what could not be. */
void lu_paths_take(GPtrArray *paths, const LuProcess *process, GPtrArray *problems);
/*
 * Calls @ask, which makes @old end, and waits until it has ended, or the deadline; puts names back
 * that it removes.
 */
gboolean lu_paths_guard(GPtrArray *paths, const LuProcess *process, const LuProcess *old,
			void (*ask)(gpointer opaque), gpointer opaque, gint64 end_us);
/* Removes the private names. */
void lu_paths_forget(GPtrArray *paths, const LuProcess *process);
/*
 * The same when the new process has the guest: a private name whose public one leads elsewhere is
 * the only one that there is, and stays. Whether none does.
 */
gboolean lu_paths_forget_taken(GPtrArray *paths, const LuProcess *process);

#endif
