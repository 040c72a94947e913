/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <math.h>

static const Hop *upgrade(const Demo *demo, guint i)
{
	return &g_array_index(demo->upgrades, Hop, i);
}

static double speed(const Hop *hop)
{
	return (double)hop->moved_bytes / 1e6 / hop->flip_ms;
}

typedef void (*Cell)(Table *table, const Hop *hop);

static void cell_versions(Table *table, const Hop *hop)
{
	table_cell(table, "%s → %s", hop->from, hop->to);
}

static void cell_stopped(Table *table, const Hop *hop)
{
	table_cell(table, "%.1f ms", hop->stopped_ms);
}

static void cell_devices(Table *table, const Hop *hop)
{
	table_cell(table, "%.1f ms", hop->device_ms);
}

static void cell_flipped(Table *table, const Hop *hop)
{
	table_cell(table, "%.1f MiB", (double)hop->moved_bytes / MIB);
}

static void cell_skipped(Table *table, const Hop *hop)
{
	table_cell(table, "%.1f MiB", (double)hop->skipped_bytes / MIB);
}

static void cell_speed(Table *table, const Hop *hop)
{
	table_cell(table, "%.2f GB/s", speed(hop));
}

static void cell_extra(Table *table, const Hop *hop)
{
	if (hop->extra_bytes < 0)
		table_cell(table, "not measured");
	else
		table_cell(table, "%.1f MiB", (double)hop->extra_bytes / MIB);
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

void report_upgrades(const Demo *demo)
{
	static const struct {
		const char *name;
		Cell cell;
	} rows[] = {
		{"upgrade of QEMU", cell_versions},
		{"the guest was stopped for", cell_stopped},
		{"  of that, devices saved, sent and loaded", cell_devices},
		{"RAM flipped", cell_flipped},
		{"RAM skipped (never touched)", cell_skipped},
		{"throughput of the flip", cell_speed},
		{"peak memory over before, both processes", cell_extra},
		{"heartbeats lost", cell_none},
		{"pages checked in the guest since, all at least once", cell_checked},
		{"  of these, wrong", cell_none},
		{"longest gap by the guest's clock (a beat: 100 ms)", cell_gap},
	};
	g_autoptr(Table) table = table_new();

	for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
		table_row(table, "%s", rows[i].name);
		for (guint u = 0; u < demo->upgrades->len; u++)
			rows[i].cell(table, upgrade(demo, u));
	}
	table_print(table);
}

static void value_cell(Table *table, double value, const char *unit)
{
	if (isnan(value))
		table_cell(table, "not measured");
	else
		table_cell(table, "%.*f%s%s", value < 10 ? 2 : 1, value, *unit ? " " : "", unit);
}

static void figure_row(Table *table, const Figure *figure)
{
	table_row(table, "%s", figure->name);
	value_cell(table, figure->value.median, figure->unit);
	value_cell(table, figure->value.low, "");
	value_cell(table, figure->value.high, "");
	if (!figure->aim)
		return;
	table_cell(table, "%s", figure->aim);
	table_cell(table, "%s", isnan(figure->value.median) ? "?" : figure->reached ? "yes" : "no");
}

void report_figures(const GArray *figures)
{
	g_autoptr(Table) table = table_new();

	table_row(table, "%s", "");
	table_cell(table, "median");
	table_cell(table, "lowest");
	table_cell(table, "highest");
	table_cell(table, "aim");
	table_cell(table, "reached");
	for (guint i = 0; i < figures->len; i++)
		figure_row(table, &g_array_index(figures, Figure, i));
	table_print(table);
	screen_line(
		"  Aims are for medians. A ratio's lowest and highest are those of the extremes.");
	if (memory_how())
		screen_line("  Note: %s.", memory_how());
}

static void json_number(JsonBuilder *builder, const char *name, double value)
{
	json_builder_set_member_name(builder, name);
	if (isfinite(value))
		json_builder_add_double_value(builder, value);
	else
		json_builder_add_null_value(builder);
}

static void json_string(JsonBuilder *builder, const char *name, const char *value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_string_value(builder, value);
}

static void json_hop(JsonBuilder *builder, const Demo *demo, const Hop *hop)
{
	json_builder_begin_object(builder);
	json_string(builder, "from", hop->from);
	json_string(builder, "to", hop->to);
	if (demo->live)
		report_live_json(builder, hop);
	json_number(builder, "stopped-ms", hop->stopped_ms);
	json_number(builder, "devices-ms", hop->device_ms);
	json_number(builder, "flipped-bytes", (double)hop->moved_bytes);
	json_number(builder, "skipped-bytes", (double)hop->skipped_bytes);
	json_number(builder, "flip-gb-per-s", speed(hop));
	json_number(builder, "extra-bytes", hop->extra_bytes < 0 ? NAN : (double)hop->extra_bytes);
	json_number(builder, "heartbeats-lost", 0);
	json_number(builder, "pages-checked", (double)hop->checked);
	json_number(builder, "longest-gap-ms", (double)hop->beat.gap_ms);
	json_builder_end_object(builder);
}

static void json_figure(JsonBuilder *builder, const Figure *figure)
{
	json_builder_set_member_name(builder, figure->key);
	json_builder_begin_object(builder);
	json_number(builder, "median", figure->value.median);
	json_number(builder, "lowest", figure->value.low);
	json_number(builder, "highest", figure->value.high);
	json_string(builder, "unit", figure->unit);
	if (figure->aim) {
		json_string(builder, "aim", figure->aim);
		json_builder_set_member_name(builder, "reached");
		json_builder_add_boolean_value(builder, figure->reached);
	}
	json_builder_end_object(builder);
}

void report_json(const Demo *demo, const GArray *figures)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonGenerator) generator = json_generator_new();
	g_autoptr(JsonNode) root = NULL;
	g_autoptr(GError) error = NULL;

	json_builder_begin_object(builder);
	json_builder_set_member_name(builder, "upgrades");
	json_builder_begin_array(builder);
	for (guint i = 0; i < demo->upgrades->len; i++)
		json_hop(builder, demo, upgrade(demo, i));
	json_builder_end_array(builder);
	json_builder_set_member_name(builder, "figures");
	json_builder_begin_object(builder);
	for (guint i = 0; i < figures->len; i++)
		json_figure(builder, &g_array_index(figures, Figure, i));
	json_builder_end_object(builder);
	json_builder_end_object(builder);
	root = json_builder_get_root(builder);
	json_generator_set_pretty(generator, TRUE);
	json_generator_set_root(generator, root);
	if (!json_generator_to_file(generator, demo->json_path, &error))
		demo_fail("%s", error->message);
}
