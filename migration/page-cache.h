/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's page cache of the disk images, which outlives the source. */
#ifndef LM_PAGE_CACHE_H
#define LM_PAGE_CACHE_H

/*
 * Destination, main loop, before the disks are activated: they keep what the host has cached of
 * their images. Where that cannot be, the pause is longer, and nothing else.
 */
void lm_page_cache_keep(void);
/* The source was turned away: who comes next may be on another host, by QEMU's own migration. */
void lm_page_cache_restore(void);

#endif
