/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <math.h>
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
		{"share", "private memory becomes a memfd, descriptors pass; the guest runs"},
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

static JsonNode *share_of(JsonNode *info)
{
	return json_object_has_member(object_of(info), "share")
		       ? json_object_get_member(object_of(info), "share")
		       : NULL;
}

static void show_running(const Machine *source, JsonNode *info, JsonNode *stage)
{
	const char *name = qmp_str(stage, "name");
	double ms = number(stage, "milliseconds");
	JsonNode *share = share_of(info);
	Beat beat = {0};

	serial_last_beat(source->vm->serial_path, &beat);
	if (!strcmp(name, "flip"))
		screen_live("    %-8s %8.1f ms   %.0f of %.0f MiB moved", name, ms,
			    number(info, "flipped") / MIB, number(info, "populated") / MIB);
	else if (!strcmp(name, "share") && share)
		screen_live("    %-8s %8.1f ms   %.0f MiB shared, longest chunk %.1f ms; the "
			    "guest: beat %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " errors",
			    name, ms, number(share, "shared") / MIB, number(share, "max-us") / 1000,
			    beat.beat, beat.errors);
	else
		screen_live("    %-8s %8.1f ms   %s", name, ms, meaning(name));
}

/* A VM whose memory goes in one way has nothing to do in the stage of the other. */
static gboolean is_idle(JsonNode *stage)
{
	const char *name = qmp_str(stage, "name");

	return (!strcmp(name, "share") || !strcmp(name, "flip")) &&
	       number(stage, "milliseconds") < 0.05;
}

/* Prints the stages that are over, from @shown on; the one under way is the live line. */
static guint show_stages(const Machine *source, JsonNode *info, guint shown, gboolean all)
{
	JsonArray *stages = stages_of(info);
	guint count = stages ? json_array_get_length(stages) : 0;

	while (shown + (all ? 0 : 1) < count) {
		JsonNode *stage = json_array_get_element(stages, shown++);
		const char *name = qmp_str(stage, "name");

		if (is_idle(stage))
			continue;
		screen_line("    %-8s %8.1f ms   %s", name, number(stage, "milliseconds"),
			    meaning(name));
	}
	if (shown < count)
		show_running(source, info, json_array_get_element(stages, shown));
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
			stages = show_stages(source, info, stages, over);
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

const char *const hop_pause_parts[PAUSE_PARTS] = {"stop", "save",     "send", "map",
						  "load", "activate", "start"};

static void read_pause(JsonNode *info, Hop *hop)
{
	JsonObject *object = object_of(info);
	JsonArray *parts = json_object_has_member(object, "pause")
				   ? json_object_get_array_member(object, "pause")
				   : NULL;

	for (guint i = 0; parts && i < json_array_get_length(parts); i++) {
		JsonNode *part = json_array_get_element(parts, i);

		for (guint p = 0; p < PAUSE_PARTS; p++)
			if (!strcmp(qmp_str(part, "name"), hop_pause_parts[p]))
				hop->pause_ms[p] = number(part, "milliseconds");
	}
}

static void read_share(JsonNode *info, Hop *hop)
{
	JsonNode *share = share_of(info);

	if (!share)
		return;
	hop->share = (HopShare){
		.ms = stage_ms(info, "share"),
		.median_us = number(share, "median-us"),
		.p99_us = number(share, "p99-us"),
		.max_us = number(share, "max-us"),
		.shared_bytes = (guint64)qmp_int(share, "shared"),
		.huge_bytes = (guint64)qmp_int(share, "huge"),
		.left_bytes = (guint64)qmp_int(share, "left"),
		.chunks = qmp_int(share, "chunks"),
		.why_not_live = g_strdup(qmp_str(share, "why-not-live")),
	};
}

static void read_info(JsonNode *info, Hop *hop)
{
	hop->stopped_ms = number(info, "downtime");
	hop->total_ms = number(info, "total-time");
	hop->flip_ms = stage_ms(info, "flip");
	hop->device_ms = stage_ms(info, "devices") + stage_ms(info, "load");
	hop->moved_bytes = (guint64)qmp_int(info, "flipped");
	hop->skipped_bytes = (guint64)qmp_int(info, "skipped");
	read_pause(info, hop);
	read_share(info, hop);
	hop->way = hop->share.chunks > 0 ? "share" : hop->moved_bytes ? "flip" : "pass";
}

static void begin(const Machine *source, const Machine *destination, HopHow how)
{
	if (how.bandwidth)
		machine_do(source, "localhost-migrate", "{'uri': %s, 'ram': %s, 'bandwidth': %ld}",
			   destination->uri, how.ram, how.bandwidth);
	else
		machine_do(source, "localhost-migrate", "{'uri': %s, 'ram': %s}", destination->uri,
			   how.ram);
}

/* Just after it was stopped: the beat that has the pause in it is still to come. */
static void note_stalls(const Machine *source, guint64 begun, Hop *hop)
{
	const char *path = source->vm->serial_path;
	Beat beat = {0};

	hop->stall_before_ms = hop->stall_ms = NAN;
	if (!serial_last_beat(path, &beat))
		return;
	hop->gap_until_ms = beat.gap_ms;
	if (beat.beat <= begun)
		return;
	hop->stall_ms = (double)serial_stall_us(path, begun, beat.beat) / 1000;
	hop->stall_before_ms =
		(double)serial_stall_us(path, begun - MIN(begun, beat.beat - begun), begun) / 1000;
}

Machine *hop_local(Demo *demo, Machine *source, const DemoQemu *qemu, HopHow how, Hop *hop)
{
	Machine *destination = machine_wait(demo, source, qemu, WAIT_LOCAL);
	g_autoptr(JsonNode) info = NULL;
	gint64 begin_us;
	Beat begun = {0};

	if (how.shown)
		screen_line("  new process %d, QEMU %s, waits on %s", (int)destination->vm->pid,
			    destination->version, destination->uri);
	memory_begin(demo);
	hop->down_ms = hop->until_ms = NAN;
	serial_last_beat(source->vm->serial_path, &begun);
	begin_us = g_get_real_time();
	begin(source, destination, how);
	/* To ask how it goes would take time from it, where nobody watches. */
	if (source->events && !how.shown)
		events_measure(source->events, destination->events, begin_us, hop);
	note_stalls(source, begun.beat, hop);
	info = follow(demo, source, "query-localhost-migrate", how.shown);
	hop->extra_bytes = memory_end(demo);
	must_have_completed(info, "error-desc");
	if (source->events && how.shown)
		events_measure(source->events, destination->events, begin_us, hop);
	read_info(info, hop);
	arrive(source, destination, how.shown, hop);
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

	hop->way = "precopy";
	hop->down_ms = hop->until_ms = NAN;
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

Machine *hop_cpr(Demo *demo, Machine *source, Hop *hop)
{
	static const char channels[] =
		"{'channels': [{'channel-type': 'main', 'addr': {'transport': 'socket', "
		"'type': 'unix', 'path': %s}}, {'channel-type': 'cpr', 'addr': "
		"{'transport': 'socket', 'type': 'unix', 'path': %s}}]}";
	Machine *destination = machine_wait(demo, source, source->qemu, WAIT_CPR);
	const char *path = destination->uri + strlen("unix:");
	g_autofree char *cpr_path = g_strconcat(path, CPR_SUFFIX, NULL);
	g_autoptr(JsonNode) info = NULL;
	gint64 begin_us;

	machine_do(source, "migrate-set-parameters", "{'mode': 'cpr-transfer'}");
	memory_begin(demo);
	hop->way = "cpr-transfer";
	hop->down_ms = hop->until_ms = NAN;
	begin_us = g_get_real_time();
	machine_do(source, "migrate", channels, path, cpr_path);
	events_connect(destination->events);
	events_measure(source->events, destination->events, begin_us, hop);
	info = follow(demo, source, "query-migrate", FALSE);
	hop->extra_bytes = memory_end(demo);
	must_have_completed(info, "error-desc");
	hop->stopped_ms = number(info, "downtime");
	hop->total_ms = number(info, "total-time");
	machine_connect(destination);
	arrive(source, destination, FALSE, hop);
	return destination;
}
