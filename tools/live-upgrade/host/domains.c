// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The domains of libvirt, as a kind of VMs of a host: all in one go, so that its daemon is away
 * once (libvirt/lu-libvirt.h).
 */
#include "error.h"
#include "kinds.h"
#include "libvirt/lu-libvirt.h"
#include "process.h"

#include <string.h>

/* The id is the one that libvirt gives to the chardev of its monitor. */
static gboolean is_of_libvirt(pid_t pid)
{
	gsize length = 0;
	g_autofree char *text = lu_proc_read(pid, "cmdline", &length);
	g_auto(GStrv) argv = lu_proc_split(text, text ? length : 0);

	for (guint i = 0; argv[i]; i++)
		if (g_str_has_prefix(argv[i], "socket,id=charmonitor,"))
			return TRUE;
	return FALSE;
}

static void enumerate(GPtrArray *vms)
{
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (!vm->kind && is_of_libvirt(vm->pid))
			vm->kind = &lu_domain_kind;
	}
}

typedef struct Told {
	GPtrArray *vms;
	const LuTeller *teller;
} Told;

static void on_begin(void *opaque, const char *domain)
{
	const Told *told = opaque;

	for (guint i = 0; i < told->vms->len; i++) {
		const LuVm *vm = told->vms->pdata[i];

		if (!strcmp(vm->name, domain))
			told->teller->begun(told->teller->opaque, vm);
	}
}

static void tell_end(const Told *told, const LuVm *vm, const LuLibvirtOutcome *outcome)
{
	told->teller->ended(told->teller->opaque, vm, &outcome->request, &outcome->result,
			    outcome->error);
}

static const LuLibvirtOutcome *outcome_of(GPtrArray *outcomes, const LuVm *vm)
{
	for (guint i = 0; i < outcomes->len; i++) {
		const LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (!strcmp(outcome->name, vm->name) || !g_strcmp0(outcome->title, vm->name))
			return outcome;
	}
	return NULL;
}

static void tell_where_it_is(const Told *told, const LuVm *vm, const LuRequest *request)
{
	g_auto(LuResult) result = {0};
	g_autoptr(GError) error = NULL;
	g_autoptr(LuProcess) process = lu_process_open(vm->pid, &error);

	if (process)
		lu_fail(&error, LU_ERROR_FAILED, "the guest goes on in process %d", (int)vm->pid);
	told->teller->ended(told->teller->opaque, vm, request, &result, error);
}

/* Whoever began it was killed: the daemon comes back, and each guest is found where it is. */
static void settle(const Told *told, const LuRequest *request)
{
	g_autoptr(GPtrArray) outcomes =
		g_ptr_array_new_with_free_func((GDestroyNotify)lu_libvirt_outcome_free);
	g_autoptr(GError) error = NULL;

	if (lu_libvirt_is_interrupted())
		lu_libvirt_recover(request, outcomes, &error);
	for (guint i = 0; i < told->vms->len; i++) {
		const LuVm *vm = told->vms->pdata[i];
		const LuLibvirtOutcome *outcome = outcome_of(outcomes, vm);
		g_auto(LuResult) result = {0};

		if (error)
			told->teller->ended(told->teller->opaque, vm, request,
					    outcome ? &outcome->result : &result,
					    outcome && outcome->error ? outcome->error : error);
		else if (outcome)
			tell_end(told, vm, outcome);
		else
			tell_where_it_is(told, vm, request);
	}
}

static void upgrade_together(GPtrArray *vms, const LuRequest *request, const LuTeller *teller)
{
	Told told = {vms, teller};
	g_autoptr(GPtrArray) names = g_ptr_array_new(), outcomes = NULL;

	if (request->recover_only) {
		settle(&told, request);
		return;
	}
	for (guint i = 0; i < vms->len; i++)
		g_ptr_array_add(names, ((LuVm *)vms->pdata[i])->name);
	g_ptr_array_add(names, NULL);
	outcomes = lu_libvirt_run((char *const *)names->pdata, request, on_begin, &told);
	for (guint i = 0; i < vms->len; i++)
		tell_end(&told, vms->pdata[i], outcomes->pdata[i]);
}

/* The lost ones among those that nobody named are told. */
static gboolean check_recovered(GPtrArray *outcomes, GError **errp)
{
	for (guint i = 0; i < outcomes->len; i++) {
		const LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (outcome->error)
			return lu_fail(errp, (LuErrorCode)outcome->error->code, "domain %s: %s",
				       outcome->title ? outcome->title : outcome->name,
				       outcome->error->message);
	}
	return TRUE;
}

/* All domains may be upgraded, and the daemon away still. */
static gboolean settle_daemon(const LuRequest *request, char **told, GError **errp)
{
	g_autoptr(GPtrArray) outcomes =
		g_ptr_array_new_with_free_func((GDestroyNotify)lu_libvirt_outcome_free);
	g_autofree char *away = lu_libvirt_away_daemon();
	g_autoptr(GError) error = NULL;

	if (!away)
		return TRUE;
	if (request->dry_run) {
		*told = g_strdup_printf("libvirt's daemon %s is away since a run that was "
					"interrupted; --all begins it again",
					away);
		return TRUE;
	}
	if (!lu_libvirt_recover(request, outcomes, &error))
		return check_recovered(outcomes, errp) &&
		       lu_fail(errp, LU_ERROR_MANAGER, "%s", error->message);
	*told = g_strdup_printf("libvirt's daemon %s was away since a run that was interrupted, "
				"and is back",
				away);
	return check_recovered(outcomes, errp);
}

const LuVmKind lu_domain_kind = {
	.name = "domain",
	.plural = "domains of libvirt",
	.enumerate = enumerate,
	.upgrade_together = upgrade_together,
	.settle = settle_daemon,
};
