// SPDX-License-Identifier: GPL-2.0-or-later
#include "vm.h"
#include "kinds.h"
#include "opts.h"

#include <string.h>

#define DEFAULT_MEMORY_MIB 128

static const char *const state_names[LU_VM_STATES] = {
	[LU_VM_WAITING] = "waiting",
	[LU_VM_UNDER_WAY] = "under-way",
	[LU_VM_CURRENT] = "current",
	[LU_VM_UPGRADED] = "upgraded",
	[LU_VM_POSSIBLE] = "possible",
	[LU_VM_REHEARSED] = "rehearsed",
	[LU_VM_REFUSED] = "refused",
	[LU_VM_ENDED] = "ended",
	[LU_VM_ROLLED_BACK] = "rolled-back",
	[LU_VM_NO_LIBVIRT] = "no-libvirt",
	[LU_VM_LOST] = "lost",
	[LU_VM_LEFT] = "not-begun",
};

LuVm *lu_vm_new(pid_t pid, guint64 start_time)
{
	LuVm *vm = g_new0(LuVm, 1);

	vm->pid = pid;
	vm->start_time = start_time;
	return vm;
}

void lu_vm_free(LuVm *vm)
{
	if (!vm)
		return;
	g_free(vm->name);
	g_free(vm->unit);
	g_free(vm->interrupted);
	g_free(vm->reason);
	g_free(vm->step);
	g_clear_pointer(&vm->report, json_node_unref);
	g_free(vm);
}

const char *lu_vm_state_name(LuVmState state)
{
	return state_names[state];
}

LuVmState lu_vm_state_parse(const char *name, LuVmState otherwise)
{
	for (guint i = 0; i < LU_VM_STATES; i++)
		if (!g_strcmp0(name, state_names[i]))
			return i;
	return otherwise;
}

void lu_vm_set(LuVm *vm, LuVmState state, char *reason)
{
	vm->state = state;
	g_free(vm->reason);
	vm->reason = reason;
}

static void put(JsonObject *object, const char *name, const char *value)
{
	if (value)
		json_object_set_string_member(object, name, value);
}

static void copy_member(JsonObject *from, const char *name, JsonNode *node, gpointer to)
{
	json_object_set_member(to, name, json_node_copy(node));
}

JsonObject *lu_vm_json(const LuVm *vm)
{
	JsonObject *object = json_object_new();

	if (vm->report)
		json_object_foreach_member(json_node_get_object(vm->report), copy_member, object);
	put(object, "name", vm->name);
	put(object, "kind", vm->kind ? vm->kind->name : NULL);
	put(object, "outcome", lu_vm_state_name(vm->state));
	put(object, "error", vm->reason);
	json_object_set_int_member(object, "old-pid", vm->pid);
	json_object_set_int_member(object, "old-start", (gint64)vm->start_time);
	json_object_set_int_member(object, "user", vm->uid);
	json_object_set_int_member(object, "memory-bytes", (gint64)vm->memory_bytes);
	put(object, "unit", vm->unit);
	put(object, "interrupted-at", vm->interrupted);
	return object;
}

guint64 lu_vm_parse_memory(const char *value)
{
	static const char suffixes[] = "KMGT";
	g_autoptr(LuOpts) opts = value ? lu_opts_parse(value, "size") : NULL;
	const char *size = opts ? lu_opts_get(opts, "size") : NULL;
	const char *suffix;
	char *end = NULL;
	double number;

	if (!size)
		return (guint64)DEFAULT_MEMORY_MIB << 20;
	number = g_ascii_strtod(size, &end);
	if (end == size || number < 0)
		return 0;
	if (g_ascii_toupper(*end) == 'B')
		return (guint64)number;
	suffix = *end ? strchr(suffixes, g_ascii_toupper(*end)) : strchr(suffixes, 'M');
	return suffix ? (guint64)(number * (double)(1024ull << (10 * (suffix - suffixes)))) : 0;
}
