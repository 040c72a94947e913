/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host-limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "error.h"

/*
 * More than is ever in use at once: the ledger, eventfds, a ring and three pipe ends a channel, two
 * files a block, and what QEMU opens for itself meanwhile.
 */
#define FDS_BASE	24u
#define FDS_PER_CHANNEL 6u
#define FDS_PER_REGION	2u
/* The device state's file, which has some hundred KiB, and a VM with many devices some MiB. */
#define STATE_FILE_BYTES (64ull << 20)
/* Stacks of threads, and heap: QEMU aborts when it gets none. */
#define ADDRESS_BYTES (256ull << 20)

/* The lowest numbers are what new descriptors get, so only those below the limit count. */
static guint count_fds(guint below)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	const char *name;
	guint count = 0;

	while (dir && (name = g_dir_read_name(dir)))
		if (g_ascii_strtoull(name, NULL, 10) < below)
			count++;
	return count ? count - 1 : 0; /* the folder itself was open */
}

static int check_fds(guint regions, guint channels, GError **errp)
{
	const guint needed = FDS_BASE + FDS_PER_CHANNEL * channels + FDS_PER_REGION * regions;
	struct rlimit limit;
	guint open_fds;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= G_MAXINT)
		return 0;
	open_fds = count_fds((guint)limit.rlim_cur);
	if (limit.rlim_cur - open_fds >= needed)
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, EMFILE,
		       "%u descriptors are needed, %u are free: RLIMIT_NOFILE of process %d is %u, "
		       "%u are open",
		       needed, (guint)limit.rlim_cur - open_fds, getpid(), (guint)limit.rlim_cur,
		       open_fds);
}

static int check_file_bytes(const GPtrArray *regions, GError **errp)
{
	guint64 needed = STATE_FILE_BYTES;
	const char *what = "the device state";
	struct rlimit limit;

	for (guint i = 0; i < regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(regions, i);

		if (region->way == LM_WAY_SHARE && region->max_bytes > needed) {
			needed = region->max_bytes;
			what = region->name;
		}
	}
	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur >= needed)
		return 0;
	return lm_fail(
		errp, LM_ERROR_REFUSED, EFBIG,
		"files of up to %" G_GUINT64_FORMAT
		" bytes are needed, for %s: RLIMIT_FSIZE of process %d is %" G_GUINT64_FORMAT,
		needed, what, getpid(), (guint64)limit.rlim_cur);
}

static guint64 address_bytes(void)
{
	g_autofree char *text = NULL;
	unsigned long pages;

	if (!g_file_get_contents("/proc/self/statm", &text, NULL, NULL) ||
	    sscanf(text, "%lu", &pages) != 1)
		return 0;
	return (guint64)pages * (guint64)sysconf(_SC_PAGESIZE);
}

int lm_limits_check_memory(GError **errp)
{
	struct rlimit limit;
	guint64 used;

	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return 0;
	used = address_bytes();
	if (limit.rlim_cur >= used + ADDRESS_BYTES)
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, ENOMEM,
		       "%llu bytes of address space are needed over the %" G_GUINT64_FORMAT
		       " in use: RLIMIT_AS of process %d is %" G_GUINT64_FORMAT,
		       ADDRESS_BYTES, used, getpid(), (guint64)limit.rlim_cur);
}

int lm_limits_check(const GPtrArray *regions, guint channels, GError **errp)
{
	int ret = check_fds(regions->len, channels, errp);

	if (ret == 0)
		ret = check_file_bytes(regions, errp);
	return ret == 0 ? lm_limits_check_memory(errp) : ret;
}
