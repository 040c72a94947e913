// SPDX-License-Identifier: GPL-2.0-or-later
/* A QEMU that was started without the plugin gets it while it runs (tools/attach). */
#include "error.h"
#include "steps.h"

#include "attach.h"

#include <string.h>

#define ATTACH_DEADLINE_MS 10000

/* The file of "FILE[,ARGUMENT=VALUE]...", or the installed one; the caller's. */
static char *plugin_file(const char *plugin)
{
	return plugin ? g_strndup(plugin, strcspn(plugin, ",")) : g_strdup(LM_PLUGIN_FILE);
}

char *lu_installed_plugin(const LuProcess *process)
{
	g_autofree char *here = lu_process_path(process, LM_PLUGIN_FILE);

	return g_file_test(here, G_FILE_TEST_EXISTS) ? g_strdup(LM_PLUGIN_FILE) : NULL;
}

/* Whether it could be loaded, while nothing is touched yet. */
static gboolean check(LuUpgrade *up, const char *file, GError **errp)
{
	g_auto(AttachFacts) facts = {0};
	g_autoptr(GError) error = NULL;
	int pid = up->running->process->pid;

	if (up->request->no_attach)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "QEMU %d was started without localhost-migrate, and --no-attach "
			       "forbids to load it",
			       pid);
	if (attach_check(pid, file, 0, &facts, &error) < 0)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	if (facts.refusal)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "QEMU %d was started without localhost-migrate, and it cannot be "
			       "loaded: %s",
			       pid, facts.refusal->message);
	return TRUE;
}

gboolean lu_check_plugin(LuUpgrade *up, GError **errp)
{
	g_autofree char *file = plugin_file(up->request->plugin);
	gboolean has;

	if (!lu_running_has_plugin(up->running, &has, errp))
		return FALSE;
	if (has)
		return TRUE;
	if (!check(up, file, errp))
		return FALSE;
	up->attach = g_strdup(up->request->plugin ? up->request->plugin : file);
	lu_note(up, g_strdup_printf("QEMU %d was started without localhost-migrate; it %s loaded "
				    "into it",
				    (int)up->running->process->pid,
				    up->request->dry_run ? "would be" : "is"));
	return TRUE;
}

gboolean lu_step_attach(LuUpgrade *up, GError **errp)
{
	g_autofree char *file = plugin_file(up->attach);
	g_autoptr(GError) error = NULL;
	AttachReport report;

	if (!up->attach)
		return TRUE;
	if (attach_load(up->running->process->pid, file, 0, ATTACH_DEADLINE_MS, &report, &error) <
	    0)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	return TRUE;
}

gboolean lu_attach_only(pid_t pid, const char *plugin, char **said, GError **errp)
{
	g_autofree char *file = plugin_file(plugin);
	g_autoptr(GError) error = NULL;
	AttachReport report;

	if (attach_load(pid, file, 0, ATTACH_DEADLINE_MS, &report, &error) < 0)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	*said = g_strdup_printf("loaded %s into QEMU %d; its main thread was stopped for %.1f ms",
				file, (int)pid, report.stopped_us / 1000.0);
	return TRUE;
}
