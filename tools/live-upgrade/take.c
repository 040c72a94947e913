// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The steps take and record: what is between this tool and who manages the VM (manager.h).
 *
 * In take the manager is away. Its monitor is connected to, and the plan is made again: nothing
 * may have changed since the new process was started from it. In record the manager's records are
 * renamed; they were written beside before the guest moved, where a full disk or the like still
 * could be refused.
 */
#include "steps.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The first line that is in one of them only; the caller's. */
static char *difference(const LuCommandLine *is, const LuCommandLine *was)
{
	g_auto(GStrv) now = lu_command_line_argv(is), before = lu_command_line_argv(was);
	guint i = 0;

	while (now[i] && before[i] && !strcmp(now[i], before[i]))
		i++;
	if (!now[i] && !before[i])
		return NULL;
	return g_strdup_printf("%s is %s", before[i] ? before[i] : "nothing",
			       now[i] ? now[i] : "nothing");
}

static gboolean check_unchanged(LuUpgrade *up, GError **errp)
{
	g_autoptr(JsonNode) status = lu_qmp_call(up->old_qmp, errp, "query-status", NULL);
	const char *is = lu_json_str(status, "status");
	g_autoptr(LuPlan) plan = is ? lu_make_plan(up, errp) : NULL;
	g_autofree char *differs = NULL;

	if (!plan)
		return FALSE;
	if (strcmp(is, up->running->status))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "the guest was %s and is %s: it was changed while the new process "
			       "was started",
			       up->running->status, is);
	if (plan->refusals->len)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", (char *)plan->refusals->pdata[0]);
	differs = difference(plan->line, up->plan->line);
	return !differs ||
	       lu_fail(errp, LU_ERROR_REFUSED,
		       "the VM was changed while the new process was started: %s", differs);
}

gboolean lu_step_take(LuUpgrade *up, GError **errp)
{
	const LuManager *manager = up->request->manager;
	LuSuccession succession = {.old = up->running,
				   .new = up->new,
				   .new_qmp = up->new_qmp,
				   .version = &up->probe.version,
				   .qmp_path = up->journal->qmp_path,
				   .qmp_temporary = up->journal->qmp_temporary,
				   .disks = up->disks};

	if (!manager)
		return TRUE;
	if (!lu_running_connect(up->running, errp))
		return FALSE;
	up->old_qmp = up->running->qmp;
	succession.program = up->plan->line->program;
	return check_unchanged(up, errp) && manager->stage(manager->opaque, &succession, errp) &&
	       lu_fault("staged", errp);
}

void lu_forget_records(LuUpgrade *up)
{
	for (guint i = 0; up->journal && i < up->journal->records->len; i++)
		unlink(((const LuPath *)up->journal->records->pdata[i])->temporary);
}

void lu_rename_records(LuUpgrade *up, const char *which)
{
	for (guint i = 0; i < up->journal->records->len; i++) {
		const LuPath *record = up->journal->records->pdata[i];

		/* One that is not there was renamed by a run before this one. */
		if (strcmp(record->what, which) || !rename(record->temporary, record->path) ||
		    errno == ENOENT)
			continue;
		lu_note(up, g_strdup_printf("%s is not renamed to %s: %s", record->temporary,
					    record->path, g_strerror(errno)));
	}
}

gboolean lu_step_record(LuUpgrade *up, GError **errp)
{
	lu_rename_records(up, "first");
	return TRUE;
}
