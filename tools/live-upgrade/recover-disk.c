// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The journal beside the new image says what was going on; what is true is asked of the image. A
 * qcow2 image that holds nothing was never switched to, or nothing was written since: its old image
 * is the disk, and it says so itself. QEMU's locks keep everybody away from an image that is in
 * use.
 */
#include "recover-disk.h"
#include "error.h"
#include "handle.h"
#include "json.h"
#include "qemu-img.h"
#include "qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <image-lock.h>
#include <move-journal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the image itself holds anything. */
static gboolean holds_any(const char *file, gboolean *any, GError **errp)
{
	const char *const argv[] = {"qemu-img", "map",	"-f", "qcow2",
				    "--output", "json", file, NULL};
	g_autofree char *out = NULL;
	g_autoptr(JsonNode) map = NULL;

	if (!lu_qemu_img(argv, -1, &out, errp))
		return FALSE;
	map = json_from_string(out, NULL);
	*any = FALSE;
	for (guint i = 0; i < lu_json_length(map); i++)
		*any |= !lu_json_int(lu_json_element(map, i), "depth");
	return TRUE;
}

/* A QEMU that was killed leaves clusters that belong to nothing. */
static gboolean copy_rest(const char *file, gboolean progress, GError **errp)
{
	const char *const mend[] = {"qemu-img", "check", "-q", "-f", "qcow2",
				    "-r",	"leaks", file, NULL};
	const char *const quietly[] = {"qemu-img", "rebase", "-q", "-f", "qcow2",
				       "-b",	   "",	     file, NULL};
	const char *const shown[] = {"qemu-img", "rebase", "-p", "-f", "qcow2",
				     "-b",	 "",	   file, NULL};
	g_autofree char *out = NULL;

	return lu_qemu_img(mend, -1, &out, errp) &&
	       lu_qemu_img(progress ? shown : quietly, -1, progress ? NULL : &out, errp);
}

static gboolean end_pull(const LmMoveJournal *journal, const char *file, gboolean progress,
			 char **said, GError **errp)
{
	gboolean any;

	if (!holds_any(file, &any, errp))
		return FALSE;
	if (!any) {
		*said = g_strdup_printf("%s is the disk; %s holds nothing", journal->from, file);
		return TRUE;
	}
	if (!copy_rest(file, progress, errp))
		return FALSE;
	*said = g_strdup_printf("%s is the disk, and whole; %s is not needed any more", file,
				journal->from);
	return TRUE;
}

/* Nothing is asked of what is beneath the image, which may have another name from here. */
static gboolean is_empty_qcow2(int fd)
{
	g_autofree char *file = lu_qemu_img_name(fd), *quoted = lu_json_quote(file), *out = NULL;
	g_autofree char *image = g_strdup_printf("json:{\"driver\": \"qcow2\", \"backing\": null, "
						 "\"file\": {\"driver\": \"file\", "
						 "\"filename\": %s}}",
						 quoted);
	const char *const argv[] = {"qemu-img", "map", "--output", "json", image, NULL};
	g_autoptr(JsonNode) map = NULL;
	gboolean any = FALSE;

	if (!lu_qemu_img(argv, fd, &out, NULL))
		return FALSE;
	map = json_from_string(out, NULL);
	for (guint i = 0; i < lu_json_length(map); i++)
		any |= lu_json_bool(lu_json_element(map, i), "present");
	return lu_json_length(map) && !any;
}

gboolean lu_disk_is_worthless(int fd, const char *file)
{
	g_auto(LmMoveJournal) journal = {0};
	struct stat st;

	if (!fstat(fd, &st) && !st.st_blocks)
		return TRUE;
	return (lm_move_journal_read(file, &journal, NULL) == 1 && journal.mirror) ||
	       is_empty_qcow2(fd);
}

static gboolean check_unused(const char *file, GError **errp)
{
	g_auto(LuFd) fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", file);
	return !lm_image_is_locked(fd) || lu_fail(errp, LU_ERROR_REFUSED,
						  "%s is in use (its lock is held): while its QEMU "
						  "runs, that goes on by itself",
						  file);
}

gboolean lu_recover_disk(const char *file, gboolean progress, char **said, GError **errp)
{
	g_auto(LmMoveJournal) journal = {0};
	g_autofree char *path = lm_move_journal_path(file);
	g_autoptr(GError) error = NULL;
	int rc = lm_move_journal_read(file, &journal, &error);

	if (rc < 0)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	if (!rc)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "no move to %s is left: there is no %s, or it is empty", file, path);
	if (!check_unused(file, errp))
		return FALSE;
	if (journal.mirror)
		*said = g_strdup_printf("%s is the disk; %s is a copy that is not complete",
					journal.from, file);
	else if (!end_pull(&journal, file, progress, said, errp))
		return FALSE;
	unlink(path);
	return TRUE;
}
