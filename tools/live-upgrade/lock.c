// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One run at a time for one VM, by whichever of its names: the lock is the old process's. What
 * finds a journal locks the process which that calls the old one.
 *
 * The kernel lets go of it however this process ends. The file is removed by who holds it, so what
 * was locked must still be at its path.
 */
#include "steps.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean is_at(int fd, const char *path)
{
	struct stat here, there;

	return !fstat(fd, &here) && !stat(path, &there) && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

gboolean lu_lock(LuUpgrade *up, pid_t pid, guint64 start_time, GError **errp)
{
	g_autofree char *path =
		g_strdup_printf("%s/%d-%" G_GUINT64_FORMAT ".lock", up->base, (int)pid, start_time);
	g_auto(LuFd) fd = -1;

	if (!g_strcmp0(path, up->lock_path))
		return TRUE;
	lu_unlock(up);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || !is_at(fd, path))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "another run of this tool is at work on QEMU %d", (int)pid);
	up->lock_fd = lu_fd_steal(&fd);
	up->lock_path = g_steal_pointer(&path);
	return TRUE;
}

void lu_unlock(LuUpgrade *up)
{
	if (up->lock_path)
		unlink(up->lock_path);
	g_clear_pointer(&up->lock_path, g_free);
	lu_fd_clear(&up->lock_fd);
}
