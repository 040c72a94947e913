/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory becomes shared while threads write it. */
#include "share-memory.h"

/* ----------------------------------------------------------------- writers */

/* Increments words of random pages, each thread its own word, and counts along. */
typedef struct Writer {
	const Memory *memory;
	guint word;
	guint32 seed;
	guint32 *shadow; /* a page */
	int *stop;
	guint64 count;
	GThread *thread;
} Writer;

static guint32 next_random(guint32 *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed;
}

static gpointer write_pages(gpointer opaque)
{
	Writer *writer = opaque;
	const gsize pages = writer->memory->bytes / PAGE;

	while (!g_atomic_int_get(writer->stop)) {
		for (guint i = 0; i < 64; i++) {
			gsize page = ((guint64)next_random(&writer->seed) * pages) >> 32;
			volatile guint64 *word = word_at(writer->memory, page);

			word[writer->word]++;
			writer->shadow[page]++;
		}
		writer->count += 64;
	}
	return NULL;
}

#define WRITERS 2

static void begin_writers(Writer *writers, const Memory *memory, int *stop)
{
	for (guint i = 0; i < WRITERS; i++) {
		writers[i] = (Writer){
			.memory = memory,
			.word = 8 + i,
			.seed = i + 1,
			.shadow = g_new0(guint32, memory->bytes / PAGE),
			.stop = stop,
		};
		writers[i].thread = g_thread_new("writer", write_pages, &writers[i]);
	}
}

/* Each page has what the threads have counted. */
static void end_writers(Writer *writers, const Memory *memory, int *stop)
{
	guint64 lost = 0;

	g_atomic_int_set(stop, 1);
	for (guint i = 0; i < WRITERS; i++)
		g_thread_join(writers[i].thread);
	for (guint i = 0; i < WRITERS; i++) {
		assert_true(writers[i].count > 0);
		for (gsize page = 0; page < memory->bytes / PAGE; page++)
			lost += writers[i].shadow[page] != word_at(memory, page)[8 + i];
		g_free(writers[i].shadow);
	}
	assert_int_equal(lost, 0);
}

/* What comes before the run: memory that is full, huge, read only, or not there. */
static void write_while_it_is_shared(gsize bytes, int advice, gsize step, guint max_stall_us)
{
	Memory memory = map_memory(bytes, 0, advice);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	Writer writers[WRITERS];
	int stop = 0;

	if (max_stall_us)
		run.max_stall_us = max_stall_us;
	for (gsize page = 0; page < bytes / PAGE; page += step)
		word_at(&memory, page)[0] = mark(page);
	for (gsize page = bytes / PAGE / 2; page < bytes / PAGE; page++)
		assert_int_equal(*(volatile guint64 *)&word_at(&memory, page)[1], 0);
	begin_writers(writers, &memory, &stop);
	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	end_writers(writers, &memory, &stop);
	for (gsize page = 0; page < bytes / PAGE; page += step)
		assert_int_equal(word_at(&memory, page)[0], mark(page));
	check_memfd(share, &memory);
	assert_int_equal(count_mappings(&memory), 1);
	end_run(&run);
	unmap_memory(&memory);
}

static void no_update_is_lost(void **state)
{
	write_while_it_is_shared(256 * MIB, MADV_HUGEPAGE, 1, 0);
}

static void no_update_of_small_pages_is_lost(void **state)
{
	write_while_it_is_shared(64 * MIB, MADV_NOHUGEPAGE, 1, 0);
	write_while_it_is_shared(64 * MIB, MADV_NOHUGEPAGE, 7, 0);
}

static void no_update_of_holes_is_lost(void **state)
{
	write_while_it_is_shared(128 * MIB, MADV_NOHUGEPAGE, 100000, 0);
	write_while_it_is_shared(32 * MIB, MADV_HUGEPAGE, 100000, 0);
}

static void no_update_of_small_chunks_is_lost(void **state)
{
	write_while_it_is_shared(32 * MIB, MADV_HUGEPAGE, 1, 1);
	write_while_it_is_shared(16 * MIB, MADV_NOHUGEPAGE, 3, 1);
}

/*
 * As soon as it is told to, writes one page of each slot, the last slot first: so there are always
 * empty slots below, and the next of them is written just when they are remapped.
 */
typedef struct Toucher {
	const Memory *memory;
	guint pause;
	int *go;
} Toucher;

static gpointer touch_slots(gpointer opaque)
{
	Toucher *toucher = opaque;

	while (!g_atomic_int_get(toucher->go))
		;
	for (gsize page = toucher->memory->bytes / PAGE; page > 0;) {
		for (volatile guint i = 0; i < toucher->pause; i++)
			;
		page -= 512;
		word_at(toucher->memory, page)[0] = mark(page);
	}
	return NULL;
}

static int let_go(void *opaque, GError **errp)
{
	g_atomic_int_set((int *)opaque, 1);
	return 0;
}

/* The first share is there to be told when the second one begins. */
static void touch_while_it_is_remapped(guint pause)
{
	Memory first = map_memory(PAGE, 0, MADV_NOHUGEPAGE);
	Memory memory = map_memory(128 * SLOT, 0, MADV_NOHUGEPAGE);
	LmShareRun run = begin_run(get_share(&first));
	int go = 0;
	Toucher toucher = {.memory = &memory, .pause = pause, .go = &go};
	GThread *thread = g_thread_new("toucher", touch_slots, &toucher);

	g_ptr_array_add(run.shares, get_share(&memory));
	run.between_chunks = let_go;
	run.opaque = &go;
	run_live(&run);
	g_thread_join(thread);
	for (gsize page = 0; page < memory.bytes / PAGE; page += 512)
		assert_int_equal(word_at(&memory, page)[0], mark(page));
	end_run(&run);
	unmap_memory(&memory);
	unmap_memory(&first);
}

/* Pages come into being just when the hole is remapped. */
static void no_page_that_is_just_coming_is_lost(void **state)
{
	for (guint i = 0; i < 40; i++)
		touch_while_it_is_remapped(i * 50);
}

typedef struct Adder {
	const Memory *memory;
	int *stop;
	guint64 count;
} Adder;

/* All threads add to the same words, one in each 64 KiB. */
static gpointer add_atomically(gpointer opaque)
{
	Adder *adder = opaque;

	while (!g_atomic_int_get(adder->stop)) {
		for (gsize page = 0; page < adder->memory->bytes / PAGE; page += 16) {
			__atomic_fetch_add(word_at(adder->memory, page), 1, __ATOMIC_RELAXED);
			adder->count++;
		}
	}
	return NULL;
}

static void atomic_across_chunks(void **state)
{
	Memory memory = map_memory(16 * MIB, 0, MADV_HUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	GThread *thread[WRITERS];
	Adder adder[WRITERS];
	guint64 sum = 0;
	int stop = 0;

	run.max_stall_us = 1;
	for (guint i = 0; i < WRITERS; i++) {
		adder[i] = (Adder){.memory = &memory, .stop = &stop};
		thread[i] = g_thread_new("adder", add_atomically, &adder[i]);
	}
	run_live(&run);
	g_atomic_int_set(&stop, 1);
	for (guint i = 0; i < WRITERS; i++) {
		g_thread_join(thread[i]);
		sum += adder[i].count;
	}
	for (gsize page = 0; page < memory.bytes / PAGE; page += 16)
		sum -= *word_at(&memory, page);
	assert_int_equal(sum, 0);
	assert_int_equal(lm_share_private_bytes(share), 0);
	end_run(&run);
	unmap_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_update_is_lost),
		TEST(no_update_of_small_pages_is_lost),
		TEST(no_update_of_holes_is_lost),
		TEST(no_update_of_small_chunks_is_lost),
		TEST(no_page_that_is_just_coming_is_lost),
		TEST(atomic_across_chunks),
	};

	return need_live() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
