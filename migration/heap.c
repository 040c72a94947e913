// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QEMU that loads a device state builds its memory map anew, several times: 3 MiB of heap in 7.2,
 * 6 MiB in 11.1, which a fresh process must get from the kernel page by page, by 700 faults that
 * are half of the time that the loading takes. So the destination holds as much, touched, before
 * the source stops its VM, and frees it when it begins to load.
 *
 * The C library serves a request from the smallest free part that fits, and the heap of a QEMU that
 * has just started has 10 to 15 MiB of these, whose pages went back to the kernel (QEMU's RCU
 * thread calls malloc_trim now and then, which is also why memory that was merely freed would not
 * last until it is needed). So these are held, too, untouched, until the loading is over:
 *
 *     │ used │ held  │ used │ held │ used │ touched: for the loading │ last │ top
 *                                                                      └ stays: free memory at the
 *                                                                        top would go back at once
 */
#include "heap.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TOUCHED_BYTES = 7 << 20,
	PIECE_BYTES = 4000,
	LARGEST_BYTES = 120 << 10, /* from 128 KiB on, a request is an mmap of its own */
	SMALLEST_BYTES = 4 << 10,
	HELD_MAX = 4096,
};

static void *held[HELD_MAX], *touched[TOUCHED_BYTES / PIECE_BYTES];
static int held_count;

/* Every free part of the heap as it is, the largest first. */
static void hold_free_parts(void)
{
	const char *end = sbrk(0);

	for (gsize bytes = LARGEST_BYTES; bytes >= SMALLEST_BYTES; bytes /= 2) {
		while (held_count < HELD_MAX) {
			char *part = malloc(bytes);

			if (!part || part >= end) { /* none of that size is left */
				free(part);
				break;
			}
			held[held_count++] = part;
		}
	}
}

void lm_heap_reserve(void)
{
	if (touched[0])
		return;
	hold_free_parts();
	for (gsize i = 0; i < G_N_ELEMENTS(touched); i++) {
		touched[i] = malloc(PIECE_BYTES);
		if (touched[i])
			memset(touched[i], 1, PIECE_BYTES);
	}
}

void lm_heap_use(void)
{
	for (gsize i = 0; i < G_N_ELEMENTS(touched) - 1; i++)
		g_clear_pointer(&touched[i], free);
}

void lm_heap_release(void)
{
	lm_heap_use();
	g_clear_pointer(&touched[G_N_ELEMENTS(touched) - 1], free);
	while (held_count)
		free(held[--held_count]);
}
