// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The VM's life cycle around a handover, by the calls that QEMU's own migration makes
 * (migration/migration.c and savevm.c of 7.2, 10.0 and 10.2; xen-save-devices-state is the
 * precedent for device state without RAM).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hmp.h"
#include "local/error.h"
#include "local/fault.h"
#include "local/inventory.h"
#include "machine.h"
#include "messages.h"
#include "qemu.h"
#include "query.h"
#include "stock-migration.h"
#include "vm.h"

static struct {
	char *state_before; /* the source's run state before the stop */
	gboolean inactive;  /* this QEMU has let go of its disks */
	gboolean retired;
} vm;

static int run_state(const char *name)
{
	return qemu.qapi_enum_parse(qemu.RunState_lookup, name, -1, NULL);
}

int lm_vm_fail(GError **errp, Error *error, int err, const char *what)
{
	lm_fail(errp, LM_ERROR_FAILED, err, "%s: %s", what, qemu.error_get_pretty(error));
	qemu.error_free(error);
	return -err;
}

int lm_vm_describe(LmInventory *inventory, GError **errp)
{
	int rc;

	g_free(inventory->host_version);
	inventory->host_version = g_strdup(qemu.version);
	rc = lm_machine_describe(inventory, errp);
	if (rc == 0)
		rc = lm_drives_describe(inventory, errp);
	return rc < 0 ? rc : lm_blocks_describe(inventory, errp);
}

/* ------------------------------------------------------------------- source */

int lm_vm_check_source(GError **errp)
{
	g_autofree char *state = lm_query_run_state(errp);

	if (!state)
		return -EIO;
	if (vm.retired)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "the VM has left this process already");
	if (strcmp(state, "running") && strcmp(state, "paused") && strcmp(state, "prelaunch"))
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "the VM is in state %s; it must be running, paused or prelaunch",
			       state);
	return lm_stock_migration_check(errp);
}

static bool same_blocks(GPtrArray *before, GPtrArray *now)
{
	if (before->len != now->len)
		return false;
	for (guint i = 0; i < now->len; i++) {
		const LmRegion *a = g_ptr_array_index(before, i), *b = g_ptr_array_index(now, i);

		if (strcmp(a->name, b->name) || a->host != b->host ||
		    a->used_bytes != b->used_bytes)
			return false;
	}
	return true;
}

/* A device that was plugged, or a snapshot taken, since the two machines were compared. */
static int check_unchanged(const LmInventory *described, GError **errp)
{
	g_autoptr(LmInventory) now = lm_inventory_new();
	int rc = lm_vm_check_source(errp);

	if (rc == 0)
		rc = lm_vm_describe(now, errp);
	if (rc == 0)
		rc = lm_inventory_compare(described, now, errp);
	if (rc == 0 && !same_blocks(described->regions, now->regions))
		rc = lm_fail(errp, LM_ERROR_REFUSED, EAGAIN, "its RAM blocks are others");
	if (rc < 0)
		g_prefix_error(errp, "the VM changed while the migration was set up: ");
	return rc;
}

/* Also before it lets go of them again, for up to 9.2 QEMU aborts over one that is inactive. */
static int take_disks_back(GError **errp)
{
	Error *error = NULL;

	if (!vm.inactive)
		return 0;
	qemu.bdrv_activate_all(&error);
	if (error)
		return lm_vm_fail(errp, error, EIO, "its disks cannot be taken back");
	vm.inactive = FALSE;
	return 0;
}

/* Whatever the error is, the VM was not stopped. */
static int refuse(GError **errp)
{
	(*errp)->code = LM_ERROR_REFUSED;
	return -EAGAIN;
}

int lm_vm_stop(const LmInventory *described, gint64 *stop_ns, GError **errp)
{
	g_autofree char *state = NULL;
	int rc = check_unchanged(described, errp);

	if (rc == 0)
		rc = take_disks_back(errp);
	if (rc < 0)
		return refuse(errp);
	state = lm_query_run_state(errp);
	if (!state || lm_stock_migration_block(errp) < 0)
		return refuse(errp);
	g_free(vm.state_before);
	vm.state_before = g_steal_pointer(&state);
	/* While the guest still runs: the stop flushes, too, and has less to do then. Whatever
	 * cannot be flushed, it reports. */
	qemu.bdrv_flush_all();
	qemu.global_state_store();
	*stop_ns = g_get_monotonic_time() * 1000; /* CLOCK_MONOTONIC */
	rc = qemu.vm_stop_force_state(run_state("finish-migrate"));
	if (rc < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -rc, "stopping the VM");
	return 0;
}

static int save_to(int fd, GError **errp)
{
	int own_fd = dup(fd), rc;
	QIOChannel *channel = own_fd < 0 ? NULL : qemu.qio_channel_file_new_fd(own_fd);
	QEMUFile *file;
	Error *error = NULL;

	if (!channel)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "a file for the device state");
	file = qemu.qemu_file_new_output(channel);
	qemu.object_unref(channel);
	rc = qemu.qemu_save_device_state(file, &error);
	if (rc == 0)
		rc = qemu.qemu_fclose(file);
	else
		qemu.qemu_fclose(file);
	if (error)
		return lm_vm_fail(errp, error, EIO, "saving the device state");
	if (rc < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -rc, "saving the device state");
	return 0;
}

static int let_go_of_disks(GError **errp)
{
	int rc;

	vm.inactive = TRUE; /* if only in part: activating what is active does nothing */
	rc = qemu.bdrv_inactivate_all();
	if (rc < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, -rc, "inactivating the disks");
	return 0;
}

int lm_vm_save(gboolean keep_disks, int *state_fd, GError **errp)
{
	int rc = keep_disks ? 0 : let_go_of_disks(errp), fd;

	if (rc < 0)
		return rc;
	fd = lm_fault_fails("memfd-save") ? -1 : memfd_create("device-state", MFD_CLOEXEC);
	if (fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "memfd for the device state");
	rc = save_to(fd, errp);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*state_fd = fd;
	return 0;
}

int lm_vm_resume(GError **errp)
{
	int rc;

	lm_stock_migration_unblock();
	rc = take_disks_back(errp);
	if (rc < 0) {
		qemu.runstate_set(run_state("paused"));
		g_prefix_error(errp, "the VM stays paused (cont tries again), for ");
		return rc;
	}
	if (!strcmp(vm.state_before, "running"))
		qemu.vm_start();
	else
		qemu.runstate_set(run_state(vm.state_before));
	return 0;
}

void lm_vm_retire(const char *why)
{
	vm.retired = TRUE;
	qemu.runstate_set(run_state("postmigrate"));
	/* QEMU keeps the text. */
	qemu.qmp_disable_command(qemu.qmp_commands, "cont", g_strdup(why));
	lm_hmp_disable_cont(why);
}

gboolean lm_vm_is_retired(void)
{
	return vm.retired;
}

/* -------------------------------------------------------------- destination */

gboolean lm_vm_is_inmigrate(void)
{
	return qemu.runstate_check(run_state("inmigrate"));
}

int lm_vm_check_destination(GError **errp)
{
	g_autofree char *state = lm_query_run_state(errp);

	if (!state)
		return -EIO;
	if (strcmp(state, "inmigrate"))
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "the VM is in state %s; a destination is started with "
			       "-incoming defer",
			       state);
	return 0;
}

/*
 * Where the sections begin: up to 10.2 qemu_save_device_state writes the magic and version of a
 * migration stream first, which qemu_load_device_state does not want; 11.1 does not.
 */
static off_t sections_at(int fd)
{
	static const guint8 magic[] = {'Q', 'E', 'V', 'M'};
	guint8 head[8]; /* magic, version */

	if (pread(fd, head, sizeof(head), 0) != sizeof(head) || memcmp(head, magic, sizeof(magic)))
		return 0;
	return sizeof(head);
}

int lm_vm_load(int state_fd, GError **errp)
{
	int fd = dup(state_fd), rc;
	g_autofree char *said = NULL;
	LmMessages *messages;
	QIOChannel *channel;
	QEMUFile *file;
	Error *error = NULL;

	if (fd < 0 || lseek(fd, sections_at(fd), SEEK_SET) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "reading the device state");
	channel = qemu.qio_channel_file_new_fd(fd);
	file = qemu.qemu_file_new_input(channel);
	qemu.object_unref(channel);
	messages = lm_messages_begin();
	rc = qemu.qemu_load_device_state(file, &error);
	if (rc == 0)
		rc = qemu.qemu_file_get_error(file);
	qemu.qemu_fclose(file);
	said = lm_messages_end(messages);
	if (error)
		return lm_vm_fail(errp, error, EIO, "loading the device state");
	if (rc < 0)
		return lm_fail(errp, LM_ERROR_FAILED, -rc, "loading the device state: %s: %s",
			       g_strerror(-rc), *said ? said : "QEMU does not say at which device");
	return 0;
}

int lm_vm_activate(GError **errp)
{
	Error *error = NULL;

	qemu.bdrv_activate_all(&error);
	if (!error)
		return 0;
	/*
	 * Those before the one that failed are active. Up to 9.2 QEMU aborts if it is to inactivate
	 * what is inactive; there, the source has them when it has ended this process.
	 */
	if (qemu.version_major >= 10)
		lm_vm_deactivate();
	return lm_vm_fail(errp, error, EIO, "taking over the disks");
}

void lm_vm_deactivate(void)
{
	qemu.bdrv_inactivate_all();
}

/* As process_incoming_migration_bh does. */
void lm_vm_run(void)
{
	int running = run_state("running");
	int state = qemu.global_state_received() ? qemu.global_state_get_runstate() : running;
	QDict *answer;

	if (state == running && *qemu.autostart)
		qemu.vm_start();
	else
		qemu.runstate_set(state == running ? run_state("paused") : state);
	answer = lm_query("{\"execute\": \"announce-self\", \"arguments\": {\"initial\": 50,"
			  " \"max\": 550, \"rounds\": 5, \"step\": 100}}",
			  NULL);
	lm_qobject_free(answer);
}
