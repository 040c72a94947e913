// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The steps of disks that shall end up in other images: they are found when the plan is made, the
 * new images are made before the new process starts, and the copying, which the plugin does, is
 * followed when the guest runs there.
 *
 * A new image belongs to whom the QEMU runs as, and so does an empty journal beside it
 * (migration/move-journal.h), for that user need not have a right to the folder.
 */
#include "steps.h"
#include "error.h"
#include "handle.h"
#include "images.h"
#include "qemu-img.h"
#include "recover-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <move-journal.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define POLL_MS 200

void lu_disk_free(LuDisk *disk)
{
	g_free(disk->device);
	g_free(disk->old_file);
	g_free(disk->old_format);
	g_free(disk->node);
	g_free(disk->file_node);
	g_free(disk);
}

/* ------------------------------------------------------------------ finding */

static gboolean is_called(JsonNode *info, const char *name)
{
	const char *qdev = lu_json_str(info, "qdev");
	const char *node = lu_json_str(lu_json_member(info, "inserted"), "node-name");
	g_autofree char *device = g_strconcat("/machine/peripheral/", name, NULL);
	g_autofree char *backend = g_strconcat(device, "/virtio-backend", NULL);

	return qdev && *qdev &&
	       (!g_strcmp0(node, name) || !g_strcmp0(lu_json_str(info, "device"), name) ||
		!strcmp(qdev, name) || !strcmp(qdev, device) || !strcmp(qdev, backend));
}

JsonNode *lu_find_drive(JsonNode *drives, const char *name)
{
	for (guint i = 0; i < lu_json_length(drives); i++)
		if (is_called(lu_json_element(drives, i), name))
			return lu_json_element(drives, i);
	return NULL;
}

static LuDisk *make_disk(LuUpgrade *up, const LuDiskMove *move, JsonNode *info, GError **errp)
{
	JsonNode *image = lu_json_member(lu_json_member(info, "inserted"), "image");
	const char *file = lu_json_str(image, "filename"), *format = lu_json_str(image, "format");
	LuDisk *disk;

	if (!file || !format) {
		lu_fail(errp, LU_ERROR_REFUSED, "disk %s cannot move to %s: it has no medium",
			move->disk, move->file);
		return NULL;
	}
	if (g_str_has_prefix(file, "/dev/fdset/") || g_str_has_prefix(file, "json:")) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"disk %s cannot move to %s: its image %s has no name by which that could "
			"refer to it",
			move->disk, move->file, file);
		return NULL;
	}
	disk = g_new0(LuDisk, 1);
	disk->move = move;
	disk->device = g_strdup(lu_json_str(info, "qdev"));
	disk->old_file = strstr(file, "://") ? g_strdup(file)
					     : g_canonicalize_filename(file, up->running->cwd);
	disk->old_format = g_strdup(format);
	disk->bytes = (guint64)lu_json_int(image, "virtual-size");
	return disk;
}

static void name_nodes(LuDisk *disk, const LuManager *manager, guint i)
{
	if (!manager || !manager->next_node)
		return;
	disk->node = g_strdup_printf("libvirt-%u-format", manager->next_node + i);
	disk->file_node = g_strdup_printf("libvirt-%u-storage", manager->next_node + i);
}

gboolean lu_find_disks(LuUpgrade *up, GError **errp)
{
	GPtrArray *moves = up->request->moves;
	g_autoptr(JsonNode) drives = NULL;

	if (!moves || !moves->len)
		return TRUE;
	drives = lu_qmp_call(up->old_qmp, errp, "query-block", NULL);
	if (!drives)
		return FALSE;
	up->disks = g_ptr_array_new_with_free_func((GDestroyNotify)lu_disk_free);
	for (guint i = 0; i < moves->len; i++) {
		const LuDiskMove *move = moves->pdata[i];
		JsonNode *info = lu_find_drive(drives, move->disk);
		LuDisk *disk;

		if (!info)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "the guest has no disk whose node, drive or device is "
				       "called %s",
				       move->disk);
		disk = make_disk(up, move, info, errp);
		if (!disk)
			return FALSE;
		name_nodes(disk, up->request->manager, i);
		g_ptr_array_add(up->disks, disk);
	}
	return TRUE;
}

/* ------------------------------------------------------------------- making */

static gboolean create(const LuDisk *disk, int fd, GError **errp)
{
	g_autofree char *bytes = g_strdup_printf("%" G_GUINT64_FORMAT, disk->bytes), *said = NULL;
	g_autofree char *path = lu_qemu_img_name(fd);
	const char *const over[] = {
		"qemu-img", "create",	      "-q", "-u",  "-f", "qcow2", "-b", disk->old_file,
		"-F",	    disk->old_format, path, bytes, NULL};
	const char *const alone[] = {"qemu-img", "create", "-q", "-f", "raw", path, bytes, NULL};

	if (lu_qemu_img(strcmp(disk->move->format, "raw") ? over : alone, fd, &said, errp))
		return TRUE;
	g_prefix_error(errp, "%s cannot be made: ", disk->move->file);
	return FALSE;
}

/* The folder of @file, as @process sees it. */
static int open_folder(const LuProcess *process, const char *file)
{
	g_autofree char *folder = g_path_get_dirname(file);
	g_autofree char *here = lu_process_path(process, folder);

	return open(here, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* What was made, if it is there and its name leads to it; else -1 with errno. */
static int open_made(int folder, const LuMadeFile *made)
{
	g_autofree char *name = g_path_get_basename(made->file);
	g_auto(LuFd) fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	errno = ESTALE;
	/* If the run was killed in between, it is empty. */
	if (!S_ISREG(st.st_mode) ||
	    (made->ino ? st.st_dev != made->dev || st.st_ino != made->ino : st.st_size != 0))
		return -1;
	return lu_fd_steal(&fd);
}

static gboolean give(LuUpgrade *up, int fd, LuMadeFile *made, GError **errp)
{
	struct stat st;

	if (fchown(fd, up->old->uid, up->old->gid) < 0 || fchmod(fd, 0600) < 0 || fstat(fd, &st))
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", made->file);
	made->dev = st.st_dev;
	made->ino = st.st_ino;
	return lu_journal_write(up->journal, errp);
}

/*
 * It is in the tool's journal before it is in the folder. @file is as the QEMU sees it. *@fd: it
 * was not there (else -1), for what was is not to be taken away again. Who may write to the folder
 * can put something else in its place at any time; so the name is used once.
 */
static gboolean make_file(LuUpgrade *up, const char *file, int *fd, GError **errp)
{
	g_autofree char *path = lu_process_path(up->old, file);
	LuMadeFile *made;

	if (g_access(path, F_OK) == 0)
		return TRUE;
	made = lu_made_files_add(up->journal->images, file);
	if (!lu_journal_write(up->journal, errp))
		return FALSE;
	*fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd >= 0)
		return give(up, *fd, made, errp);
	if (errno != EEXIST)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", file);
	g_ptr_array_remove(up->journal->images, made);
	return lu_journal_write(up->journal, errp);
}

static gboolean check_made(LuUpgrade *up, const LuMadeFile *made, GError **errp)
{
	g_auto(LuFd) folder = open_folder(up->old, made->file);
	g_auto(LuFd) fd = open_made(folder, made);

	return fd >= 0 ||
	       lu_fail(errp, LU_ERROR_REFUSED, "%s was replaced while it was made", made->file);
}

static gboolean make_image(LuUpgrade *up, const LuDisk *disk, GError **errp)
{
	g_autofree char *journal = lm_move_journal_path(disk->move->file);
	const guint at = up->journal->images->len;
	g_auto(LuFd) fd = -1, journal_fd = -1;

	if (!make_file(up, disk->move->file, &fd, errp))
		return FALSE;
	if (fd >= 0 && (!lu_fault("made", errp) || !create(disk, fd, errp) ||
			!check_made(up, up->journal->images->pdata[at], errp)))
		return FALSE;
	return make_file(up, journal, &journal_fd, errp);
}

gboolean lu_step_images(LuUpgrade *up, GError **errp)
{
	for (guint i = 0; up->disks && i < up->disks->len; i++)
		if (!make_image(up, up->disks->pdata[i], errp))
			return FALSE;
	return TRUE;
}

void lu_remove_empty_journal(const char *path)
{
	struct stat st;

	if (g_str_has_suffix(path, LM_MOVE_JOURNAL_SUFFIX) && !g_stat(path, &st) && !st.st_size)
		g_unlink(path);
}

static void remove_made(LuUpgrade *up, const LuMadeFile *made)
{
	g_auto(LuFd) folder = open_folder(up->old, made->file);
	g_auto(LuFd) fd = open_made(folder, made);
	const gboolean gone = folder < 0 || (fd < 0 && errno == ENOENT);
	g_autofree char *name = g_path_get_basename(made->file);
	g_autofree char *here = g_strdup_printf("/proc/self/fd/%d/%s", folder, name);
	g_autofree char *journal = lm_move_journal_path(name);
	struct stat st;

	if (gone)
		return;
	if (fd < 0) {
		lu_note(up, g_strdup_printf("%s is left: it is not the file that was made",
					    made->file));
	} else if (g_str_has_suffix(name, LM_MOVE_JOURNAL_SUFFIX)) {
		if (!fstat(fd, &st) && !st.st_size)
			unlinkat(folder, name, 0);
	} else if (lu_disk_is_worthless(fd, here)) {
		unlinkat(folder, name, 0);
		unlinkat(folder, journal, 0);
	} else {
		lu_note(up, g_strdup_printf("%s is left: a guest has written to it", made->file));
	}
}

/*
 * The new process is gone: nobody uses them. But it may have had the guest before that: what is in
 * an image then is nowhere else.
 */
void lu_undo_images(LuUpgrade *up)
{
	for (guint i = 0; up->journal && up->old && i < up->journal->images->len; i++)
		remove_made(up, up->journal->images->pdata[i]);
}

/* ------------------------------------------------------------------ copying */

LuCopyState lu_copy_look(LuQmp *qmp, const LuObserver *observer, LuResult *result, GError **errp)
{
	g_auto(LuDiskProgress) progress = {0};
	g_autoptr(JsonNode) info = lu_qmp_call(qmp, errp, "query-localhost-migrate", NULL);

	if (!info)
		return LU_COPY_SILENT;
	lu_disk_progress_read(info, &progress);
	if (progress.total_bytes && observer->progress)
		observer->progress(observer->opaque, "copy", progress.done_bytes,
				   progress.total_bytes);
	if (progress.problem) {
		lu_fail(errp, LU_ERROR_FAILED, "%s", progress.problem);
		return LU_COPY_STOPPED;
	}
	result->copied_bytes = progress.total_bytes;
	return progress.copying ? LU_COPY_RUNS : LU_COPY_ENDED;
}

static gboolean follow_copy(LuUpgrade *up, GError **errp)
{
	const gint64 begin_us = g_get_monotonic_time();
	LuCopyState state;

	while ((state = lu_copy_look(up->new_qmp, &up->request->observer, up->result, errp)) ==
	       LU_COPY_RUNS)
		poll(NULL, 0, POLL_MS);
	up->result->copy_ms = (double)(g_get_monotonic_time() - begin_us) / 1000;
	return state == LU_COPY_ENDED;
}

/* The run that was interrupted need not have been asked for the disks of this one. */
static gboolean are_left(LuUpgrade *up)
{
	g_autoptr(JsonNode) info = NULL;

	if (!up->result->recovered || !up->request->moves || !up->new_qmp)
		return FALSE;
	info = lu_qmp_call(up->new_qmp, NULL, "query-localhost-migrate", NULL);
	return !lu_disk_moves_are_in(info, up->request->moves);
}

gboolean lu_step_copy(LuUpgrade *up, GError **errp)
{
	/* The monitor is the manager's again soon; who called follows by way of it. */
	if (up->journal->manager || !up->new_qmp)
		return TRUE;
	up->result->disks_left = are_left(up);
	if (!follow_copy(up, errp))
		return FALSE;
	for (guint i = 0; i < up->journal->images->len; i++) {
		const LuMadeFile *made = up->journal->images->pdata[i];
		g_autofree char *path = lu_process_path(up->new, made->file);

		lu_remove_empty_journal(path);
	}
	return TRUE;
}
