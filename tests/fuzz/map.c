/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <sys/mman.h>

void *fuzz_map(gsize bytes)
{
	void *wanted = (void *)(guintptr)FUZZ_ADDRESS;
	void *memory =
		mmap(wanted, bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	g_assert(memory == wanted);
	return memory;
}
