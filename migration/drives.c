// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's drives and what they are backed by.
 *
 * A destination is started from the source's command line. If a snapshot was taken or a medium
 * changed since, that command line names another image than the one in use, and a guest that ran
 * on it would destroy its data. So each drive's whole chain of images is compared, a file by its
 * device and inode number (names may differ between mount namespaces), anything else by its name.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "local/error.h"
#include "machine.h"
#include "qemu.h"
#include "query.h"

char *lm_image_identity(const char *filename)
{
	struct stat st;

	if (stat(filename, &st) < 0)
		return g_strdup(filename);
	if (S_ISBLK(st.st_mode))
		return g_strdup_printf("block device %u:%u", major(st.st_rdev), minor(st.st_rdev));
	return g_strdup_printf("inode %" G_GUINT64_FORMAT " on %u:%u", (guint64)st.st_ino,
			       major(st.st_dev), minor(st.st_dev));
}

const char *lm_image_driver(const char *filename)
{
	struct stat st;

	return stat(filename, &st) == 0 && S_ISBLK(st.st_mode) ? "host_device" : "file";
}

static void append_image(GString *text, const char *format, const char *name)
{
	g_string_append_printf(text, "%s%s %s", text->len ? " over " : "", format, name);
}

/* @image is QAPI's ImageInfo; its backing images are nested in it. */
static void describe_chain(const QDict *image, GString *identity, GString *label)
{
	for (; image; image = qemu.qdict_get_qdict(image, "backing-image")) {
		const char *filename = qemu.qdict_get_try_str(image, "filename");
		const char *format = qemu.qdict_get_try_str(image, "format");
		g_autofree char *id = lm_image_identity(filename ? filename : "");

		append_image(identity, format ? format : "?", id);
		append_image(label, format ? format : "?", filename ? filename : "?");
		if (!qemu.qdict_haskey(image, "backing-image"))
			break;
	}
}

/*
 * The machine's own drives (-hda, -cdrom, a floppy) have no id, and their devices are numbered in
 * another way in each version; what names them is the interface: "ide1-cd0".
 */
const char *lm_drive_key(const QDict *info, const char *qdev)
{
	const char *device = qemu.qdict_get_try_str(info, "device");

	return g_str_has_prefix(qdev, "/machine/unattached/") && device && *device ? device : qdev;
}

static void describe_drive(LmInventory *inventory, QDict *info)
{
	const char *qdev = qemu.qdict_get_try_str(info, "qdev");
	g_autoptr(GString) identity = g_string_new(NULL);
	g_autoptr(GString) label = g_string_new(NULL);
	QDict *inserted;

	if (!qdev || !*qdev)
		return; /* the guest does not see it */
	qdev = lm_drive_key(info, qdev);
	if (!qemu.qdict_haskey(info, "inserted")) {
		lm_inventory_add_trait(inventory, "drive", qdev, "no medium", NULL);
		return;
	}
	inserted = qemu.qdict_get_qdict(info, "inserted");
	describe_chain(qemu.qdict_get_qdict(inserted, "image"), identity, label);
	if (qemu.qdict_get_try_bool(inserted, "ro", false)) {
		g_string_append(identity, " read-only");
		g_string_append(label, " read-only");
	}
	if (identity->len > 4000) { /* a long chain: what is compared must fit the wire */
		g_autofree char *sum =
			g_compute_checksum_for_string(G_CHECKSUM_SHA256, identity->str, -1);

		g_string_assign(identity, sum);
		g_string_truncate(label, 4000);
	}
	lm_inventory_add_trait(inventory, "drive", qdev, identity->str, label->str);
}

static int describe_drives(LmInventory *inventory, GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-block\"}", errp), *drive;
	QList *drives;

	if (!answer)
		return -EIO;
	drives = qemu.qdict_get_qlist(answer, "return");
	while ((drive = (QDict *)qemu.qlist_pop(drives))) {
		describe_drive(inventory, drive);
		lm_qobject_free(drive);
	}
	lm_qobject_free(answer);
	return 0;
}

/* The first of what @command lists is in the way: its @key names it. */
static int refuse_any(const char *command, const char *what, const char *key, GError **errp)
{
	QDict *answer = lm_query(command, errp), *item;
	int rc = 0;

	if (!answer)
		return -EIO;
	item = (QDict *)qemu.qlist_pop(qemu.qdict_get_qlist(answer, "return"));
	if (item)
		rc = lm_fail(errp, LM_ERROR_REFUSED, EBUSY, "%s %s is active", what,
			     qemu.qdict_get_try_str(item, key));
	lm_qobject_free(item);
	lm_qobject_free(answer);
	return rc;
}

static int check_bitmaps(QDict *node, GError **errp)
{
	QDict *bitmap;
	QList *bitmaps;
	int rc = 0;

	if (!qemu.qdict_haskey(node, "dirty-bitmaps"))
		return 0;
	bitmaps = qemu.qdict_get_qlist(node, "dirty-bitmaps");
	while ((bitmap = (QDict *)qemu.qlist_pop(bitmaps))) {
		const char *name = qemu.qdict_get_try_str(bitmap, "name");

		if (!rc && !qemu.qdict_get_try_bool(bitmap, "persistent", false))
			rc = lm_fail(errp, LM_ERROR_REFUSED, ENOTSUP,
				     "dirty bitmap %s of node %s is in memory only and would be "
				     "lost",
				     name && *name ? name : "(unnamed)",
				     qemu.qdict_get_try_str(node, "node-name"));
		lm_qobject_free(bitmap);
	}
	return rc;
}

static int refuse_bitmaps(GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-named-block-nodes\","
				 " \"arguments\": {\"flat\": true}}",
				 errp);
	QDict *node;
	QList *nodes;
	int rc = 0;

	if (!answer)
		return -EIO;
	nodes = qemu.qdict_get_qlist(answer, "return");
	while ((node = (QDict *)qemu.qlist_pop(nodes))) {
		if (!rc)
			rc = check_bitmaps(node, errp);
		lm_qobject_free(node);
	}
	lm_qobject_free(answer);
	return rc;
}

int lm_drives_describe(LmInventory *inventory, GError **errp)
{
	int rc = refuse_any("{\"execute\": \"query-block-jobs\"}", "block job", "device", errp);

	if (rc == 0)
		rc = refuse_any("{\"execute\": \"query-block-exports\"}", "block export", "id",
				errp);
	if (rc == 0)
		rc = refuse_bitmaps(errp);
	return rc < 0 ? rc : describe_drives(inventory, errp);
}
