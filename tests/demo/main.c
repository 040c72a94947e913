/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <stdio.h>
#include <stdlib.h>

static void find_chain(Demo *demo)
{
	static const char *const versions[] = {"7_2", "10_0", "11_1"};

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		DemoQemu qemu;

		if (!given_qemu(versions[i], &qemu))
			demo_fail("neither LM_QEMU_%s nor LM_ROOT_%s is set", versions[i],
				  versions[i]);
		demo->qemus[demo->qemu_count++] = qemu;
	}
}

static void find_qemus(Demo *demo)
{
	if (demo->chain) {
		find_chain(demo);
		return;
	}
	demo->qemu_count = G_N_ELEMENTS(demo->qemus);
}

static void check_environment(const Demo *demo)
{
	static const char *const needed[] = {"LM_VMLINUZ", "LM_INITRAMFS", "LM_PLUGIN",
					     "LM_PAYLOAD", "LM_TOOL"};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!given(needed[i]))
			demo_fail("%s is not set: run ./demo, which does that", needed[i]);
}

static Machine *boot_linux(Demo *demo)
{
	Machine *machine;
	Beat beat;

	screen_heading("A Linux guest in ordinary private memory");
	machine = machine_boot(demo, linux_guest(demo, FALSE), &demo->qemus[0]);
	screen_line("  ready: QEMU %s, process %d, 1 GiB, of which the guest writes to %d MiB, "
		    "and to disk and network",
		    machine->version, (int)machine->vm->pid, LINUX_TOUCHED_MIB);
	machine_watch(machine, &beat);
	return machine;
}

static Machine *upgrade_all(Demo *demo, Machine *machine)
{
	for (guint i = 1; i < demo->qemu_count; i++) {
		Hop hop = {0};

		screen_heading("Upgrade %u", i);
		machine = hop_flip(demo, machine, &demo->qemus[i], TRUE, &hop);
		g_array_append_val(demo->upgrades, hop);
	}
	screen_heading("What it took");
	report_upgrades(demo);
	return machine;
}

static void work(Demo *demo)
{
	g_autoptr(GArray) figures = g_array_new(FALSE, TRUE, sizeof(Figure));
	Machine *machine = upgrade_all(demo, boot_linux(demo));

	if (!demo->quick) {
		screen_heading("Figures: the same guest, flip and stock precopy in turn");
		machine = figures_linux(demo, machine, figures);
	}
	machine_quit(machine);
	if (!demo->quick) {
		screen_heading("Figures: VMs of two sizes that touched the same");
		figures_size(demo, figures);
		screen_heading("Figures");
		report_figures(figures);
	}
	if (demo->json_path)
		report_json(demo, figures);
}

int main(int argc, char **argv)
{
	static Demo demo = {.runs = 5};
	const GOptionEntry options[] = {
		{"chain", 0, 0, G_OPTION_ARG_NONE, &demo.chain, "QEMU 7.2 to 10.0 to 11.1", NULL},
		{"live", 0, 0, G_OPTION_ARG_NONE, &demo.live, "share while the guest runs", NULL},
		{"attach", 0, 0, G_OPTION_ARG_NONE, &demo.attach,
		 "start QEMU without the plugin, and load it while it runs", NULL},
		{"move-disk", 0, 0, G_OPTION_ARG_NONE, &demo.move_disk,
		 "have the guest's disk in another image afterwards", NULL},
		{"quick", 0, 0, G_OPTION_ARG_NONE, &demo.quick, "without the figures", NULL},
		{"runs", 0, 0, G_OPTION_ARG_INT, &demo.runs, "runs of each figure", "N"},
		{"json", 0, 0, G_OPTION_ARG_FILENAME, &demo.json_path, "write figures", "FILE"},
		{0},
	};
	g_autoptr(GOptionContext) context = g_option_context_new("- upgrades a running VM");
	g_autoptr(GError) error = NULL;

	g_option_context_add_main_entries(context, options, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error) || argc > 1 || demo.runs < 1) {
		fprintf(stderr, "demo: %s\n", error ? error->message : "wrong arguments (--help)");
		return 2;
	}
	screen_init();
	check_environment(&demo);
	find_qemus(&demo);
	demo.upgrades = g_array_new(FALSE, TRUE, sizeof(Hop));
	return supervise(demo.attach	  ? attach_work
			 : demo.move_disk ? move_disk_work
			 : demo.live	  ? live_work
					  : work,
			 &demo);
}
