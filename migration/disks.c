// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disks that end up in other images when their VM has moved.
 *
 * The destination was started with the old images, as every destination. While the guest still
 * runs in the source it opens the new images beside them, each with nothing beneath it, and looks
 * whether they fit (disk-check.c). When it has loaded the guest's devices and taken the disks, and
 * before a vCPU runs, each new image goes on top of its old one ("blockdev-snapshot"): a pointer
 * in QEMU, under a millisecond. From then on what the guest writes is in the new image alone, what
 * it reads and is not there yet comes from the old one, and a job copies the rest (disk-job.c).
 *
 * The source has no part in that. Both processes are on one host, and the destination has the old
 * images open anyway: whatever becomes of the source, no block can be missing.
 *
 * The new image's header names the old one from the start. So there is no moment in which the new
 * image, opened alone by whoever, were not the whole disk: QEMU drops the name when all is copied.
 * The journal (move-journal.h) says the same for people. Until the switch the new image is empty
 * and the old one is the disk; after it the old one does not change any more.
 *
 * A raw image can have nothing beneath it: there, a mirror copies after the switch, the guest
 * writes to both, and the old image is the disk until both are the same.
 */
#include "disks.h"

#include <errno.h>
#include <string.h>

#include "disk-move.h"
#include "local/error.h"
#include "machine.h"
#include "move-journal.h"
#include "query.h"

#define POLL_MS 200

static GPtrArray *moves; /* of LmMove; NULL: none */
static guint timer;

static void free_move(gpointer move)
{
	lm_move_free(move);
}

LmMove *lm_move_new(const LmDisk *disk)
{
	LmMove *move = g_new0(LmMove, 1);

	move->disk =
		lm_disk_new(disk->device, disk->file, disk->format, disk->node, disk->bandwidth);
	move->mirror = !strcmp(disk->format, "raw");
	move->old_images = g_ptr_array_new_with_free_func(g_free);
	move->journal_fd = -1;
	move->status.device = move->disk->device;
	move->status.file = move->disk->file;
	move->status.left_us = -1;
	return move;
}

void lm_move_free(LmMove *move)
{
	g_ptr_array_unref(move->old_images);
	g_free(move->old_node);
	g_free(move->old_file);
	g_free(move->old_format);
	g_free(move->detect_zeroes);
	g_free(move->node);
	g_free(move->file_node);
	g_free(move->job);
	g_free(move->status.error);
	lm_disk_free(move->disk);
	g_free(move);
}

/* ------------------------------------------------------------------ names */

/* @name is what a user calls a disk: by its node, its drive, or its device. A -blockdev's drive is
 * called "". */
static bool is_called(QDict *info, const char *name)
{
	const char *qdev = qemu.qdict_get_try_str(info, "qdev");
	const char *drive = qemu.qdict_get_try_str(info, "device");
	const char *node = NULL;
	g_autofree char *device = g_strconcat("/machine/peripheral/", name, NULL);
	g_autofree char *backend = g_strconcat(device, "/virtio-backend", NULL);

	if (!qdev || !*qdev || !*name)
		return false;
	if (qemu.qdict_haskey(info, "inserted"))
		node = qemu.qdict_get_try_str(qemu.qdict_get_qdict(info, "inserted"), "node-name");
	return !g_strcmp0(node, name) || !g_strcmp0(drive, name) || !strcmp(qdev, name) ||
	       !strcmp(qdev, device) || !strcmp(qdev, backend) ||
	       !strcmp(lm_drive_key(info, qdev), name);
}

static const char *key_of(const QDict *info)
{
	return lm_drive_key(info, qemu.qdict_get_try_str(info, "qdev"));
}

QDict *lm_move_find_drive(const char *name, GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-block\"}", errp), *info, *found = NULL;
	g_autofree char *other = NULL;

	if (!answer)
		return NULL;
	while ((info = (QDict *)qemu.qlist_pop(qemu.qdict_get_qlist(answer, "return")))) {
		if (!is_called(info, name)) {
			lm_qobject_free(info);
			continue;
		}
		if (found && !other)
			other = g_strdup(key_of(found));
		lm_qobject_free(found);
		found = info;
	}
	lm_qobject_free(answer);
	if (found && !other)
		return found;
	if (found)
		lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			"two disks have a node, drive or device that is called %s: %s and %s", name,
			other, key_of(found));
	else
		lm_fail(errp, LM_ERROR_REFUSED, ENOENT,
			"this VM has no disk whose node, drive or device is called %s", name);
	lm_qobject_free(found);
	return NULL;
}

/* What only who has the disk knows: a destination has not read its dirty bitmaps yet. */
static int check_disk(const LmDisk *disk, QDict *info, GError **errp)
{
	LmMove *move = lm_move_new(disk);
	int rc = lm_move_look(move, info, errp);

	lm_move_free(move);
	return rc;
}

static int resolve(LmDisk *disk, GError **errp)
{
	QDict *info = lm_move_find_drive(disk->device, errp);
	int rc;

	if (!info)
		return -ENOENT;
	g_free(disk->device);
	disk->device = g_strdup(key_of(info));
	rc = check_disk(disk, info, errp);
	lm_qobject_free(info);
	return rc;
}

int lm_disks_resolve(GPtrArray *disks, GError **errp)
{
	for (guint i = 0; i < disks->len; i++) {
		LmDisk *disk = g_ptr_array_index(disks, i);
		int rc = resolve(disk, errp);

		if (rc < 0)
			return rc;
		for (guint j = 0; j < i; j++) {
			const LmDisk *other = g_ptr_array_index(disks, j);

			if (!strcmp(other->device, disk->device))
				return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
					       "disk %s is to move twice, to %s and to %s",
					       disk->device, other->file, disk->file);
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- prepare */

/* The ImageInfo of @node, to be freed with *@answer; NULL: there is no such node. */
static QDict *find_image(const char *node, QDict **answer, GError **errp)
{
	QDict *flat = qemu.qdict_new(), *each;

	*answer = lm_command("query-named-block-nodes", flat, errp);
	if (!*answer)
		return NULL;
	while ((each = (QDict *)qemu.qlist_pop(qemu.qdict_get_qlist(*answer, "return")))) {
		if (!g_strcmp0(qemu.qdict_get_try_str(each, "node-name"), node)) {
			lm_qobject_free(*answer);
			*answer = each;
			return qemu.qdict_get_qdict(each, "image");
		}
		lm_qobject_free(each);
	}
	lm_qobject_free(*answer);
	*answer = NULL;
	return NULL;
}

/* A name that no node has, not even one of a move that was made before an upgrade. */
static char *free_node_name(GError **errp)
{
	for (guint i = 0;; i++) {
		g_autofree char *name = g_strdup_printf("moved%u", i);
		g_autoptr(GError) error = NULL;
		QDict *answer;

		if (find_image(name, &answer, &error)) {
			lm_qobject_free(answer);
			continue;
		}
		if (error) {
			g_propagate_error(errp, g_steal_pointer(&error));
			return NULL;
		}
		return g_steal_pointer(&name);
	}
}

/* libvirt's names for the two are NAME-format and NAME-storage. */
static char *name_of_file(const char *node)
{
	const char *end = g_str_has_suffix(node, "-format") ? strrchr(node, '-') : NULL;
	g_autofree char *begin = g_strndup(node, end ? (gsize)(end - node) : strlen(node));

	return g_strconcat(begin, end ? "-storage" : "-file", NULL);
}

static QDict *file_options(const LmMove *move, const char *node)
{
	QDict *cache = qemu.qdict_new(), *file = qemu.qdict_new();

	qemu.qdict_put_obj(cache, "direct", (QObject *)qemu.qbool_from_bool(move->direct));
	qemu.qdict_put_obj(cache, "no-flush", (QObject *)qemu.qbool_from_bool(move->no_flush));
	qemu.qdict_put_str(file, "driver", lm_image_driver(move->disk->file));
	qemu.qdict_put_str(file, "filename", move->disk->file);
	qemu.qdict_put_str(file, "node-name", node);
	qemu.qdict_put_str(file, "discard", "unmap");
	qemu.qdict_put_obj(file, "auto-read-only", (QObject *)qemu.qbool_from_bool(true));
	qemu.qdict_put_obj(file, "cache", (QObject *)cache);
	return file;
}

static QDict *image_options(const LmMove *move, const char *node)
{
	QDict *options = qemu.qdict_new();

	qemu.qdict_put_str(options, "driver", move->disk->format);
	qemu.qdict_put_str(options, "node-name", node);
	qemu.qdict_put_str(options, "discard", "unmap");
	qemu.qdict_put_str(options, "detect-zeroes", move->detect_zeroes);
	qemu.qdict_put_str(options, "file", move->file_node);
	if (!move->mirror)
		qemu.qdict_put_obj(options, "backing", qemu.qobject_from_json("null", NULL));
	return options;
}

/* @options become a node of the monitor's; takes them. */
static int add_node(const LmMove *move, QDict *options, GError **errp)
{
	QDict *answer = lm_command("blockdev-add", options, errp);

	if (answer) {
		lm_qobject_free(answer);
		return 0;
	}
	g_prefix_error(errp, "disk %s cannot move to %s: ", move->disk->device, move->disk->file);
	(*errp)->code = LM_ERROR_REFUSED;
	return -EINVAL;
}

static int open_new(LmMove *move, GError **errp)
{
	g_autofree char *node =
		*move->disk->node ? g_strdup(move->disk->node) : free_node_name(errp);
	g_autofree char *file_node = node ? name_of_file(node) : NULL;
	int rc;

	if (!node)
		return -EIO;
	rc = add_node(move, file_options(move, file_node), errp);
	if (rc < 0)
		return rc;
	move->file_node = g_steal_pointer(&file_node);
	rc = add_node(move, image_options(move, node), errp);
	if (rc < 0)
		return rc;
	move->node = g_steal_pointer(&node);
	move->status.node = move->node;
	return 0;
}

static int check_new(const LmMove *move, GError **errp)
{
	QDict *answer, *image = find_image(move->node, &answer, errp);
	int rc;

	if (!image)
		return -EIO;
	rc = lm_move_check_image(move, image, errp);
	lm_qobject_free(answer);
	return rc;
}

int lm_move_write_journal(LmMove *move, GError **errp)
{
	const LmMoveJournal journal = {.mirror = move->mirror,
				       .from = move->old_file,
				       .from_format = move->old_format,
				       .to = move->disk->file,
				       .to_format = move->disk->format};
	int fd = lm_move_journal_begin(&journal, errp);

	if (fd < 0)
		return fd;
	move->journal_fd = fd;
	return 0;
}

static int prepare(LmMove *move, gboolean rehearsal, GError **errp)
{
	QDict *info = lm_move_find_drive(move->disk->device, errp);
	int rc = info ? lm_move_look(move, info, errp) : -ENOENT;

	lm_qobject_free(info);
	if (rc == 0)
		rc = lm_move_check_file(move, errp);
	if (rc == 0)
		rc = open_new(move, errp);
	if (rc == 0)
		rc = check_new(move, errp);
	if (rc == 0 && !rehearsal)
		rc = lm_move_write_journal(move, errp);
	return rc;
}

int lm_disks_prepare(GPtrArray *disks, gboolean rehearsal, GError **errp)
{
	int rc = 0;

	lm_disks_forget();
	moves = g_ptr_array_new_with_free_func(free_move);
	for (guint i = 0; i < disks->len && rc == 0; i++) {
		LmMove *move = lm_move_new(g_ptr_array_index(disks, i));

		g_ptr_array_add(moves, move);
		rc = prepare(move, rehearsal, errp);
	}
	if (rc < 0 || rehearsal)
		lm_disks_forget();
	return rc;
}

static void take_back(LmMove *move)
{
	if (move->journal_fd >= 0)
		lm_move_journal_end(move->disk->file, move->journal_fd);
	if (move->node)
		lm_move_delete_node(move->node);
	if (move->file_node)
		lm_move_delete_node(move->file_node);
}

void lm_disks_forget(void)
{
	for (guint i = 0; moves && i < moves->len; i++)
		take_back(g_ptr_array_index(moves, i));
	g_clear_pointer(&moves, g_ptr_array_unref);
}

/* ----------------------------------------------------------------- switch */

static int put_on_top(const LmMove *move, GError **errp)
{
	QDict *arguments = qemu.qdict_new(), *answer;

	qemu.qdict_put_str(arguments, "node", move->old_node);
	qemu.qdict_put_str(arguments, "overlay", move->node);
	answer = lm_command("blockdev-snapshot", arguments, errp);
	if (!answer)
		return -EIO;
	lm_qobject_free(answer);
	return 0;
}

int lm_disks_switch(GError **errp)
{
	int rc = 0;

	for (guint i = 0; moves && i < moves->len && rc == 0; i++) {
		const LmMove *move = g_ptr_array_index(moves, i);

		if (!move->mirror)
			rc = put_on_top(move, errp);
	}
	return rc;
}

/* ------------------------------------------------------------------- copy */

static LmMove *find_move(const char *job)
{
	for (guint i = 0; i < moves->len; i++) {
		LmMove *move = g_ptr_array_index(moves, i);

		if (!g_strcmp0(move->job, job))
			return move;
	}
	return NULL;
}

static bool any_copies(void)
{
	for (guint i = 0; i < moves->len; i++)
		if (((const LmMove *)g_ptr_array_index(moves, i))->job)
			return true;
	return false;
}

static void poll_jobs(void)
{
	QDict *answer = lm_query("{\"execute\": \"query-jobs\"}", NULL), *job;
	g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

	if (!answer)
		return;
	while ((job = (QDict *)qemu.qlist_pop(qemu.qdict_get_qlist(answer, "return")))) {
		LmMove *move = find_move(qemu.qdict_get_try_str(job, "id"));

		if (move) {
			g_hash_table_add(seen, move);
			lm_move_poll(move, job);
		}
		lm_qobject_free(job);
	}
	lm_qobject_free(answer);
	for (guint i = 0; i < moves->len; i++) {
		LmMove *move = g_ptr_array_index(moves, i);

		if (move->job && !g_hash_table_contains(seen, move))
			lm_move_poll(move, NULL);
	}
}

static gboolean tick(gpointer unused)
{
	poll_jobs();
	if (any_copies())
		return G_SOURCE_CONTINUE;
	timer = 0;
	return G_SOURCE_REMOVE;
}

static gboolean begin(gpointer unused)
{
	for (guint i = 0; i < moves->len; i++)
		lm_move_begin(g_ptr_array_index(moves, i));
	timer = g_timeout_add(POLL_MS, tick, NULL);
	return G_SOURCE_REMOVE;
}

/* Not in the way of the guest's first steps, nor of the word to the source that it runs. */
void lm_disks_begin(void)
{
	if (moves)
		timer = g_idle_add(begin, NULL);
}

guint lm_disks_count(void)
{
	return moves ? moves->len : 0;
}

const LmMoveStatus *lm_disks_status(guint i)
{
	return &((const LmMove *)g_ptr_array_index(moves, i))->status;
}
