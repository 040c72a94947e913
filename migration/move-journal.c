// SPDX-License-Identifier: GPL-2.0-or-later
#include "move-journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local/error.h"

#define GROUP	  "move"
#define BYTES_MAX (64u << 10)

void lm_move_journal_clear(LmMoveJournal *journal)
{
	g_clear_pointer(&journal->from, g_free);
	g_clear_pointer(&journal->from_format, g_free);
	g_clear_pointer(&journal->to, g_free);
	g_clear_pointer(&journal->to_format, g_free);
}

char *lm_move_journal_path(const char *file)
{
	return g_strconcat(file, LM_MOVE_JOURNAL_SUFFIX, NULL);
}

static char *journal_text(const LmMoveJournal *journal)
{
	g_autoptr(GKeyFile) keys = g_key_file_new();

	g_key_file_set_string(keys, GROUP, "way", journal->mirror ? "mirror" : "pull");
	g_key_file_set_string(keys, GROUP, "from", journal->from);
	g_key_file_set_string(keys, GROUP, "from-format", journal->from_format);
	g_key_file_set_string(keys, GROUP, "to", journal->to);
	g_key_file_set_string(keys, GROUP, "to-format", journal->to_format);
	return g_key_file_to_data(keys, NULL, NULL);
}

/* A name in a folder is on the disk once the folder is. What cannot be opened need not be new. */
static void sync_folder(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* An open journal that says nothing yet. */
static int open_empty(const char *path, const char *file, GError **errp)
{
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "journal %s", path);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
		return fd;
	close(fd);
	return lm_fail(errp, LM_ERROR_REFUSED, EEXIST,
		       "%s is of a move that has not ended: \"qemu-live-upgrade recover %s\" "
		       "ends it",
		       path, file);
}

int lm_move_journal_begin(const LmMoveJournal *journal, GError **errp)
{
	g_autofree char *path = lm_move_journal_path(journal->to);
	g_autofree char *text = journal_text(journal);
	const ssize_t bytes = strlen(text);
	int fd = open_empty(path, journal->to, errp), rc;

	if (fd < 0)
		return fd;
	if (pwrite(fd, text, bytes, 0) == bytes && fsync(fd) == 0) {
		sync_folder(path);
		return fd;
	}
	rc = lm_fail_errno(errp, LM_ERROR_REFUSED, errno ? errno : ENOSPC, "writing journal %s",
			   path);
	lm_move_journal_end(journal->to, fd);
	return rc;
}

void lm_move_journal_end(const char *file, int fd)
{
	g_autofree char *path = lm_move_journal_path(file);

	if (ftruncate(fd, 0) == 0)
		fsync(fd);
	close(fd);
	if (unlink(path) == 0)
		sync_folder(path);
}

static int read_keys(GKeyFile *keys, LmMoveJournal *journal, GError **error)
{
	g_autofree char *way = g_key_file_get_string(keys, GROUP, "way", error);
	LmMoveJournal read = {.mirror = !g_strcmp0(way, "mirror")};

	if (way && !read.mirror && strcmp(way, "pull"))
		return lm_fail(error, LM_ERROR_FAILED, EINVAL,
			       "way \"%s\" is neither pull nor mirror", way);
	if (way)
		read.from = g_key_file_get_string(keys, GROUP, "from", error);
	if (read.from)
		read.from_format = g_key_file_get_string(keys, GROUP, "from-format", error);
	if (read.from_format)
		read.to = g_key_file_get_string(keys, GROUP, "to", error);
	if (read.to)
		read.to_format = g_key_file_get_string(keys, GROUP, "to-format", error);
	if (!read.to_format) {
		lm_move_journal_clear(&read);
		return -EINVAL;
	}
	*journal = read;
	return 1;
}

int lm_move_journal_read(const char *file, LmMoveJournal *journal, GError **errp)
{
	g_autofree char *path = lm_move_journal_path(file);
	g_autoptr(GKeyFile) keys = g_key_file_new();
	g_autoptr(GError) error = NULL;
	struct stat st;
	int rc = -EINVAL;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : lm_fail_errno(errp, LM_ERROR_FAILED, errno, "%s", path);
	if (!st.st_size)
		return 0;
	if (st.st_size > (off_t)BYTES_MAX)
		return lm_fail(errp, LM_ERROR_FAILED, EINVAL,
			       "%s has %" G_GINT64_FORMAT " bytes: it is no journal of a move",
			       path, (gint64)st.st_size);
	if (g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, &error))
		rc = read_keys(keys, journal, &error);
	return rc < 0 ? lm_fail(errp, LM_ERROR_FAILED, -rc, "%s is no journal of a move: %s", path,
				error->message)
		      : rc;
}
