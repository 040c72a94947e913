/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM regions: names, matching the two sides' lists, and the bitmap of pages that are here. */
#include "region.h"

#include <errno.h>
#include <string.h>

#include "error.h"

#define DIFFERENCES_MAX 3
#define WORD_BITS	(sizeof(gulong) * 8)

const char *lm_way_name(LmWay way)
{
	switch (way) {
	case LM_WAY_FLIP:
		return "flip";
	case LM_WAY_SHARE:
		return "share";
	case LM_WAY_PASS:
		return "pass";
	}
	return "unknown";
}

const char *lm_engine_name(LmEngine engine)
{
	switch (engine) {
	case LM_ENGINE_AUTO:
		return "auto";
	case LM_ENGINE_VMSPLICE:
		return "vmsplice";
	case LM_ENGINE_PROCESS_VM_READV:
		return "process-vm-readv";
	}
	return "unknown";
}

LmRegion *lm_region_new(const char *name)
{
	LmRegion *region = g_new0(LmRegion, 1);

	region->name = g_strdup(name);
	region->page_bytes = LM_BASE_PAGE_BYTES;
	region->fd = -1;
	return region;
}

void lm_region_free(LmRegion *region)
{
	if (!region)
		return;
	g_free(region->name);
	g_free(region->here);
	g_free(region->populated);
	g_free(region->kept);
	g_free(region);
}

/* -------------------------------------------------------------- matching */

typedef struct Differences {
	GString *text;
	guint count;
} Differences;

static void G_GNUC_PRINTF(2, 3) differs(Differences *differences, const char *format, ...)
{
	va_list args;

	if (differences->count++ >= DIFFERENCES_MAX)
		return;
	if (differences->text->len)
		g_string_append(differences->text, "; ");
	va_start(args, format);
	g_string_append_vprintf(differences->text, format, args);
	va_end(args);
}

/* The destination's region can take the source's size. */
static gboolean fits(const LmRegion *source, const LmRegion *destination)
{
	if (source->used_bytes == destination->used_bytes)
		return TRUE;
	return (destination->flags & LM_REGION_RESIZABLE) &&
	       source->used_bytes <= destination->max_bytes;
}

static void compare(const LmRegion *source, const LmRegion *destination, Differences *differences)
{
	if (source->way == LM_WAY_FLIP && (destination->flags & LM_REGION_SHARED))
		differs(differences,
			"RAM block %s is private on the source, shared on the destination",
			source->name);
	else if (source->way == LM_WAY_PASS && source->fd == LM_WIRE_FD_NONE)
		differs(differences, "RAM block %s is shared on the source without a descriptor",
			source->name);
	else if (source->way != LM_WAY_FLIP && source->page_bytes != destination->page_bytes)
		differs(differences,
			"RAM block %s has pages of %" G_GUINT64_FORMAT
			" bytes on the source, of %" G_GUINT64_FORMAT " on the destination",
			source->name, source->page_bytes, destination->page_bytes);

	if (fits(source, destination))
		return;
	if (destination->flags & LM_REGION_RESIZABLE)
		differs(differences,
			"RAM block %s differs in size: source %" G_GUINT64_FORMAT
			", destination at most %" G_GUINT64_FORMAT,
			source->name, source->used_bytes, destination->max_bytes);
	else
		differs(differences,
			"RAM block %s differs in size: source %" G_GUINT64_FORMAT
			", destination %" G_GUINT64_FORMAT,
			source->name, source->used_bytes, destination->used_bytes);
}

/* By name; a name that comes twice is a difference. */
static GHashTable *index_by_name(GPtrArray *regions, const char *side, Differences *differences)
{
	GHashTable *table = g_hash_table_new(g_str_hash, g_str_equal);

	for (guint i = 0; i < regions->len; i++) {
		LmRegion *region = g_ptr_array_index(regions, i);

		if (!g_hash_table_insert(table, region->name, region))
			differs(differences, "RAM block %s is twice on the %s", region->name, side);
	}
	return table;
}

static void only_on(GPtrArray *regions, GHashTable *other, const char *side,
		    Differences *differences)
{
	for (guint i = 0; i < regions->len; i++) {
		LmRegion *region = g_ptr_array_index(regions, i);

		if (!g_hash_table_contains(other, region->name))
			differs(differences, "RAM block %s is only on the %s", region->name, side);
	}
}

int lm_regions_match(GPtrArray *mine, GPtrArray *theirs, GPtrArray **matched, GError **errp)
{
	g_autoptr(GString) text = g_string_new(NULL);
	Differences differences = {.text = text};
	g_autoptr(GHashTable) here = index_by_name(mine, "destination", &differences);
	g_autoptr(GHashTable) there = index_by_name(theirs, "source", &differences);
	g_autoptr(GPtrArray) result = g_ptr_array_sized_new(theirs->len);

	for (guint i = 0; i < theirs->len; i++) {
		LmRegion *source = g_ptr_array_index(theirs, i);
		LmRegion *destination = g_hash_table_lookup(here, source->name);

		if (!destination)
			continue;
		compare(source, destination, &differences);
		g_ptr_array_add(result, destination);
	}
	only_on(theirs, here, "source", &differences);
	only_on(mine, there, "destination", &differences);
	if (differences.count > DIFFERENCES_MAX)
		g_string_append_printf(text, "; and %u more", differences.count - DIFFERENCES_MAX);
	if (differences.count)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "%s", text->str);

	for (guint i = 0; i < theirs->len; i++) {
		LmRegion *source = g_ptr_array_index(theirs, i);
		LmRegion *destination = g_ptr_array_index(result, i);

		destination->way = source->way;
	}
	*matched = g_steal_pointer(&result);
	return 0;
}

/* ---------------------------------------------------------------- bitmap */

/*
 * Words are read and changed atomically (relaxed): channels never share a word, for a window is a
 * whole number of words, but a peer that breaks the protocol could make them.
 */
G_STATIC_ASSERT(LM_WINDOW_BYTES / LM_BASE_PAGE_BYTES % WORD_BITS == 0);

static guint64 region_pages(const LmRegion *region)
{
	return region->used_bytes / LM_BASE_PAGE_BYTES;
}

static void check_range(const LmRegion *region, const LmRange *range)
{
	g_assert(range->offset_bytes % LM_BASE_PAGE_BYTES == 0);
	g_assert(range->length_bytes % LM_BASE_PAGE_BYTES == 0);
	g_assert(range->offset_bytes <= region->used_bytes);
	g_assert(range->length_bytes <= region->used_bytes - range->offset_bytes);
}

/* The bits of word @word that lie in [first, end). */
static gulong word_mask(guint64 word, guint64 first, guint64 end)
{
	guint64 start = word * WORD_BITS;
	gulong mask = ~0ul;

	if (first > start)
		mask &= ~0ul << (first - start);
	if (end < start + WORD_BITS)
		mask &= ~(~0ul << (end - start));
	return mask;
}

static gulong load_word(const LmRegion *region, guint64 word)
{
	return __atomic_load_n(&region->here[word], __ATOMIC_RELAXED);
}

static gsize bitmap_words(const LmRegion *region)
{
	return (region_pages(region) + WORD_BITS - 1) / WORD_BITS + 1;
}

void lm_region_bitmap_reset(LmRegion *region)
{
	g_free(region->here);
	region->here = g_new0(gulong, bitmap_words(region));
}

gulong *lm_region_bitmap_copy(const LmRegion *region)
{
	return g_memdup2(region->here, bitmap_words(region) * sizeof(gulong));
}

guint64 lm_region_bitmap_set(LmRegion *region, const LmRange *range)
{
	guint64 first = range->offset_bytes / LM_BASE_PAGE_BYTES;
	guint64 end = first + range->length_bytes / LM_BASE_PAGE_BYTES;
	guint64 pages = 0;

	check_range(region, range);
	for (guint64 word = first / WORD_BITS; word * WORD_BITS < end; word++) {
		gulong mask = word_mask(word, first, end);
		gulong before = __atomic_fetch_or(&region->here[word], mask, __ATOMIC_RELAXED);

		pages += __builtin_popcountl(mask & ~before);
	}
	return pages * LM_BASE_PAGE_BYTES;
}

void lm_region_bitmap_clear(LmRegion *region, const LmRange *range)
{
	guint64 first = range->offset_bytes / LM_BASE_PAGE_BYTES;
	guint64 end = first + range->length_bytes / LM_BASE_PAGE_BYTES;

	check_range(region, range);
	for (guint64 word = first / WORD_BITS; word * WORD_BITS < end; word++)
		__atomic_fetch_and(&region->here[word], ~word_mask(word, first, end),
				   __ATOMIC_RELAXED);
}

gboolean lm_region_bitmap_any(const LmRegion *region, const LmRange *range)
{
	guint64 first = range->offset_bytes / LM_BASE_PAGE_BYTES;
	guint64 end = first + range->length_bytes / LM_BASE_PAGE_BYTES;

	check_range(region, range);
	for (guint64 word = first / WORD_BITS; word * WORD_BITS < end; word++)
		if (load_word(region, word) & word_mask(word, first, end))
			return TRUE;
	return FALSE;
}

guint64 lm_region_bitmap_count_bytes(const LmRegion *region)
{
	guint64 words = (region_pages(region) + WORD_BITS - 1) / WORD_BITS;
	guint64 pages = 0;

	for (guint64 word = 0; word < words; word++)
		pages += __builtin_popcountl(load_word(region, word));
	return pages * LM_BASE_PAGE_BYTES;
}

/* The first page at or after @page whose bit is @set, or @end. */
static guint64 find_page(const LmRegion *region, guint64 page, guint64 end, gboolean set)
{
	for (guint64 word = page / WORD_BITS; word * WORD_BITS < end; word++) {
		gulong bits = load_word(region, word);

		bits = (set ? bits : ~bits) & word_mask(word, page, end);
		if (bits)
			return word * WORD_BITS + __builtin_ctzl(bits);
	}
	return end;
}

gboolean lm_region_bitmap_next(const LmRegion *region, guint64 from_bytes, guint64 end_bytes,
			       LmRange *run)
{
	guint64 end = MIN(end_bytes, region->used_bytes) / LM_BASE_PAGE_BYTES;
	guint64 first = (from_bytes + LM_BASE_PAGE_BYTES - 1) / LM_BASE_PAGE_BYTES;
	guint64 last;

	if (first >= end)
		return FALSE;
	first = find_page(region, first, end, TRUE);
	if (first == end)
		return FALSE;
	last = find_page(region, first, end, FALSE);
	run->offset_bytes = first * LM_BASE_PAGE_BYTES;
	run->length_bytes = (last - first) * LM_BASE_PAGE_BYTES;
	return TRUE;
}
