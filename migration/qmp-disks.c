// SPDX-License-Identifier: GPL-2.0-or-later
#include "qmp-disks.h"

#include <string.h>

#include "disks.h"
#include "local/wire.h"
#include "qmp-check.h"
#include "query.h"

static bool check_disk(const QDict *disk, const char *prefix, Error **errp)
{
	const LmQapiStruct *type = &lm_qapi_LocalhostMigrateDisk;
	const char *file;
	gint64 throttle;

	if (!lm_qmp_check(type->members, type->n_members, disk, prefix, errp))
		return false;
	if (!*qemu.qdict_get_try_str(disk, "node")) {
		lm_error_setg(errp,
			      "Parameter '%snode' is empty, expects a disk's node, drive or device",
			      prefix);
		return false;
	}
	file = qemu.qdict_get_try_str(disk, "file");
	if (*file != '/' || strlen(file) > LM_WIRE_STRING_MAX) {
		lm_error_setg(errp,
			      "Parameter '%sfile' is '%.100s', expects an absolute path of at "
			      "most %d bytes",
			      prefix, file, LM_WIRE_STRING_MAX);
		return false;
	}
	throttle = qemu.qdict_get_try_int(disk, "throttle", 1);
	if (throttle < 1) {
		lm_error_setg(errp,
			      "Parameter '%sthrottle' is %" G_GINT64_FORMAT ", expects 1 or more",
			      prefix, throttle);
		return false;
	}
	return true;
}

static LmDisk *make_disk(const QDict *disk)
{
	const char *format = qemu.qdict_get_try_str(disk, "format");
	const char *node = qemu.qdict_get_try_str(disk, "new-node");

	return lm_disk_new(qemu.qdict_get_try_str(disk, "node"),
			   qemu.qdict_get_try_str(disk, "file"), format ? format : "qcow2",
			   node ? node : "", qemu.qdict_get_try_int(disk, "throttle", 0));
}

/* @holder has the element as "disk", so that QEMU says whether it is an object. */
static LmDisk *get_disk(const QDict *holder, guint i, Error **errp)
{
	g_autofree char *prefix = g_strdup_printf("disks[%u].", i);
	const QDict *disk = qemu.qdict_get_qdict(holder, "disk");

	if (!disk) {
		lm_error_setg(errp, "Invalid parameter type for 'disks[%u]', expected: object", i);
		return NULL;
	}
	return check_disk(disk, prefix, errp) ? make_disk(disk) : NULL;
}

bool lm_qmp_get_disks(const QDict *arguments, GPtrArray **disks, Error **errp)
{
	g_autoptr(GPtrArray) list = lm_disks_new();
	QList *elements;
	QObject *element;
	bool ok = true;

	if (!qemu.qdict_haskey(arguments, "disks"))
		return true;
	elements = qemu.qdict_get_qlist(arguments, "disks");
	while (ok && (element = qemu.qlist_pop(elements))) {
		QDict *holder = qemu.qdict_new();
		LmDisk *disk;

		qemu.qdict_put_obj(holder, "disk", element);
		disk = get_disk(holder, list->len, errp);
		ok = disk != NULL;
		if (disk)
			g_ptr_array_add(list, disk);
		lm_qobject_free(holder);
	}
	if (ok && list->len > LM_WIRE_DISKS_MAX) {
		lm_error_setg(errp, "Parameter 'disks' has %u elements, expects %d at most",
			      list->len, LM_WIRE_DISKS_MAX);
		return false;
	}
	if (ok && list->len)
		*disks = g_steal_pointer(&list);
	return ok;
}

/* ------------------------------------------------------------------- report */

static QDict *status_dict(const LmMoveStatus *status)
{
	QDict *dict = qemu.qdict_new();

	qemu.qdict_put_str(dict, "device", status->device);
	qemu.qdict_put_str(dict, "file", status->file);
	qemu.qdict_put_str(dict, "node", status->node);
	qemu.qdict_put_str(dict, "state", lm_move_state_name(status->state));
	qemu.qdict_put_int(dict, "offset", status->done_bytes);
	qemu.qdict_put_int(dict, "len", status->total_bytes);
	if (status->left_us >= 0)
		qemu.qdict_put_obj(dict, "remaining",
				   (QObject *)qemu.qnum_from_double(status->left_us / 1000.0));
	if (status->error)
		qemu.qdict_put_str(dict, "error-desc", status->error);
	return dict;
}

void lm_qmp_put_disks(QDict *info)
{
	QList *list;

	if (!lm_disks_count())
		return;
	list = qemu.qlist_new();
	for (guint i = 0; i < lm_disks_count(); i++)
		qemu.qlist_append_obj(list, (QObject *)status_dict(lm_disks_status(i)));
	qemu.qdict_put_obj(info, "disks", (QObject *)list);
}
