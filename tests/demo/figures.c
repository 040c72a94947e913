/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each way is gone a few times, in turn with what it is compared with; figures are medians, with
 * the lowest and the highest.
 *
 * Before each run memory is taken and given back. Where the host is a VM itself, memory that it
 * did not use yet costs several times as much: stock migration needs such memory for all of the
 * guest, flip hardly any, and what was compared would be the host's host.
 */
#include "demo.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#define WARM_BYTES (2ull << 30)

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

Spread figures_spread(const GArray *hops, Value value)
{
	g_autofree double *values = g_new0(double, hops->len);
	guint half = hops->len / 2;
	double middle;

	for (guint i = 0; i < hops->len; i++)
		values[i] = value(&g_array_index(hops, Hop, i));
	qsort(values, hops->len, sizeof(double), compare);
	middle = hops->len % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
	return (Spread){middle, values[0], values[hops->len - 1]};
}

Spread figures_ratio(Spread a, Spread b)
{
	return (Spread){a.median / b.median, a.low / b.high, a.high / b.low};
}

void warm_memory(void)
{
	struct sysinfo info;
	guint64 bytes = WARM_BYTES;
	void *memory;

	if (!sysinfo(&info))
		bytes = MIN(bytes, (guint64)info.freeram * info.mem_unit / 2);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return;
	madvise(memory, bytes, MADV_HUGEPAGE);
	memset(memory, 1, bytes);
	munmap(memory, bytes);
}

static double gb_per_s(guint64 bytes, double ms)
{
	return ms > 0 ? (double)bytes / 1e6 / ms : NAN;
}

static double flip_speed(const Hop *hop)
{
	return gb_per_s(hop->moved_bytes, hop->flip_ms);
}

static double total_speed(const Hop *hop)
{
	return gb_per_s(hop->moved_bytes, hop->total_ms);
}

static double extra_mib(const Hop *hop)
{
	return hop->extra_bytes < 0 ? NAN : (double)hop->extra_bytes / MIB;
}

static double stopped_ms(const Hop *hop)
{
	return hop->stopped_ms;
}

static double device_ms(const Hop *hop)
{
	return hop->device_ms;
}

static void hop_clear(gpointer opaque)
{
	Hop *hop = opaque;

	g_free(hop->from);
	g_free(hop->to);
	g_free(hop->share.why_not_live);
}

GArray *hops_new(void)
{
	GArray *hops = g_array_new(FALSE, TRUE, sizeof(Hop));

	g_array_set_clear_func(hops, hop_clear);
	return hops;
}

void figures_add(GArray *figures, const char *name, const char *key, const char *unit, Spread value)
{
	Figure figure = {.name = name, .key = key, .unit = unit, .value = value};

	g_array_append_val(figures, figure);
}

void figures_aim(GArray *figures, const char *text, gboolean reached)
{
	Figure *figure = &g_array_index(figures, Figure, figures->len - 1);

	figure->aim = text;
	figure->reached = reached;
}

static void summarize_linux(GArray *figures, const GArray *flips, const GArray *stocks)
{
	Spread stock = figures_spread(stocks, total_speed),
	       flip = figures_spread(flips, flip_speed);
	Spread total = figures_spread(flips, total_speed), extra = figures_spread(flips, extra_mib);
	Spread devices = figures_spread(flips, device_ms);

	figures_add(figures, "RAM moved, stock precopy", "stock-throughput", "GB/s", stock);
	figures_add(figures, "RAM moved, flip", "flip-throughput", "GB/s", flip);
	figures_add(figures, "  ratio", "throughput-ratio", "", figures_ratio(flip, stock));
	figures_aim(figures, ">= 2.5", figures_ratio(flip, stock).median >= 2.5);
	figures_add(figures, "RAM moved, flip, all stages counted", "total-throughput", "GB/s",
		    total);
	figures_add(figures, "  ratio", "total-throughput-ratio", "", figures_ratio(total, stock));
	figures_add(figures, "peak memory over before, stock precopy", "stock-extra", "MiB",
		    figures_spread(stocks, extra_mib));
	figures_add(figures, "peak memory over before, flip", "flip-extra", "MiB", extra);
	figures_aim(figures, "<= 32 MiB", extra.median <= 32);
	figures_add(figures, "devices saved, sent, loaded, Linux guest", "linux-devices", "ms",
		    devices);
	figures_aim(figures, "< 15 ms", devices.median < 15);
	figures_add(figures, "stopped for, stock precopy", "stock-stopped", "ms",
		    figures_spread(stocks, stopped_ms));
	figures_add(figures, "stopped for, flip", "flip-stopped", "ms",
		    figures_spread(flips, stopped_ms));
}

Machine *figures_linux(Demo *demo, Machine *machine, GArray *figures)
{
	g_autoptr(GArray) flips = hops_new(), stocks = hops_new();
	const DemoQemu *qemu = machine->qemu;

	for (int i = 1; i <= demo->runs; i++) {
		Hop flip = {0}, stock = {0};

		warm_memory();
		machine = hop_flip(demo, machine, qemu, FALSE, &flip);
		g_array_append_val(flips, flip);
		warm_memory();
		hop_stock(demo, machine, &stock);
		g_array_append_val(stocks, stock);
		screen_line("  run %d of %d: flip %.2f GB/s, done after %.0f ms; stock precopy "
			    "%.2f GB/s, done after %.0f ms",
			    i, demo->runs, flip_speed(&flip), flip.total_ms, total_speed(&stock),
			    stock.total_ms);
	}
	summarize_linux(figures, flips, stocks);
	return machine;
}

static void summarize_size(GArray *figures, const GArray *small, const GArray *large)
{
	Spread one = figures_spread(small, stopped_ms), eight = figures_spread(large, stopped_ms);
	Spread devices = figures_spread(large, device_ms);

	figures_add(figures, "stopped for, 1 GiB, 256 MiB touched", "stopped-1-gib", "ms", one);
	figures_add(figures, "stopped for, 8 GiB, 256 MiB touched", "stopped-8-gib", "ms", eight);
	figures_add(figures, "  ratio", "size-ratio", "", figures_ratio(eight, one));
	figures_aim(figures, "<= 1.2", figures_ratio(eight, one).median <= 1.2);
	figures_add(figures, "devices saved, sent, loaded, 8 GiB", "payload-devices", "ms",
		    devices);
	figures_aim(figures, "< 15 ms", devices.median < 15);
}

void figures_size(Demo *demo, GArray *figures)
{
	static const DemoGuest guests[] = {
		{.name = "a VM of 1 GiB", .append = "touch=256", .memory_mib = 1024},
		{.name = "a VM of 8 GiB", .append = "touch=256", .memory_mib = 8192},
	};
	const DemoQemu *qemu = &demo->qemus[demo->qemu_count - 1];
	Machine *machines[G_N_ELEMENTS(guests)];
	GArray *hops[G_N_ELEMENTS(guests)];
	int runs = 4 * demo->runs + 1; /* they are short, and uneven */

	for (guint g = 0; g < G_N_ELEMENTS(guests); g++) {
		machines[g] = machine_boot(demo, &guests[g], qemu);
		hops[g] = hops_new();
	}
	for (int i = 1; i <= runs; i++) {
		Hop both[G_N_ELEMENTS(guests)] = {0};

		for (guint k = 0; k < G_N_ELEMENTS(guests); k++) {
			guint g = i % 2 ? k : 1 - k; /* each is the first in turn */

			warm_memory();
			machines[g] = hop_flip(demo, machines[g], qemu, FALSE, &both[g]);
			g_array_append_val(hops[g], both[g]);
		}
		screen_line("  run %d of %d: stopped for %.1f ms (1 GiB), %.1f ms (8 GiB)", i, runs,
			    both[0].stopped_ms, both[1].stopped_ms);
	}
	summarize_size(figures, hops[0], hops[1]);
	for (guint g = 0; g < G_N_ELEMENTS(guests); g++) {
		machine_quit(machines[g]);
		g_array_unref(hops[g]);
	}
}
