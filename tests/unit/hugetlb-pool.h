/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's pool of hugetlb pages, for tests, which run side by side: one at a time has it. */
#ifndef LM_TESTS_HUGETLB_POOL_H
#define LM_TESTS_HUGETLB_POOL_H

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int pool_fd = -1;
static int pool_before;

static inline int read_pool(void)
{
	char text[32] = "";

	return pread(pool_fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : -1;
}

/* Whether the pool now has @pages of 2 MiB, no more and no less. */
static inline gboolean set_pool(int pages)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%d\n", pages);

	return pool_fd >= 0 && pwrite(pool_fd, text, length, 0) == length && read_pool() == pages;
}

static inline int take_pool(void **state)
{
	pool_fd = open("/proc/sys/vm/nr_hugepages", O_RDWR | O_CLOEXEC);
	if (pool_fd >= 0) {
		flock(pool_fd, LOCK_EX);
		pool_before = read_pool();
	}
	return 0;
}

static inline int give_pool_back(void **state)
{
	if (pool_fd >= 0) {
		set_pool(pool_before);
		close(pool_fd);
	}
	pool_fd = -1;
	return 0;
}

#endif
