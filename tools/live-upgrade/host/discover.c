// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QEMU is a process whose program is called like one, and that exports what the plugin needs
 * (tools/attach looks): qemu-img, qemu-nbd, the guest agent and the like do not, nor has one
 * without a machine a guest. One that cannot be looked into is one if it is called qemu-system-...
 * or kvm; what follows will say why not.
 *
 * An upgrade that was interrupted may have left two processes of one VM; its journal names both.
 * They are one entry, by the older one as long as it is.
 *
 * The order is that of the kinds; within a kind, what was interrupted comes first, for its guest
 * may be half moved; then the VM with the least memory, because it takes the least time to find
 * out with it that the new QEMU is no good; then the one that was started first.
 */
#include "discover.h"
#include "attach.h"
#include "command-line.h"
#include "journal.h"
#include "kinds.h"
#include "opts.h"
#include "process.h"

#include <stdio.h>
#include <unistd.h>

/* ------------------------------------------------------------------- processes */

static gboolean is_called_system_emulator(const LuProcess *process)
{
	g_autofree char *name = g_path_get_basename(process->exe);

	return g_str_has_prefix(name, "qemu-system-") || g_str_has_suffix(name, "kvm");
}

static gboolean is_qemu(const LuProcess *process)
{
	g_auto(AttachFacts) facts = {0};

	if (attach_check(process->pid, NULL, 0, &facts, NULL) < 0)
		return FALSE;
	if (!facts.refusal || facts.version)
		return TRUE;
	return is_called_system_emulator(process) && facts.refusal->code != ATTACH_ERROR_NO_PROCESS;
}

static const char *value_of(const LuCommandLine *line, const char *name)
{
	for (guint i = line ? line->options->len : 0; i-- > 0;) {
		const LuOption *option = line->options->pdata[i];

		if (lu_option_is(option, name))
			return option->value;
	}
	return NULL;
}

static char *name_of(const LuProcess *process, const LuCommandLine *line)
{
	const char *value = value_of(line, "name");
	g_autoptr(LuOpts) opts = value ? lu_opts_parse(value, "guest") : NULL;
	const char *guest = opts ? lu_opts_get(opts, "guest") : NULL;

	return guest ? g_strdup(guest) : g_strdup_printf("process %d", (int)process->pid);
}

/* QEMUs that are only asked what they can do, by this tool or by libvirt, have none. */
static gboolean has_machine(const LuCommandLine *line)
{
	const char *value = value_of(line, "machine");
	g_autoptr(LuOpts) opts = value ? lu_opts_parse(value, "type") : NULL;

	return !opts || g_strcmp0(lu_opts_get(opts, "type"), "none");
}

static LuVm *describe(const LuProcess *process, const LuHostRequest *request)
{
	g_autoptr(LuCommandLine) line = lu_command_line_parse(process->argv, NULL);
	const char *binary = request->each.binary ? request->each.binary : process->exe;
	LuVm *vm;

	if (!has_machine(line))
		return NULL;
	vm = lu_vm_new(process->pid, process->start_time);
	vm->uid = process->uid;
	vm->name = name_of(process, line);
	vm->memory_bytes = lu_vm_parse_memory(value_of(line, "m"));
	if (lu_process_runs(process, binary))
		lu_vm_set(vm, LU_VM_CURRENT, NULL);
	return vm;
}

static LuVm *look_at(pid_t pid, const LuHostRequest *request)
{
	g_autofree char *status = lu_proc_read(pid, "status", NULL);
	g_autofree char *uids = lu_proc_status_field(status, "Uid");
	g_autoptr(LuProcess) process = NULL;
	guint uid;

	if (!uids || pid == getpid() || sscanf(uids, "%*u %u", &uid) != 1)
		return NULL;
	if ((geteuid() && uid != geteuid()) || (!request->all_users && uid != request->user))
		return NULL;
	process = lu_process_open(pid, NULL);
	if (!process || !lu_process_is_called_qemu(process) || !is_qemu(process))
		return NULL;
	return describe(process, request);
}

static GPtrArray *look_at_all(const LuHostRequest *request)
{
	GPtrArray *vms = g_ptr_array_new_with_free_func((GDestroyNotify)lu_vm_free);
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		LuVm *vm = g_ascii_isdigit(*name)
				   ? look_at((pid_t)g_ascii_strtoll(name, NULL, 10), request)
				   : NULL;

		if (vm)
			g_ptr_array_add(vms, vm);
	}
	return vms;
}

/* -------------------------------------------------------------------- journals */

static LuVm *find(GPtrArray *vms, pid_t pid, guint64 start_time)
{
	for (guint i = 0; i < vms->len; i++) {
		LuVm *vm = vms->pdata[i];

		if (vm->pid == pid && vm->start_time == start_time)
			return vm;
	}
	return NULL;
}

/* Somebody's that was not asked for. */
static gboolean lives(const LuJournal *journal)
{
	return lu_process_is(journal->old_pid, journal->old_start) ||
	       lu_process_is(journal->new_pid, journal->new_start);
}

/* A VM whose processes are both gone is listed too: its journal is to be removed. */
static void merge(GPtrArray *vms, const LuJournal *journal)
{
	LuVm *old = find(vms, journal->old_pid, journal->old_start);
	LuVm *new = find(vms, journal->new_pid, journal->new_start);
	LuVm *vm = old ? old : new;

	if (old && new)
		g_ptr_array_remove(vms, new);
	if (!vm && lives(journal))
		return;
	if (!vm) {
		vm = lu_vm_new(journal->old_pid, journal->old_start);
		vm->name = g_strdup_printf("process %d", (int)journal->old_pid);
		g_ptr_array_add(vms, vm);
	}
	lu_vm_set(vm, LU_VM_WAITING, NULL);
	g_free(vm->interrupted);
	vm->interrupted = g_strdup(journal->step);
}

/* ----------------------------------------------------------------------- order */

static guint turn_of(const LuVmKind *kind)
{
	guint turn = 0;

	while (lu_vm_kinds[turn] && lu_vm_kinds[turn] != kind)
		turn++;
	return turn;
}

static gint order(guint64 a, guint64 b)
{
	return (a > b) - (a < b);
}

static gint compare(gconstpointer a, gconstpointer b)
{
	const LuVm *left = *(LuVm *const *)a, *right = *(LuVm *const *)b;
	gint by = order(turn_of(left->kind), turn_of(right->kind));

	if (!by)
		by = order(!left->interrupted, !right->interrupted);
	if (!by)
		by = order(left->memory_bytes, right->memory_bytes);
	if (!by)
		by = order(left->start_time, right->start_time);
	return by ? by : order((guint64)left->pid, (guint64)right->pid);
}

GPtrArray *lu_discover(const LuHostRequest *request, const char *base)
{
	GPtrArray *vms = look_at_all(request);
	g_autoptr(GPtrArray) journals = lu_journal_all(base);

	for (guint i = 0; i < journals->len; i++)
		merge(vms, journals->pdata[i]);
	lu_vm_kinds_enumerate(vms);
	g_ptr_array_sort(vms, compare);
	return vms;
}
