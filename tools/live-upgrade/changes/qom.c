// SPDX-License-Identifier: GPL-2.0-or-later
#include "qom.h"
#include "opts.h"

#include <string.h>

JsonNode *lu_qom_get(LuQmp *qmp, const char *path, const char *property)
{
	return lu_qmp_call(qmp, NULL, "qom-get", "{'path': %s, 'property': %s}", path, property);
}

static gboolean holds(JsonNode *node, GType type)
{
	return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

char *lu_qom_string(LuQmp *qmp, const char *path, const char *property)
{
	g_autoptr(JsonNode) node = lu_qom_get(qmp, path, property);

	return holds(node, G_TYPE_STRING) ? json_node_dup_string(node) : NULL;
}

gboolean lu_qom_bool(LuQmp *qmp, const char *path, const char *property)
{
	g_autoptr(JsonNode) node = lu_qom_get(qmp, path, property);

	return holds(node, G_TYPE_BOOLEAN) && json_node_get_boolean(node);
}

static int by_number(gconstpointer a, gconstpointer b)
{
	g_autofree char *key_a = g_utf8_collate_key_for_filename(*(const char *const *)a, -1);
	g_autofree char *key_b = g_utf8_collate_key_for_filename(*(const char *const *)b, -1);

	return strcmp(key_a, key_b);
}

GPtrArray *lu_qom_children(LuQmp *qmp, const char *path)
{
	g_autoptr(JsonNode) reply = lu_qmp_call(qmp, NULL, "qom-list", "{'path': %s}", path);
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < lu_json_length(reply); i++) {
		JsonNode *child = lu_json_element(reply, i);
		const char *type = lu_json_str(child, "type");

		if (type && g_str_has_prefix(type, "child<"))
			g_ptr_array_add(names, g_strdup(lu_json_str(child, "name")));
	}
	g_ptr_array_sort(names, by_number);
	return names;
}

/* ------------------------------------------------------------------ netdevs */

static void backend_free(gpointer data)
{
	LuBackend *backend = data;

	g_free(backend->id);
	g_ptr_array_unref(backend->queues);
	g_free(backend);
}

static void add_queue(GHashTable *backends, const char *id, const char *text)
{
	LuBackend *backend = g_hash_table_lookup(backends, id);

	if (!backend) {
		backend = g_new0(LuBackend, 1);
		backend->id = g_strdup(id);
		backend->queues = g_ptr_array_new_with_free_func(g_free);
		g_hash_table_insert(backends, backend->id, backend);
	}
	g_ptr_array_add(backend->queues, g_strdup(text));
}

/* A port of a hub that has a name, and what is connected to it behind a colon. */
static const char *add_hub_port(GHashTable *backends, const char *line, const char *hub)
{
	const char *colon = strstr(line, ": ");
	g_autofree char *id = colon ? g_strndup(line, colon - line) : g_strdup(line);
	g_autofree char *text = g_strconcat("type=hubport,hubid=", hub, NULL);

	if (!g_str_has_prefix(id, "hub"))
		add_queue(backends, id, text);
	return colon ? colon + 2 : "";
}

/*
 * " \ net0: index=0,type=user,..." under the line of its device, "net0: ..." where no device uses
 * it, and " \ port: net0: ..." under the line of a hub.
 */
GHashTable *lu_backends(LuQmp *qmp)
{
	g_autofree char *text = lu_qmp_hmp(qmp, "info network", NULL);
	g_auto(GStrv) lines = g_strsplit_set(text ? text : "", "\r\n", -1);
	GHashTable *backends = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, backend_free);
	const char *hub = NULL;

	for (guint i = 0; lines[i]; i++) {
		gboolean below = g_str_has_prefix(lines[i], " \\ ");
		const char *name = below ? lines[i] + 3 : lines[i], *colon, *type;
		g_autofree char *id = NULL;

		if (!*name)
			continue;
		if (!below)
			hub = g_str_has_prefix(name, "hub ") ? name + strlen("hub ") : NULL;
		else if (hub)
			name = add_hub_port(backends, name, hub);
		colon = strstr(name, ": index=");
		type = colon ? strstr(colon, ",type=") : NULL;
		if (!type || *name == ' ' || g_str_has_prefix(type, ",type=nic"))
			continue;
		id = g_strndup(name, colon - name);
		add_queue(backends, id, type + 1);
	}
	return backends;
}

char *lu_backend_get(const LuBackend *backend, const char *member)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(backend->queues->pdata[0], NULL);

	return g_strdup(lu_opts_get(opts, member));
}

/* -------------------------------------------------------------------- equal */

gboolean lu_json_equal(JsonNode *a, JsonNode *b)
{
	return a == b || (a && b && json_node_equal(a, b));
}
