/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory above 4 GiB, which the payload's flat 32 bits do not reach: the first processor turns
 * paging with 64-bit entries (PAE) on, everything at its own address but for one window of 2 MiB
 * within the hole below 4 GiB, through which it looks at one large page after the other. The other
 * processors go on without paging, so that nobody else touches these pages. They are written once
 * and verified in turn for ever.
 */
#include <stdbool.h>
#include "payload.h"

enum {
	LARGE_SHIFT = 21,
	LARGE_PAGES = 1 << (LARGE_SHIFT - PAGE_SHIFT), /* pages in a large one */
	ENTRIES = 512,
	PRESENT = 1,
	WRITABLE = 2,
	LARGE = 1 << 7,
	CR4_PAE = 1 << 5,
};

#define WINDOW 0xe0000000u

static uint64_t directories[4][ENTRIES] __attribute__((aligned(4096)));
static uint64_t pointers[4] __attribute__((aligned(32)));
static uint32_t first_large, large_count; /* in large pages */
static uint32_t verify_at;		  /* a page, from the first one on */

/* The window shows large page number @large of all memory. */
static void window_to(uint32_t large)
{
	uint64_t *entry = &directories[WINDOW >> 30][(WINDOW >> LARGE_SHIFT) % ENTRIES];

	*entry = (uint64_t)large << LARGE_SHIFT | LARGE | WRITABLE | PRESENT;
	__asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
}

static void paging_on(void)
{
	uint32_t value;

	for (uint32_t i = 0; i < 4; i++) {
		for (uint32_t k = 0; k < ENTRIES; k++)
			directories[i][k] = (uint64_t)(i * ENTRIES + k) << LARGE_SHIFT | LARGE |
					    WRITABLE | PRESENT;
		pointers[i] = (uint32_t)directories[i] | PRESENT;
	}
	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%cr4" : : "r"(value | CR4_PAE));
	__asm__ volatile("mov %0, %%cr3" : : "r"(pointers) : "memory");
	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%cr0" : : "r"(value | 1u << 31) : "memory");
}

/* Large pages that lie whole in memory that begins at or above 4 GiB. */
static void find(const struct multiboot_info *mbi)
{
	uint32_t at = mbi->mmap_addr;

	while (mbi->flags & 64 && at < mbi->mmap_addr + mbi->mmap_bytes) {
		const struct multiboot_mmap *entry = (const struct multiboot_mmap *)at;

		if (entry->type == 1 && entry->base >> 32) {
			first_large = (uint32_t)(entry->base >> LARGE_SHIFT);
			large_count = (uint32_t)(entry->bytes >> LARGE_SHIFT);
			return;
		}
		at += entry->size + 4;
	}
}

uint32_t high_init(const struct multiboot_info *mbi, uint32_t mib)
{
	find(mbi);
	if (large_count > mib / 2)
		large_count = mib / 2;
	if (!large_count)
		return 0;
	paging_on();
	for (uint32_t i = 0; i < large_count; i++) {
		window_to(first_large + i);
		for (uint32_t k = 0; k < LARGE_PAGES; k++)
			page_fill((uint32_t *)(WINDOW + (k << PAGE_SHIFT)),
				  (first_large + i) * LARGE_PAGES + k, 1);
	}
	return large_count * LARGE_PAGES;
}

/* A page that is wrong is counted once: it is written again afterwards. */
uint32_t high_verify(uint32_t pages)
{
	uint32_t errors = 0;

	for (uint32_t i = 0; i < pages && large_count; i++) {
		uint32_t page = first_large * LARGE_PAGES + verify_at, word, want;
		uint32_t *words = (uint32_t *)(WINDOW + (verify_at % LARGE_PAGES << PAGE_SHIFT));

		window_to(page / LARGE_PAGES);
		if (page_is_wrong(words, page, 1, &word, &want)) {
			print_line("ERROR page %u offset %u want %x got %x generation %u", page,
				   word * 4, want, words[word], 1u);
			page_fill(words, page, 1);
			errors++;
		}
		if (++verify_at == large_count * LARGE_PAGES)
			verify_at = 0;
	}
	return errors;
}
