// SPDX-License-Identifier: GPL-2.0-or-later
/* The source's side: connect, hand the VM over, and what becomes of this process. */
#include <errno.h>

#include "disks.h"
#include "main-loop.h"
#include "memory-map.h"
#include "operation.h"
#include "taps.h"
#include "vhost-user.h"
#include "vm.h"

static void check(LmHop *hop)
{
	hop->rc = lm_vm_check_source(hop->errp);
}

static int name_disks(GPtrArray *disks, LmInventory *inventory, GError **errp)
{
	int rc = lm_disks_resolve(disks, errp);

	if (rc < 0)
		return rc;
	g_ptr_array_unref(inventory->disks);
	inventory->disks = g_ptr_array_ref(disks);
	return 0;
}

static void describe(LmHop *hop)
{
	check(hop);
	if (hop->rc == 0)
		hop->rc = lm_vm_describe(hop->arg, hop->errp);
	hop->operation->described = hop->arg;
	if (hop->rc == 0 && hop->operation->disks)
		hop->rc = name_disks(hop->operation->disks, hop->arg, hop->errp);
}

static int host_describe(void *opaque, LmInventory *inventory, GError **errp)
{
	return lm_operation_hop(opaque, describe, inventory, 0, errp);
}

static void hint(LmHop *hop)
{
	lm_memory_map_tell(hop->arg);
}

static void host_hint(void *opaque, GByteArray *to)
{
	lm_operation_hop(opaque, hint, to, 0, NULL);
}

static void stop(LmHop *hop)
{
	hop->rc = lm_vm_stop(hop->operation->described, hop->arg, hop->errp);
	if (hop->rc < 0)
		return;
	lm_taps_hush();
	lm_main_loop_stay(); /* until the devices are saved */
}

static int host_stop(void *opaque, gint64 *stop_ns, GError **errp)
{
	return lm_operation_hop(opaque, stop, stop_ns, 0, errp);
}

static void save(LmHop *hop)
{
	LmDeviceState *state = hop->arg;

	state->as_hinted = lm_memory_map_is_as_told();
	lm_vhost_user_hide();
	hop->rc = lm_vm_save(hop->operation->options.rehearse, &state->fd, hop->errp);
	lm_vhost_user_show();
	lm_main_loop_leave();
}

static int host_save(void *opaque, LmDeviceState *state, GError **errp)
{
	return lm_operation_hop(opaque, save, state, 0, errp);
}

static void resume(LmHop *hop)
{
	hop->rc = lm_vm_resume(hop->errp);
	lm_main_loop_leave();
}

static int host_resume(void *opaque, GError **errp)
{
	return lm_operation_hop(opaque, resume, NULL, 0, errp);
}

static void gone(LmHop *hop)
{
	lm_vm_retire("the VM runs in another process since a local migration");
}

static void host_gone(void *opaque)
{
	lm_operation_hop(opaque, gone, NULL, 0, NULL);
}

static void lost(LmHop *hop)
{
	qemu.error_report("localhost-migrate: the VM is lost: %s", (const char *)hop->arg);
	lm_vm_retire("guest memory was lost with the destination of a local migration");
}

static void host_lost(void *opaque, const char *why)
{
	lm_operation_hop(opaque, lost, (void *)why, 0, NULL);
}

static const LmHostOps source_ops = {
	.describe = host_describe,
	.changed = lm_operation_changed,
	.hint = host_hint,
	.stop = host_stop,
	.save = host_save,
	.resume = host_resume,
	.gone = host_gone,
	.lost = host_lost,
};

static void forget(LmHop *hop)
{
	lm_memory_map_forget();
}

static gpointer outgoing_worker(gpointer data)
{
	LmOperation *op = data;
	LmOutcome outcome = LM_OUTCOME_HERE;
	GError *error = NULL;
	int fd;

	lm_operation_changed(op);
	fd = lm_operation_hop(op, check, NULL, 0, &error);
	if (fd == 0)
		fd = lm_connect(op->path, op->options.deadline_ms, &error);
	if (fd >= 0)
		lm_session_run(op->session, fd, &outcome, &error);
	lm_main_loop_leave();
	lm_operation_hop(op, forget, NULL, 0, NULL);
	lm_operation_end(op, outcome, error);
	return NULL;
}

bool lm_outgoing_start(const char *uri, const LmOptions *options, GPtrArray *disks, Error **errp)
{
	g_autoptr(GError) error = NULL;
	char *path = lm_uri_parse(uri, &error);
	Error *blocker = NULL;

	if (!path) {
		lm_error_setg(errp, "%s", error->message);
		return false;
	}
	if (lm_operation_is_active()) {
		lm_error_setg(errp, "a local migration is under way already");
	} else if (lm_vm_is_retired()) {
		lm_error_setg(errp, "the VM has left this process already");
	} else if (qemu.migration_is_blocked(&blocker)) {
		lm_error_setg(errp, "migration is blocked: %s",
			      blocker ? qemu.error_get_pretty(blocker) : "QEMU does not say why");
		if (blocker)
			qemu.error_free(blocker);
	} else {
		return lm_operation_begin(LM_ROLE_SOURCE, &source_ops, path, NULL, options, disks,
					  outgoing_worker, errp);
	}
	g_free(path);
	return false;
}
