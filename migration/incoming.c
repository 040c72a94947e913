// SPDX-License-Identifier: GPL-2.0-or-later
/* The destination's side: wait for a source, take the VM, or end this process. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disks.h"
#include "heap.h"
#include "local/error.h"
#include "main-loop.h"
#include "memory-map.h"
#include "operation.h"
#include "page-cache.h"
#include "stand-in.h"
#include "vhost-user.h"
#include "vm.h"

static void describe(LmHop *hop)
{
	hop->rc = lm_vm_check_destination(hop->errp);
	if (hop->rc == 0)
		hop->rc = lm_vm_describe(hop->arg, hop->errp);
}

static int host_describe(void *opaque, LmInventory *inventory, GError **errp)
{
	return lm_operation_hop(opaque, describe, inventory, 0, errp);
}

/* The heap at last: QEMU's RCU thread gives back to the kernel what is free for long. */
static void prepare(LmHop *hop)
{
	lm_memory_map_place(hop->arg, hop->number);
	lm_page_cache_keep();
	lm_heap_reserve();
}

static void host_prepare(void *opaque, const guint8 *hint, gsize hint_bytes)
{
	lm_operation_hop(opaque, prepare, (void *)hint, hint_bytes, NULL);
}

static void resize(LmHop *hop)
{
	LmRegion *region = hop->arg;
	Error *error = NULL;

	if (qemu.qemu_ram_resize(region->opaque, hop->number, &error) < 0)
		hop->rc = lm_vm_fail(hop->errp, error, EINVAL, "resizing a RAM block");
	else
		region->used_bytes = qemu.qemu_ram_get_used_length(region->opaque);
}

static int host_resize(void *opaque, LmRegion *region, guint64 used_bytes, GError **errp)
{
	return lm_operation_hop(opaque, resize, region, used_bytes, errp);
}

/*
 * QEMU keeps the block's descriptor for what it may do later (discard, vhost-user, dump): it must
 * be that of the memory that is mapped now.
 */
static int host_adopted(void *opaque, LmRegion *region, int fd, GError **errp)
{
	if (region->fd >= 0 && dup3(fd, region->fd, O_CLOEXEC) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "RAM block %s: dup3",
				     region->name);
	return 0;
}

static gboolean is_rehearsal(LmOperation *op)
{
	LmStatus status;
	gboolean rehearsal;

	lm_session_query(op->session, &status);
	rehearsal = status.rehearsal;
	lm_status_clear(&status);
	return rehearsal;
}

static void move_disks(LmHop *hop)
{
	hop->rc = lm_disks_prepare(hop->arg, is_rehearsal(hop->operation), hop->errp);
}

static int host_move_disks(void *opaque, GPtrArray *disks, GError **errp)
{
	return lm_operation_hop(opaque, move_disks, disks, 0, errp);
}

static void load(LmHop *hop)
{
	const gboolean rehearsal = is_rehearsal(hop->operation);
	const LmDeviceState *state = hop->arg;

	if (!rehearsal)
		hop->rc = lm_stand_in_replace(hop->errp);
	if (hop->rc == 0)
		hop->rc = lm_vhost_user_check(hop->errp);
	if (hop->rc < 0)
		return;
	lm_heap_use();
	lm_memory_map_hold(state->as_hinted);
	hop->rc = lm_vm_load(state->fd, hop->errp);
	lm_memory_map_release();
	lm_heap_release();
	if (!rehearsal && hop->rc == 0)
		lm_main_loop_stay(); /* until the VM runs */
}

static int host_load(void *opaque, const LmDeviceState *state, GError **errp)
{
	return lm_operation_hop(opaque, load, (void *)state, 0, errp);
}

static void activate(LmHop *hop)
{
	hop->rc = lm_vm_activate(hop->errp);
	if (hop->rc < 0)
		return;
	hop->rc = lm_disks_switch(hop->errp);
	if (hop->rc < 0)
		lm_vm_deactivate();
}

static int host_activate(void *opaque, GError **errp)
{
	return lm_operation_hop(opaque, activate, NULL, 0, errp);
}

static void deactivate(LmHop *hop)
{
	lm_vm_deactivate();
}

static void host_deactivate(void *opaque)
{
	lm_operation_hop(opaque, deactivate, NULL, 0, NULL);
}

static void run(LmHop *hop)
{
	lm_vhost_user_connect();
	lm_vm_run();
	lm_disks_begin();
	lm_main_loop_leave();
}

static void host_run(void *opaque)
{
	lm_operation_hop(opaque, run, NULL, 0, NULL);
}

static const LmHostOps destination_ops = {
	.describe = host_describe,
	.changed = lm_operation_changed,
	.prepare = host_prepare,
	.move_disks = host_move_disks,
	.resize = host_resize,
	.adopted = host_adopted,
	.load = host_load,
	.activate = host_activate,
	.deactivate = host_deactivate,
	.run = host_run,
};

static void warn_refused(LmHop *hop)
{
	qemu.warn_report("localhost-migrate: a source was turned away: %s", (const char *)hop->arg);
}

static void forget(LmHop *hop)
{
	lm_disks_forget();
	lm_page_cache_restore();
}

/* As QEMU does with a destination whose migration failed. */
static void exit_spoilt(LmHop *hop)
{
	lm_disks_forget();
	qemu.error_report("localhost-migrate: the incoming VM was not taken: %s",
			  (const char *)hop->arg);
	exit(EXIT_FAILURE);
}

/* The source's answer says it already; this is for whoever reads this process's log. */
static void exit_rehearsed(LmHop *hop)
{
	qemu.info_report("localhost-migrate: rehearsed: this process would have taken the VM");
	exit(EXIT_SUCCESS);
}

/* A session after another: what a source that was turned away leaves is a destination as new. */
static void renew_session(LmOperation *op)
{
	LmSession *old;

	g_mutex_lock(&op->lock);
	old = op->session;
	op->session = lm_session_new(LM_ROLE_DESTINATION, &destination_ops, op, &op->options);
	g_mutex_unlock(&op->lock);
	lm_session_free(old);
}

static gboolean cancel_asked(LmOperation *op)
{
	gboolean value;

	g_mutex_lock(&op->lock);
	value = op->cancel_asked;
	g_mutex_unlock(&op->lock);
	return value;
}

static gpointer incoming_worker(gpointer data)
{
	LmOperation *op = data;
	LmOutcome outcome = LM_OUTCOME_UNTOUCHED;
	GError *error = NULL;

	lm_operation_changed(op);
	while (outcome == LM_OUTCOME_UNTOUCHED) {
		int fd = lm_accept(op->listener, &error);

		if (fd < 0)
			break;
		lm_session_run(op->session, fd, &outcome, &error);
		lm_main_loop_leave();
		if (outcome == LM_OUTCOME_UNTOUCHED)
			lm_operation_hop(op, forget, NULL, 0, NULL);
		if (outcome != LM_OUTCOME_UNTOUCHED || cancel_asked(op))
			break;
		lm_operation_hop(op, warn_refused, error->message, 0, NULL);
		g_clear_error(&error);
		renew_session(op);
		lm_operation_changed(op);
	}
	if (outcome == LM_OUTCOME_SPOILT)
		lm_operation_hop(op, exit_spoilt, error->message, 0, NULL);
	if (outcome == LM_OUTCOME_REHEARSED)
		lm_operation_hop(op, exit_rehearsed, NULL, 0, NULL);
	g_mutex_lock(&op->lock);
	g_clear_pointer(&op->listener, lm_listener_free);
	g_mutex_unlock(&op->lock);
	lm_operation_end(op, outcome, error);
	return NULL;
}

bool lm_incoming_start(const char *uri, Error **errp)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *path = lm_uri_parse(uri, &error);
	LmListener *listener;

	if (!path) {
		lm_error_setg(errp, "%s", error->message);
		return false;
	}
	if (lm_operation_is_active()) {
		lm_error_setg(errp, "a local migration is under way already");
		return false;
	}
	if (!lm_vm_is_inmigrate()) {
		lm_error_setg(errp, "this QEMU was not started with -incoming defer");
		return false;
	}
	listener = lm_listen(path, &error);
	if (!listener) {
		lm_error_setg(errp, "%s", error->message);
		return false;
	}
	return lm_operation_begin(LM_ROLE_DESTINATION, &destination_ops, g_steal_pointer(&path),
				  listener, &lm_default_options, NULL, incoming_worker, errp);
}
