// SPDX-License-Identifier: GPL-2.0-or-later
#include "kinds.h"
#include "process.h"
#include "unit.h"

#include <string.h>

/* --------------------------------------------------------- a process by itself */

static gboolean upgrade_process(const LuVm *vm, const LuRequest *request, LuResult *result,
				GError **errp)
{
	LuRequest one = *request;

	one.pid = vm->pid;
	return lu_upgrade(&one, result, errp);
}

static void take(LuVm *vm, const LuVmKind *kind)
{
	vm->kind = kind;
}

static const LuVmKind process_kind;
static void enumerate_processes(GPtrArray *vms)
{
	for (guint i = 0; i < vms->len; i++)
		if (!((LuVm *)vms->pdata[i])->kind)
			take(vms->pdata[i], &process_kind);
}

static const LuVmKind process_kind = {
	.name = "process",
	.plural = "QEMU processes",
	.enumerate = enumerate_processes,
	.upgrade = upgrade_process,
};

/* ------------------------------------- the main process of a service of systemd */

/* lu_upgrade sees to it that the new process becomes the service's main process. */
static const LuVmKind service_kind;
static void enumerate_services(GPtrArray *vms)
{
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (vm->kind)
			continue;
		vm->unit = lu_unit_of_main_process(vm->pid);
		if (vm->unit)
			take(vm, &service_kind);
	}
}

static const LuVmKind service_kind = {
	.name = "service",
	.plural = "services of systemd",
	.enumerate = enumerate_services,
	.upgrade = upgrade_process,
};

/* ---------------------------------------------------------- a domain of libvirt */

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

static const LuVmKind domain_kind;
static void enumerate_domains(GPtrArray *vms)
{
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (!vm->kind && is_of_libvirt(vm->pid))
			take(vm, &domain_kind);
	}
}

static const LuVmKind domain_kind = {
	.name = "domain",
	.plural = "domains of libvirt",
	.enumerate = enumerate_domains,
};

/* ------------------------------------------------------------------------ table */

const LuVmKind *const lu_vm_kinds[] = {&process_kind, &service_kind, &domain_kind, NULL};

/* The last one is asked first: the first one takes whatever is left. */
void lu_vm_kinds_enumerate(GPtrArray *vms)
{
	guint count = 0;

	while (lu_vm_kinds[count])
		count++;
	while (count-- > 0)
		lu_vm_kinds[count]->enumerate(vms);
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (!vm->kind->upgrade && !vm->kind->upgrade_together)
			lu_vm_set(vm, LU_VM_REFUSED,
				  g_strdup_printf("%s are not upgraded yet", vm->kind->plural));
	}
}
