// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The handle of lu-libvirt.h: the daemon, and the domains that are between begin and end.
 *
 *   when the tool is killed       what the next run finds               it does
 *   before the daemon is asked    journals of VMs before "take"         they are taken back
 *   while the daemon is away      its journal, journals of VMs          no daemon serves; each VM
 *                                                                       is finished or taken
 *                                                                       back; the daemon begins
 *   the same, and somebody began  the same, and a daemon                it is ended once more,
 *   the daemon since                                                    then as above
 *   after it was begun            its journal                           that is removed
 */
#include "lu-libvirt.h"
#include "copy-disk.h"
#include "daemon.h"
#include "domain.h"
#include "error.h"
#include "handle.h"
#include "relay.h"
#include "steps.h"

#include <string.h>
#include <unistd.h>

#define START_MS  60000
#define DAEMON_MS 30000

typedef struct Vm {
	LuDomain *domain;
	LuRequest request;
	GPtrArray *moves; /* request.moves; empty: disks move, and none of them with the guest */
	LuResult *result;
} Vm;

struct LuLibvirt {
	char *base; /* of journals */
	LuRelay *relay;
	LuDaemon *daemon;
	GPtrArray *vms; /* of Vm */
	gboolean is_away, was_called_back;
	gint64 away_us;
	double away_ms;
};

static void vm_free(gpointer data)
{
	Vm *vm = data;

	lu_domain_free(vm->domain);
	g_clear_pointer(&vm->moves, g_ptr_array_unref);
	g_free(vm);
}

/* --------------------------------------------------------------- open and close */

static LuLibvirt *new_session(GError **errp)
{
	g_autoptr(LuLibvirt) libvirt = g_new0(LuLibvirt, 1);

	libvirt->vms = g_ptr_array_new_with_free_func(vm_free);
	if (geteuid()) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"only root may upgrade domains of libvirt, and this is user %u", geteuid());
		return NULL;
	}
	libvirt->base = lu_journal_base(errp);
	return libvirt->base ? g_steal_pointer(&libvirt) : NULL;
}

LuLibvirt *lu_libvirt_open(const char *uri, GError **errp)
{
	g_autoptr(LuLibvirt) libvirt = NULL;

	if (uri && strcmp(uri, LU_LIBVIRT_URI)) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"libvirt's %s cannot be handled; " LU_LIBVIRT_URI " can", uri);
		return NULL;
	}
	libvirt = new_session(errp);
	if (!libvirt)
		return NULL;
	/* First the connection: it may begin a daemon that waits at its socket. */
	libvirt->relay = lu_relay_open(LU_LIBVIRT_URI, errp);
	return libvirt->relay ? g_steal_pointer(&libvirt) : NULL;
}

void lu_libvirt_close(LuLibvirt *libvirt)
{
	if (!libvirt)
		return;
	if (libvirt->is_away && !libvirt->was_called_back)
		lu_libvirt_back(libvirt, NULL);
	lu_relay_free(libvirt->relay);
	lu_daemon_free(libvirt->daemon);
	g_ptr_array_unref(libvirt->vms);
	g_free(libvirt->base);
	g_free(libvirt);
}

/* -------------------------------------------------------------------------- list */

static void listed_free(gpointer data)
{
	LuLibvirtDomain *domain = data;

	g_free(domain->name);
	g_free(domain->uuid);
	g_free(domain);
}

pid_t lu_libvirt_pid(const char *name)
{
	g_autofree char *path = g_strdup_printf(LU_LIBVIRT_STATE "/%s.pid", name), *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? (pid_t)g_ascii_strtoll(text, NULL, 10)
							    : 0;
}

GPtrArray *lu_libvirt_list(LuLibvirt *libvirt, GError **errp)
{
	g_autoptr(JsonNode) reply =
		lu_qmp_call(lu_relay_qmp(libvirt->relay), errp, "libvirt-list", NULL);
	GPtrArray *domains;

	if (!reply)
		return NULL;
	domains = g_ptr_array_new_with_free_func(listed_free);
	for (guint i = 0; i < lu_json_length(reply); i++) {
		JsonNode *node = lu_json_element(reply, i);
		LuLibvirtDomain *domain = g_new0(LuLibvirtDomain, 1);

		domain->name = g_strdup(lu_json_str(node, "name"));
		domain->uuid = g_strdup(lu_json_str(node, "uuid"));
		domain->id = (int)lu_json_int(node, "id");
		domain->pid = lu_libvirt_pid(domain->name);
		g_ptr_array_add(domains, domain);
	}
	return domains;
}

/* ------------------------------------------------------------------- one domain */

static void probe_capabilities(LuDomain *domain, LuUpgrade *up)
{
	const char *program = up->plan->line->program;

	lu_domain_probe(domain, program);
	if (!domain->capabilities)
		lu_note(up, g_strdup_printf("libvirt does not know what %s can do; it goes on with "
					    "what it knew of the old QEMU",
					    program));
}

static gboolean name_disks(Vm *vm, GError **errp)
{
	if (!vm->request.moves)
		return TRUE;
	vm->moves = lu_domain_disk_moves(vm->domain, vm->request.moves, errp);
	if (!vm->moves)
		return FALSE;
	vm->request.moves = vm->moves;
	return TRUE;
}

LuUpgrade *lu_libvirt_begin(LuLibvirt *libvirt, const char *domain, const LuRequest *request,
			    LuResult *result, GError **errp)
{
	LuDomain *opened = lu_domain_open(LU_LIBVIRT_URI, domain, errp);
	LuUpgrade *up;
	Vm *vm;

	if (!opened)
		return NULL;
	vm = g_new0(Vm, 1);
	vm->domain = opened;
	vm->request = *request;
	vm->request.pid = opened->pid;
	vm->request.qmp = NULL;
	vm->request.manager = &opened->manager;
	vm->result = result;
	g_ptr_array_add(libvirt->vms, vm);
	up = name_disks(vm, errp) ? lu_upgrade_begin(&vm->request, result, errp) : NULL;
	if (up && up->plan && lu_version_compare(&up->running->version, &up->probe.version))
		probe_capabilities(opened, up);
	lu_domain_end_loan(opened);
	if (!up)
		g_ptr_array_remove(libvirt->vms, vm);
	return up;
}

/* ---------------------------------------------------------------- away and back */

static gboolean end_daemon(LuLibvirt *libvirt, guint deadline_ms, GError **errp)
{
	g_autoptr(GError) error = NULL;

	g_clear_pointer(&libvirt->relay, lu_relay_free);
	libvirt->daemon = lu_daemon_find(libvirt->base, &error);
	if (!libvirt->daemon)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s",
			       error ? error->message
				     : "no daemon of libvirt holds " LU_LIBVIRT_STATE
				       "/driver.pid");
	libvirt->is_away = TRUE;
	libvirt->away_us = g_get_monotonic_time();
	return lu_daemon_stop(libvirt->daemon, deadline_ms, errp);
}

gboolean lu_libvirt_away(LuLibvirt *libvirt, guint deadline_ms, GError **errp)
{
	return end_daemon(libvirt, deadline_ms ? deadline_ms : DAEMON_MS, errp);
}

double lu_libvirt_away_ms(const LuLibvirt *libvirt)
{
	if (!libvirt->is_away)
		return libvirt->away_ms;
	return (double)(g_get_monotonic_time() - libvirt->away_us) / 1000;
}

static gboolean connect_again(LuLibvirt *libvirt, GError **errp)
{
	g_autoptr(GError) error = NULL;

	libvirt->relay = lu_relay_open(LU_LIBVIRT_URI, &error);
	return libvirt->relay ||
	       lu_fail(errp, LU_ERROR_MANAGER, "%s came back and does not answer: %s",
		       lu_daemon_name(libvirt->daemon), error->message);
}

gboolean lu_libvirt_back(LuLibvirt *libvirt, GError **errp)
{
	if (!libvirt->is_away)
		return TRUE;
	libvirt->was_called_back = TRUE;
	lu_fault("daemon-start", NULL);
	if (!lu_daemon_start(libvirt->daemon, START_MS, errp) || !connect_again(libvirt, errp))
		return FALSE;
	for (guint i = 0; i < libvirt->vms->len; i++) {
		const Vm *vm = libvirt->vms->pdata[i];

		if (!lu_domain_verify(vm->domain, libvirt->relay, errp))
			return FALSE;
	}
	libvirt->away_ms = lu_libvirt_away_ms(libvirt);
	libvirt->is_away = FALSE;
	lu_daemon_journal_remove(libvirt->base);
	return TRUE;
}

/* ------------------------------------------------------------- disks that move */

void lu_libvirt_copy(LuLibvirt *libvirt)
{
	for (guint i = 0; i < libvirt->vms->len; i++) {
		const Vm *vm = libvirt->vms->pdata[i];

		if (vm->moves && vm->moves->len)
			lu_follow_disks(vm->domain->uuid, vm->moves, &vm->request.observer,
					vm->result);
	}
}

/* ----------------------------------------------------------- an interrupted run */

gboolean lu_libvirt_is_interrupted(void)
{
	g_autofree char *base = lu_journal_base(NULL);
	g_autoptr(GPtrArray) journals = base ? lu_journal_managed(base) : NULL;

	return base && (journals->len || lu_daemon_was_interrupted(base));
}

char *lu_libvirt_away_daemon(void)
{
	g_autofree char *base = lu_journal_base(NULL);
	g_autoptr(LuDaemon) daemon = base ? lu_daemon_find(base, NULL) : NULL;

	return daemon && lu_daemon_is_away(daemon) ? g_strdup(lu_daemon_name(daemon)) : NULL;
}

static void recover_vm(const LuJournal *journal, const LuRequest *request, GPtrArray *results)
{
	LuManager manager = {.name = journal->manager, .id = journal->manager_id};
	LuLibvirtOutcome *outcome = g_new0(LuLibvirtOutcome, 1);
	gboolean finished = FALSE;

	outcome->name = g_strdup(journal->manager_id);
	outcome->title = g_strdup(lu_domain_name_of(journal->manager));
	outcome->request = *request;
	outcome->request.pid = journal->old_pid;
	outcome->request.qmp = NULL;
	outcome->request.manager = &manager;
	lu_domain_refresh_records(journal->records);
	lu_upgrade_recover(&outcome->request, &outcome->result, &finished, &outcome->error);
	outcome->request.manager = NULL;
	if (results && (finished || outcome->error))
		g_ptr_array_add(results, outcome);
	else
		lu_libvirt_outcome_free(outcome);
}

/* Before that step the daemon still served, and the guest was not asked for. */
static gboolean needs_away(const LuJournal *journal)
{
	static const char *const steps[] = {"prepare", "images", "start", "greet", NULL};

	return !g_strv_contains(steps, journal->step);
}

gboolean lu_libvirt_recover(const LuRequest *request, GPtrArray *results, GError **errp)
{
	g_autoptr(LuLibvirt) libvirt = new_session(errp);
	g_autoptr(GPtrArray) journals = libvirt ? lu_journal_managed(libvirt->base) : NULL;
	g_autoptr(LuDaemon) daemon = NULL;
	g_autoptr(GError) error = NULL;
	gboolean away;

	if (!libvirt)
		return FALSE;
	daemon = lu_daemon_find(libvirt->base, &error);
	if (error) {
		g_propagate_error(errp, g_steal_pointer(&error));
		return FALSE;
	}
	/* A daemon that is away comes back; one that serves goes only where it must. */
	away = daemon && lu_daemon_is_away(daemon);
	for (guint i = 0; i < journals->len; i++)
		away = away || needs_away(journals->pdata[i]);
	if (away && !lu_libvirt_away(libvirt, 0, errp))
		return FALSE;
	for (guint i = 0; i < journals->len; i++)
		recover_vm(journals->pdata[i], request, results);
	if (away)
		return lu_libvirt_back(libvirt, errp);
	lu_daemon_journal_remove(libvirt->base);
	return TRUE;
}
