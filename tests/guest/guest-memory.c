/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory under load. Each page of 512 words holds its number, its generation and a
 * sequence made from both; the generation that it should have is kept elsewhere. The
 * first dirty_percent of the pages are changed at random, all are verified in turn. For how
 * long one page took at most is counted: who waits for memory waits there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "guest.h"

enum { PAGE_BYTES = 4096, PAGE_WORDS = PAGE_BYTES / 8, BURST_PAGES = 128, BURST_DIRTY = 32 };

static uint64_t *memory;
static uint32_t *generations;
static uint64_t page_count, hot_count;

static uint64_t *page_at(uint64_t page)
{
	return memory + page * PAGE_WORDS;
}

static uint64_t sequence_next(uint64_t x)
{
	return x * 6364136223846793005ULL + 1442695040888963407ULL;
}

static uint64_t sequence_seed(uint64_t page, uint32_t generation)
{
	return page << 32 ^ generation;
}

static void page_write(uint64_t page, uint32_t generation)
{
	uint64_t *words = page_at(page), x = sequence_seed(page, generation);

	words[0] = page;
	words[1] = generation;
	for (int i = 2; i < PAGE_WORDS; i++)
		words[i] = x = sequence_next(x);
	generations[page] = generation;
}

/* Offset in bytes of the first word that is wrong, -1: none is. */
static int page_difference(uint64_t page)
{
	const uint64_t *words = page_at(page);
	uint64_t x = sequence_seed(page, generations[page]);

	if (words[0] != page)
		return 0;
	if (words[1] != generations[page])
		return 8;
	for (int i = 2; i < PAGE_WORDS; i++)
		if (words[i] != (x = sequence_next(x)))
			return i * 8;
	return -1;
}

/* A page that is wrong is counted once: it is written again afterwards. */
static void page_verify(uint64_t page)
{
	int offset = page_difference(page);

	atomic_fetch_add(&guest_counters.pages_checked, 1);
	if (offset < 0)
		return;
	guest_error("page %llu offset %d holds %016llx, says page %llu generation %llu, "
		    "should be generation %u",
		    (unsigned long long)page, offset, (unsigned long long)page_at(page)[offset / 8],
		    (unsigned long long)page_at(page)[0], (unsigned long long)page_at(page)[1],
		    generations[page]);
	page_write(page, generations[page] + 1);
}

static uint64_t mem_total_mib(void)
{
	unsigned long long kib = 0;
	FILE *info = fopen("/proc/meminfo", "re");

	if (!info)
		return 0;
	if (fscanf(info, "MemTotal: %llu kB", &kib) != 1)
		kib = 0;
	fclose(info);
	return kib / 1024;
}

uint64_t memory_init(void)
{
	uint64_t mib = guest_options.memory_mib;

	if (!mib)
		mib = mem_total_mib() * 60 / 100;
	page_count = mib << 20 >> 12;
	hot_count = page_count * guest_options.dirty_percent / 100;
	memory = mmap(NULL, page_count * PAGE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generations = calloc(page_count, sizeof(*generations));
	if (memory == MAP_FAILED || !generations) {
		guest_error("no memory for %llu MiB", (unsigned long long)mib);
		return page_count = 0;
	}
	/* fewer page faults make the boot faster */
	madvise(memory, page_count * PAGE_BYTES, MADV_HUGEPAGE);
	for (uint64_t page = 0; page < page_count; page++)
		page_write(page, 1);
	return page_count;
}

static uint64_t note_stall(uint64_t since_us)
{
	uint64_t now_us = guest_now_us();

	/* A beat that takes it meanwhile loses one page's time at most. */
	if (now_us - since_us > atomic_load(&guest_counters.stall_us))
		atomic_store(&guest_counters.stall_us, now_us - since_us);
	return now_us;
}

void *memory_thread(void *unused)
{
	uint64_t next = 0, random = 88172645463325252ULL;

	while (page_count && !guest_stopping) {
		uint64_t since_us = guest_now_us(), page_us = since_us;

		for (int i = 0; i < BURST_DIRTY && hot_count; i++) {
			random = sequence_next(random);
			uint64_t page = (random >> 33) % hot_count;

			page_verify(page);
			page_write(page, generations[page] + 1);
			page_us = note_stall(page_us);
		}
		for (int i = 0; i < BURST_PAGES; i++) {
			page_verify(next);
			next = next + 1 < page_count ? next + 1 : 0;
			page_us = note_stall(page_us);
		}
		guest_rest(since_us, 2);
	}
	return NULL;
}
