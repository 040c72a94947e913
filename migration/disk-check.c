// SPDX-License-Identifier: GPL-2.0-or-later
/* What must be true before a disk can move: all of it is asked while the guest runs elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "disk-move.h"
#include "image-lock.h"
#include "local/error.h"
#include "machine.h"
#include "query.h"

static int refuse(GError **errp, const LmMove *move, const char *format, ...) G_GNUC_PRINTF(3, 4);

static int refuse(GError **errp, const LmMove *move, const char *format, ...)
{
	g_autofree char *why = NULL;
	va_list args;

	va_start(args, format);
	why = g_strdup_vprintf(format, args);
	va_end(args);
	return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "disk %s cannot move to %s: %s",
		       move->disk->device, move->disk->file, why);
}

/* ------------------------------------------------------- what the guest has */

static void note_chain(LmMove *move, QDict *image)
{
	while (image) {
		const char *file = qemu.qdict_get_try_str(image, "filename");

		if (file)
			g_ptr_array_add(move->old_images, g_strdup(file));
		move->allocated_bytes += qemu.qdict_get_try_int(image, "actual-size", 0);
		if (!qemu.qdict_haskey(image, "backing-image"))
			break;
		image = qemu.qdict_get_qdict(image, "backing-image");
	}
}

static void note_opening(LmMove *move, QDict *inserted)
{
	const char *zeroes = qemu.qdict_get_try_str(inserted, "detect_zeroes");
	QDict *cache = NULL;

	if (qemu.qdict_haskey(inserted, "cache"))
		cache = qemu.qdict_get_qdict(inserted, "cache");
	if (cache) {
		move->direct = qemu.qdict_get_try_bool(cache, "direct", false);
		move->no_flush = qemu.qdict_get_try_bool(cache, "no-flush", false);
	}
	move->detect_zeroes = g_strdup(zeroes ? zeroes : "off");
}

static bool has_any(QDict *dict, const char *key)
{
	QObject *first;

	if (!qemu.qdict_haskey(dict, key))
		return false;
	first = qemu.qlist_pop(qemu.qdict_get_qlist(dict, key));
	lm_qobject_free(first);
	return first != NULL;
}

int lm_move_look(LmMove *move, QDict *info, GError **errp)
{
	QDict *inserted, *image;
	const char *node, *file, *format;

	if (!qemu.qdict_haskey(info, "inserted"))
		return refuse(errp, move, "it has no medium");
	inserted = qemu.qdict_get_qdict(info, "inserted");
	image = qemu.qdict_get_qdict(inserted, "image");
	node = qemu.qdict_get_try_str(inserted, "node-name");
	file = qemu.qdict_get_try_str(image, "filename");
	format = qemu.qdict_get_try_str(image, "format");
	if (!node || !file || !format)
		return refuse(errp, move, "QEMU does not say what its image is");
	if (qemu.qdict_get_try_bool(inserted, "ro", false))
		return refuse(errp, move, "it is read-only");
	if (qemu.qdict_get_try_bool(inserted, "encrypted", false) ||
	    qemu.qdict_get_try_bool(image, "encrypted", false))
		return refuse(errp, move, "its image %s is encrypted, the new one would not be",
			      file);
	if (has_any(image, "snapshots"))
		return refuse(errp, move,
			      "its image %s has internal snapshots, which would stay "
			      "behind",
			      file);
	if (has_any(inserted, "dirty-bitmaps"))
		return refuse(errp, move, "its image %s has dirty bitmaps, which would stay behind",
			      file);
	move->old_node = g_strdup(node);
	move->old_file = g_strdup(file);
	move->old_format = g_strdup(format);
	move->virtual_bytes = qemu.qdict_get_try_int(image, "virtual-size", 0);
	note_chain(move, image);
	note_opening(move, inserted);
	return 0;
}

/* ------------------------------------------------------- what it shall have */

static int check_other_file(const LmMove *move, GError **errp)
{
	g_autofree char *mine = lm_image_identity(move->disk->file);

	for (guint i = 0; i < move->old_images->len; i++) {
		const char *file = g_ptr_array_index(move->old_images, i);
		g_autofree char *identity = lm_image_identity(file);

		if (!strcmp(mine, identity))
			return refuse(errp, move, "that is where it is (%s, %s)", file, identity);
	}
	return 0;
}

static int check_unlocked(const LmMove *move, int fd, GError **errp)
{
	if (lm_image_is_locked(fd))
		return refuse(errp, move, "another process has that image open (its lock is held)");
	return 0;
}

/* A block device says by its size what it holds, which QEMU compares. */
static int check_space(const LmMove *move, int fd, const struct stat *st, GError **errp)
{
	guint64 needed_bytes = MIN(move->allocated_bytes, move->virtual_bytes), have_bytes;
	struct statvfs fs;

	if (!S_ISREG(st->st_mode) || fstatvfs(fd, &fs) < 0)
		return 0;
	have_bytes = (guint64)fs.f_bavail * fs.f_frsize + (guint64)st->st_blocks * 512;
	if (have_bytes >= needed_bytes)
		return 0;
	return refuse(errp, move,
		      "its images hold %" G_GUINT64_FORMAT
		      " bytes, there is room for %" G_GUINT64_FORMAT,
		      needed_bytes, have_bytes);
}

int lm_move_check_file(const LmMove *move, GError **errp)
{
	int fd = open(move->disk->file, O_RDWR | O_NONBLOCK | O_CLOEXEC), rc;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return refuse(errp, move, "there is no such file; \"qemu-img create\" makes it");
	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = refuse(errp, move, "opening it: %s", g_strerror(errno));
	} else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		rc = refuse(errp, move, "that is no file and no block device");
	} else {
		rc = check_other_file(move, errp);
		if (rc == 0)
			rc = check_unlocked(move, fd, errp);
		if (rc == 0)
			rc = check_space(move, fd, &st, errp);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/*
 * The header names the old image: so the new one is the whole disk from the first moment on, with
 * no journal, for whoever opens it after a crash.
 */
static int check_backing(const LmMove *move, QDict *image, GError **errp)
{
	const char *file = qemu.qdict_get_try_str(image, "full-backing-filename");
	const char *format = qemu.qdict_get_try_str(image, "backing-filename-format");
	g_autofree char *theirs = lm_image_identity(file ? file : "");
	g_autofree char *ours = lm_image_identity(move->old_file);

	if (file && format && !strcmp(theirs, ours) && !strcmp(format, move->old_format))
		return 0;
	return refuse(
		errp, move,
		"its header must name the disk's image as the one beneath it, and names %s%s%s: "
		"\"qemu-img create -f %s -b %s -F %s %s\" makes such an image",
		file ? file : "none", format ? " of format " : "", format ? format : "",
		move->disk->format, move->old_file, move->old_format, move->disk->file);
}

static int check_alone(const LmMove *move, QDict *image, GError **errp)
{
	if (!qemu.qdict_haskey(image, "backing-filename"))
		return 0;
	return refuse(errp, move, "it has another image beneath it (%s)",
		      qemu.qdict_get_try_str(image, "backing-filename"));
}

int lm_move_check_image(const LmMove *move, QDict *image, GError **errp)
{
	const guint64 bytes = qemu.qdict_get_try_int(image, "virtual-size", 0);

	if (bytes != move->virtual_bytes)
		return refuse(errp, move,
			      "the disk has %" G_GUINT64_FORMAT
			      " bytes, that image %" G_GUINT64_FORMAT,
			      move->virtual_bytes, bytes);
	return move->mirror ? check_alone(move, image, errp) : check_backing(move, image, errp);
}
