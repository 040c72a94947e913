// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The steps that concern systemd (unit.h). Where the new process cannot be made the service's main
 * one after all, the old process is left as that: it has no guest and no memory any more, but its
 * end would be the guest's.
 */
#include "steps.h"
#include "error.h"

static LuUnit *unit_of(LuUpgrade *up)
{
	if (up->running)
		return up->running->unit;
	/* A run that is finished for another: the old process is the main process, or gone. */
	if (!up->unit && up->journal->unit && up->old)
		up->unit = lu_unit_find(up->old->pid);
	return up->unit;
}

gboolean lu_step_unit(LuUpgrade *up, GError **errp)
{
	LuUnit *unit = unit_of(up);

	return !unit || lu_unit_try(unit, up->old->pid, "qemu-live-upgrade is at work", errp);
}

void lu_undo_unit(LuUpgrade *up)
{
	LuUnit *unit = unit_of(up);

	if (unit)
		lu_unit_try(unit, up->old->pid, "", NULL);
}

gboolean lu_step_follow(LuUpgrade *up, GError **errp)
{
	LuUnit *unit = unit_of(up);
	g_autofree char *status =
		g_strdup_printf("upgraded from QEMU %s to %s", up->journal->from, up->journal->to);

	if (!unit || !up->new || !up->old)
		return TRUE;
	if (lu_fault("hand-on", errp) &&
	    lu_unit_hand_on(unit, up->old->pid, up->new->pid, status, errp))
		return TRUE;
	up->keep_old = TRUE;
	lu_note(up, g_strdup_printf("process %d, which has no guest any more, is left as the main "
				    "process of %s",
				    (int)up->old->pid, unit->name));
	return FALSE;
}

gboolean lu_check_followed(LuUpgrade *up, GError **errp)
{
	LuUnit *unit = unit_of(up);

	return !unit || !up->new || up->keep_old || lu_unit_wait_main(unit, up->new->pid) ||
	       lu_fail(errp, LU_ERROR_FAILED, "process %d is not the main process of systemd's %s",
		       (int)up->new->pid, unit->name);
}
