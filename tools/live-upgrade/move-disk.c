// SPDX-License-Identifier: GPL-2.0-or-later
#include "move-disk.h"
#include "error.h"
#include "opts.h"

#include <string.h>
#include <sys/stat.h>

static void move_free(gpointer data)
{
	LuDiskMove *move = data;

	g_free(move->disk);
	g_free(move->file);
	g_free(move->format);
	g_free(move);
}

GPtrArray *lu_disk_moves_new(void)
{
	return g_ptr_array_new_with_free_func(move_free);
}

void lu_disk_moves_add(GPtrArray *moves, const char *disk, const LuDiskMove *like)
{
	LuDiskMove *move = g_new0(LuDiskMove, 1);

	move->disk = g_strdup(disk);
	move->file = g_strdup(like->file);
	move->format = g_strdup(like->format);
	move->throttle = like->throttle;
	g_ptr_array_add(moves, move);
}

/* "64M" */
static gboolean parse_bytes(const char *text, guint64 *bytes)
{
	static const char suffixes[] = "KMG";
	const gsize length = strlen(text);
	const char *suffix = length ? strchr(suffixes, text[length - 1]) : NULL;
	const guint shift = suffix && *suffix ? 10 * (guint)(suffix - suffixes + 1) : 0;
	g_autofree char *digits = g_strndup(text, length - (shift ? 1 : 0));

	if (!g_ascii_string_to_unsigned(digits, 10, 1, (guint64)G_MAXINT64 >> shift, bytes, NULL))
		return FALSE;
	*bytes <<= shift;
	return TRUE;
}

static gboolean parse_options(LuDiskMove *move, const LuOpts *opts, const char *text, GError **errp)
{
	for (guint i = 1; i < lu_opts_length(opts); i++) {
		const char *name = lu_opts_name(opts, i), *value = lu_opts_value(opts, i);

		if (!strcmp(name, "format") && (!strcmp(value, "qcow2") || !strcmp(value, "raw"))) {
			g_free(move->format);
			move->format = g_strdup(value);
		} else if (!strcmp(name, "format")) {
			return lu_fail(errp, LU_ERROR_USAGE,
				       "--move-disk %s: format is %s; it must be qcow2 or raw",
				       text, value);
		} else if (strcmp(name, "throttle")) {
			return lu_fail(errp, LU_ERROR_USAGE,
				       "--move-disk %s: there is no option %s, only format and "
				       "throttle",
				       text, name);
		} else if (!parse_bytes(value, &move->throttle)) {
			return lu_fail(errp, LU_ERROR_USAGE,
				       "--move-disk %s: throttle is %s; it must be bytes a second, "
				       "such as 64M",
				       text, value);
		}
	}
	return TRUE;
}

/* By whatever name, where it is there. */
static gboolean is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (!strcmp(a, b))
		return TRUE;
	if (stat(a, &x) < 0 || stat(b, &y) < 0)
		return FALSE;
	return S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode)
		       ? x.st_rdev == y.st_rdev
		       : x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The last one against those before it. */
static gboolean check_target(GPtrArray *moves, const char *text, GError **errp)
{
	const LuDiskMove *last = moves->pdata[moves->len - 1];

	for (guint i = 0; i + 1 < moves->len; i++) {
		const LuDiskMove *move = moves->pdata[i];

		if (is_same_file(move->file, last->file))
			return lu_fail(errp, LU_ERROR_USAGE,
				       "--move-disk %s: %s is the target of %s already", text,
				       last->file, move->disk);
	}
	return TRUE;
}

gboolean lu_disk_moves_parse(GPtrArray *moves, const char *text, GError **errp)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(text, NULL);
	g_autofree char *here = g_get_current_dir();
	LuDiskMove *move;

	if (!lu_opts_length(opts) || !*lu_opts_name(opts, 0) || !*lu_opts_value(opts, 0) ||
	    !strchr(text, '='))
		return lu_fail(errp, LU_ERROR_USAGE,
			       "--move-disk is %s; it must be DISK=FILE[,format=qcow2|raw]", text);
	move = g_new0(LuDiskMove, 1);
	g_ptr_array_add(moves, move);
	move->disk = g_strdup(lu_opts_name(opts, 0));
	move->file = g_canonicalize_filename(lu_opts_value(opts, 0), here);
	move->format = g_strdup("qcow2");
	return parse_options(move, opts, text, errp) && check_target(moves, text, errp);
}

/* ----------------------------------------------------------------- progress */

void lu_disk_progress_clear(LuDiskProgress *progress)
{
	g_clear_pointer(&progress->problem, g_free);
}

static void note_problem(LuDiskProgress *progress, JsonNode *disk, const char *why)
{
	g_free(progress->problem);
	progress->problem =
		g_strdup_printf("disk %s is not in %s yet: %s", lu_json_str(disk, "device"),
				lu_json_str(disk, "file"), why ? why : "unknown");
}

void lu_disk_progress_read(JsonNode *info, LuDiskProgress *progress)
{
	JsonNode *disks = lu_json_member(info, "disks");

	for (guint i = 0; i < lu_json_length(disks); i++) {
		JsonNode *disk = lu_json_element(disks, i);
		const char *state = lu_json_str(disk, "state");

		progress->done_bytes += (guint64)lu_json_int(disk, "offset");
		progress->total_bytes += (guint64)lu_json_int(disk, "len");
		if (!g_strcmp0(state, "prepared") || !g_strcmp0(state, "copying"))
			progress->copying = TRUE;
		else if (!g_strcmp0(state, "paused"))
			note_problem(progress, disk,
				     "copying is paused (an error, or block-job-pause); "
				     "block-job-resume goes on");
		else if (g_strcmp0(state, "completed"))
			note_problem(progress, disk, lu_json_str(disk, "error-desc"));
	}
}

static gboolean is_in(JsonNode *disks, const LuDiskMove *move)
{
	for (guint i = 0; i < lu_json_length(disks); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(disks, i), "file"), move->file))
			return TRUE;
	return FALSE;
}

gboolean lu_disk_moves_are_in(JsonNode *info, GPtrArray *moves)
{
	for (guint i = 0; i < moves->len; i++)
		if (!is_in(lu_json_member(info, "disks"), moves->pdata[i]))
			return FALSE;
	return TRUE;
}
