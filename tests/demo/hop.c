/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "demo.h"

#include <poll.h>
#include <string.h>

#define POLL_MS 3

static JsonObject *object_of(JsonNode *node)
{
	return json_node_get_object(node);
}

static double number(JsonNode *node, const char *member)
{
	return json_object_get_double_member_with_default(object_of(node), member, 0);
}

static JsonArray *stages_of(JsonNode *info)
{
	JsonObject *object = object_of(info);

	return json_object_has_member(object, "stages")
		       ? json_object_get_array_member(object, "stages")
		       : NULL;
}

static double stage_ms(JsonNode *info, const char *name)
{
	JsonArray *stages = stages_of(info);

	for (guint i = 0; stages && i < json_array_get_length(stages); i++) {
		JsonNode *stage = json_array_get_element(stages, i);

		if (!strcmp(qmp_str(stage, "name"), name))
			return number(stage, "milliseconds");
	}
	return 0;
}

/* What the guest does meanwhile, for people. */
static const char *meaning(const char *stage)
{
	static const char *const all[][2] = {
		{"hello", "versions and machines compared; the guest runs"},
		{"regions", "RAM blocks compared; the guest runs"},
		{"stop", "the guest is stopped"},
		{"flip", "pages move, and are released as they go"},
		{"devices", "disks let go of, device state saved and sent"},
		{"load", "device state loaded, disks taken"},
		{"commit", "the guest runs in the new process"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(all); i++)
		if (!strcmp(all[i][0], stage))
			return all[i][1];
	return "";
}

static void show_running(JsonNode *info, JsonNode *stage)
{
	const char *name = qmp_str(stage, "name");
	double ms = number(stage, "milliseconds");

	if (strcmp(name, "flip"))
		screen_live("    %-8s %8.1f ms   %s", name, ms, meaning(name));
	else
		screen_live("    %-8s %8.1f ms   %.0f of %.0f MiB moved", name, ms,
			    number(info, "flipped") / MIB, number(info, "populated") / MIB);
}

/* Prints the stages that are over, from @shown on; the one under way is the live line. */
static guint show_stages(JsonNode *info, guint shown, gboolean all)
{
	JsonArray *stages = stages_of(info);
	guint count = stages ? json_array_get_length(stages) : 0;

	while (shown + (all ? 0 : 1) < count) {
		JsonNode *stage = json_array_get_element(stages, shown++);
		const char *name = qmp_str(stage, "name");

		screen_line("    %-8s %8.1f ms   %s", name, number(stage, "milliseconds"),
			    meaning(name));
	}
	if (shown < count)
		show_running(info, json_array_get_element(stages, shown));
	return shown;
}

static void must_have_completed(JsonNode *info, const char *error_member)
{
	const char *status = qmp_str(info, "status"), *error = qmp_str(info, error_member);

	if (strcmp(status, "completed"))
		demo_fail("the migration is %s: %s", status, error ? error : "no reason given");
}

static gboolean is_over(JsonNode *info)
{
	static const char *const ends[] = {"completed", "failed", "cancelled", NULL};

	return g_strv_contains(ends, qmp_str(info, "status"));
}

/* Asks again and again; the last answer, the caller's. */
static JsonNode *follow(Demo *demo, const Machine *source, const char *query, gboolean shown)
{
	gint64 end_us = lm_end_us(MIGRATION_MS);
	guint stages = 0;

	for (;;) {
		g_autoptr(JsonNode) info = machine_command(source, query, NULL);
		gboolean over = qmp_str(info, "status") && is_over(info);

		memory_sample(demo);
		if (shown)
			stages = show_stages(info, stages, over);
		if (over)
			return g_steal_pointer(&info);
		if (!lm_left_ms(end_us))
			demo_fail("the migration was not over after %u s", MIGRATION_MS / 1000);
		poll(NULL, 0, POLL_MS);
	}
}

/* The guest must run in @destination only, and all of its heartbeats must have come. */
static void arrive(Machine *source, Machine *destination, gboolean shown, Hop *hop)
{
	g_autofree char *left = NULL;

	if (!vm_wait_status(destination->vm, "running", LM_WAIT_MS))
		demo_fail("the guest does not run in the new process");
	left = vm_status(source->vm);
	if (strcmp(left, "postmigrate"))
		demo_fail("the old process is %s, not postmigrate", left);
	hop->from = g_strdup(source->version);
	hop->to = g_strdup(destination->version);
	if (shown)
		screen_line("  the old process, %d, is quit", (int)source->vm->pid);
	machine_quit(source);
	if (shown)
		hop->checked = machine_watch(destination, &hop->beat);
	else
		machine_wait_beats(destination, &hop->beat);
}

Machine *hop_flip(Demo *demo, Machine *source, const DemoQemu *qemu, gboolean shown, Hop *hop)
{
	Machine *destination = machine_wait(demo, source, qemu, WAIT_FLIP);
	g_autoptr(JsonNode) info = NULL;

	if (shown)
		screen_line("  new process %d, QEMU %s, waits on %s", (int)destination->vm->pid,
			    destination->version, destination->uri);
	memory_begin(demo);
	machine_do(source, "localhost-migrate", "{'uri': %s}", destination->uri);
	info = follow(demo, source, "query-localhost-migrate", shown);
	hop->extra_bytes = memory_end(demo);
	must_have_completed(info, "error-desc");
	hop->stopped_ms = number(info, "downtime");
	hop->total_ms = number(info, "total-time");
	hop->flip_ms = stage_ms(info, "flip");
	hop->device_ms = stage_ms(info, "devices") + stage_ms(info, "load");
	hop->moved_bytes = (guint64)qmp_int(info, "flipped");
	hop->skipped_bytes = (guint64)qmp_int(info, "skipped");
	arrive(source, destination, shown, hop);
	return destination;
}

/*
 * A migration that the source takes back: the new process is started with -S and leaves the disk
 * alone, so it is ended without having run the guest, and the source, whose memory is whole, goes
 * on. For QEMU 7.2 breaks this guest by stock precopy under TCG, without the plugin too: it crashed
 * after two migrations in each of four trials (10.0 and 11.1: never, in eight migrations each).
 */
static void stock_migrate(Demo *demo, Machine *source, Machine *destination, Hop *hop)
{
	g_autoptr(JsonNode) info = NULL;

	memory_begin(demo);
	machine_do(source, "migrate", "{'uri': %s}", destination->uri);
	info = follow(demo, source, "query-migrate", FALSE);
	hop->extra_bytes = memory_end(demo);
	must_have_completed(info, "error-desc");
	hop->stopped_ms = number(info, "downtime");
	hop->total_ms = number(info, "total-time");
	hop->moved_bytes =
		(guint64)qmp_int(json_object_get_member(object_of(info), "ram"), "transferred");
}

void hop_stock(Demo *demo, Machine *source, Hop *hop)
{
	Machine *destination = machine_wait(demo, source, source->qemu, WAIT_STOCK);

	machine_do(destination, "migrate-set-capabilities",
		   "{'capabilities': [{'capability': 'late-block-activate', 'state': true}]}");
	machine_do(source, "migrate-set-parameters", "{'max-bandwidth': %ld}", 1L << 40);
	stock_migrate(demo, source, destination, hop);
	hop->from = g_strdup(source->version);
	hop->to = g_strdup(destination->version);
	machine_quit(destination);
	machine_do(source, "cont", NULL);
	machine_wait_beats(source, &hop->beat);
}
