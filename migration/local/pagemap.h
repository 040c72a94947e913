/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel says of a process's page tables: PAGEMAP_SCAN (linux/fs.h, since Linux 6.7; named
 * apart here, for newer headers have it) and /proc/self/pagemap
 * (Documentation/admin-guide/mm/pagemap.rst).
 */
#ifndef LM_LOCAL_PAGEMAP_H
#define LM_LOCAL_PAGEMAP_H

#include <errno.h>
#include <glib.h>
#include <sys/ioctl.h>

#define LM_SCAN_IS_FILE	   (1u << 2)
#define LM_SCAN_IS_PRESENT (1u << 3)
#define LM_SCAN_IS_SWAPPED (1u << 4)
#define LM_SCAN_IS_PFNZERO (1u << 5)
#define LM_SCAN_IS_HUGE	   (1u << 6)

typedef struct LmScanRange {
	guint64 start, end, categories;
} LmScanRange;

typedef struct LmScan {
	guint64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	guint64 category_inverted, category_mask, category_anyof_mask, return_mask;
} LmScan;
G_STATIC_ASSERT(sizeof(LmScan) == 96);

/* @fd: of /proc/self/pagemap. Returns how many ranges it found, or -errno. */
static inline int lm_scan(int fd, LmScan *scan)
{
	int count;

	scan->size = sizeof(*scan);
	do {
		count = ioctl(fd, _IOWR('f', 16, LmScan), scan);
	} while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

/* Bits of an entry of /proc/self/pagemap. */
#define LM_PAGEMAP_PRESENT (1ull << 63)
#define LM_PAGEMAP_SWAPPED (1ull << 62)
#define LM_PAGEMAP_FILE	   (1ull << 61)

#endif
