/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * userfaultfd: a thread (or the kernel on its behalf) that touches a page which is not there waits
 * until it is. All but lm_userfault_open return -errno, and allocate nothing: they are for where
 * other threads wait.
 */
#ifndef LM_LOCAL_USERFAULT_H
#define LM_LOCAL_USERFAULT_H

#include <migration/localhost.h>

/*
 * A descriptor (close-on-exec) that can move pages (UFFDIO_MOVE: Linux 6.8) and that stops the
 * kernel's faults as well as this process's; or -errno and a reason that names what is missing.
 */
int lm_userfault_open(GError **errp);
/*
 * Takes @device_fd, of /dev/userfaultfd, to open them with from now on, for a process that may not
 * open the device itself. Refuses another file, and closes it.
 */
int lm_userfault_lend(int device_fd, GError **errp);

/* Page-aligned ranges of one or several anonymous mappings. Unwatching wakes those who wait. */
int lm_userfault_watch(int fd, void *start, gsize bytes);
int lm_userfault_unwatch(int fd, void *start, gsize bytes);
int lm_userfault_wake(int fd, void *start, gsize bytes);
/*
 * Moves pages (page table entries) from @from to @to, which is watched by @fd; holes are skipped.
 * Returns how many bytes it got on by, at least a page; -EBUSY: a page is pinned or shared;
 * -EAGAIN: something else happened to it just now.
 */
gssize lm_userfault_move(int fd, void *to, const void *from, gsize bytes);
/* Fills a hole, which is watched by @fd. -EEXIST: it is none. */
int lm_userfault_copy(int fd, void *to, const void *from, gsize bytes);

#endif
