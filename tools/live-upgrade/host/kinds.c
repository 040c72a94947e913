// SPDX-License-Identifier: GPL-2.0-or-later
#include "kinds.h"
#include "unit.h"

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

/* ------------------------------------------------------------------------ table */

const LuVmKind *const lu_vm_kinds[] = {&process_kind, &service_kind, &lu_domain_kind, NULL};

/* The last one is asked first: the first one takes whatever is left. */
void lu_vm_kinds_enumerate(GPtrArray *vms)
{
	guint count = 0;

	while (lu_vm_kinds[count])
		count++;
	while (count-- > 0)
		lu_vm_kinds[count]->enumerate(vms);
}
