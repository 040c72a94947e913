/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

#define LINUX_MIB   1024
#define TOUCHED_MIB 560
/* The kernel's own options make it start soon and on a busy host too. */
#define LINUX_APPEND                                                                               \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.disk=1 lm.disk_mib=16 lm.net=1 lm.mib=" G_STRINGIFY(TOUCHED_MIB)

static const char *given(const char *variable)
{
	const char *value = g_getenv(variable);

	return value && *value ? value : NULL;
}

static void find_chain(Demo *demo)
{
	static const char *const versions[] = {"7_2", "10_0", "11_1"};

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		g_autofree char *binary = g_strconcat("LM_QEMU_", versions[i], NULL);
		g_autofree char *root = g_strconcat("LM_ROOT_", versions[i], NULL);
		DemoQemu qemu = {.binary = given(binary), .root = given(root)};

		if (!qemu.binary && !qemu.root)
			demo_fail("neither %s nor %s is set", binary, root);
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
					     "LM_PAYLOAD"};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!given(needed[i]))
			demo_fail("%s is not set: run ./demo, which does that", needed[i]);
}

static char *make_disk(Demo *demo)
{
	g_autofree char *path = lm_test_path(demo->test, "disk.qcow2");
	const char *const argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, "64M", NULL};
	g_autoptr(GError) error = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
			  &status, &error) ||
	    !g_spawn_check_wait_status(status, &error))
		demo_fail("qemu-img: %s", error->message);
	return g_strdup_printf("driver=file,filename=%s,node-name=file0", path);
}

/* The guest writes to memory and disk all the while, and checks what it wrote. */
static Machine *boot_linux(Demo *demo)
{
	static const char *extra[] = {
		"-blockdev", NULL /* the file */,
		"-blockdev", "driver=qcow2,file=file0,node-name=disk0",
		"-device",   "virtio-blk-pci,drive=disk0",
		"-netdev",   "user,id=net0,guestfwd=tcp:10.0.2.100:7-cmd:cat",
		"-device",   "virtio-net-pci,netdev=net0,romfile=",
		NULL,
	};
	static DemoGuest guest = {
		.name = "a Linux guest of 1 GiB",
		.memory_mib = LINUX_MIB,
		.append = LINUX_APPEND,
		.extra = extra,
	};
	Machine *machine;
	Beat beat;

	extra[1] = make_disk(demo);
	guest.kernel = given("LM_VMLINUZ");
	guest.initrd = given("LM_INITRAMFS");
	screen_heading("A Linux guest in ordinary private memory");
	machine = machine_boot(demo, &guest, &demo->qemus[0]);
	screen_line("  ready: QEMU %s, process %d, 1 GiB, of which the guest writes to %d MiB, "
		    "and to disk and network",
		    machine->version, (int)machine->vm->pid, TOUCHED_MIB);
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
	return supervise(work, &demo);
}
