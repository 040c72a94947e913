/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that knows what every page of its memory should hold.
 *
 * Theory of operation: memory from 4 MiB on begins with a table, one generation
 * number per test page, followed by the test pages. What a page holds is a function
 * of its number and its generation, so a page that was lost, swapped, torn or put
 * back to an older state does not match the table, and neither does a page of the
 * table itself. Each processor owns one slice of the pages and is the only one to
 * touch them: no locks. It makes pages of the first `hot` percent of its slice
 * one generation older, verifies all of its slice in turn, then rests until its timer.
 */
#include <stdbool.h>
#include "payload.h"

enum {
	PAGE_BYTES = 1 << PAGE_SHIFT,
	PAGE_WORDS = PAGE_BYTES / 4,
	SPREAD_WORDS = 256 / 4, /* one word in every 256 bytes */
	FIRST_BYTE = 4 << 20,
	BEAT_MIN_MS = 5,
	BEAT_MAX_MS = 1000,
	BURST_MAX_MS = 10, /* what is caught up with after a pause */
	BURST_PAGES = 64,  /* without a rate */
	VERIFY_PER_DIRTY = 4,
	IDLE_VERIFY = 16, /* pages per ms of the last burst */
	HIGH_VERIFY = 64, /* pages above 4 GiB in each burst */
	ERROR_LINES = 32, /* per processor */
};

static const uint32_t PAGE_MAGIC = 0x4c4d5047;

struct options {
	uint32_t mib, touch_mib;
	uint32_t rate; /* pages per ms of all processors, 0: no limit */
	uint32_t hot_percent;
	uint32_t beat_ms;
	uint32_t high_mib;
	bool idle;
};

/* Written by its own processor, read by the first for the heartbeat. */
struct cpu {
	uint32_t first, pages, hot;
	uint32_t verify_at;
	uint32_t random;
	uint32_t credit_256; /* 256ths of a page that may be dirtied now */
	uint64_t last_burst;
	volatile uint32_t checked, errors;
} __attribute__((aligned(64)));

static struct options options = {
	.mib = 4096,
	.touch_mib = 4096,
	.rate = 16,
	.hot_percent = 25,
	.beat_ms = 50,
};
static struct cpu cpus[MAX_CPUS];
static uint32_t cpu_count;
static volatile uint32_t go, traps;

static uint32_t *generations; /* one per test page */
static uint32_t first_page;   /* page frame number of the first test page */
static uint32_t page_count;
static uint32_t high_count, high_errors; /* pages above 4 GiB */

static uint32_t mix(uint32_t page, uint32_t generation, uint32_t word)
{
	uint32_t x = page * 0x9e3779b1u ^ generation * 0x85ebca6bu ^ word * 0xc2b2ae35u;

	return x ^ x >> 15;
}

static uint32_t *page_at(uint32_t index)
{
	return (uint32_t *)((first_page + index) << PAGE_SHIFT);
}

/* Word 0 and every 64th hold mix(), word 1 the magic, 2 the page, 3 the generation. */
void page_fill(uint32_t *words, uint32_t page, uint32_t generation)
{
	for (uint32_t i = 0; i < PAGE_WORDS; i += SPREAD_WORDS)
		words[i] = mix(page, generation, i);
	words[1] = PAGE_MAGIC;
	words[2] = page;
	words[3] = generation;
}

bool page_is_wrong(const uint32_t *words, uint32_t page, uint32_t generation, uint32_t *word,
		   uint32_t *want)
{
	const uint32_t header[] = {PAGE_MAGIC, page, generation};

	for (uint32_t i = 0; i < 3; i++) {
		*word = i + 1;
		*want = header[i];
		if (words[*word] != *want)
			return true;
	}
	for (uint32_t i = 0; i < PAGE_WORDS; i += SPREAD_WORDS) {
		*word = i;
		*want = mix(page, generation, i);
		if (words[i] != *want)
			return true;
	}
	return false;
}

static void page_write(uint32_t index, uint32_t generation)
{
	page_fill(page_at(index), first_page + index, generation);
	generations[index] = generation;
}

/* A page that is wrong is counted once: it is written again afterwards. */
static void page_verify(struct cpu *cpu, uint32_t index)
{
	uint32_t word, want;

	cpu->checked++;
	if (!page_is_wrong(page_at(index), first_page + index, generations[index], &word, &want))
		return;
	if (++cpu->errors <= ERROR_LINES)
		print_line("ERROR page %u offset %u want %x got %x generation %u",
			   first_page + index, word * 4, want, page_at(index)[word],
			   generations[index]);
	page_write(index, generations[index] + 1);
}

static uint32_t random_next(struct cpu *cpu)
{
	uint32_t x = cpu->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return cpu->random = x;
}

static void burst(struct cpu *cpu, uint32_t dirty, uint32_t verify)
{
	for (uint32_t i = 0; i < dirty && cpu->hot; i++) {
		uint32_t index = cpu->first + random_next(cpu) % cpu->hot;

		page_verify(cpu, index);
		page_write(index, generations[index] + 1);
	}
	for (uint32_t i = 0; i < verify && cpu->pages; i++) {
		page_verify(cpu, cpu->first + cpu->verify_at);
		if (++cpu->verify_at == cpu->pages)
			cpu->verify_at = 0;
	}
}

/* As much work as the time since the last burst allows. */
static void burst_timed(struct cpu *cpu)
{
	uint64_t now = clock_now();
	uint32_t ms = clock_ms_between(cpu->last_burst, now);
	uint32_t dirty;

	if (!options.rate && !options.idle) {
		burst(cpu, BURST_PAGES, BURST_PAGES * VERIFY_PER_DIRTY);
		return;
	}
	if (ms > BURST_MAX_MS)
		ms = BURST_MAX_MS;
	if (!ms && now > cpu->last_burst)
		return;
	cpu->last_burst = now;
	cpu->credit_256 += ms * (options.rate * 256 / cpu_count);
	dirty = cpu->credit_256 / 256;
	cpu->credit_256 %= 256;
	if (options.idle)
		burst(cpu, 0, ms * IDLE_VERIFY);
	else
		burst(cpu, dirty, dirty * VERIFY_PER_DIRTY);
}

static void work_for_ever(struct cpu *cpu, void (*each)(void))
{
	bool rests = options.rate || options.idle;

	cpu->last_burst = clock_now();
	if (rests)
		timer_start(options.idle ? (options.beat_ms + 1) / 2 : 5);
	for (;;) {
		burst_timed(cpu);
		if (each)
			each();
		if (rests)
			cpu_rest();
	}
}

static void heartbeat(void)
{
	static uint64_t start, last_beat, checked, beats;
	static uint32_t gap_ms, due_ms, checked_seen[MAX_CPUS];
	uint64_t now = clock_now();
	uint32_t ms = clock_ms_between(last_beat, now), errors = traps;

	high_errors += high_verify(high_count ? HIGH_VERIFY : 0);
	if (!last_beat)
		start = last_beat = now;
	else if (clock_ms_between(start, now) < due_ms)
		return;
	else if (ms > gap_ms)
		gap_ms = ms;
	last_beat = now;
	due_ms = (clock_ms_between(start, now) / options.beat_ms + 1) * options.beat_ms;
	for (uint32_t i = 0; i < cpu_count; i++) {
		uint32_t seen = cpus[i].checked;

		checked += seen - checked_seen[i];
		checked_seen[i] = seen;
		errors += cpus[i].errors;
	}
	errors += high_errors;
	print_line("beat %U pages %u checked %U gap_ms %u errors %u", ++beats, page_count, checked,
		   gap_ms, errors);
}

static bool option_number(const char *word, const char *name, uint32_t *value)
{
	uint32_t n = 0;

	while (*name)
		if (*word++ != *name++)
			return false;
	while (*word >= '0' && *word <= '9')
		n = n * 10 + (uint32_t)(*word++ - '0');
	*value = n;
	return true;
}

static void options_read(const char *line)
{
	while (*line) {
		uint32_t idle;

		if (option_number(line, "idle=", &idle))
			options.idle = idle;
		option_number(line, "mib=", &options.mib);
		option_number(line, "touch=", &options.touch_mib);
		option_number(line, "rate=", &options.rate);
		option_number(line, "hot=", &options.hot_percent);
		option_number(line, "beat=", &options.beat_ms);
		option_number(line, "high=", &options.high_mib);
		while (*line && *line != ' ')
			line++;
		while (*line == ' ')
			line++;
	}
	if (options.mib > 4096)
		options.mib = 4096;
	if (options.touch_mib > 4096)
		options.touch_mib = 4096;
	if (options.rate > 100000)
		options.rate = 100000;
	if (options.beat_ms < BEAT_MIN_MS)
		options.beat_ms = BEAT_MIN_MS;
	if (options.beat_ms > BEAT_MAX_MS)
		options.beat_ms = BEAT_MAX_MS;
	if (options.hot_percent > 100)
		options.hot_percent = 100;
}

/* Page frame number of the end of the memory that begins below FIRST_BYTE. */
static uint32_t ram_end_page(const struct multiboot_info *mbi)
{
	uint32_t at = mbi->mmap_addr;

	if (!(mbi->flags & 64))
		return (1024 + mbi->mem_upper_kib) / 4;
	while (at < mbi->mmap_addr + mbi->mmap_bytes) {
		const struct multiboot_mmap *entry = (const struct multiboot_mmap *)at;
		uint64_t end = entry->base + entry->bytes;

		if (entry->type == 1 && entry->base < FIRST_BYTE && end > FIRST_BYTE)
			return end >> 32 ? 1u << 20 : (uint32_t)end >> PAGE_SHIFT;
		at += entry->size + 4;
	}
	return 0;
}

/* Lays the table and the test pages out. */
static void memory_init(const struct multiboot_info *mbi)
{
	uint32_t begin = FIRST_BYTE >> PAGE_SHIFT, end = ram_end_page(mbi);
	uint32_t table_pages;

	if (options.mib << 8 < end)
		end = options.mib << 8;
	if (end > begin && options.touch_mib << 8 < end - begin)
		end = begin + (options.touch_mib << 8);
	if (end < begin + 2)
		return;
	table_pages = (end - begin + PAGE_WORDS - 1) / PAGE_WORDS;
	generations = (uint32_t *)(begin << PAGE_SHIFT);
	first_page = begin + table_pages;
	page_count = end - first_page;
	for (uint32_t i = 0; i < page_count; i++)
		page_write(i, 1);
}

static void slices_init(void)
{
	uint32_t each = page_count / cpu_count;

	for (uint32_t i = 0; i < cpu_count; i++) {
		struct cpu *cpu = &cpus[i];

		cpu->first = i * each;
		cpu->pages = i + 1 < cpu_count ? each : page_count - cpu->first;
		cpu->hot = (uint32_t)((cpu->pages + 99) / 100 * options.hot_percent);
		if (cpu->hot > cpu->pages)
			cpu->hot = cpu->pages;
		cpu->random = 2463534242u + i;
	}
}

void payload_ap_main(uint32_t ap)
{
	while (!go)
		__asm__ volatile("pause");
	work_for_ever(&cpus[ap + 1], NULL);
}

/* Counted as an error; the processor that took it stays halted. */
void payload_trap(const uint32_t *frame)
{
	__atomic_add_fetch(&traps, 1, __ATOMIC_RELAXED);
	print_line("ERROR exception %u at %x %x %x", frame[0], frame[1], frame[2], frame[3]);
}

void payload_main(const struct multiboot_info *mbi)
{
	serial_init();
	traps_init();
	clock_init();
	if (mbi->flags & 4)
		options_read((const char *)mbi->command_line);
	memory_init(mbi);
	if (!page_count)
		print_line("ERROR no memory to test");
	high_count = high_init(mbi, options.high_mib);
	if (options.high_mib && !high_count)
		print_line("ERROR no memory above 4 GiB");
	cpu_count = cpus_start();
	slices_init();
	print_line("payload ready pages %u vcpus %u high %u", page_count, cpu_count, high_count);
	go = 1;
	work_for_ever(&cpus[0], heartbeat);
}
