// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * -drive, -cdrom and the like: the image of each drive that has a name of its own is the one that
 * it has now, after a snapshot, a commit or with another medium; an ejected one goes. QEMU opens
 * the images below it by its header; what is compared before the handover is the whole chain.
 *
 * A drive that drive_add made since is written anew; one that is gone takes its option along. A
 * drive whose name QEMU made up ("ide1-cd0") cannot be told by its option, but for the machine's
 * CD and floppy drives, of which there is one.
 */
#include "changes.h"
#include "opts.h"
#include "option-edit.h"
#include "same-file.h"

#include <string.h>

/* Options of the drive, whatever image is in it. The others are its image's. */
static gboolean is_drives_own(const char *name)
{
	static const char *const own[] = {"if",
					  "bus",
					  "unit",
					  "index",
					  "media",
					  "id",
					  "snapshot",
					  "cache",
					  "aio",
					  "serial",
					  "rerror",
					  "werror",
					  "readonly",
					  "read-only",
					  "copy-on-read",
					  "discard",
					  "detect-zeroes",
					  "bps",
					  "bps_rd",
					  "bps_wr",
					  "iops",
					  "iops_rd",
					  "iops_wr",
					  "bps_max",
					  "bps_rd_max",
					  "bps_wr_max",
					  "iops_max",
					  "iops_rd_max",
					  "iops_wr_max",
					  "iops_size",
					  "group",
					  "auto-read-only",
					  NULL};

	return g_strv_contains(own, name) || g_str_has_prefix(name, "throttling.") ||
	       g_str_has_prefix(name, "cache.");
}

static void forget_image(LuOpts *opts)
{
	for (guint i = lu_opts_length(opts); i-- > 0;) {
		g_autofree char *name = g_strdup(lu_opts_name(opts, i));

		if (!is_drives_own(name)) {
			lu_opts_remove(opts, name);
			i = lu_opts_length(opts);
		}
	}
}

/* Names of nodes, where the image and those below it have some. */
static void put_names(LuOpts *opts, LuNode *node, const char *prefix)
{
	static const char *const edges[] = {"file", "backing"};
	g_autofree char *name_at = g_strconcat(prefix, "node-name", NULL);

	if (lu_node_has_name(node))
		lu_opts_set(opts, name_at, node->name);
	for (guint i = 0; i < G_N_ELEMENTS(edges); i++) {
		g_autofree char *below = g_strconcat(prefix, edges[i], ".", NULL);
		LuNode *child = lu_node_child(node, edges[i]);

		if (child)
			put_names(opts, child, below);
	}
}

static void put_image(LuPlan *plan, LuOpts *opts, const char *device, LuNode *node)
{
	lu_opts_set(opts, "file", node->file);
	lu_opts_set(opts, "format", node->driver);
	put_names(opts, node, "");
	lu_plan_note(plan, "drive %s is on %s now, which the new command line says", device,
		     node->file);
}

static void set_opts(LuOption *option, const LuOpts *opts)
{
	g_autofree char *text = lu_opts_text(opts);

	lu_option_set(option, text);
}

/* "file", or how it is said in parts. */
static char *file_of(const LuOpts *opts)
{
	static const char *const names[] = {"file", "file.filename", "filename"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		if (lu_opts_get(opts, names[i]))
			return g_strdup(lu_opts_get(opts, names[i]));
	return NULL;
}

/* -drive with what is in it now. */
static void keep(LuPlan *plan, LuOption *option, const char *device, LuNode *node)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(option->value, NULL);
	g_autofree char *said = file_of(opts);

	if (!node && (!said || !*said))
		return;
	if (node && said && lu_same_file(plan->running, said, node->file))
		return;
	if (node && said && !*said)
		g_clear_pointer(&said, g_free);
	if (node && !said && lu_opts_length(opts) && lu_opts_get(opts, "driver"))
		return; /* an image without a file: it is compared later on */
	forget_image(opts);
	if (node)
		put_image(plan, opts, device, node);
	else
		lu_plan_note(plan, "drive %s has no medium now", device);
	set_opts(option, opts);
}

/* ------------------------------------------- drives that QEMU made and named */

static gboolean is_made_up(const char *device)
{
	static const char *const interfaces[] = {"none", "ide", "scsi",	  "floppy", "pflash",
						 "mtd",	 "sd",	"virtio", "xen"};

	for (guint i = 0; i < G_N_ELEMENTS(interfaces); i++)
		if (g_str_has_prefix(device, interfaces[i]) &&
		    g_ascii_isdigit(device[strlen(interfaces[i])]))
			return TRUE;
	return FALSE;
}

/* -cdrom FILE, which is a -drive. */
static LuOption *own_option(LuPlan *plan, const char *device)
{
	gboolean is_cd = g_str_has_prefix(device, "ide") && strstr(device, "-cd");
	guint count = 0, at = 0;

	for (guint i = 0; is_cd && i < plan->line->options->len; i++)
		if (lu_option_is(plan->line->options->pdata[i], "cdrom")) {
			count++;
			at = i;
		}
	return count == 1 ? plan->line->options->pdata[at] : NULL;
}

static gboolean is_mentioned(const LuPlan *plan, const char *file)
{
	const LuCommandLine *line = plan->running->line;

	for (guint i = 0; i < line->options->len; i++) {
		const LuOption *option = line->options->pdata[i];
		g_auto(GStrv) words =
			g_strsplit_set(option->value ? option->value : "", ",=\"{}: ", -1);

		if (option->value && strstr(option->value, file))
			return TRUE;
		for (guint j = 0; words[j]; j++)
			if (*words[j] && lu_same_file(plan->running, words[j], file))
				return TRUE;
	}
	return FALSE;
}

static void append_drive(LuPlan *plan, const char *device, const char *start, LuNode *node)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(start, NULL);
	JsonNode *cache = lu_json_member(node->info, "cache");
	g_autofree char *text = NULL;

	lu_opts_set(opts, "id", device);
	put_image(plan, opts, device, node);
	if (lu_json_bool(node->info, "ro"))
		lu_opts_set(opts, "readonly", "on");
	if (lu_json_bool(cache, "direct"))
		lu_opts_set(opts, "cache.direct", "on");
	if (lu_json_bool(cache, "no-flush"))
		lu_opts_set(opts, "cache.no-flush", "on");
	text = lu_opts_text(opts);
	lu_command_line_append(plan->line, "drive", text);
}

static void keep_made_up(LuPlan *plan, const char *device, LuNode *node)
{
	LuOption *option = own_option(plan, device);
	gboolean is_cd = g_str_has_prefix(device, "ide") && strstr(device, "-cd");

	if (option && !(node && lu_same_file(plan->running, option->value, node->file))) {
		g_autofree char *text = g_strconcat("media=cdrom,index=2,id=", device, NULL);

		g_free(option->name);
		option->name = g_strdup("drive");
		lu_option_set(option, text);
		keep(plan, option, device, node);
	} else if (option || !node || is_mentioned(plan, node->file)) {
		return;
	} else if (is_cd) {
		append_drive(plan, device, "media=cdrom,index=2", node);
	} else if (!strcmp(device, "floppy0")) {
		append_drive(plan, device, "if=floppy,index=0", node);
	} else {
		lu_plan_refuse(plan,
			       "drive %s is on %s now, which is not on the command line (a "
			       "snapshot, or another medium), and its option has no id",
			       device, node->file);
	}
}

/* ---------------------------------------------------------------------- all */

static void keep_all(LuPlan *plan, LuNodes *nodes)
{
	for (guint i = 0; i < lu_json_length(nodes->drives); i++) {
		JsonNode *drive = lu_json_element(nodes->drives, i);
		const char *device = lu_json_str(drive, "device");
		LuNode *node = lu_drive_root(nodes, drive);
		LuOption *option;

		if (!device || !*device)
			continue; /* its node has a -blockdev */
		option = lu_changes_find(plan->line, "drive", device);
		if (option)
			keep(plan, option, device, node);
		else if (is_made_up(device))
			keep_made_up(plan, device, node);
		else if (node)
			append_drive(plan, device, "if=none", node);
	}
}

static gboolean is_there(const LuNodes *nodes, const char *id)
{
	for (guint i = 0; i < lu_json_length(nodes->drives); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(nodes->drives, i), "device"), id))
			return TRUE;
	return FALSE;
}

static void refuse_any(LuPlan *plan, const char *command, const char *what, const char *key)
{
	g_autoptr(JsonNode) list = lu_qmp_call(plan->running->qmp, NULL, command, NULL);

	for (guint i = 0; i < lu_json_length(list); i++)
		lu_plan_refuse(plan, "%s %s is active", what,
			       lu_json_str(lu_json_element(list, i), key));
}

void lu_changes_drives(LuPlan *plan, LuNodes *nodes)
{
	g_autoptr(GPtrArray) ids = lu_changes_ids(plan->line, "drive");

	refuse_any(plan, "query-block-jobs", "block job", "device");
	refuse_any(plan, "query-block-exports", "block export", "id");
	for (guint i = 0; i < ids->len; i++)
		if (!is_there(nodes, ids->pdata[i]))
			lu_changes_drop(plan, "drive", ids->pdata[i]);
	keep_all(plan, nodes);
}
