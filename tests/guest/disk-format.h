/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the Linux guest writes to its disk; shared with the host's disk-check.
 *
 * A block of 4096 bytes describes itself, in 512 little-endian 64-bit words:
 *
 *	word 0      magic
 *	word 1      number of the block, from the start of the disk
 *	word 2      generation, from 1; it grows by one with each write of this block
 *	word 3..511 filler: a xorshift64 sequence seeded with block and generation
 *
 * A block of zeros was never written.
 */
#ifndef LM_TESTS_GUEST_DISK_FORMAT_H
#define LM_TESTS_GUEST_DISK_FORMAT_H

#include <stdint.h>
#include <stdbool.h>

#define DISK_MAGIC	 0x314b53444d4c474cULL
#define DISK_BLOCK_BYTES 4096
#define DISK_BLOCK_WORDS (DISK_BLOCK_BYTES / 8)

enum disk_block_kind { DISK_BLOCK_EMPTY, DISK_BLOCK_VALID, DISK_BLOCK_BAD };

static inline uint64_t disk_filler_seed(uint64_t block, uint64_t generation)
{
	uint64_t seed = block * 0x9e3779b97f4a7c15ULL ^ generation * 0xc2b2ae3d27d4eb4fULL;

	return seed ? seed : 1; /* xorshift never leaves 0 */
}

static inline uint64_t disk_filler_next(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static inline void disk_block_make(uint64_t *words, uint64_t block, uint64_t generation)
{
	uint64_t x = disk_filler_seed(block, generation);

	words[0] = DISK_MAGIC;
	words[1] = block;
	words[2] = generation;
	for (int i = 3; i < DISK_BLOCK_WORDS; i++)
		words[i] = x = disk_filler_next(x);
}

/* *generation is set for a valid block only. */
static inline enum disk_block_kind disk_block_look(const uint64_t *words, uint64_t block,
						   uint64_t *generation)
{
	uint64_t any = 0, x = disk_filler_seed(block, words[2]);

	for (int i = 0; i < DISK_BLOCK_WORDS; i++)
		any |= words[i];
	if (!any)
		return DISK_BLOCK_EMPTY;
	if (words[0] != DISK_MAGIC || words[1] != block || !words[2])
		return DISK_BLOCK_BAD;
	for (int i = 3; i < DISK_BLOCK_WORDS; i++)
		if (words[i] != (x = disk_filler_next(x)))
			return DISK_BLOCK_BAD;
	*generation = words[2];
	return DISK_BLOCK_VALID;
}

#endif
