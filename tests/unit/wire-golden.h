/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wire format, byte by byte, as docs/wire.md has it. */
#ifndef LM_WIRE_GOLDEN_H
#define LM_WIRE_GOLDEN_H

#include <glib.h>

/* clang-format off */
static const guint8 golden_hello[] = {
	1, 0,                        /* oldest version */
	0xd2, 0x04, 0, 0,            /* pid 1234 */
	0, 0x10, 0, 0,               /* base page 4096 */
	1, 0, 0, 0,                  /* flags: rehearse */
	3, 0, 0, 0, '7', '.', '2',   /* host version */
	2, 0, 0, 0,                  /* traits */
	4, 0, 0, 0, 'k', 'i', 'n', 'd',
	1, 0, 0, 0, 'x',
	2, 0, 0, 0, 'i', 'd',
	0, 0, 0, 0,
	1, 0, 0, 0, 'm',
	0, 0, 0, 0,
	1, 0, 0, 0, 'q',
	2, 0, 0, 0, 0xc3, 0xa9,      /* e with an acute accent */
};
static const guint8 golden_regions[] = {
	2, 0, 0, 0,
	6, 0, 0, 0, 'p', 'c', '.', 'r', 'a', 'm',
	0, 0, 0x20, 0, 0, 0, 0, 0,   /* used 2 MiB */
	0, 0, 0x40, 0, 0, 0, 0, 0,   /* max 4 MiB */
	0, 0x10, 0, 0, 0, 0, 0, 0,   /* page 4 KiB */
	3, 0, 0, 0,                  /* shared, resizable */
	1,                           /* has fd */
	0, 0x10, 0, 0, 0, 0, 0, 0,   /* fd offset */
	7, 0, 0, 0, 0, 0, 0, 0,      /* dev */
	9, 0, 0, 0, 0, 0, 0, 0,      /* ino */
	1, 0, 0, 0,                  /* way pass */
	0, 0, 0, 0x40, 0x34, 0x12, 0, 0,
	1, 0, 0, 0, 'b',
	0, 0x10, 0, 0, 0, 0, 0, 0,
	0, 0x10, 0, 0, 0, 0, 0, 0,
	0, 0, 0x20, 0, 0, 0, 0, 0,   /* page 2 MiB */
	0, 0, 0, 0,
	0,
	0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0,
	0, 0x10, 0, 0, 0, 0, 0, 0,
};
static const guint8 golden_disks[] = {
	2, 0, 0, 0,
	3, 0, 0, 0, 'v', 'd', 'a',
	4, 0, 0, 0, '/', 'n', 'e', 'w',
	5, 0, 0, 0, 'q', 'c', 'o', 'w', '2',
	1, 0, 0, 0, 'n',
	0, 0, 1, 0, 0, 0, 0, 0,      /* 64 KiB a second */
	1, 0, 0, 0, 'b',
	2, 0, 0, 0, '/', 'c',
	3, 0, 0, 0, 'r', 'a', 'w',
	0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

#endif
