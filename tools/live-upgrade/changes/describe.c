// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A block node as a -blockdev, from what QEMU says of it.
 *
 * Driver, read-only, cache and detect-zeroes are in query-named-block-nodes. Options that decide
 * what the node's content is ("strong" ones: an offset, a key) make QEMU write its file name as
 * "json:{...}", so they are found there; where the name is a plain one, there are none. Children
 * with a name are referred to, others are described within.
 *
 * What is left is discard and aio, which QEMU does not tell. A node over others (a snapshot) gets
 * what the option of the node below it says. Else a file has "discard": "unmap", which QEMU gives
 * each file that a format is on; whether the format lets discards through is seen by those that
 * have reached the file.
 */
#include "describe.h"
#include "changes.h"
#include "option-edit.h"

#include <string.h>

static JsonObject *describe(LuDescriber *describer, LuNode *node);

static gboolean is_any(const char *text, const char *const *list)
{
	return text && g_strv_contains(list, text);
}

static gboolean is_file(const LuNode *node)
{
	static const char *const drivers[] = {"file", "host_device", "host_cdrom", NULL};

	return is_any(node->driver, drivers);
}

static gboolean has_backing(const LuNode *node)
{
	static const char *const drivers[] = {"qcow2", "qcow", "qed", "vmdk", NULL};

	return is_any(node->driver, drivers);
}

/* ------------------------------------------------------- what the content is */

static gboolean is_child(const LuNode *node, const char *name, JsonNode *value)
{
	return lu_node_child(node, name) || !strcmp(name, "backing") ||
	       (JSON_NODE_HOLDS_OBJECT(value) && lu_json_member(value, "driver"));
}

static gboolean put_json_name(const LuNode *node, JsonObject *object)
{
	g_autoptr(JsonNode) root = json_from_string(node->file + strlen("json:"), NULL);
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;

	if (!root || !JSON_NODE_HOLDS_OBJECT(root))
		return FALSE;
	json_object_iter_init(&iter, json_node_get_object(root));
	while (json_object_iter_next(&iter, &name, &value))
		if (strcmp(name, "driver") && !is_child(node, name, value))
			lu_json_put_dotted(object, name, json_node_copy(value));
	return TRUE;
}

/* nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH */
static gboolean put_nbd(const LuNode *node, JsonObject *object)
{
	g_autoptr(GUri) uri = g_uri_parse(node->file, G_URI_FLAGS_NONE, NULL);
	g_autoptr(GHashTable) query =
		uri && g_uri_get_query(uri)
			? g_uri_parse_params(g_uri_get_query(uri), -1, "&", G_URI_PARAMS_NONE, NULL)
			: NULL;
	const char *path = query ? g_hash_table_lookup(query, "socket") : NULL;
	JsonObject *server;

	if (!uri || (!path && !g_uri_get_host(uri)))
		return FALSE;
	server = json_object_new();
	json_object_set_string_member(server, "type", path ? "unix" : "inet");
	if (path) {
		json_object_set_string_member(server, "path", path);
	} else {
		g_autofree char *port = g_strdup_printf(
			"%d", g_uri_get_port(uri) > 0 ? g_uri_get_port(uri) : 10809);

		json_object_set_string_member(server, "host", g_uri_get_host(uri));
		json_object_set_string_member(server, "port", port);
	}
	json_object_set_object_member(object, "server", server);
	if (strlen(g_uri_get_path(uri)) > 1)
		json_object_set_string_member(object, "export", g_uri_get_path(uri) + 1);
	return TRUE;
}

static gboolean put_content(const LuNode *node, JsonObject *object)
{
	if (node->file && g_str_has_prefix(node->file, "json:"))
		return put_json_name(node, object);
	if (is_file(node)) {
		json_object_set_string_member(object, "filename", node->file);
		return TRUE;
	}
	if (!strcmp(node->driver, "nbd"))
		return put_nbd(node, object);
	return lu_node_child(node, "file") || !strcmp(node->driver, "null-co");
}

/* The key is an option; what it opens is in the image. */
static void put_encryption(const LuNode *node, JsonObject *object)
{
	JsonNode *image = lu_json_member(node->info, "image");
	JsonNode *data = lu_json_member(lu_json_member(image, "format-specific"), "data");
	const char *format = lu_json_str(lu_json_member(data, "encrypt"), "format");

	if (format && json_object_has_member(object, "encrypt"))
		lu_json_put_dotted(object, "encrypt.format",
				   json_node_init_string(json_node_alloc(), format));
}

/* -------------------------------------------------------------- its children */

static gboolean put_child(LuDescriber *describer, JsonObject *object, const LuEdge *edge)
{
	static const char *const known[] = {"file", "backing", "data-file", NULL};
	JsonObject *child;

	if (!is_any(edge->name, known))
		return FALSE;
	if (lu_node_has_name(edge->child) || edge->child->given_name) {
		json_object_set_string_member(object, edge->name,
					      lu_nodes_name(describer->nodes, edge->child->name));
		return TRUE;
	}
	child = edge->child->parents == 1 ? describe(describer, edge->child) : NULL;
	if (child)
		json_object_set_object_member(object, edge->name, child);
	return child != NULL;
}

static JsonObject *describe(LuDescriber *describer, LuNode *node)
{
	g_autoptr(JsonObject) object = json_object_new();

	json_object_set_string_member(object, "driver", node->driver);
	if (!put_content(node, object))
		return NULL;
	put_encryption(node, object);
	for (guint i = 0; i < node->children->len; i++)
		if (!put_child(describer, object, &g_array_index(node->children, LuEdge, i)))
			return NULL;
	if (has_backing(node) && !lu_node_child(node, "backing"))
		json_object_set_null_member(object, "backing");
	return g_steal_pointer(&object);
}

/* ------------------------------------------------------------- its own options */

/* The file of a node, through formats. */
static const LuNode *protocol_of(const LuNode *node)
{
	while (node && !is_file(node))
		node = lu_node_child(node, "file");
	return node;
}

static gboolean passed_discards(LuQmp *qmp, const LuNode *node)
{
	const LuNode *file = protocol_of(node);
	g_autoptr(JsonNode) stats =
		lu_qmp_call(qmp, NULL, "query-blockstats", "{'query-nodes': true}");

	for (guint i = 0; file && i < lu_json_length(stats); i++) {
		JsonNode *entry = lu_json_element(stats, i);
		JsonNode *own = lu_json_member(entry, "driver-specific");

		if (!g_strcmp0(lu_json_str(entry, "node-name"), file->name))
			return lu_json_int(own, "discard-nb-ok") ||
			       lu_json_int(own, "discard-nb-failed");
	}
	return FALSE;
}

static const LuNode *parent_of(const LuNodes *nodes, const LuNode *node)
{
	for (guint i = 0; i < nodes->all->len; i++)
		if (lu_node_child(nodes->all->pdata[i], "file") == node)
			return nodes->all->pdata[i];
	return NULL;
}

/* The option of the node that this one is over; of a file, that of the file below. */
static LuOption *below(LuDescriber *describer, const LuNode *node)
{
	const LuNode *format = is_file(node) ? parent_of(describer->nodes, node) : node;
	const LuNode *other = format ? lu_node_child(format, "backing") : NULL;

	for (; other; other = lu_node_child(other, "backing")) {
		const LuNode *like = is_file(node) ? protocol_of(other) : other;
		LuOption *option = like ? lu_changes_find(describer->plan->running->line,
							  "blockdev", like->name)
					: NULL;

		if (option)
			return option;
	}
	return NULL;
}

static gboolean is_direct(const LuNode *node)
{
	return lu_json_bool(lu_json_member(node->info, "cache"), "direct");
}

static void put_untold(LuDescriber *describer, const LuNode *node, JsonObject *object)
{
	static const char *const names[] = {"discard", "aio", "locking"};
	const LuOption *like = below(describer, node);

	for (guint i = 0; like && i < (is_file(node) ? G_N_ELEMENTS(names) : 1); i++) {
		g_autofree char *value = lu_option_get(like, names[i], NULL);

		/* Linux's own wants the cache to be out of its way. */
		if (value && (strcmp(value, "native") || is_direct(node)))
			json_object_set_string_member(object, names[i], value);
	}
	if (like)
		return;
	if ((is_file(node) && node->parents) ||
	    passed_discards(describer->plan->running->qmp, node))
		json_object_set_string_member(object, "discard", "unmap");
	if (!node->parents)
		lu_plan_note(describer->plan,
			     "block node %s was added after the start: QEMU does not tell its "
			     "options discard and aio, which begin as %s and threads",
			     node->name,
			     json_object_has_member(object, "discard") ? "unmap" : "ignore");
}

static void put_switches(const LuNode *node, JsonObject *object)
{
	JsonNode *told = lu_json_member(node->info, "cache");
	const char *zeroes = lu_json_str(node->info, "detect_zeroes");
	JsonObject *cache = json_object_new();
	gboolean read_only = lu_json_bool(node->info, "ro");

	json_object_set_boolean_member(object, "read-only", read_only);
	if (is_file(node) && !read_only)
		json_object_set_boolean_member(object, "auto-read-only", TRUE);
	json_object_set_boolean_member(cache, "direct", is_direct(node));
	json_object_set_boolean_member(cache, "no-flush", lu_json_bool(told, "no-flush"));
	json_object_set_object_member(object, "cache", cache);
	if (zeroes && strcmp(zeroes, "off"))
		json_object_set_string_member(object, "detect-zeroes", zeroes);
}

char *lu_describe_node(LuDescriber *describer, LuNode *node)
{
	const char *name = lu_nodes_name(describer->nodes, node->name);
	JsonObject *object = describe(describer, node);

	if (!object) {
		lu_plan_refuse(describer->plan,
			       "block node %s (%s, %s) was added after the start and cannot be "
			       "written as a -blockdev",
			       name, node->driver, node->file ? node->file : "no file");
		return NULL;
	}
	json_object_set_string_member(object, "node-name", name);
	put_switches(node, object);
	put_untold(describer, node, object);
	return lu_json_object_text(object);
}
