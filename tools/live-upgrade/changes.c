// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was plugged, removed or changed since the start, so that the command line does not say it.
 * An image of a -drive is followed; the rest is refused by name. The plugin compares the two
 * processes once more, and refuses whatever escapes this list.
 */
#include "opts.h"
#include "plan.h"

#include <string.h>
#include <sys/stat.h>

/* The ids that options of this name have. */
static GHashTable *ids_of(const LuCommandLine *line, const char *name, const char *implied)
{
	GHashTable *ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (guint i = 0; i < line->options->len; i++) {
		char *id;

		if (!lu_option_is(line->options->pdata[i], name))
			continue;
		id = lu_option_member(line->options->pdata[i], "id", implied);
		if (id)
			g_hash_table_add(ids, id);
	}
	return ids;
}

static GHashTable *children_of(LuPlan *plan, const char *path)
{
	g_autoptr(JsonNode) reply =
		lu_qmp_call(plan->running->qmp, NULL, "qom-list", "{'path': %s}", path);
	GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (guint i = 0; i < lu_json_length(reply); i++) {
		JsonNode *child = lu_json_element(reply, i);
		const char *type = lu_json_str(child, "type");

		if (type && g_str_has_prefix(type, "child<"))
			g_hash_table_add(names, g_strdup(lu_json_str(child, "name")));
	}
	return names;
}

/* Both ways; what QEMU makes by itself is in @own. */
static void compare(LuPlan *plan, const char *what, GHashTable *said, GHashTable *is,
		    const char *own)
{
	GHashTableIter iter;
	gpointer id;

	g_hash_table_iter_init(&iter, is);
	while (g_hash_table_iter_next(&iter, &id, NULL))
		if (!g_hash_table_contains(said, id) && g_strcmp0(id, own))
			lu_plan_refuse(plan,
				       "%s %s was added after the start and is not on the "
				       "command line",
				       what, (char *)id);
	g_hash_table_iter_init(&iter, said);
	while (g_hash_table_iter_next(&iter, &id, NULL))
		if (!g_hash_table_contains(is, id))
			lu_plan_refuse(plan, "%s %s is on the command line and was removed since",
				       what, (char *)id);
}

static void check_devices(LuPlan *plan)
{
	g_autoptr(GHashTable) said = ids_of(plan->running->line, "device", "driver");
	g_autoptr(GHashTable) is = children_of(plan, "/machine/peripheral");

	compare(plan, "device", said, is, NULL);
}

static void check_objects(LuPlan *plan)
{
	g_autoptr(GHashTable) said = ids_of(plan->running->line, "object", "qom-type");
	g_autoptr(GHashTable) is = children_of(plan, "/objects");
	g_autoptr(JsonNode) ram = lu_qmp_call(plan->running->qmp, NULL, "qom-get",
					      "{'path': '/machine', 'property': 'memory-backend'}");
	g_autofree char *own = NULL;

	if (ram && JSON_NODE_HOLDS_VALUE(ram) && json_node_get_string(ram))
		own = g_path_get_basename(json_node_get_string(ram));
	compare(plan, "object", said, is, own);
}

/* " \ net0: index=0,type=user,..." and "net0: ..." where no device uses it. */
static void check_netdevs(LuPlan *plan)
{
	g_autofree char *text = lu_qmp_hmp(plan->running->qmp, "info network", NULL);
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
	g_autoptr(GHashTable) said = ids_of(plan->running->line, "netdev", "type");
	GHashTableIter iter;
	gpointer left;

	for (guint i = 0; lines[i]; i++) {
		const char *name = g_str_has_prefix(lines[i], " \\ ") ? lines[i] + 3 : lines[i];
		const char *colon = strstr(name, ": index=");
		g_autofree char *id = colon ? g_strndup(name, colon - name) : NULL;

		if (id)
			g_hash_table_remove(said, id);
	}
	g_hash_table_iter_init(&iter, said);
	while (g_hash_table_iter_next(&iter, &left, NULL))
		lu_plan_refuse(plan, "netdev %s is on the command line and was removed since",
			       (char *)left);
}

/* --------------------------------------------------------------------- images */

/* Whether @name is the file that the command line has somewhere; what is no file goes by name. */
static gboolean is_named(const LuPlan *plan, const char *name)
{
	const LuCommandLine *line = plan->running->line;
	g_autofree char *wanted = lu_process_path(plan->running->process, name);
	struct stat there, here;
	gboolean is_file = !stat(wanted, &there);

	for (guint i = 0; i < line->options->len; i++) {
		const LuOption *option = line->options->pdata[i];
		g_auto(GStrv) words = NULL;

		if (!option->value)
			continue;
		if (strstr(option->value, name))
			return TRUE;
		words = g_strsplit_set(option->value, ",=\"{}: ", -1);
		for (guint j = 0; is_file && words[j]; j++) {
			g_autofree char *absolute = NULL, *path = NULL;

			if (!*words[j])
				continue;
			absolute = g_canonicalize_filename(words[j], plan->running->cwd);
			path = lu_process_path(plan->running->process, absolute);
			if (!stat(path, &here) && here.st_ino == there.st_ino &&
			    here.st_dev == there.st_dev)
				return TRUE;
		}
	}
	return !is_file;
}

static LuOption *drive_option(LuPlan *plan, const char *device)
{
	for (guint i = 0; i < plan->line->options->len; i++) {
		LuOption *option = plan->line->options->pdata[i];
		g_autofree char *id = NULL;

		if (!lu_option_is(option, "drive"))
			continue;
		id = lu_option_member(option, "id", NULL);
		if (!g_strcmp0(id, device))
			return option;
	}
	return NULL;
}

/* After an external snapshot, or with another medium: -drive says the new image and format. */
static gboolean follow_image(LuPlan *plan, const char *device, const char *file, const char *format)
{
	LuOption *option = device && *device ? drive_option(plan, device) : NULL;
	g_autoptr(LuOpts) opts = NULL;
	g_autofree char *text = NULL;

	if (!option || !format)
		return FALSE;
	opts = lu_opts_parse(option->value, NULL);
	for (guint i = 0; i < lu_opts_length(opts); i++)
		if (strchr(lu_opts_name(opts, i), '.') || !strcmp(lu_opts_name(opts, i), "driver"))
			return FALSE; /* options of a format that may not be this one's */
	lu_opts_set(opts, "file", file);
	lu_opts_set(opts, "format", format);
	text = lu_opts_text(opts);
	lu_option_set(option, text);
	lu_plan_note(plan, "drive %s is on %s now, which the new command line says", device, file);
	return TRUE;
}

static gboolean is_throttled(JsonNode *inserted)
{
	static const char *const names[] = {"bps",  "bps_rd",  "bps_wr",
					    "iops", "iops_rd", "iops_wr"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		if (lu_json_int(inserted, names[i]))
			return TRUE;
	return FALSE;
}

static void check_drive(LuPlan *plan, JsonNode *drive)
{
	JsonNode *inserted = lu_json_member(drive, "inserted");
	JsonNode *image = lu_json_member(inserted, "image");
	const char *file = lu_json_str(image, "filename"), *device = lu_json_str(drive, "device");
	const char *format = lu_json_str(image, "format");
	LuOption *option = device && *device ? drive_option(plan, device) : NULL;
	const char *name = device && *device ? device : lu_json_str(drive, "qdev");
	g_autofree char *said = option ? lu_option_member(option, "file", NULL) : NULL;

	if (!inserted && said && *said)
		lu_plan_refuse(plan, "drive %s has no medium now, and the command line has %s",
			       name, said);
	if (!file)
		return;
	if (g_path_is_absolute(file) && !is_named(plan, file) &&
	    !follow_image(plan, device, file, format))
		lu_plan_refuse(plan,
			       "drive %s is on %s now, which is not on the command line "
			       "(a snapshot, or another medium)",
			       name, file);
	if (is_throttled(inserted) && !(option && strstr(option->value, "throttling")))
		lu_plan_refuse(plan, "drive %s was throttled after the start", name);
}

static void check_drives(LuPlan *plan)
{
	g_autoptr(JsonNode) drives = lu_qmp_call(plan->running->qmp, NULL, "query-block", NULL);
	g_autoptr(JsonNode) jobs = lu_qmp_call(plan->running->qmp, NULL, "query-block-jobs", NULL);
	g_autoptr(JsonNode) exports =
		lu_qmp_call(plan->running->qmp, NULL, "query-block-exports", NULL);

	for (guint i = 0; i < lu_json_length(drives); i++)
		check_drive(plan, lu_json_element(drives, i));
	for (guint i = 0; i < lu_json_length(jobs); i++)
		lu_plan_refuse(plan, "block job %s is active",
			       lu_json_str(lu_json_element(jobs, i), "device"));
	for (guint i = 0; i < lu_json_length(exports); i++)
		lu_plan_refuse(plan, "block export %s is active",
			       lu_json_str(lu_json_element(exports, i), "id"));
}

/* ------------------------------------------------------------------ chardevs */

static gboolean is_own_label(const char *label)
{
	static const char *const prefixes[] = {"serial", "parallel", "compat_monitor",
					       "gdb",	 "debugcon", "vc",
					       "stdio",	 "mon",	     "#"};

	for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++)
		if (g_str_has_prefix(label, prefixes[i]))
			return TRUE;
	return g_str_has_suffix(label, "-base");
}

static void check_chardevs(LuPlan *plan)
{
	g_autoptr(JsonNode) reply = lu_qmp_call(plan->running->qmp, NULL, "query-chardev", NULL);
	g_autoptr(GHashTable) said = ids_of(plan->running->line, "chardev", "backend");

	for (guint i = 0; i < lu_json_length(reply); i++) {
		const char *label = lu_json_str(lu_json_element(reply, i), "label");

		if (label && !g_hash_table_contains(said, label) && !is_own_label(label))
			lu_plan_refuse(plan,
				       "chardev %s was added after the start and is not on "
				       "the command line",
				       label);
	}
}

void lu_plan_changes(LuPlan *plan)
{
	check_devices(plan);
	check_objects(plan);
	check_netdevs(plan);
	check_chardevs(plan);
	check_drives(plan);
}
