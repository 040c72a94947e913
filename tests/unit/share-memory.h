/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for the tests of share: private, with known content, and what became of it. */
#ifndef LM_TESTS_SHARE_MEMORY_H
#define LM_TESTS_SHARE_MEMORY_H

#include "test-util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mapping.h"
#include "share.h"

#define PAGE 4096u
#define MIB  (1u << 20)
#define SLOT (2u * MIB)

typedef struct Memory {
	guint8 *host;
	gsize bytes;
	guint8 *reserved; /* with room before and after, so that no neighbour merges */
	gsize reserved_bytes;
} Memory;

/* @bytes of private memory @shift bytes after a multiple of 2 MiB, with no page. */
static inline Memory map_memory(gsize bytes, gsize shift, int advice)
{
	const gsize all = bytes + 4 * SLOT;
	Memory memory = {.bytes = bytes, .reserved_bytes = all};

	memory.reserved =
		mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(memory.reserved != MAP_FAILED);
	memory.host = memory.reserved + SLOT;
	memory.host += -(guintptr)memory.host & (SLOT - 1);
	memory.host += shift;
	assert_true(mmap(memory.host, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			 0) == memory.host);
	assert_int_equal(madvise(memory.host, bytes, advice), 0);
	return memory;
}

/* A share whose memory is gone gives its descriptor back when it is looked for. */
static inline void unmap_memory(Memory *memory)
{
	munmap(memory->reserved, memory->reserved_bytes);
	assert_null(lm_share_find(memory->host));
}

static inline guint64 *word_at(const Memory *memory, gsize page)
{
	return (guint64 *)(memory->host + page * PAGE);
}

static inline guint64 mark(gsize page)
{
	return page * 0x9e3779b97f4a7c15ull + 1;
}

/* Each @step'th page from @first on gets its mark, at both ends. */
static inline void fill(const Memory *memory, gsize first, gsize step)
{
	for (gsize page = first; page < memory->bytes / PAGE; page += step) {
		word_at(memory, page)[0] = mark(page);
		word_at(memory, page)[511] = ~mark(page);
	}
}

static inline void check_filled(const Memory *memory, gsize first, gsize step)
{
	for (gsize page = 0; page < memory->bytes / PAGE; page++) {
		const gboolean marked = page >= first && (page - first) % step == 0;
		const guint64 *word = word_at(memory, page);

		if (word[0] != (marked ? mark(page) : 0) || word[511] != (marked ? ~mark(page) : 0))
			fail_msg("page %zu has %" PRIx64 " and %" PRIx64, page, word[0], word[511]);
	}
}

/* The memfd has what the memory has. */
static inline void check_memfd(const LmShare *share, const Memory *memory)
{
	void *view = mmap(NULL, memory->bytes, PROT_READ, MAP_SHARED, lm_share_fd(share), 0);

	assert_true(view != MAP_FAILED);
	assert_int_equal(memcmp(view, memory->host, memory->bytes), 0);
	munmap(view, memory->bytes);
}

static inline guint64 memfd_bytes(const LmShare *share)
{
	struct stat st;

	assert_int_equal(fstat(lm_share_fd(share), &st), 0);
	return (guint64)st.st_blocks * 512;
}

static inline LmShare *get_share(const Memory *memory)
{
	g_autoptr(GError) error = NULL;
	LmShare *share = lm_share_get("pc.ram", memory->host, memory->bytes, &error);

	if (!share)
		fail_msg("%s", error->message);
	return share;
}

/* A run over one share; end_run frees what it has. */
/* A machine that emulates is so slow that no chunk would be larger than the smallest. */
static inline guint64 patient_stall_us(void)
{
	return g_getenv("LM_PATIENCE") ? 1000000 : 0;
}

static inline LmShareRun begin_run(LmShare *share)
{
	LmShareRun run = {
		.shares = g_ptr_array_new(), .cancel_fd = -1, .max_stall_us = patient_stall_us()};

	g_ptr_array_add(run.shares, share);
	return run;
}

static inline void end_run(LmShareRun *run)
{
	g_ptr_array_unref(run->shares);
}

static inline void check_success(int ret, GError *error)
{
	if (ret != 0)
		fail_msg("%d: %s", ret, error ? error->message : "no error text");
	assert_null(error);
}

static inline void run_live(LmShareRun *run)
{
	g_autoptr(GError) error = NULL;

	check_success(lm_share_live(run, &error), error);
}

static inline void run_stopped(LmShareRun *run, guint threads)
{
	g_autoptr(GError) error = NULL;

	check_success(lm_share_stopped(run, threads, &error), error);
}

/* All of the memory becomes shared, while it is in use. */
static inline void share_live(LmShare *share)
{
	const guint64 before = lm_share_private_bytes(share);
	LmShareRun run = begin_run(share);

	run_live(&run);
	assert_int_equal(lm_share_private_bytes(share), 0);
	assert_int_equal(run.done_bytes + run.hole_bytes, before);
	end_run(&run);
}

static inline guint count_mappings(const Memory *memory)
{
	const guint64 host = (guint64)(guintptr)memory->host;
	g_autoptr(GArray) mappings = lm_mappings_list(host, host + memory->bytes, NULL);

	assert_non_null(mappings);
	return mappings->len;
}

static inline LmMapping mapping_at(const Memory *memory, gsize offset)
{
	const guint64 address = (guint64)(guintptr)memory->host + offset;
	g_autoptr(GArray) mappings = lm_mappings_read(address, address + PAGE, NULL);

	assert_non_null(mappings);
	assert_int_equal(mappings->len, 1);
	return g_array_index(mappings, LmMapping, 0);
}

/* The sum of a field of smaps over the memory, in bytes. */
static inline guint64 smaps_bytes(const Memory *memory, const char *field)
{
	const guint64 start = (guint64)(guintptr)memory->host;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long long from = 0, start_of_line, end_of_line, kib;
	guint64 bytes = 0;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%llx-%llx ", &start_of_line, &end_of_line) == 2)
			from = start_of_line;
		if (from < start || from >= start + memory->bytes ||
		    !g_str_has_prefix(line, field) || line[strlen(field)] != ':')
			continue;
		if (sscanf(line + strlen(field) + 1, "%llu", &kib) == 1)
			bytes += kib * 1024;
	}
	fclose(smaps);
	return bytes;
}

static inline gboolean live_works(void)
{
	return lm_share_live_works(NULL) == 0;
}

/* For main: cmocka's own skip() counts as a failure in meson's TAP reader. */
static inline gboolean skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	return FALSE;
}

static inline gboolean need_live(void)
{
	g_autoptr(GError) error = NULL;

	return lm_share_live_works(&error) == 0 || skip_all(error->message);
}

#endif
