/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory can be shared once: so each run boots a guest in private memory, shares it (the first
 * upgrade) and passes it on (the ones after it), and boots the same guest in memory that is shared
 * from its start, which cpr-transfer hands over as often, in the same QEMU. Each is the first in
 * turn, and no other VM runs meanwhile.
 */
#include "live.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define AGAIN 3 /* a pass takes little time, and varies */

typedef struct Runs {
	GArray *share, *pass, *cpr; /* of Hop */
} Runs;

static double down_ms(const Hop *hop)
{
	return hop->down_ms;
}

static double until_ms(const Hop *hop)
{
	return hop->until_ms;
}

static double share_ms(const Hop *hop)
{
	return hop->share.ms;
}

static double extra_mib(const Hop *hop)
{
	return hop->extra_bytes < 0 ? NAN : (double)hop->extra_bytes / MIB;
}

static double chunk_median_ms(const Hop *hop)
{
	return hop->share.median_us / 1000;
}

static double chunk_max_ms(const Hop *hop)
{
	return hop->share.max_us / 1000;
}

static double huge_percent(const Hop *hop)
{
	return hop->huge_before_bytes
		       ? 100.0 * (double)hop->share.huge_bytes / (double)hop->huge_before_bytes
		       : NAN;
}

/* How much later a heartbeat came than ever before, while memory was shared; 0 if none did. */
static double gap_growth_ms(const Hop *hop)
{
	return (double)hop->gap_until_ms - (double)hop->gap_before_ms;
}

static double stall_ms(const Hop *hop)
{
	return hop->stall_ms;
}

static double stall_before_ms(const Hop *hop)
{
	return hop->stall_before_ms;
}

static double pause_stop(const Hop *hop)
{
	return hop->pause_ms[0];
}

static double pause_save_and_send(const Hop *hop)
{
	return hop->pause_ms[1] + hop->pause_ms[2];
}

static double pause_map(const Hop *hop)
{
	return hop->pause_ms[3];
}

static double pause_load(const Hop *hop)
{
	return hop->pause_ms[4];
}

static double pause_activate_and_start(const Hop *hop)
{
	return hop->pause_ms[5] + hop->pause_ms[6];
}

/*
 * Bytes in huge pages of the private mappings that are large enough to be the guest's memory: TCG
 * keeps its code in huge pages, too, but in a mapping that is executable.
 */
static guint64 guest_huge_bytes(const Machine *machine)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/smaps", (int)machine->vm->pid);
	guint64 least = (guint64)machine->guest->memory_mib << 19, sum = 0;
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	gboolean counts = FALSE;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; lines[i]; i++) {
		unsigned long begin, end;
		char access[5];

		if (sscanf(lines[i], "%lx-%lx %4s ", &begin, &end, access) == 3)
			counts = !strcmp(access, "rw-p") && end - begin >= least;
		else if (counts && g_str_has_prefix(lines[i], "AnonHugePages:"))
			sum += g_ascii_strtoull(lines[i] + strlen("AnonHugePages:"), NULL, 10)
			       << 10;
	}
	return sum;
}

static void look_before(const Machine *machine, Hop *hop)
{
	Beat beat;

	machine_wait_beats(machine, &beat);
	hop->gap_before_ms = beat.gap_ms;
	hop->huge_before_bytes = guest_huge_bytes(machine);
}

static Hop share(Demo *demo, Machine **machine)
{
	const HopHow how = {.ram = "share"};
	Hop hop = {0};

	look_before(*machine, &hop);
	*machine = hop_local(demo, *machine, (*machine)->qemu, how, &hop);
	if (strcmp(hop.way, "share"))
		demo_fail("the guest's memory was not shared: it went by %s", hop.way);
	return hop;
}

static void run_ours(Demo *demo, const DemoQemu *qemu, Runs *runs)
{
	Machine *machine;
	Hop first;

	warm_memory();
	machine = machine_boot(demo, linux_guest(demo, FALSE), qemu);
	first = share(demo, &machine);
	g_array_append_val(runs->share, first);
	for (int i = 0; i < AGAIN; i++) {
		Hop hop = {0};

		machine = hop_local(demo, machine, qemu, (HopHow){.ram = "share"}, &hop);
		g_array_append_val(runs->pass, hop);
	}
	machine_quit(machine);
}

static void run_cpr(Demo *demo, const DemoQemu *qemu, Runs *runs)
{
	Machine *machine;

	warm_memory();
	machine = machine_boot(demo, linux_guest(demo, TRUE), qemu);
	for (int i = 0; i < AGAIN; i++) {
		Hop hop = {0};
		Beat beat;

		machine_wait_beats(machine, &beat);
		machine = hop_cpr(demo, machine, &hop);
		g_array_append_val(runs->cpr, hop);
	}
	machine_quit(machine);
}

static const Hop *last(const GArray *hops)
{
	return &g_array_index(hops, Hop, hops->len - 1);
}

/* A figure of one QEMU version: the same names for each. */
static void add(GArray *figures, const char *version, const char *name, const char *key,
		const char *unit, Spread value)
{
	g_autofree char *full_key = g_strdup_printf("%s-%s", key, version);

	figures_add(figures, name, g_intern_string(full_key), unit, value);
}

static void summarize_downtime(GArray *figures, const char *version, const Runs *runs)
{
	Spread share = figures_spread(runs->share, down_ms);
	Spread pass = figures_spread(runs->pass, down_ms);
	Spread cpr = figures_spread(runs->cpr, down_ms);
	Spread first = figures_ratio(share, cpr), second = figures_ratio(pass, cpr);

	add(figures, version, "stopped for, cpr-transfer", "cpr-down", "ms", cpr);
	add(figures, version, "stopped for, share (private memory)", "share-down", "ms", share);
	add(figures, version, "  ratio", "share-down-ratio", "", first);
	figures_aim(figures, "<= 1", first.median <= 1);
	add(figures, version, "  ratio, hoped for", "share-down-half", "", first);
	figures_aim(figures, "<= 0.5", first.median <= 0.5);
	add(figures, version, "stopped for, pass (from the second time on)", "pass-down", "ms",
	    pass);
	add(figures, version, "  ratio", "pass-down-ratio", "", second);
	figures_aim(figures, "<= 1", second.median <= 1);
	add(figures, version, "  ratio, hoped for", "pass-down-half", "", second);
	figures_aim(figures, "<= 0.5", second.median <= 0.5);
}

static void summarize_pause(GArray *figures, const char *version, const GArray *hops)
{
	static const struct {
		const char *name, *key;
		Value value;
	} parts[] = {
		{"  where it goes: stop", "pass-stop", pause_stop},
		{"    save and send", "pass-save-send", pause_save_and_send},
		{"    map", "pass-map", pause_map},
		{"    load", "pass-load", pause_load},
		{"    activate and start", "pass-activate-start", pause_activate_and_start},
	};

	for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
		add(figures, version, parts[i].name, parts[i].key, "ms",
		    figures_spread(hops, parts[i].value));
}

static void summarize_total(GArray *figures, const char *version, const Runs *runs)
{
	Spread pass = figures_spread(runs->pass, until_ms);
	Spread cpr = figures_spread(runs->cpr, until_ms);
	Spread extra = figures_spread(runs->share, extra_mib);

	add(figures, version, "from the command until it ran, cpr-transfer", "cpr-until", "ms",
	    cpr);
	add(figures, version, "from the command until it ran, share", "share-until", "ms",
	    figures_spread(runs->share, until_ms));
	add(figures, version, "  of that, memory shared while the guest runs", "share-ms", "ms",
	    figures_spread(runs->share, share_ms));
	add(figures, version, "from the command until it ran, pass", "pass-until", "ms", pass);
	figures_aim(figures, "< cpr-transfer", pass.median < cpr.median);
	add(figures, version, "peak memory over before, cpr-transfer", "cpr-extra", "MiB",
	    figures_spread(runs->cpr, extra_mib));
	add(figures, version, "peak memory over before, share", "share-extra", "MiB", extra);
	figures_aim(figures, "<= 16 MiB", extra.median <= 16);
}

static void summarize_stalls(GArray *figures, const char *version, const Runs *runs)
{
	Spread longest = figures_spread(runs->share, chunk_max_ms);
	Spread huge = figures_spread(runs->share, huge_percent);
	Spread stall = figures_spread(runs->share, stall_ms);

	add(figures, version, "a chunk was out of reach for, median", "chunk-median", "ms",
	    figures_spread(runs->share, chunk_median_ms));
	add(figures, version, "a chunk was out of reach for, longest of a run", "chunk-max", "ms",
	    longest);
	figures_aim(figures, "<= 5 ms", longest.median <= 5);
	add(figures, version, "  in the worst run", "chunk-worst", "ms",
	    (Spread){longest.high, longest.low, longest.high});
	figures_aim(figures, "<= 10 ms", longest.high <= 10);
	add(figures, version, "the guest waited for a page, longest of a run", "stall", "ms",
	    stall);
	figures_aim(figures, "<= 5 ms", stall.median <= 5);
	add(figures, version, "  in the worst run", "stall-worst", "ms",
	    (Spread){stall.high, stall.low, stall.high});
	figures_aim(figures, "<= 10 ms", stall.high <= 10);
	add(figures, version, "  in as long a time before", "stall-before", "ms",
	    figures_spread(runs->share, stall_before_ms));
	add(figures, version, "  a heartbeat came later than before by", "gap-growth", "ms",
	    figures_spread(runs->share, gap_growth_ms));
	add(figures, version, "huge pages that are huge pages in the memfd", "huge-kept", "%",
	    huge);
	figures_aim(figures, ">= 95 %", huge.median >= 95);
}

void figures_live(Demo *demo, const DemoQemu *qemu, GArray *figures)
{
	Runs runs = {hops_new(), hops_new(), hops_new()};
	const char *version;

	for (int i = 1; i <= demo->runs; i++) {
		if (i % 2)
			run_ours(demo, qemu, &runs);
		run_cpr(demo, qemu, &runs);
		if (!(i % 2))
			run_ours(demo, qemu, &runs);
		screen_line("  run %d of %d: stopped for %.1f ms (share), %.1f ms (pass), %.1f ms "
			    "(cpr-transfer); until it ran %.0f ms, %.0f ms, %.0f ms; longest "
			    "chunk %.1f ms",
			    i, demo->runs, last(runs.share)->down_ms, last(runs.pass)->down_ms,
			    last(runs.cpr)->down_ms, last(runs.share)->until_ms,
			    last(runs.pass)->until_ms, last(runs.cpr)->until_ms,
			    chunk_max_ms(last(runs.share)));
	}
	version = last(runs.pass)->to;
	summarize_downtime(figures, version, &runs);
	summarize_pause(figures, version, runs.pass);
	summarize_total(figures, version, &runs);
	summarize_stalls(figures, version, &runs);
	g_array_unref(runs.share);
	g_array_unref(runs.pass);
	g_array_unref(runs.cpr);
}

/* All that the guest can reach is touched: the larger one has twice the memory to share, too. */
void figures_live_size(Demo *demo, GArray *figures)
{
	static const DemoGuest guests[] = {
		{.name = "a VM of 1 GiB", .memory_mib = 1024},
		{.name = "a VM of 8 GiB", .memory_mib = 8192},
	};
	const DemoQemu *qemu = &demo->qemus[demo->qemu_count - 1];
	GArray *hops[G_N_ELEMENTS(guests)] = {hops_new(), hops_new()};
	int count = 2 * demo->runs + 1; /* they are short, and uneven */
	Spread one, eight;

	for (int i = 1; i <= count; i++) {
		for (guint k = 0; k < G_N_ELEMENTS(guests); k++) {
			guint g = i % 2 ? k : 1 - k; /* each is the first in turn */
			Machine *machine;
			Hop hop;

			warm_memory();
			machine = machine_boot(demo, &guests[g], qemu);
			hop = share(demo, &machine);
			g_array_append_val(hops[g], hop);
			machine_quit(machine);
		}
		screen_line("  run %d of %d: stopped for %.1f ms (1 GiB), %.1f ms (8 GiB); shared "
			    "%.0f MiB, %.0f MiB",
			    i, count, last(hops[0])->down_ms, last(hops[1])->down_ms,
			    (double)last(hops[0])->share.shared_bytes / MIB,
			    (double)last(hops[1])->share.shared_bytes / MIB);
	}
	one = figures_spread(hops[0], down_ms);
	eight = figures_spread(hops[1], down_ms);
	figures_add(figures, "stopped for, 1 GiB, all of it touched", "share-down-1-gib", "ms",
		    one);
	figures_add(figures, "stopped for, 8 GiB, 2 GiB touched", "share-down-8-gib", "ms", eight);
	figures_add(figures, "  ratio", "share-size-ratio", "", figures_ratio(eight, one));
	figures_aim(figures, "<= 1.2", figures_ratio(eight, one).median <= 1.2);
	for (guint g = 0; g < G_N_ELEMENTS(guests); g++)
		g_array_unref(hops[g]);
}
