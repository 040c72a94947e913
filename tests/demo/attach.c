/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ./demo --attach: a guest on the installed QEMU, with an ordinary command line that has never
 * heard of any of this, while the host's packages are upgraded under it. QEMU runs in a mount
 * namespace of its own, in which /usr becomes that of a later release; the tool runs outside, as it
 * would on any host.
 */
#include "demo.h"
#include "own-usr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100

/* The releases that are later than the installed one, in their order. */
static GPtrArray *later_releases(void)
{
	static const char *const versions[] = {"7_2", "10_0", "11_1"};
	GPtrArray *roots = g_ptr_array_new();
	gboolean later = FALSE;

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		DemoQemu qemu;

		if (!given_qemu(versions[i], &qemu))
			demo_fail("neither LM_QEMU_%s nor LM_ROOT_%s is set", versions[i],
				  versions[i]);
		if (later && qemu.root)
			g_ptr_array_add(roots, (gpointer)qemu.root);
		later |= !qemu.root;
	}
	if (!roots->len)
		demo_fail("there is no QEMU here that is later than the installed one");
	return roots;
}

/* ------------------------------------------------------------------ processes */

static void show_command_line(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid), *text = NULL;
	g_autoptr(GString) line = g_string_new("   ");
	gsize bytes;

	if (!g_file_get_contents(path, &text, &bytes, NULL))
		demo_fail("%s cannot be read", path);
	for (const char *word = text; word < text + bytes; word += strlen(word) + 1) {
		if (line->len + strlen(word) > COLUMNS && line->len > 4) {
			screen_line("%s", line->str);
			g_string_assign(line, "       ");
		}
		g_string_append_printf(line, " %s", word);
	}
	screen_line("%s", line->str);
}

static gboolean has_plugin(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)pid), *maps = NULL;

	if (!g_file_get_contents(path, &maps, NULL, NULL))
		demo_fail("%s cannot be read", path);
	return strstr(maps, "localhost-migrate.so") != NULL;
}

static Machine *boot(Demo *demo)
{
	DemoGuest *guest = g_memdup2(linux_guest(demo, FALSE), sizeof(*guest));
	DemoQemu *qemu = g_new0(DemoQemu, 1); /* both live as long as the demo */
	Machine *machine;
	Beat beat;

	screen_heading("A Linux guest on an ordinary QEMU");
	guest->plain = TRUE;
	qemu->binary = own_usr_program(demo->test);
	machine = machine_boot(demo, guest, qemu);
	screen_line("  ready: QEMU %s, process %d, 1 GiB, of which the guest writes to %d MiB, "
		    "and to disk and network",
		    machine->version, (int)machine->vm->pid, LINUX_TOUCHED_MIB);
	show_command_line(machine->vm->pid);
	if (has_plugin(machine->vm->pid))
		demo_fail("the plugin is there already");
	machine_watch(machine, &beat);
	tool_leave_monitor(machine);
	return machine;
}

/* ---------------------------------------------------------------------- notes */

static gboolean has_note(JsonArray *notes, const char *note)
{
	for (guint i = 0; notes && i < json_array_get_length(notes); i++)
		if (!strcmp(json_array_get_string_element(notes, i), note))
			return TRUE;
	return FALSE;
}

static JsonArray *notes_of(JsonNode *report)
{
	return report ? json_object_get_array_member(json_node_get_object(report), "notes") : NULL;
}

/* Without those that @before had. */
static void show_notes(JsonNode *report, JsonNode *before)
{
	JsonArray *notes = notes_of(report);

	for (guint i = 0; i < json_array_get_length(notes); i++) {
		const char *note = json_array_get_string_element(notes, i);

		if (!has_note(notes_of(before), note))
			screen_line("    %s", note);
	}
}

static void upgrade(Demo *demo, Machine *machine, const char *root, guint which)
{
	g_autoptr(JsonNode) look = NULL, done = NULL;
	Hop hop = {.extra_bytes = -1};
	int rc;

	screen_heading("Upgrade %u: the host gets a newer release's packages", which);
	rc = own_usr_replace(machine->vm->pid, root);
	if (rc < 0)
		demo_fail("/usr cannot be replaced: %s", g_strerror(-rc));
	look = tool_run(demo, machine, (const char *const[]){"--dry-run", NULL});
	screen_line("    %s: QEMU %s to %s", qmp_str(look, "outcome"), qmp_str(look, "from"),
		    qmp_str(look, "to"));
	show_notes(look, NULL);
	done = tool_run(demo, machine, (const char *const[]){NULL});
	show_notes(done, look);
	screen_line("    %s: QEMU %s (process %d) to %s (process %d), stopped for %.1f ms",
		    qmp_str(done, "outcome"), qmp_str(done, "from"), (int)machine->vm->pid,
		    qmp_str(done, "to"), (int)qmp_int(done, "new-pid"),
		    tool_number(done, "stopped-ms"));
	tool_follow(machine, done);
	hop.from = g_strdup(qmp_str(done, "from"));
	hop.to = g_strdup(qmp_str(done, "to"));
	hop.way = g_intern_string(qmp_str(done, "way"));
	hop.stopped_ms = tool_number(done, "stopped-ms");
	hop.total_ms = tool_number(done, "total-ms");
	hop.checked = machine_watch(machine, &hop.beat);
	g_array_append_val(demo->upgrades, hop);
}

/* --------------------------------------------------------------------- figures */

static void report(const Demo *demo)
{
	g_autoptr(Table) table = table_new();
	const Hop *hops = (const Hop *)demo->upgrades->data;
	guint count = demo->upgrades->len;

	table_row(table, "upgrade of QEMU");
	for (guint i = 0; i < count; i++)
		table_cell(table, "%s → %s", hops[i].from, hops[i].to);
	table_row(table, "the guest was stopped for");
	for (guint i = 0; i < count; i++)
		table_cell(table, "%.1f ms", hops[i].stopped_ms);
	table_row(table, "all of it took");
	for (guint i = 0; i < count; i++)
		table_cell(table, "%.2f s", hops[i].total_ms / 1000);
	table_row(table, "pages that the guest checked afterwards");
	for (guint i = 0; i < count; i++)
		table_cell(table, "%" G_GUINT64_FORMAT, hops[i].checked);
	table_row(table, "  of these, not as they should be");
	for (guint i = 0; i < count; i++)
		table_cell(table, "%" G_GUINT64_FORMAT, hops[i].beat.errors);
	table_row(table, "heartbeats that were lost");
	for (guint i = 0; i < count; i++)
		table_cell(table, "0"); /* one would have ended the demo */
	table_print(table);
}

void attach_work(Demo *demo)
{
	g_autoptr(GPtrArray) roots = later_releases();
	g_autoptr(GArray) figures = g_array_new(FALSE, TRUE, sizeof(Figure));
	Machine *machine = boot(demo);

	for (guint i = 0; i < roots->len; i++)
		upgrade(demo, machine, roots->pdata[i], i + 1);
	screen_heading("What it took");
	report(demo);
	tool_quit(machine);
	if (demo->json_path)
		report_json(demo, figures);
}
