// SPDX-License-Identifier: GPL-2.0-or-later
#include "nodes.h"

#include <string.h>

static void edge_clear(gpointer data)
{
	g_free(((LuEdge *)data)->name);
}

static void node_free(gpointer data)
{
	LuNode *node = data;

	g_array_unref(node->children);
	g_free(node->given_name);
	g_free(node);
}

void lu_nodes_free(LuNodes *nodes)
{
	if (!nodes)
		return;
	g_clear_pointer(&nodes->all, g_ptr_array_unref);
	g_clear_pointer(&nodes->list, json_node_unref);
	g_clear_pointer(&nodes->drives, json_node_unref);
	g_free(nodes);
}

LuNode *lu_nodes_find(const LuNodes *nodes, const char *name)
{
	for (guint i = 0; name && i < nodes->all->len; i++)
		if (!strcmp(((LuNode *)nodes->all->pdata[i])->name, name))
			return nodes->all->pdata[i];
	return NULL;
}

const char *lu_nodes_name(const LuNodes *nodes, const char *name)
{
	const LuNode *node = lu_nodes_find(nodes, name);

	return node && node->given_name ? node->given_name : name;
}

LuNode *lu_node_child(const LuNode *node, const char *edge)
{
	for (guint i = 0; i < node->children->len; i++) {
		const LuEdge *child = &g_array_index(node->children, LuEdge, i);

		if (!strcmp(child->name, edge))
			return child->child;
	}
	return NULL;
}

gboolean lu_node_has_name(const LuNode *node)
{
	return *node->name != '#';
}

/* The devices of the machine itself are numbered anew in each version. */
const char *lu_drive_key(JsonNode *drive)
{
	const char *qdev = lu_json_str(drive, "qdev"), *device = lu_json_str(drive, "device");

	return device && *device ? device : qdev ? qdev : "";
}

LuNode *lu_drive_root(const LuNodes *nodes, JsonNode *drive)
{
	return lu_nodes_find(nodes, lu_json_str(lu_json_member(drive, "inserted"), "node-name"));
}

/* ------------------------------------------------------------------ reading */

static int by_name(gconstpointer a, gconstpointer b)
{
	return strcmp((*(LuNode *const *)a)->name, (*(LuNode *const *)b)->name);
}

static void read_list(LuNodes *nodes)
{
	for (guint i = 0; i < lu_json_length(nodes->list); i++) {
		LuNode *node = g_new0(LuNode, 1);

		node->info = lu_json_element(nodes->list, i);
		node->name = lu_json_str(node->info, "node-name");
		node->driver = lu_json_str(node->info, "drv");
		node->file = lu_json_str(node->info, "file");
		node->children = g_array_new(FALSE, FALSE, sizeof(LuEdge));
		g_array_set_clear_func(node->children, edge_clear);
		g_ptr_array_add(nodes->all, node);
	}
	g_ptr_array_sort(nodes->all, by_name);
}

static LuNode *node_of_id(const LuNodes *nodes, JsonNode *graph, gint64 id)
{
	JsonNode *list = lu_json_member(graph, "nodes");

	for (guint i = 0; i < lu_json_length(list); i++) {
		JsonNode *entry = lu_json_element(list, i);

		if (lu_json_int(entry, "id") == id &&
		    !g_strcmp0(lu_json_str(entry, "type"), "block-driver"))
			return lu_nodes_find(nodes, lu_json_str(entry, "name"));
	}
	return NULL;
}

static void read_edges(LuNodes *nodes, JsonNode *graph)
{
	JsonNode *edges = lu_json_member(graph, "edges");

	for (guint i = 0; i < lu_json_length(edges); i++) {
		JsonNode *entry = lu_json_element(edges, i);
		LuNode *parent = node_of_id(nodes, graph, lu_json_int(entry, "parent"));
		LuEdge edge = {.child = node_of_id(nodes, graph, lu_json_int(entry, "child"))};

		if (!parent || !edge.child)
			continue;
		edge.name = g_strdup(lu_json_str(entry, "name"));
		edge.child->parents++;
		g_array_append_val(parent->children, edge);
	}
}

static void mark_drives(LuNode *node)
{
	node->is_drives = TRUE;
	for (guint i = 0; i < node->children->len; i++)
		mark_drives(g_array_index(node->children, LuEdge, i).child);
}

static void mark_roots(LuNodes *nodes)
{
	for (guint i = 0; i < lu_json_length(nodes->drives); i++) {
		JsonNode *drive = lu_json_element(nodes->drives, i);
		LuNode *root = lu_drive_root(nodes, drive);
		const char *device = lu_json_str(drive, "device");

		if (!root)
			continue;
		root->is_root = TRUE;
		if (device && *device)
			mark_drives(root);
	}
}

LuNodes *lu_nodes_read(LuQmp *qmp, GError **errp)
{
	g_autoptr(LuNodes) nodes = g_new0(LuNodes, 1);
	g_autoptr(JsonNode) graph = NULL;

	nodes->all = g_ptr_array_new_with_free_func(node_free);
	nodes->list = lu_qmp_call(qmp, errp, "query-named-block-nodes", "{'flat': true}");
	if (!nodes->list)
		return NULL;
	nodes->drives = lu_qmp_call(qmp, errp, "query-block", NULL);
	graph = nodes->drives ? lu_qmp_call(qmp, errp, "x-debug-query-block-graph", NULL) : NULL;
	if (!graph)
		return NULL;
	read_list(nodes);
	read_edges(nodes, graph);
	mark_roots(nodes);
	return g_steal_pointer(&nodes);
}
