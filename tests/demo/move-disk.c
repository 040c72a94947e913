/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ./demo --move-disk: the guest's disk is in another image after the upgrade, on another file
 * system, and the guest has not waited for it.
 */
#include "demo.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <glib/gstdio.h>

#define DISK	 "512M"
#define CONTENT	 "write -q -P 0x5a 64M 448M" /* the guest has the first 16 MiB */
#define THROTTLE "128M"

static char *run(const char *const *argv)
{
	g_autoptr(GError) error = NULL;
	char *out = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL,
			  &status, &error) ||
	    !g_spawn_check_wait_status(status, &error))
		demo_fail("%s: %s", argv[0], error->message);
	return out;
}

static char *make_image(Demo *demo)
{
	char *path = lm_test_path(demo->test, "old.qcow2");
	const char *const create[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, DISK, NULL};
	const char *const fill[] = {"qemu-io", "-f", "qcow2", "-c", CONTENT, path, NULL};

	g_free(run(create));
	g_free(run(fill));
	return path;
}

/* What is mounted from now on goes with this process and its children. */
static int unshare_mounts(void)
{
	return unshare(CLONE_NEWNS) < 0 ? -1 : mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static char *other_storage(Demo *demo)
{
	g_autofree char *folder = lm_test_path(demo->test, "other-storage");

	if (g_mkdir(folder, 0755) < 0 || unshare_mounts() < 0 ||
	    mount("tmpfs", folder, "tmpfs", 0, "size=1G") < 0)
		demo_fail("a file system in %s: %s", folder, g_strerror(errno));
	return g_build_filename(folder, "new.qcow2", NULL);
}

static Machine *boot(Demo *demo, const char *image)
{
	Machine *machine;
	Beat beat;

	screen_heading("A Linux guest with a disk of " DISK);
	machine = machine_boot(demo, linux_guest_on(image, FALSE), &demo->qemus[0]);
	screen_line("  ready: QEMU %s, process %d; it writes to its disk and reads back all the "
		    "while",
		    machine->version, (int)machine->vm->pid);
	machine_watch(machine, &beat);
	tool_leave_monitor(machine);
	return machine;
}

static void show_image(const char *path)
{
	const char *const argv[] = {"qemu-img", "info", "-U", path, NULL};
	g_autofree char *info = run(argv);
	g_auto(GStrv) lines = g_strsplit(info, "\n", -1);

	for (char **line = lines; *line; line++)
		if (g_str_has_prefix(*line, "image:") || g_str_has_prefix(*line, "disk size:") ||
		    g_str_has_prefix(*line, "backing file:"))
			screen_line("    %s", *line);
	if (!strstr(info, "backing file"))
		screen_line("    nothing beneath it");
}

static void report(JsonNode *done, const Beat *beat)
{
	g_autoptr(Table) table = table_new();

	table_row(table, "the guest was stopped for");
	table_cell(table, "%.1f ms", tool_number(done, "stopped-ms"));
	table_row(table, "its disk was copied while it ran, throttled to " THROTTLE "iB/s, in");
	table_cell(table, "%.1f s", tool_number(done, "copy-ms") / 1000);
	table_row(table, "errors that the guest saw, on its disk or elsewhere");
	table_cell(table, "%" G_GUINT64_FORMAT, beat->errors);
	table_print(table);
}

void move_disk_work(Demo *demo)
{
	g_autofree char *old = make_image(demo), *new = other_storage(demo);
	g_autofree char *option = g_strdup_printf("--move-disk=disk0=%s,throttle=" THROTTLE, new);
	g_autofree char *program = g_find_program_in_path("qemu-system-x86_64");
	const char *const options[] = {"--binary", program, option, NULL};
	Machine *machine = boot(demo, old);
	g_autoptr(JsonNode) done = NULL;
	Beat beat;

	screen_heading("Upgrade, and the disk to another storage");
	done = tool_run(demo, machine, options);
	tool_follow(machine, done);
	show_image(new);
	machine_watch(machine, &beat);
	screen_heading("What it took");
	report(done, &beat);
	tool_quit(machine);
}
