// SPDX-License-Identifier: GPL-2.0-or-later
#include "unit.h"

#include "plan-of.h"

#include <unistd.h>

pid_t plan_of_pid;

LuPlan *plan_of(const char *arguments, LuRunning **keep)
{
	LuRunning *running = g_new0(LuRunning, 1);
	g_autofree char *text = g_strconcat("qemu " QMP, arguments, NULL);
	g_auto(GStrv) argv = NULL;
	LuPlanOptions options = {.program = "/new", .incoming = "/r/1/handover"};

	assert_true(g_shell_parse_argv(text, NULL, &argv, NULL));
	running->process = lu_process_open(plan_of_pid ? plan_of_pid : getpid(), NULL);
	running->line = lu_command_line_parse(argv, NULL);
	assert_non_null(running->line);
	running->machine = g_strdup("pc-q35-7.2");
	running->cpu_type = g_strdup("qemu64-x86_64-cpu");
	running->qmp_path = g_strdup("/r/q");
	running->cwd = g_strdup("/w");
	*keep = running;
	return lu_plan_make(running, &options);
}
