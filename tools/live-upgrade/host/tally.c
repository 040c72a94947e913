// SPDX-License-Identifier: GPL-2.0-or-later
/* What a run over all VMs comes to: counts, an exit code, JSON. */
#include "error.h"
#include "host.h"

guint lu_host_count(const LuHostRun *run, LuVmState state)
{
	guint count = 0;

	for (guint i = 0; i < run->vms->len; i++)
		count += ((const LuVm *)run->vms->pdata[i])->state == state;
	return count;
}

int lu_host_exit_code(const LuHostRun *run)
{
	if (lu_host_count(run, LU_VM_LOST) || run->problem_code == LU_ERROR_LOST)
		return LU_ERROR_LOST;
	if (lu_host_count(run, LU_VM_NO_LIBVIRT) || run->problem)
		return LU_ERROR_MANAGER;
	if (lu_host_count(run, LU_VM_ROLLED_BACK))
		return LU_ERROR_FAILED;
	if (lu_host_count(run, LU_VM_REFUSED) || lu_host_count(run, LU_VM_LEFT))
		return LU_ERROR_REFUSED;
	return 0;
}

static const char *outcome(const LuHostRun *run)
{
	const LuRequest *request = &run->request->each;

	switch (lu_host_exit_code(run)) {
	case LU_ERROR_LOST:
		return lu_vm_state_name(LU_VM_LOST);
	case LU_ERROR_MANAGER:
		return lu_vm_state_name(LU_VM_NO_LIBVIRT);
	case LU_ERROR_FAILED:
		return lu_vm_state_name(LU_VM_ROLLED_BACK);
	case LU_ERROR_REFUSED:
		return lu_vm_state_name(LU_VM_REFUSED);
	default:
		return lu_vm_state_name(request->dry_run    ? LU_VM_POSSIBLE
					: request->rehearse ? LU_VM_REHEARSED
							    : LU_VM_UPGRADED);
	}
}

static JsonObject *counts(const LuHostRun *run)
{
	JsonObject *object = json_object_new();

	for (guint state = 0; state < LU_VM_STATES; state++)
		json_object_set_int_member(object, lu_vm_state_name(state),
					   lu_host_count(run, state));
	return object;
}

JsonNode *lu_host_json(const LuHostRun *run)
{
	JsonNode *node = json_node_new(JSON_NODE_OBJECT);
	g_autoptr(JsonObject) object = json_object_new();
	JsonArray *vms = json_array_new(), *notes = json_array_new();

	for (guint i = 0; i < run->vms->len; i++)
		json_array_add_object_element(vms, lu_vm_json(run->vms->pdata[i]));
	for (guint i = 0; i < run->notes->len; i++)
		json_array_add_string_element(notes, run->notes->pdata[i]);
	json_object_set_string_member(object, "outcome", outcome(run));
	json_object_set_array_member(object, "vms", vms);
	json_object_set_object_member(object, "counts", counts(run));
	if (run->stopped)
		json_object_set_string_member(object, "stopped-by", run->stopped);
	json_object_set_boolean_member(object, "continued", run->continued);
	json_object_set_double_member(object, "total-ms", run->total_ms);
	json_object_set_int_member(object, "peak-bytes", (gint64)run->peak_bytes);
	json_object_set_array_member(object, "notes", notes);
	json_node_set_object(node, object);
	return node;
}
