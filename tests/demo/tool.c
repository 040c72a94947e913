/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-live-upgrade, run on a guest's machine while the guest is watched. */
#include "demo.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOOL_MS 120000u

void tool_leave_monitor(Machine *machine)
{
	qmp_free(machine->vm->qmp);
	machine->vm->qmp = NULL;
}

void tool_follow(Machine *machine, JsonNode *report)
{
	Vm *vm = machine->vm;

	if (!vm->reaped && !vm_wait_exit(vm, LM_WAIT_MS))
		demo_fail("the old process, %d, has not ended", (int)vm->pid);
	close(vm->pidfd);
	vm->pid = (pid_t)qmp_int(report, "new-pid");
	vm->pidfd = (int)syscall(SYS_pidfd_open, vm->pid, 0);
	vm->reaped = TRUE; /* by who waits for this process */
	if (vm->pidfd < 0)
		demo_fail("there is no process %d", (int)vm->pid);
	g_free(machine->version);
	machine->version = g_strdup(qmp_str(report, "to"));
}

void tool_quit(Machine *machine)
{
	struct pollfd pollfd = {.fd = machine->vm->pidfd, .events = POLLIN};

	machine_connect(machine);
	machine_do(machine, "quit", NULL);
	if (poll(&pollfd, 1, (int)LM_WAIT_MS) <= 0)
		demo_fail("QEMU process %d did not end", (int)machine->vm->pid);
}

static void show_beat(const Machine *machine, gint64 begin_us)
{
	Beat beat = {0};

	serial_last_beat(machine->vm->serial_path, &beat);
	screen_live("    %.1f s   the guest: beat %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT
		    " pages checked, %" G_GUINT64_FORMAT " errors",
		    (double)(g_get_monotonic_time() - begin_us) / 1e6, beat.beat, beat.checked,
		    beat.errors);
}

/* Waits, and shows the guest meanwhile. */
static void watch_tool(const Machine *machine, pid_t pid)
{
	gint64 begin_us = g_get_monotonic_time(), end_us = lm_end_us(TOOL_MS);
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (!lm_left_ms(end_us))
			demo_fail("the tool did not end in %u s", TOOL_MS / 1000);
		show_beat(machine, begin_us);
		poll(NULL, 0, 20);
	}
	screen_drop();
}

static JsonNode *read_report(const char *path, const char *words)
{
	g_autoptr(JsonParser) parser = json_parser_new();
	g_autofree char *errors = NULL;
	JsonNode *report;

	if (json_parser_load_from_file(parser, path, NULL))
		report = json_parser_steal_root(parser);
	else
		report = NULL;
	g_file_get_contents(words, &errors, NULL, NULL);
	if (!report)
		demo_fail("the tool said nothing: %s", errors ? g_strchomp(errors) : "");
	if (qmp_str(report, "error"))
		demo_fail("%s: %s", qmp_str(report, "outcome"), qmp_str(report, "error"));
	return report;
}

static pid_t start(Demo *demo, GPtrArray *argv, const char *out, const char *err)
{
	int out_fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err_fd = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	g_autoptr(GError) error = NULL;
	GPid tool;

	if (!g_spawn_async_with_fds(NULL, (char **)argv->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
				    NULL, NULL, &tool, -1, out_fd, err_fd, &error))
		demo_fail("%s", error->message);
	close(out_fd);
	close(err_fd);
	return tool;
}

JsonNode *tool_run(Demo *demo, const Machine *machine, const char *const *options)
{
	g_autofree char *pid = g_strdup_printf("%d", (int)machine->vm->pid), *shown = NULL;
	g_autofree char *out = lm_test_path(demo->test, "tool.json");
	g_autofree char *err = lm_test_path(demo->test, "tool.errors");
	g_autoptr(GPtrArray) argv = g_ptr_array_new();
	const char *const always[] = {given("LM_TOOL"), "--json",	    "--way", "share",
				      "--plugin",	given("LM_PLUGIN"), pid};

	for (guint i = 0; i < G_N_ELEMENTS(always); i++)
		g_ptr_array_add(argv, (gpointer)always[i]);
	for (guint i = 0; options[i]; i++)
		g_ptr_array_add(argv, (gpointer)options[i]);
	g_ptr_array_add(argv, NULL);
	shown = g_strjoinv(" ", (char **)options);
	screen_line("  $ qemu-live-upgrade %s%s%s", shown, *shown ? " " : "", pid);
	watch_tool(machine, start(demo, argv, out, err));
	return read_report(out, err);
}

double tool_number(JsonNode *node, const char *member)
{
	return json_object_get_double_member_with_default(json_node_get_object(node), member, 0);
}
