/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct I/O that would write to a page which is no longer the guest's.
 *
 * UFFDIO_MOVE leaves pages alone that the kernel has pinned (FOLL_PIN), but not those to which it
 * holds a plain reference (FOLL_GET): tried with vmsplice, whose pages do move. Direct I/O of block
 * devices, and of the file systems that go through bios, pins (Linux 6.5). That of NFS and some
 * others takes references: a read that is under way while its chunk moves would end in a page that
 * nobody maps, and the guest would never see it. So memory is not shared live while such a file is
 * open; a file system that is not known to pin counts as one of those.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "error.h"
#include "share-run.h"

static const guint32 pinning[] = {
	EXT4_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
	XFS_SUPER_MAGIC,  TMPFS_MAGIC, /* copies */
	0xca451a4e,		       /* bcachefs */
};

static gboolean pins(guint32 type)
{
	for (gsize i = 0; i < G_N_ELEMENTS(pinning); i++) {
		if (pinning[i] == type)
			return TRUE;
	}
	return FALSE;
}

/* A descriptor that was closed since we saw it is none. */
static int check_fd(int fd, GError **errp)
{
	const int flags = fcntl(fd, F_GETFL);
	g_autofree char *link = NULL, *path = NULL;
	struct statfs file_system;
	struct stat st;

	if (flags < 0 || !(flags & O_DIRECT) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (fstatfs(fd, &file_system) < 0 || pins((guint32)file_system.f_type))
		return 0;
	link = g_strdup_printf("/proc/self/fd/%d", fd);
	path = g_file_read_link(link, NULL);
	return lm_fail(errp, LM_ERROR_REFUSED, EOPNOTSUPP,
		       "direct I/O to %s is not known to pin memory on its file system (0x%x)",
		       path ? path : link, (guint32)file_system.f_type);
}

int lm_share_check_direct_io(GError **errp)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	const char *name;
	int ret = 0;

	if (!dir)
		return lm_fail(errp, LM_ERROR_FAILED, EIO, "cannot list /proc/self/fd");
	while (ret == 0 && (name = g_dir_read_name(dir)))
		ret = check_fd(atoi(name), errp);
	return ret;
}
