// SPDX-License-Identifier: GPL-2.0-or-later
#include "copy-disk.h"
#include "handle.h"
#include "relay.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define POLL_MS 200
/* QEMU says to us that all is copied, and to libvirt by an event that it may not have seen yet. */
#define PIVOT_MS 10000

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

gboolean lu_copy_check(LuQmp *qmp, const LuDiskMove *move, const char *alias, GError **errp)
{
	g_autoptr(JsonNode) drives = lu_qmp_call(qmp, errp, "query-block", NULL);
	JsonNode *info = drives && alias ? lu_find_drive(drives, alias) : NULL;
	JsonNode *inserted = lu_json_member(info, "inserted");

	if (!drives)
		return FALSE;
	if (!info)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "the domain has no disk whose target is called %s", move->disk);
	return check_disk(move, inserted, errp) &&
	       check_target(move, lu_json_member(inserted, "image"), errp);
}

/* ---------------------------------------------------------------- copying */

static gboolean begin(LuQmp *qmp, const LuDiskMove *move, GError **errp)
{
	g_autofree char *limit = g_strdup_printf("%" G_GUINT64_FORMAT, move->throttle);

	return lu_qmp_do(qmp, errp, "libvirt-copy-begin",
			 "{'disk': %s, 'file': %s, 'type': %s, 'format': %s, 'bandwidth': %s}",
			 move->disk, move->file, is_device(move) ? "block" : "file", move->format,
			 limit);
}

/* It was ended by somebody else: with the new image as the disk? */
static gboolean has_moved(LuQmp *qmp, const LuDiskMove *move, GError **errp)
{
	g_autoptr(JsonNode) drives = lu_qmp_call(qmp, errp, "query-block", NULL);

	if (!drives)
		return FALSE;
	for (guint i = 0; i < lu_json_length(drives); i++) {
		JsonNode *inserted = lu_json_member(lu_json_element(drives, i), "inserted");

		if (!g_strcmp0(lu_json_str(inserted, "file"), move->file))
			return TRUE;
	}
	return lu_fail(errp, LU_ERROR_FAILED, "libvirt's copy ended before it was whole");
}

typedef enum CopyState { COPY_FAILED, COPY_RUNS, COPY_IS_READY, COPY_HAS_ENDED } CopyState;

/* Both images are the same, and stay so; counters need never say it, of a guest that writes. */
static gboolean is_ready(LuQmp *qmp, const LuDiskMove *move)
{
	g_autoptr(JsonNode) jobs = lu_qmp_call(qmp, NULL, "query-block-jobs", NULL);
	g_autofree char *prefix = g_strdup_printf("copy-%s-", move->disk); /* libvirt's */

	for (guint i = 0; i < lu_json_length(jobs); i++) {
		JsonNode *job = lu_json_element(jobs, i);
		const char *name = lu_json_str(job, "device");

		if (name && g_str_has_prefix(name, prefix) && lu_json_bool(job, "ready"))
			return TRUE;
	}
	return FALSE;
}

static CopyState look(LuQmp *qmp, const LuDiskMove *move, guint64 *done, guint64 *total,
		      GError **errp)
{
	g_autoptr(JsonNode) job =
		lu_qmp_call(qmp, errp, "libvirt-copy-query", "{'disk': %s}", move->disk);

	if (!job)
		return COPY_FAILED;
	if (!lu_json_bool(job, "active"))
		return has_moved(qmp, move, errp) ? COPY_HAS_ENDED : COPY_FAILED;
	*done = (guint64)lu_json_int(job, "offset");
	*total = (guint64)lu_json_int(job, "len");
	return is_ready(qmp, move) ? COPY_IS_READY : COPY_RUNS;
}

static gboolean pivot(LuQmp *qmp, const LuDiskMove *move, GError **errp)
{
	const gint64 end_us = lu_end_us(PIVOT_MS);

	for (;;) {
		g_autoptr(GError) error = NULL;

		if (lu_qmp_do(qmp, &error, "libvirt-copy-pivot", "{'disk': %s}", move->disk))
			return TRUE;
		if (g_get_monotonic_time() > end_us)
			return lu_fail(errp, LU_ERROR_FAILED,
				       "%s; it is copied, and virsh blockjob --pivot ends it",
				       error->message);
		poll(NULL, 0, POLL_MS);
	}
}

static gboolean copy(LuQmp *qmp, const LuDiskMove *move, const LuObserver *observer,
		     LuResult *result, GError **errp)
{
	guint64 done = 0, total = 0;
	CopyState state;

	if (!begin(qmp, move, errp))
		return FALSE;
	lu_fault("libvirt-copy", NULL);
	while ((state = look(qmp, move, &done, &total, errp)) == COPY_RUNS) {
		if (total && observer->progress)
			observer->progress(observer->opaque, "copy", done, total);
		poll(NULL, 0, POLL_MS);
	}
	if (state == COPY_FAILED || (state == COPY_IS_READY && !pivot(qmp, move, errp)))
		return FALSE;
	result->copied_bytes += total;
	return TRUE;
}

void lu_copy_disks(const char *domain, const LuRequest *request, LuResult *result)
{
	const gint64 begin_us = g_get_monotonic_time();
	g_autoptr(LuRelay) relay = NULL;

	for (guint i = 0; i < request->moves->len; i++) {
		const LuDiskMove *move = request->moves->pdata[i];
		g_autoptr(GError) error = NULL;

		if (!lu_copy_is_libvirts(move))
			continue;
		if (!relay) {
			relay = lu_relay_open(LU_LIBVIRT_URI, &error);
			if (relay)
				lu_qmp_do(lu_relay_qmp(relay), &error, "libvirt-select",
					  "{'domain': %s}", domain);
		}
		if (error || !copy(lu_relay_qmp(relay), move, &request->observer, result, &error))
			g_ptr_array_add(result->notes,
					g_strdup_printf("disk %s is not in %s yet: %s", move->disk,
							move->file, error->message));
	}
	if (relay)
		result->copy_ms += (double)(g_get_monotonic_time() - begin_us) / 1000;
}
