/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

/* The last line that a process wrote to stderr says most. */
static char *last_words(const Vm *vm)
{
	g_autofree char *text = vm_stderr(vm);
	char *end;

	if (!text || !*g_strchomp(text))
		return g_strdup("it said nothing");
	end = strrchr(text, '\n');
	return g_strdup(end ? end + 1 : text);
}

/* The guest's further arguments, and @more. */
static GPtrArray *extra_of(const DemoGuest *guest, const GPtrArray *more)
{
	GPtrArray *extra = g_ptr_array_new();

	for (guint i = 0; guest->extra && guest->extra[i]; i++)
		g_ptr_array_add(extra, (gpointer)guest->extra[i]);
	for (guint i = 0; more && i < more->len; i++)
		g_ptr_array_add(extra, more->pdata[i]);
	return extra;
}

static Events *events_for(Demo *demo)
{
	g_autofree char *name = g_strdup_printf("%u.events", demo->next++);
	g_autofree char *path = lm_test_path(demo->test, name);

	return demo->live ? events_listen(path) : NULL;
}

static void spawn(Demo *demo, Machine *machine, VmOptions *options, const GPtrArray *more)
{
	g_autoptr(GPtrArray) extra = extra_of(machine->guest, more);
	g_autofree char *events = machine->events ? events_argument(machine->events) : NULL;
	const char *const monitor[] = {"-chardev", events, "-mon", "chardev=events,mode=control"};

	for (guint i = 0; events && i < G_N_ELEMENTS(monitor); i++)
		g_ptr_array_add(extra, (gpointer)monitor[i]);
	g_ptr_array_add(extra, NULL);
	options->extra = (const char *const *)extra->pdata;
	machine->vm = vm_spawn(demo->test, options);
}

/* Its monitor is not connected to. */
static Machine *start(Demo *demo, const DemoGuest *guest, const DemoQemu *qemu, VmOptions *options,
		      const GPtrArray *more)
{
	Machine *machine = g_new0(Machine, 1);

	machine->guest = guest;
	machine->qemu = qemu;
	machine->events = events_for(demo);
	options->root = qemu->root;
	options->binary = qemu->binary;
	options->memory_mib = guest->memory_mib;
	options->kernel = guest->kernel;
	options->initrd = guest->initrd;
	options->append = guest->append;
	options->cgroup_procs = demo->cgroup ? cgroup_procs_path(demo->cgroup) : NULL;
	if (guest->plain)
		options->plugin = "";
	if (guest->stock) {
		options->plugin = "";
		options->machine = "pc-q35-7.2,aux-ram-share=on";
		options->backend = "memory-backend-memfd,share=on";
	}
	spawn(demo, machine, options, more);
	return machine;
}

void machine_connect(Machine *machine)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) version = NULL;
	JsonNode *numbers;

	machine->vm->qmp =
		qmp_connect(machine->vm->qmp_path, machine->vm->pidfd, LM_WAIT_MS, &error);
	if (!machine->vm->qmp) {
		g_autofree char *words = last_words(machine->vm);

		demo_fail("QEMU did not start: %s (%s)", words, error->message);
	}
	version = machine_command(machine, "query-version", NULL);
	numbers = json_object_get_member(json_node_get_object(version), "qemu");
	machine->version =
		g_strdup_printf("%d.%d.%d", (int)qmp_int(numbers, "major"),
				(int)qmp_int(numbers, "minor"), (int)qmp_int(numbers, "micro"));
}

static void connect_all(Machine *machine)
{
	machine_connect(machine);
	if (machine->events)
		events_connect(machine->events);
}

Machine *machine_boot(Demo *demo, const DemoGuest *guest, const DemoQemu *qemu)
{
	VmOptions options = {0};
	Machine *machine = start(demo, guest, qemu, &options, NULL);
	gint64 begin_us = g_get_monotonic_time();
	G_GNUC_UNUSED g_autoptr(GError) error = NULL;
	Beat beat;

	connect_all(machine);
	while (!serial_last_beat(machine->vm->serial_path, &beat)) {
		gint64 s = (g_get_monotonic_time() - begin_us) / 1000000;

		if (!vm_alive(machine->vm))
			demo_fail("QEMU process %d ended", (int)machine->vm->pid);
		if (s * 1000 > BOOT_MS)
			demo_fail("%s was not ready after %d s", guest->name, (int)s);
		screen_live("  %s boots in QEMU %s, process %d: %d s", guest->name,
			    machine->version, (int)machine->vm->pid, (int)s);
		poll(NULL, 0, 100);
	}
	screen_drop();
	return machine;
}

/* The name is there a moment earlier: the kernel's list says who listens (flags, unix(7)). */
static gboolean is_listening(void *opaque)
{
	g_autofree char *text = NULL, *end = g_strconcat(" ", opaque, "\n", NULL);
	const char *line;

	if (!g_file_get_contents("/proc/net/unix", &text, NULL, NULL))
		return FALSE;
	line = strstr(text, end);
	while (line && line > text && line[-1] != '\n')
		line--;
	return line && strstr(line, " 00010000 ") && strstr(line, " 00010000 ") < strstr(line, end);
}

static void add(GPtrArray *more, const char *argument)
{
	g_ptr_array_add(more, g_strdup(argument));
}

/* Two channels: for the descriptors, which it waits for before all else, and for the rest. */
static void add_cpr(GPtrArray *more, const char *uri, const char *path)
{
	add(more, "-incoming");
	add(more, uri);
	add(more, "-incoming");
	g_ptr_array_add(more, g_strdup_printf("{\"channel-type\": \"cpr\", \"addr\": "
					      "{\"transport\": \"socket\", "
					      "\"type\": \"unix\", \"path\": \"%s\"}}",
					      path));
}

Machine *machine_wait(Demo *demo, const Machine *source, const DemoQemu *qemu, Wait wait)
{
	g_autofree char *name = g_strdup_printf("%u.lm", demo->next++);
	g_autofree char *path = lm_test_path(demo->test, name);
	g_autofree char *cpr_path = g_strconcat(path, CPR_SUFFIX, NULL);
	g_autofree char *uri = g_strconcat("unix:", path, NULL);
	g_autofree char *args = g_strconcat("incoming=", uri, NULL);
	g_autoptr(GPtrArray) more = g_ptr_array_new_with_free_func(g_free);
	VmOptions options = {
		.incoming = wait != WAIT_CPR,
		.serial_path = source->vm->serial_path,
		.plugin_args = wait == WAIT_LOCAL ? args : NULL,
	};
	Machine *machine;

	if (wait == WAIT_STOCK)
		add(more, "-S");
	if (wait == WAIT_CPR)
		add_cpr(more, uri, cpr_path);
	machine = start(demo, source->guest, qemu, &options, more);
	if (wait != WAIT_CPR)
		connect_all(machine);
	if (wait == WAIT_STOCK)
		machine_do(machine, "migrate-incoming", "{'uri': %s}", uri);
	if (!lm_wait_until(is_listening, wait == WAIT_CPR ? cpr_path : path, LM_WAIT_MS))
		demo_fail("the new process does not listen on %s", path);
	machine->uri = g_steal_pointer(&uri);
	return machine;
}

JsonNode *machine_command(const Machine *machine, const char *name, const char *arguments, ...)
{
	g_autoptr(GError) error = NULL;
	JsonNode *reply;
	va_list args;

	va_start(args, arguments);
	reply = qmp_command_va(machine->vm->qmp, &error, name, arguments, args);
	va_end(args);
	if (!reply) {
		g_autofree char *words = last_words(machine->vm);

		demo_fail("%s: %s (stderr: %s)", name, error->message, words);
	}
	return reply;
}

void machine_quit(Machine *machine)
{
	G_GNUC_UNUSED g_autoptr(JsonNode) reply = machine_command(machine, "quit", NULL);

	if (!vm_wait_exit(machine->vm, LM_WAIT_MS) || vm_exit_status(machine->vm))
		demo_fail("QEMU process %d did not end as it should", (int)machine->vm->pid);
	g_ptr_array_remove(machine->vm->test->vms, machine->vm);
	g_free(machine->version);
	g_free(machine->uri);
	events_free(machine->events);
	g_free(machine);
}

static void show(const Machine *machine, const Beat *beat)
{
	screen_live("  beat %-5" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT
		    " pages checked, %" G_GUINT64_FORMAT " errors, longest gap %" G_GUINT64_FORMAT
		    " ms  [QEMU %s, process %d]",
		    beat->beat, beat->checked, beat->errors, beat->gap_ms, machine->version,
		    (int)machine->vm->pid);
}

/* The loads verify all pages in turn, four of them for each page at random. */
static gboolean has_checked_all(const Beat *begin, const Beat *now)
{
	return now->checked - begin->checked >= now->pages + now->pages / 4;
}

static void wait_beats(const Machine *machine, guint more, Beat *last)
{
	g_autoptr(GError) error = NULL;

	if (!serial_wait_beats(machine->vm->serial_path, more, LM_WAIT_MS, last, &error))
		demo_fail("%s", error->message);
}

void machine_wait_beats(const Machine *machine, Beat *last)
{
	wait_beats(machine, 5, last);
}

guint64 machine_watch(const Machine *machine, Beat *last)
{
	gint64 end_us = lm_end_us(BOOT_MS);
	Beat begin;

	wait_beats(machine, 1, &begin);
	do {
		if (!lm_left_ms(end_us))
			demo_fail("the guest did not check its memory in %u s", BOOT_MS / 1000);
		wait_beats(machine, 1, last);
		show(machine, last);
	} while (!has_checked_all(&begin, last));
	screen_settle();
	return last->checked - begin.checked;
}
