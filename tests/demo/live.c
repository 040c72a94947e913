/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <stdlib.h>

/* Slow enough to be watched; the figures are without. */
#define SHOWN_BANDWIDTH (256l << 20)

static Machine *boot(Demo *demo, const char *heading)
{
	Machine *machine;
	Beat beat;

	screen_heading("%s", heading);
	machine = machine_boot(demo, linux_guest(demo, FALSE), &demo->qemus[0]);
	screen_line("  ready: QEMU %s, process %d, 1 GiB, of which the guest writes to %d MiB, "
		    "and to disk and network",
		    machine->version, (int)machine->vm->pid, LINUX_TOUCHED_MIB);
	machine_watch(machine, &beat);
	return machine;
}

static Machine *show(Demo *demo, Machine *machine, guint to, HopHow how, const char *heading)
{
	Hop hop = {0};

	screen_heading("%s", heading);
	how.shown = TRUE;
	machine = hop_local(demo, machine, &demo->qemus[to], how, &hop);
	live_show_share(&hop);
	live_show_pause(&hop);
	g_array_append_val(demo->upgrades, hop);
	return machine;
}

static void show_all(Demo *demo)
{
	Machine *machine = boot(demo, "A Linux guest in ordinary private memory");

	machine = show(demo, machine, 1, (HopHow){.ram = "share", .bandwidth = SHOWN_BANDWIDTH},
		       "Upgrade 1: its memory is shared while it runs (slowly, to be watched)");
	machine = show(demo, machine, 2, (HopHow){.ram = "share"},
		       "Upgrade 2: its memory is shared already, and passes");
	machine_quit(machine);
	machine = boot(demo, "For comparison: the same guest, again in private memory");
	machine = show(demo, machine, 1, (HopHow){.ram = "flip"},
		       "Upgrade: its memory is flipped while it is stopped");
	machine_quit(machine);
	screen_heading("What it took");
	report_live(demo);
}

/* Of the versions that have cpr-transfer, those that are here. */
static void compare(Demo *demo)
{
	static const char *const versions[][2] = {{"10_0", "10.0"}, {"11_1", "11.1"}};

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		g_autoptr(GArray) figures = g_array_new(FALSE, TRUE, sizeof(Figure));
		DemoQemu *qemu = g_new0(DemoQemu, 1); /* the machines refer to it */

		screen_heading("QEMU %s: share and pass, and cpr-transfer, in turn",
			       versions[i][1]);
		if (!given_qemu(versions[i][0], qemu)) {
			screen_line("  not measured: there is no QEMU %s here", versions[i][1]);
			continue;
		}
		figures_live(demo, qemu, figures);
		screen_heading("Figures, QEMU %s", versions[i][1]);
		report_figures(figures);
		g_array_append_vals(demo->figures, figures->data, figures->len);
	}
}

static void compare_sizes(Demo *demo)
{
	g_autoptr(GArray) figures = g_array_new(FALSE, TRUE, sizeof(Figure));

	screen_heading("VMs of two sizes, shared");
	figures_live_size(demo, figures);
	screen_heading("Figures, two sizes");
	report_figures(figures);
	g_array_append_vals(demo->figures, figures->data, figures->len);
}

static void note_load(void)
{
	double load;

	if (getloadavg(&load, 1) == 1 && load > 0.5)
		screen_line("note: the host is busy with other work (load %.1f, %u processors): "
			    "times are longer and vary more",
			    load, g_get_num_processors());
}

void live_work(Demo *demo)
{
	note_load();
	demo->figures = g_array_new(FALSE, TRUE, sizeof(Figure));
	show_all(demo);
	if (!demo->quick) {
		compare(demo);
		compare_sizes(demo);
		screen_line(
			"  What the guest waited for a page is by its own clock, and has in it "
			"what "
			"the guest's and the host's schedulers took; hence the same from before.");
	}
	if (demo->json_path)
		report_json(demo, demo->figures);
}
