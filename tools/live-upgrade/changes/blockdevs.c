// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * -blockdev: the block nodes with names, as they are connected now.
 *
 * An option whose node still is stays; what of it is not true any more is changed in it: the nodes
 * that it refers to after a snapshot, a commit or a stream, read-only, cache and detect-zeroes
 * after a reopen. A node that is gone takes its option along. A node that came since is written
 * anew (describe.c). A node without a name that a device has, as after blockdev-change-medium, gets
 * one.
 *
 * QEMU opens nodes in the order of their options, so each comes behind the nodes that it refers to.
 */
#include "changes.h"
#include "describe.h"
#include "option-edit.h"
#include "same-file.h"

#include <string.h>

static const char *const followed[] = {"file", "backing", "data-file"};

/* ------------------------------------------------ options that are kept */

static gboolean keep_child(LuPlan *plan, LuOption *option, const char *edge, LuNode *child);

/* A node that an option describes within another's: by its file, and so on below it. */
static gboolean keep_inline(LuPlan *plan, LuOption *option, const char *dotted, LuNode *node)
{
	g_autofree char *filename = g_strconcat(dotted, ".filename", NULL);
	g_autofree char *said = lu_option_get(option, filename, NULL);

	if (said && node->file && !lu_same_file(plan->running, said, node->file))
		return FALSE;
	for (guint i = 0; i < G_N_ELEMENTS(followed); i++) {
		g_autofree char *below = g_strconcat(dotted, ".", followed[i], NULL);
		LuNode *child = lu_node_child(node, followed[i]);

		if (child && !keep_child(plan, option, below, child))
			return FALSE;
	}
	node->is_said = TRUE;
	return TRUE;
}

static gboolean keep_child(LuPlan *plan, LuOption *option, const char *edge, LuNode *child)
{
	g_autofree char *said = lu_option_get(option, edge, NULL);
	g_autofree char *name_at = g_strconcat(edge, ".node-name", NULL);
	g_autofree char *inner = lu_option_get(option, name_at, NULL);
	gboolean tree = lu_option_has_tree(option, edge);

	if (!lu_node_has_name(child)) {
		if (tree)
			return !inner && keep_inline(plan, option, edge, child);
		/* The image's header says which one it is, unless the option does. */
		return !said && g_str_has_suffix(edge, "backing");
	}
	if (!g_strcmp0(said, child->name))
		return TRUE;
	if (tree && !g_strcmp0(inner, child->name))
		return keep_inline(plan, option, edge, child);
	lu_option_remove(option, edge, NULL);
	lu_option_put_string(option, edge, NULL, child->name);
	return TRUE;
}

/* The image's header may name a backing image, and the option another one or none. */
static gboolean keep_without_backing(LuOption *option, const LuNode *node)
{
	g_autofree char *said = lu_option_get(option, "backing", NULL);
	JsonNode *image = lu_json_member(node->info, "image");

	if (!said && !lu_option_has_tree(option, "backing"))
		return TRUE;
	if (lu_json_str(image, "backing-filename"))
		return FALSE;
	lu_option_remove(option, "backing", NULL);
	return TRUE;
}

static void keep_switch(LuOption *option, const char *dotted, gboolean is)
{
	if (lu_option_get_bool(option, dotted) != is)
		lu_option_put_bool(option, dotted, NULL, is);
}

static void keep_switches(LuOption *option, const LuNode *node)
{
	JsonNode *cache = lu_json_member(node->info, "cache");
	const char *zeroes = lu_json_str(node->info, "detect_zeroes");
	g_autofree char *said = lu_option_get(option, "detect-zeroes", NULL);

	/* With auto-read-only it is what the file allows. */
	if (!lu_option_get_bool(option, "auto-read-only") ||
	    lu_option_get_bool(option, "read-only"))
		keep_switch(option, "read-only", lu_json_bool(node->info, "ro"));
	keep_switch(option, "cache.direct", lu_json_bool(cache, "direct"));
	keep_switch(option, "cache.no-flush", lu_json_bool(cache, "no-flush"));
	if (zeroes && strcmp(said ? said : "off", zeroes))
		lu_option_put_string(option, "detect-zeroes", NULL, zeroes);
}

static gboolean keep(LuPlan *plan, LuOption *option, LuNode *node)
{
	g_autofree char *driver = lu_option_get(option, "driver", "driver");
	g_autofree char *filename = lu_option_get(option, "filename", NULL);

	if (g_strcmp0(driver, node->driver) ||
	    (filename && !lu_same_file(plan->running, filename, node->file)))
		return FALSE;
	for (guint i = 0; i < G_N_ELEMENTS(followed); i++) {
		LuNode *child = lu_node_child(node, followed[i]);

		if (child && !keep_child(plan, option, followed[i], child))
			return FALSE;
	}
	if (!lu_node_child(node, "backing") && !keep_without_backing(option, node))
		return FALSE;
	keep_switches(option, node);
	node->is_said = TRUE;
	return TRUE;
}

/* ------------------------------------------------------------------- order */

typedef struct Entry {
	LuNode *node;
	char *value;
} Entry;

static void entry_clear(gpointer data)
{
	g_free(((Entry *)data)->value);
}

static Entry *entry_of(GArray *entries, const LuNode *node)
{
	for (guint i = 0; i < entries->len; i++)
		if (g_array_index(entries, Entry, i).node == node)
			return &g_array_index(entries, Entry, i);
	return NULL;
}

static void put_with_children(LuPlan *plan, GArray *entries, LuNode *node, guint *at)
{
	Entry *entry = entry_of(entries, node);
	g_autofree char *value = entry ? g_steal_pointer(&entry->value) : NULL;

	if (entry && !value)
		return; /* it is there */
	for (guint i = 0; i < node->children->len; i++)
		put_with_children(plan, entries, g_array_index(node->children, LuEdge, i).child,
				  at);
	if (value)
		lu_command_line_insert(plan->line, (*at)++, "blockdev", value);
}

static void put_all(LuPlan *plan, GArray *entries, guint at)
{
	for (guint i = 0; i < entries->len; i++)
		put_with_children(plan, entries, g_array_index(entries, Entry, i).node, &at);
}

/* ------------------------------------------------------------------ options */

static gboolean is_left_over(const LuNode *node)
{
	return g_str_has_prefix(node->name, LU_GIVEN_NAME) && !node->parents && !node->is_root;
}

static void add_entry(GArray *entries, LuNode *node, const char *value)
{
	Entry entry = {node, g_strdup(value)};

	g_array_append_val(entries, entry);
}

/* Takes all options -blockdev out; those of @entries stay. The place of the first. */
static guint take_options(LuPlan *plan, LuNodes *nodes, GArray *entries)
{
	guint first = plan->line->options->len;

	for (guint i = 0; i < plan->line->options->len;) {
		LuOption *option = plan->line->options->pdata[i];
		g_autofree char *name = NULL;
		LuNode *node;

		if (!lu_option_is(option, "blockdev")) {
			i++;
			continue;
		}
		name = lu_option_get(option, "node-name", "driver");
		node = lu_nodes_find(nodes, name);
		if (node && !is_left_over(node) && keep(plan, option, node))
			add_entry(entries, node, option->value);
		first = MIN(first, i);
		g_ptr_array_remove_index(plan->line->options, i);
	}
	return MIN(first, plan->line->options->len);
}

static void give_name(LuNodes *nodes, LuNode *node)
{
	for (guint i = 0; !node->given_name; i++) {
		g_autofree char *name = g_strdup_printf(LU_GIVEN_NAME "%u", i);
		gboolean taken = FALSE;

		for (guint j = 0; j < nodes->all->len; j++) {
			const LuNode *other = nodes->all->pdata[j];

			taken |= !strcmp(other->name, name) || !g_strcmp0(other->given_name, name);
		}
		if (!taken)
			node->given_name = g_steal_pointer(&name);
	}
}

void lu_changes_blockdevs(LuPlan *plan, LuNodes *nodes)
{
	g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(Entry));
	LuDescriber describer = {.plan = plan, .nodes = nodes};
	guint at;

	g_array_set_clear_func(entries, entry_clear);
	at = take_options(plan, nodes, entries);
	for (guint i = 0; i < nodes->all->len; i++) {
		LuNode *node = nodes->all->pdata[i];

		if (node->is_root && !node->is_drives && !lu_node_has_name(node))
			give_name(nodes, node);
	}
	for (guint i = 0; i < nodes->all->len; i++) {
		LuNode *node = nodes->all->pdata[i];
		g_autofree char *value = NULL;

		if (node->is_said || node->is_drives || is_left_over(node) ||
		    (!lu_node_has_name(node) && !node->given_name))
			continue;
		value = lu_describe_node(&describer, node);
		if (value)
			add_entry(entries, node, value);
	}
	put_all(plan, entries, at);
}
