// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * QEMU's own jobs do the copying: block-stream pulls into an image what is beneath it, and
 * blockdev-mirror copies to an image that has nothing beneath, with all that the guest writes
 * meanwhile going to both. An error stops a job and not the guest, for block-job-resume.
 */
#include <string.h>

#include "disk-move.h"
#include "move-journal.h"
#include "query.h"

const char *lm_move_state_name(LmMoveState state)
{
	static const char *const names[] = {"prepared", "copying", "paused", "completed", "failed"};

	return names[state];
}

static QDict *job_arguments(const LmMove *move, const char *device)
{
	QDict *arguments = qemu.qdict_new();

	qemu.qdict_put_str(arguments, "job-id", move->node);
	qemu.qdict_put_str(arguments, "device", device);
	if (move->disk->bandwidth)
		qemu.qdict_put_int(arguments, "speed", move->disk->bandwidth);
	return arguments;
}

/*
 * It goes when it ends: one that stays keeps its filter, which has nothing beneath it any more, and
 * QEMU dereferences that for anybody who asks for the named block nodes (7.2:
 * bdrv_refresh_filename).
 */

static QDict *start_pull(const LmMove *move, GError **errp)
{
	QDict *arguments = job_arguments(move, move->node);

	qemu.qdict_put_str(arguments, "on-error", "stop");
	return lm_command("block-stream", arguments, errp);
}

static QDict *start_mirror(const LmMove *move, GError **errp)
{
	QDict *arguments = job_arguments(move, move->old_node);

	qemu.qdict_put_str(arguments, "target", move->node);
	qemu.qdict_put_str(arguments, "sync", "full");
	qemu.qdict_put_str(arguments, "copy-mode", "write-blocking");
	qemu.qdict_put_str(arguments, "on-source-error", "stop");
	qemu.qdict_put_str(arguments, "on-target-error", "stop");
	qemu.qdict_put_obj(arguments, "auto-dismiss", (QObject *)qemu.qbool_from_bool(false));
	return lm_command("blockdev-mirror", arguments, errp);
}

static void fail(LmMove *move, const char *why)
{
	move->status.state = LM_MOVE_FAILED;
	g_free(move->status.error);
	move->status.error = g_strdup(why);
	g_clear_pointer(&move->job, g_free);
	qemu.error_report("localhost-migrate: moving disk %s to %s: %s", move->disk->device,
			  move->disk->file, why);
}

void lm_move_begin(LmMove *move)
{
	g_autoptr(GError) error = NULL;
	QDict *answer = move->mirror ? start_mirror(move, &error) : start_pull(move, &error);

	lm_qobject_free(answer);
	move->begin_us = g_get_monotonic_time();
	if (!answer) {
		fail(move, error->message);
		return;
	}
	move->job = g_strdup(move->node);
	move->status.state = LM_MOVE_COPYING;
}

/* ------------------------------------------------------------- how it ends */

bool lm_move_delete_node(const char *node)
{
	QDict *arguments = qemu.qdict_new(), *answer;

	qemu.qdict_put_str(arguments, "node-name", node);
	answer = lm_command("blockdev-del", arguments, NULL);
	lm_qobject_free(answer);
	return answer != NULL;
}

static bool is_old_image(const LmMove *move, const char *file)
{
	for (guint i = 0; i < move->old_images->len; i++)
		if (!g_strcmp0(g_ptr_array_index(move->old_images, i), file))
			return true;
	return false;
}

/* Each image's node keeps that of its file: so again, as long as one went. */
static bool delete_some_old_nodes(const LmMove *move)
{
	QDict *flat = qemu.qdict_new(), *answer, *node;
	bool any = false;

	qemu.qdict_put_obj(flat, "flat", (QObject *)qemu.qbool_from_bool(true));
	answer = lm_command("query-named-block-nodes", flat, NULL);
	if (!answer)
		return false;
	while ((node = (QDict *)qemu.qlist_pop(qemu.qdict_get_qlist(answer, "return")))) {
		if (is_old_image(move, qemu.qdict_get_try_str(node, "file")))
			any |= lm_move_delete_node(qemu.qdict_get_try_str(node, "node-name"));
		lm_qobject_free(node);
	}
	lm_qobject_free(answer);
	return any;
}

static void close_journal(LmMove *move)
{
	if (move->journal_fd >= 0)
		lm_move_journal_end(move->disk->file, move->journal_fd);
	move->journal_fd = -1;
}

static void complete(LmMove *move)
{
	close_journal(move);
	move->status.state = LM_MOVE_COMPLETED;
	move->status.done_bytes = move->status.total_bytes;
	move->status.left_us = 0;
	while (delete_some_old_nodes(move))
		;
	qemu.info_report("localhost-migrate: disk %s is in %s now", move->disk->device,
			 move->disk->file);
}

static void dismiss(LmMove *move)
{
	QDict *arguments = qemu.qdict_new();

	qemu.qdict_put_str(arguments, "id", move->job);
	lm_qobject_free(lm_command("job-dismiss", arguments, NULL));
	g_clear_pointer(&move->job, g_free);
}

/* The new image among those of the disk, which may have others on top of it by now; or NULL. */
static QDict *find_image(const LmMove *move, QDict *inserted)
{
	QDict *image = qemu.qdict_get_qdict(inserted, "image");

	if (!g_strcmp0(qemu.qdict_get_try_str(inserted, "node-name"), move->node))
		return image;
	while (image && g_strcmp0(qemu.qdict_get_try_str(image, "filename"), move->disk->file))
		image = qemu.qdict_haskey(image, "backing-image")
				? qemu.qdict_get_qdict(image, "backing-image")
				: NULL;
	return image;
}

/*
 * Whether the guest's disk is the new image, or one that was put on top of it since, and what was
 * pulled has nothing beneath it; @otherwise if the device has been unplugged. Notes how much that
 * is, for the job may have been too quick to be seen.
 */
static bool has_moved(LmMove *move, bool otherwise)
{
	QDict *info = lm_move_find_drive(move->disk->device, NULL), *image;
	bool moved = otherwise;

	if (info && qemu.qdict_haskey(info, "inserted")) {
		image = find_image(move, qemu.qdict_get_qdict(info, "inserted"));
		moved = image && (move->mirror || !qemu.qdict_haskey(image, "backing-image"));
		if (moved && !move->mirror)
			move->status.total_bytes = qemu.qdict_get_try_int(image, "virtual-size", 0);
	}
	lm_qobject_free(info);
	return moved;
}

/*
 * A mirror that is cancelled when it is ready has no error, and the old image stays the disk; one
 * that pulls is gone without a word.
 */
static void end(LmMove *move, const char *why)
{
	const bool pivoted = move->mirror && move->journal_fd < 0;

	if (has_moved(move, !why && pivoted)) {
		complete(move);
		return;
	}
	if (pivoted)
		lm_move_write_journal(move, NULL);
	fail(move, why ? why : "its job was cancelled");
}

static void conclude(LmMove *move, QDict *job)
{
	g_autofree char *why = g_strdup(qemu.qdict_get_try_str(job, "error"));

	dismiss(move);
	end(move, why);
}

/*
 * A mirror is ready: both images are the same now, and stay so, for the guest writes to both. QEMU
 * goes over to the new one when it is back in its main loop, and from here on either is the disk,
 * whatever happens. What cannot be completed now is looked at again.
 */
static void pivot(LmMove *move)
{
	QDict *arguments = qemu.qdict_new(), *answer;

	qemu.qdict_put_str(arguments, "id", move->job);
	answer = lm_command("job-complete", arguments, NULL);
	if (answer)
		close_journal(move);
	lm_qobject_free(answer);
}

/* ----------------------------------------------------------- how far it is */

static void estimate(LmMove *move)
{
	const gint64 run_us = g_get_monotonic_time() - move->begin_us;
	LmMoveStatus *status = &move->status;

	status->left_us = -1;
	if (status->done_bytes)
		status->left_us = (gint64)((double)run_us / status->done_bytes *
					   (status->total_bytes - status->done_bytes));
}

static void note_progress(LmMove *move, QDict *job)
{
	move->status.done_bytes = qemu.qdict_get_try_int(job, "current-progress", 0);
	move->status.total_bytes = qemu.qdict_get_try_int(job, "total-progress", 0);
	move->status.total_bytes = MAX(move->status.total_bytes, move->status.done_bytes);
	estimate(move);
}

void lm_move_poll(LmMove *move, QDict *job)
{
	const char *status = job ? qemu.qdict_get_try_str(job, "status") : NULL;

	if (!status) {
		g_clear_pointer(&move->job, g_free);
		end(move, "its job was ended from outside");
		return;
	}
	note_progress(move, job);
	if (!strcmp(status, "concluded"))
		conclude(move, job);
	else if (!strcmp(status, "ready") && move->mirror && move->journal_fd >= 0)
		pivot(move);
	else
		move->status.state = strcmp(status, "paused") ? LM_MOVE_COPYING : LM_MOVE_PAUSED;
}
