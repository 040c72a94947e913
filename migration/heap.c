// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QEMU that loads a device state builds its memory map anew, several times: 2 to 3 MiB of heap,
 * which a fresh process must get from the kernel page by page, by faults that are half of the time
 * that the loading takes. So the destination holds as much, touched, before the source stops its
 * VM, and frees it when it begins to load.
 *
 * The C library serves a request from the smallest free part that fits, and the heap of a QEMU that
 * has just started has 10 to 15 MiB of these, whose pages went back to the kernel (QEMU's RCU
 * thread calls malloc_trim, which is also why the memory is held until it is needed). Small pieces
 * fill the same parts that the loading will get; with 6 MiB of them about 20 faults are left of
 * 640.
 */
#include "heap.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 4000, PIECES = (6 << 20) / PIECE_BYTES };

static void *pieces[PIECES];

void lm_heap_reserve(void)
{
	for (int i = 0; i < PIECES; i++) {
		if (pieces[i])
			return;
		pieces[i] = malloc(PIECE_BYTES);
		if (pieces[i])
			memset(pieces[i], 1, PIECE_BYTES);
	}
}

/* All but the last: it lies above them, and free memory at the top of the heap would go back. */
void lm_heap_release(void)
{
	for (int i = 0; i < PIECES - 1; i++)
		g_clear_pointer(&pieces[i], free);
}
