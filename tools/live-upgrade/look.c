// SPDX-License-Identifier: GPL-2.0-or-later
/* The steps that touch nothing: look, probe, plan. */
#include "steps.h"
#include "error.h"
#include "libvirt/lu-libvirt.h"
#include "paths.h"

#include <string.h>

/* Who is behind the socket is the kernel's word. A name is meant as this process sees it. */
static pid_t target(const LuRequest *request, GError **errp)
{
	pid_t pid = request->pid;

	if (pid > 0)
		return pid;
	pid = lu_running_peer_of(request->qmp);
	if (pid <= 0)
		lu_fail(errp, LU_ERROR_REFUSED, "nobody listens at QMP socket %s", request->qmp);
	return pid;
}

/* The installed program, if that is another file than the one that runs. */
static gboolean choose_program(LuUpgrade *up, char **program, GError **errp)
{
	const LuProcess *old = up->running->process;
	g_autofree char *name = g_strdup(up->request->binary ? up->request->binary : old->exe);
	g_autofree char *here = lu_process_path(old, name);
	struct stat st;

	if (!g_path_is_absolute(name))
		return lu_fail(errp, LU_ERROR_USAGE, "--binary %s is not an absolute path", name);
	if (stat(here, &st) < 0)
		return lu_fail(errp, LU_ERROR_REFUSED, "there is no program %s", name);
	if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s is not a program", name);
	/* A disk goes with the guest into any other process. */
	if (!up->request->binary && !up->request->moves && lu_process_runs(old, name))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "QEMU %d runs %s %s already, which is what is installed (--binary)",
			       (int)old->pid, name, up->running->version.text);
	*program = g_steal_pointer(&name);
	return TRUE;
}

/* libvirt would take the end of its process for the end of the domain. */
static gboolean check_unmanaged(pid_t pid, GError **errp)
{
	g_autoptr(GDir) dir = g_dir_open(LU_LIBVIRT_STATE, 0, NULL);
	const char *file;

	while (dir && (file = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(LU_LIBVIRT_STATE, file, NULL);
		g_autofree char *name = g_strndup(file, MAX(strlen(file), 4) - 4), *text = NULL;

		if (g_str_has_suffix(file, ".pid") && strcmp(file, "driver.pid") &&
		    g_file_get_contents(path, &text, NULL, NULL) &&
		    g_ascii_strtoll(text, NULL, 10) == pid)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "QEMU %d is libvirt's domain %s (--libvirt %s)", (int)pid,
				       name, name);
	}
	return TRUE;
}

/* Journals were looked for before it was locked: another run may have left one since. */
static gboolean lock(LuUpgrade *up, GError **errp)
{
	g_autoptr(LuJournal) journal = NULL;

	if (up->request->dry_run)
		return TRUE;
	if (!lu_lock(up, up->old->pid, up->old->start_time, errp))
		return FALSE;
	journal = lu_journal_find(up->base, up->old->pid, NULL);
	return !journal || lu_fail(errp, LU_ERROR_REFUSED,
				   "another run on QEMU %d has just been interrupted at \"%s\"; "
				   "run this again",
				   (int)up->old->pid, journal->step);
}

gboolean lu_step_look(LuUpgrade *up, GError **errp)
{
	const LuManager *manager = up->request->manager;
	pid_t pid = target(up->request, errp);
	g_autofree char *socket = NULL;

	if (pid <= 0 || (!manager && !check_unmanaged(pid, errp)))
		return FALSE;
	if (!up->request->pid && !g_path_is_absolute(up->request->qmp)) {
		g_autofree char *here = g_get_current_dir();

		socket = g_build_filename(here, up->request->qmp, NULL);
	}
	up->running = lu_running_open(pid,
				      manager		 ? manager->qmp_path
				      : up->request->pid ? NULL
				      : socket		 ? socket
							 : up->request->qmp,
				      manager ? manager->qmp : NULL, errp);
	if (!up->running)
		return FALSE;
	up->old = up->running->process;
	up->old_qmp = up->running->qmp;
	up->result->old_pid = pid;
	up->result->from = g_strdup(up->running->version.text);
	return lock(up, errp) && lu_check_plugin(up, errp) && lu_running_check(up->running, errp);
}

gboolean lu_step_probe(LuUpgrade *up, GError **errp)
{
	g_autofree char *program = NULL;

	if (!choose_program(up, &program, errp) ||
	    !lu_probe_run(up->running, program, up->request->allow_downgrade, &up->probe, errp))
		return FALSE;
	up->result->to = g_strdup(up->probe.version.text);
	return TRUE;
}

LuPlan *lu_make_plan(LuUpgrade *up, GError **errp)
{
	g_autofree char *handover =
		g_strdup_printf("%s/%d/handover", up->base, (int)up->running->process->pid);
	g_autofree char *installed = lu_installed_plugin(up->running->process);
	g_autofree char *program = NULL;
	LuPlanOptions options = {.installed = installed,
				 .plugin = up->attach ? up->attach : up->request->plugin,
				 .incoming = handover,
				 .cpu_append = up->probe.cpu_append};
	LuPlan *plan;

	if (!choose_program(up, &program, errp))
		return NULL;
	options.program = program;
	plan = lu_plan_make(up->running, &options);
	if (strlen(handover) > 107)
		lu_plan_refuse(plan, "the name %s is longer than 107 bytes", handover);
	return plan;
}

static void refuse_paths(LuUpgrade *up)
{
	g_autofree char *why = lu_paths_check(up->plan->paths, up->running->process);

	if (why)
		lu_plan_refuse(up->plan, "%s", why);
}

gboolean lu_step_plan(LuUpgrade *up, GError **errp)
{
	up->plan = lu_make_plan(up, errp);
	if (!up->plan)
		return FALSE;
	refuse_paths(up);
	up->result->command_line = lu_command_line_text(up->plan->line);
	for (guint i = 0; i < up->plan->notes->len; i++)
		lu_note(up, g_strdup(up->plan->notes->pdata[i]));
	for (guint i = 0; i < up->plan->refusals->len; i++)
		g_ptr_array_add(up->result->refusals, g_strdup(up->plan->refusals->pdata[i]));
	if (up->plan->refusals->len)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", (char *)up->plan->refusals->pdata[0]);
	return lu_find_disks(up, errp);
}
