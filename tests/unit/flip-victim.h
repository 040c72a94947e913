/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of what a peer may put into the pipes: a receiver, and the other ends of its pipes. */
#ifndef LM_TESTS_FLIP_VICTIM_H
#define LM_TESTS_FLIP_VICTIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flip.h"
#include "region.h"

#define PAGE	     4096u
#define REGION_BYTES (4u << 20)
#define CANARY	     0xc5

/* Two regions, the second one passed; before and after the first are pages that must not change. */
typedef struct Victim {
	guint8 *memory;
	GPtrArray *regions;
	LmPipes theirs, ours;
	LmFlip flip;
} Victim;

static inline int set_up(void **state)
{
	Victim *victim = g_new0(Victim, 1);
	int fds[2];

	victim->memory = mmap(NULL, REGION_BYTES + 2 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(victim->memory, CANARY, PAGE);
	memset(victim->memory + PAGE + REGION_BYTES, CANARY, PAGE);
	victim->regions = g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);
	for (int i = 0; i < 2; i++) {
		LmRegion *region = lm_region_new(i ? "vga" : "ram");

		region->host = victim->memory + PAGE;
		region->used_bytes = region->max_bytes = REGION_BYTES;
		region->way = i ? LM_WAY_PASS : LM_WAY_FLIP;
		lm_region_bitmap_reset(region);
		g_ptr_array_add(victim->regions, region);
	}
	assert_int_equal(lm_pipes_open(&victim->theirs, 1, fds, NULL), 0);
	assert_int_equal(lm_pipes_adopt(&victim->ours, 1, fds, FALSE, NULL), 0);
	victim->flip = (LmFlip){
		.regions = victim->regions,
		.pipes = &victim->ours,
		.engine = LM_ENGINE_VMSPLICE,
		.peer_pid = getpid(),
		.peer_fd = -1,
		.wait = {.deadline_ms = 100, .cancel_fd = -1},
	};
	*state = victim;
	return 0;
}

static inline int tear_down(void **state)
{
	Victim *victim = *state;

	lm_pipes_close(&victim->theirs);
	lm_pipes_close(&victim->ours);
	g_ptr_array_unref(victim->regions);
	munmap(victim->memory, REGION_BYTES + 2 * PAGE);
	g_free(victim);
	return 0;
}

static inline LmRegion *ram(Victim *victim)
{
	return g_ptr_array_index(victim->regions, 0);
}

static inline void put(Victim *victim, const void *data, gsize length)
{
	assert_int_equal(write(victim->theirs.pair[0].tx, data, length), length);
}

static inline void put_frame(Victim *victim, const LmFrame *frame)
{
	guint8 encoded[LM_FRAME_BYTES_MAX];

	put(victim, encoded, lm_frame_encode(encoded, frame));
}

static inline void put_pages(Victim *victim, gsize bytes, int value)
{
	g_autofree guint8 *data = g_malloc(bytes);

	memset(data, value, bytes);
	put(victim, data, bytes);
}

static inline void assert_canaries(Victim *victim)
{
	for (guint i = 0; i < PAGE; i++) {
		assert_int_equal(victim->memory[i], CANARY);
		assert_int_equal(victim->memory[PAGE + REGION_BYTES + i], CANARY);
	}
}

static inline void assert_untouched(Victim *victim)
{
	for (guint i = 0; i < REGION_BYTES; i++)
		if (ram(victim)->host[i])
			fail_msg("byte %u of the region was written", i);
}

static inline void assert_fails(Victim *victim, int ret, int code, const char *message)
{
	g_autoptr(GError) error = NULL;

	assert_int_equal(lm_flip_receive(&victim->flip, &error), ret);
	assert_non_null(error);
	assert_string_equal(error->message, message);
	assert_int_equal(error->code, code);
	assert_canaries(victim);
}

/* A protocol error that was found before a page was written. */
static inline void assert_refused(Victim *victim, const char *message)
{
	assert_fails(victim, -EPROTO, LM_ERROR_PROTOCOL, message);
	assert_untouched(victim);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), 0);
	assert_int_equal(victim->flip.bytes, 0);
}

static inline LmFrame frame_of(guint64 offset, guint64 length)
{
	return (LmFrame){.range_count = 1, .payload_bytes = length, .range = {{offset, length}}};
}

#endif
