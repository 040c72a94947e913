/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <math.h>

#define US_PER_MS 1000.0

void live_show_share(const Hop *hop)
{
	const HopShare *share = &hop->share;

	if (share->chunks <= 0)
		return;
	screen_line("  %.0f MiB became shared in %.0f ms, %.0f MiB of them in huge pages; "
		    "%" G_GINT64_FORMAT
		    " chunks, out of the guest's reach for %.2f ms (median), %.2f ms (99 %%), "
		    "%.2f ms (longest)",
		    (double)share->shared_bytes / MIB, share->ms, (double)share->huge_bytes / MIB,
		    share->chunks, share->median_us / US_PER_MS, share->p99_us / US_PER_MS,
		    share->max_us / US_PER_MS);
	if (share->why_not_live)
		screen_line("  not while the guest runs: %s", share->why_not_live);
}

void live_show_pause(const Hop *hop)
{
	g_autoptr(GString) text = g_string_new(NULL);

	for (guint p = 0; p < PAUSE_PARTS; p++)
		g_string_append_printf(text, "%s%s %.1f", p ? ", " : "", hop_pause_parts[p],
				       hop->pause_ms[p]);
	screen_line("  the guest was stopped for %.1f ms: %s", hop->stopped_ms, text->str);
}

typedef void (*Cell)(Table *table, const Hop *hop);

static const Hop *upgrade(const Demo *demo, guint i)
{
	return &g_array_index(demo->upgrades, Hop, i);
}

static void cell_ms(Table *table, double ms)
{
	if (isnan(ms))
		table_cell(table, "not measured");
	else
		table_cell(table, "%.1f ms", ms);
}

static void cell_mib(Table *table, guint64 bytes)
{
	table_cell(table, "%.1f MiB", (double)bytes / MIB);
}

static void cell_way(Table *table, const Hop *hop)
{
	table_cell(table, "%s", hop->way);
}

static void cell_versions(Table *table, const Hop *hop)
{
	table_cell(table, "%s → %s", hop->from, hop->to);
}

static void cell_down(Table *table, const Hop *hop)
{
	cell_ms(table, hop->down_ms);
}

static void cell_until(Table *table, const Hop *hop)
{
	cell_ms(table, hop->until_ms);
}

/* Of what became shared; nothing did in the other ways. */
static void cell_shared_ms(Table *table, const Hop *hop, double ms)
{
	if (hop->share.chunks > 0)
		table_cell(table, "%.*f ms", ms < 10 ? 2 : 1, ms);
	else
		table_cell(table, "–");
}

static void cell_share_ms(Table *table, const Hop *hop)
{
	cell_shared_ms(table, hop, hop->share.ms);
}

static void cell_shared(Table *table, const Hop *hop)
{
	cell_mib(table, hop->share.shared_bytes);
}

static void cell_chunk_median(Table *table, const Hop *hop)
{
	cell_shared_ms(table, hop, hop->share.median_us / US_PER_MS);
}

static void cell_chunk_max(Table *table, const Hop *hop)
{
	cell_shared_ms(table, hop, hop->share.max_us / US_PER_MS);
}

static void cell_flipped(Table *table, const Hop *hop)
{
	cell_mib(table, hop->moved_bytes);
}

static void cell_extra(Table *table, const Hop *hop)
{
	if (hop->extra_bytes < 0)
		table_cell(table, "not measured");
	else
		cell_mib(table, (guint64)hop->extra_bytes);
}

static void cell_checked(Table *table, const Hop *hop)
{
	table_cell(table, "%" G_GUINT64_FORMAT, hop->checked);
}

/* A heartbeat that is missing or tells of an error fails the demo before this. */
static void cell_none(Table *table, const Hop *hop)
{
	table_cell(table, "none");
}

static void cell_gap(Table *table, const Hop *hop)
{
	table_cell(table, "%" G_GUINT64_FORMAT " ms", hop->beat.gap_ms);
}

typedef struct Row {
	const char *name;
	Cell cell;
} Row;

static void add_rows(Table *table, const Demo *demo, const Row *rows, guint count)
{
	for (guint i = 0; i < count; i++) {
		table_row(table, "%s", rows[i].name);
		for (guint u = 0; u < demo->upgrades->len; u++)
			rows[i].cell(table, upgrade(demo, u));
	}
}

static void add_pauses(Table *table, const Demo *demo)
{
	for (guint p = 0; p < PAUSE_PARTS; p++) {
		table_row(table, "  of that, %s", hop_pause_parts[p]);
		for (guint u = 0; u < demo->upgrades->len; u++)
			cell_ms(table, upgrade(demo, u)->pause_ms[p]);
	}
}

void report_live(const Demo *demo)
{
	static const Row first[] = {
		{"way", cell_way},
		{"upgrade of QEMU", cell_versions},
		{"the guest was stopped for (STOP to RESUME)", cell_down},
	};
	static const Row second[] = {
		{"from the command until it ran in the new process", cell_until},
		{"  of that, memory shared while it ran", cell_share_ms},
		{"RAM shared", cell_shared},
		{"  a chunk was out of the guest's reach for, median", cell_chunk_median},
		{"  and at most", cell_chunk_max},
		{"RAM flipped", cell_flipped},
		{"peak memory over before, both processes", cell_extra},
		{"heartbeats lost", cell_none},
		{"pages checked in the guest since, all at least once", cell_checked},
		{"  of these, wrong", cell_none},
		{"longest gap by the guest's clock (a beat: 100 ms)", cell_gap},
	};
	g_autoptr(Table) table = table_new();

	add_rows(table, demo, first, G_N_ELEMENTS(first));
	add_pauses(table, demo);
	add_rows(table, demo, second, G_N_ELEMENTS(second));
	table_print(table);
}

static void number(JsonBuilder *builder, const char *name, double value)
{
	json_builder_set_member_name(builder, name);
	if (isfinite(value))
		json_builder_add_double_value(builder, value);
	else
		json_builder_add_null_value(builder);
}

static void share_json(JsonBuilder *builder, const HopShare *share)
{
	json_builder_set_member_name(builder, "share");
	json_builder_begin_object(builder);
	json_builder_set_member_name(builder, "live");
	json_builder_add_boolean_value(builder, !share->why_not_live);
	number(builder, "milliseconds", share->ms);
	number(builder, "shared-bytes", (double)share->shared_bytes);
	number(builder, "huge-bytes", (double)share->huge_bytes);
	number(builder, "left-bytes", (double)share->left_bytes);
	number(builder, "chunks", (double)share->chunks);
	number(builder, "median-us", share->median_us);
	number(builder, "p99-us", share->p99_us);
	number(builder, "max-us", share->max_us);
	json_builder_end_object(builder);
}

void report_live_json(JsonBuilder *builder, const Hop *hop)
{
	json_builder_set_member_name(builder, "way");
	json_builder_add_string_value(builder, hop->way);
	number(builder, "stop-to-resume-ms", hop->down_ms);
	number(builder, "command-to-resume-ms", hop->until_ms);
	json_builder_set_member_name(builder, "pause-ms");
	json_builder_begin_object(builder);
	for (guint p = 0; p < PAUSE_PARTS; p++)
		number(builder, hop_pause_parts[p], hop->pause_ms[p]);
	json_builder_end_object(builder);
	if (hop->share.chunks > 0)
		share_json(builder, &hop->share);
}
