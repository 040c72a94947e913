/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * disk-check RAWFILE: reads a raw image that the Linux guest wrote and says which of its
 * blocks are what they should be (disk-format.h). Exits with 1 when any is bad, 2 when
 * the image cannot be read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "disk-format.h"

struct totals {
	uint64_t blocks, valid, bad, max_generation, generation_sum;
};

static void look(struct totals *totals, const uint64_t *words)
{
	uint64_t block = totals->blocks++, generation;

	switch (disk_block_look(words, block, &generation)) {
	case DISK_BLOCK_EMPTY:
		break;
	case DISK_BLOCK_VALID:
		totals->valid++;
		totals->generation_sum += generation;
		if (generation > totals->max_generation)
			totals->max_generation = generation;
		break;
	case DISK_BLOCK_BAD:
		totals->bad++;
		printf("bad block %" PRIu64 " says block %" PRIu64 " generation %" PRIu64 "\n",
		       block, words[1], words[2]);
		break;
	}
}

int main(int argc, char **argv)
{
	static uint64_t words[DISK_BLOCK_WORDS];
	struct totals totals = {0};
	FILE *image;
	bool failed;

	if (argc != 2) {
		fprintf(stderr, "usage: disk-check RAWFILE\n");
		return 2;
	}
	image = fopen(argv[1], "rb");
	if (!image) {
		perror(argv[1]);
		return 2;
	}
	while (fread(words, sizeof(words), 1, image) == 1)
		look(&totals, words);
	failed = ferror(image);
	fclose(image);
	if (failed) {
		fprintf(stderr, "%s: cannot be read\n", argv[1]);
		return 2;
	}
	printf("blocks %" PRIu64 " bad %" PRIu64 " valid %" PRIu64 " maxgen %" PRIu64
	       " gensum %" PRIu64 "\n",
	       totals.blocks, totals.bad, totals.valid, totals.max_generation,
	       totals.generation_sum);
	return totals.bad ? 1 : 0;
}
