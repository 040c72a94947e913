// SPDX-License-Identifier: GPL-2.0-or-later
#include "copy-disk.h"
#include "device-use.h"
#include "handle.h"
#include "link.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <move-journal.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define POLL_MS 200
/* QEMU says to us that all is copied, and to libvirt by an event that it may not have seen yet. */
#define PIVOT_MS 60000

static gboolean is_raw(const LuDiskMove *move)
{
	return !strcmp(move->format, "raw");
}

static gboolean is_device(const LuDiskMove *move)
{
	struct stat st;

	return stat(move->file, &st) == 0 && S_ISBLK(st.st_mode);
}

gboolean lu_copy_is_libvirts(const LuDiskMove *move)
{
	return is_raw(move) || is_device(move);
}

/* ----------------------------------------------------------------- checks */

static gboolean refuse(const LuDiskMove *move, const char *why, GError **errp)
{
	return lu_fail(errp, LU_ERROR_REFUSED, "disk %s cannot move to %s: %s", move->disk,
		       move->file, why);
}

static gboolean check_disk(const LuDiskMove *move, JsonNode *inserted, GError **errp)
{
	JsonNode *image = lu_json_member(inserted, "image");

	if (!image)
		return refuse(move, "it has no medium", errp);
	if (lu_json_bool(inserted, "ro"))
		return refuse(move, "it is read-only", errp);
	if (lu_json_bool(inserted, "encrypted") || lu_json_bool(image, "encrypted"))
		return refuse(move, "it is encrypted", errp);
	if (lu_json_length(lu_json_member(image, "snapshots")))
		return refuse(move, "its image has internal snapshots, which would stay behind",
			      errp);
	if (lu_json_length(lu_json_member(inserted, "dirty-bitmaps")))
		return refuse(move, "it has dirty bitmaps, which would stay behind", errp);
	return TRUE;
}

/* What an image and all beneath it hold. */
static guint64 held_bytes(JsonNode *image)
{
	guint64 bytes = 0;

	for (; image; image = lu_json_member(image, "backing-image"))
		bytes += (guint64)lu_json_int(image, "actual-size");
	return bytes;
}

static gboolean check_room(const LuDiskMove *move, guint64 bytes, GError **errp)
{
	g_autofree char *folder = g_path_get_dirname(move->file);
	struct statvfs fs;
	guint64 left;

	if (statvfs(folder, &fs) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", folder);
	left = (guint64)fs.f_bavail * fs.f_frsize;
	if (left >= bytes)
		return TRUE;
	return lu_fail(errp, LU_ERROR_REFUSED,
		       "disk %s cannot move to %s: its images hold %" G_GUINT64_FORMAT
		       " bytes, and %s has room for %" G_GUINT64_FORMAT,
		       move->disk, move->file, bytes, folder, left);
}

/* A raw one is as large as the disk, for the guest would see more; in another is room for all. */
static gboolean check_device(const LuDiskMove *move, JsonNode *image, GError **errp)
{
	const guint64 disk = (guint64)lu_json_int(image, "virtual-size"), held = held_bytes(image);
	/* O_EXCL: nobody has mounted it, nor uses it for something else. */
	g_auto(LuFd) fd = open(move->file, O_RDONLY | O_EXCL | O_CLOEXEC);
	guint64 has = 0;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &has) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", move->file);
	if (is_raw(move) ? has == disk : has > held)
		return TRUE;
	return lu_fail(errp, LU_ERROR_REFUSED,
		       "disk %s cannot move to %s: the disk %s %" G_GUINT64_FORMAT
		       " bytes, the device has %" G_GUINT64_FORMAT,
		       move->disk, move->file, is_raw(move) ? "has" : "holds",
		       is_raw(move) ? disk : held, has);
}

/* QEMUs share a device with anybody. */
static gboolean check_unused(const LuDiskMove *move, JsonNode *drives, const char *domain,
			     GError **errp)
{
	g_autofree char *user = lu_device_user(domain, drives, move->file);

	return !user ||
	       lu_fail(errp, LU_ERROR_REFUSED, "disk %s cannot move to %s: domain %s has it",
		       move->disk, move->file, user);
}

/* libvirt makes the file; what is in one that is there would be overwritten. */
static gboolean check_target(const LuDiskMove *move, JsonNode *image, GError **errp)
{
	if (is_device(move))
		return check_device(move, image, errp);
	if (access(move->file, F_OK) == 0)
		return refuse(move, "it is there already, and libvirt makes the raw image", errp);
	if (errno != ENOENT)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", move->file);
	if (g_str_has_prefix(move->file, "/dev/"))
		return refuse(move, "there is no such device", errp);
	return check_room(move, held_bytes(image), errp);
}

gboolean lu_copy_check(LuQmp *qmp, const LuDiskMove *move, const char *domain, const char *alias,
		       GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) drives = lu_qmp_call(qmp, &error, "query-block", NULL);
	JsonNode *info = drives && alias ? lu_find_drive(drives, alias) : NULL;
	JsonNode *inserted = lu_json_member(info, "inserted");

	if (!drives)
		return refuse(move, error->message, errp);
	if (!info)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "the domain has no disk whose target is called %s", move->disk);
	return check_disk(move, inserted, errp) &&
	       (!is_device(move) || check_unused(move, drives, domain, errp)) &&
	       check_target(move, lu_json_member(inserted, "image"), errp);
}

/* ---------------------------------------------------------------- copying */

/*
 * When there was no answer libvirt may have begun it all the same, which is seen then; what it
 * answers is final.
 */
static gboolean begin(LuLink *link, const LuDiskMove *move, GError **errp)
{
	g_autofree char *limit = g_strdup_printf("%" G_GUINT64_FORMAT, move->throttle);
	g_autoptr(GError) error = NULL;
	LuQmp *qmp;

	while (!(qmp = lu_link_qmp(link, &error))) {
		if (!lu_link_failed(link)) {
			g_propagate_error(errp, g_steal_pointer(&error));
			return FALSE;
		}
		g_clear_error(&error);
	}
	if (lu_qmp_do(qmp, &error, "libvirt-copy-begin",
		      "{'disk': %s, 'file': %s, 'type': %s, 'format': %s, 'bandwidth': %s}",
		      move->disk, move->file, is_device(move) ? "block" : "file", move->format,
		      limit))
		return TRUE;
	lu_link_failed(link);
	if (error->domain != LU_QMP_ERROR)
		return TRUE;
	g_propagate_error(errp, g_steal_pointer(&error));
	return FALSE;
}

typedef enum CopyState {
	COPY_SILENT, /* no answer: an error */
	COPY_RUNS,
	COPY_IS_READY,
	COPY_HAS_MOVED,
	COPY_HAS_ENDED, /* without */
} CopyState;

/* It was ended by somebody else: with the new image as the disk? */
static CopyState how_it_ended(LuQmp *qmp, const LuDiskMove *move, GError **errp)
{
	g_autoptr(JsonNode) drives = lu_qmp_call(qmp, errp, "query-block", NULL);

	if (!drives)
		return COPY_SILENT;
	for (guint i = 0; i < lu_json_length(drives); i++) {
		JsonNode *inserted = lu_json_member(lu_json_element(drives, i), "inserted");

		if (!g_strcmp0(lu_json_str(inserted, "file"), move->file))
			return COPY_HAS_MOVED;
	}
	return COPY_HAS_ENDED;
}

/* Both images are the same, and stay so; counters need never say it, of a guest that writes. */
static CopyState is_ready(LuQmp *qmp, const LuDiskMove *move, GError **errp)
{
	g_autoptr(JsonNode) jobs = lu_qmp_call(qmp, errp, "query-block-jobs", NULL);
	g_autofree char *prefix = g_strdup_printf("copy-%s-", move->disk); /* libvirt's */

	if (!jobs)
		return COPY_SILENT;
	for (guint i = 0; i < lu_json_length(jobs); i++) {
		JsonNode *job = lu_json_element(jobs, i);
		const char *name = lu_json_str(job, "device");

		if (name && g_str_has_prefix(name, prefix) && lu_json_bool(job, "ready"))
			return COPY_IS_READY;
	}
	return COPY_RUNS;
}

static CopyState look(LuLink *link, const LuDiskMove *move, guint64 *done, guint64 *total,
		      GError **errp)
{
	LuQmp *qmp = lu_link_qmp(link, errp);
	g_autoptr(JsonNode) job =
		qmp ? lu_qmp_call(qmp, errp, "libvirt-copy-query", "{'disk': %s}", move->disk)
		    : NULL;

	if (!job)
		return COPY_SILENT;
	if (!lu_json_bool(job, "active"))
		return how_it_ended(qmp, move, errp);
	*done = (guint64)lu_json_int(job, "offset");
	*total = (guint64)lu_json_int(job, "len");
	return is_ready(qmp, move, errp);
}

/* FALSE: not this time. */
static gboolean pivot(LuLink *link, const LuDiskMove *move, GError **errp)
{
	return lu_qmp_do(lu_link_qmp(link, NULL), errp, "libvirt-copy-pivot", "{'disk': %s}",
			 move->disk);
}

static gboolean follow(LuLink *link, const LuDiskMove *move, const LuObserver *observer,
		       guint64 *total, GError **errp)
{
	gint64 end_us = 0; /* of the attempts to have the new image as the disk */
	guint64 done = 0;

	for (;;) {
		g_autoptr(GError) error = NULL;
		const CopyState state = look(link, move, &done, total, &error);

		if (state != COPY_SILENT)
			lu_link_answered(link);
		if (*total && observer->progress)
			observer->progress(observer->opaque, "copy", done, *total);
		if (state == COPY_IS_READY && !end_us)
			end_us = lu_end_us(PIVOT_MS);
		if (state == COPY_HAS_MOVED ||
		    (state == COPY_IS_READY && pivot(link, move, &error)))
			return TRUE;
		if (state == COPY_HAS_ENDED)
			return lu_fail(errp, LU_ERROR_FAILED,
				       "libvirt's copy ended before it was whole");
		if (state == COPY_RUNS) {
			poll(NULL, 0, POLL_MS);
		} else if (!lu_link_failed(link) ||
			   (state == COPY_IS_READY && !lu_left_ms(end_us))) {
			g_propagate_error(errp, g_steal_pointer(&error));
			return FALSE;
		}
	}
}

static void note_copy(const char *domain, const LuDiskMove *move, const GError *why,
		      LuResult *result, GError **errp)
{
	g_autofree char *text = g_strdup_printf(
		"disk %s is not in %s yet: %s (virsh blockjob %s %s says whether it is being "
		"copied; with --pivot, when it is, the new image is the disk, with --abort the old "
		"one)",
		move->disk, move->file, why->message, domain, move->disk);

	if (errp && !*errp)
		lu_fail(errp, LU_ERROR_MANAGER, "%s", text);
	g_ptr_array_add(result->notes, g_steal_pointer(&text));
}

gboolean lu_copy_disks(const char *domain, const LuRequest *request, LuResult *result,
		       GError **errp)
{
	const gint64 begin_us = g_get_monotonic_time();
	g_autoptr(LuLink) link = lu_link_new(domain);
	gboolean ok = TRUE, any = FALSE;

	for (guint i = 0; i < request->moves->len; i++) {
		const LuDiskMove *move = request->moves->pdata[i];
		g_autoptr(GError) error = NULL;
		guint64 total = 0;

		if (!lu_copy_is_libvirts(move))
			continue;
		any = TRUE;
		if (begin(link, move, &error)) {
			lu_fault("libvirt-copy", NULL);
			follow(link, move, &request->observer, &total, &error);
		}
		result->copied_bytes += error ? 0 : total;
		if (!error)
			continue;
		note_copy(domain, move, error, result, ok ? errp : NULL);
		ok = FALSE;
	}
	if (any)
		result->copy_ms += (double)(g_get_monotonic_time() - begin_us) / 1000;
	return ok;
}

/* ----------------------------------------------- disks that went with the guest */

void lu_follow_disks(const char *domain, GPtrArray *moves, const LuObserver *observer,
		     LuResult *result)
{
	const gint64 begin_us = g_get_monotonic_time();
	g_autoptr(LuLink) link = lu_link_new(domain);
	LuCopyState state = LU_COPY_RUNS;

	while (state == LU_COPY_RUNS) {
		g_autoptr(GError) error = NULL;
		LuQmp *qmp = lu_link_qmp(link, &error);

		state = qmp ? lu_copy_look(qmp, observer, result, &error) : LU_COPY_SILENT;
		if (state == LU_COPY_SILENT && lu_link_failed(link)) {
			state = LU_COPY_RUNS;
			continue;
		}
		if (error)
			g_ptr_array_add(result->notes, g_strdup(error->message));
		lu_link_answered(link);
		if (state == LU_COPY_RUNS)
			poll(NULL, 0, POLL_MS);
	}
	result->copy_ms = (double)(g_get_monotonic_time() - begin_us) / 1000;
	for (guint i = 0; moves && i < moves->len; i++) {
		const LuDiskMove *move = moves->pdata[i];
		g_autofree char *journal = lm_move_journal_path(move->file);

		lu_remove_empty_journal(journal);
	}
}
