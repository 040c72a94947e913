// SPDX-License-Identifier: GPL-2.0-or-later
/* What of a device's properties is worth saying: by the defaults that QEMU tells for its type. */
#include "changes.h"
#include "qom.h"

#include <string.h>

/* What QEMU finds out by itself or says of itself, and does not take back. */
static gboolean is_own(const char *name)
{
	static const char *const own[] = {"parent_bus", "hotplugged", "hotpluggable", "realized",
					  "attached",	"busnr",      "size",	      NULL};

	return g_strv_contains(own, name) || g_str_has_prefix(name, "legacy-");
}

static gboolean is_empty(JsonNode *value)
{
	if (JSON_NODE_HOLDS_ARRAY(value))
		return !lu_json_length(value);
	return !JSON_NODE_HOLDS_VALUE(value) ||
	       (json_node_get_value_type(value) == G_TYPE_STRING && !*json_node_get_string(value));
}

/* A default ROM is the program's: it has no folder. One that was taken away is "". */
static gboolean is_worth_saying(const char *name, const char *type, JsonNode *value,
				JsonNode *otherwise)
{
	if (!strcmp(name, "romfile"))
		return is_empty(value) || strchr(json_node_get_string(value), '/');
	if (!strcmp(name, "bootindex"))
		return json_node_get_int(value) >= 0;
	if (otherwise)
		return !lu_json_equal(value, otherwise);
	return (!strcmp(type, "str") || g_str_has_prefix(type, "link<") ||
		JSON_NODE_HOLDS_ARRAY(value)) &&
	       !is_empty(value);
}

static JsonNode *list_of(LuQmp *qmp, GHashTable *lists, const char *type)
{
	JsonNode *list = g_hash_table_lookup(lists, type);

	if (!list) {
		list = lu_qmp_call(qmp, NULL, "device-list-properties", "{'typename': %s}", type);
		if (list)
			g_hash_table_insert(lists, g_strdup(type), list);
	}
	return list;
}

/* A part that the device made for itself, as virtio-rng its source. */
static gboolean is_inside(const char *path, const char *type, JsonNode *value)
{
	gsize length = strlen(path);
	const char *target;

	if (!g_str_has_prefix(type, "link<"))
		return FALSE;
	target = json_node_get_string(value);
	return target && !strncmp(target, path, length) && target[length] == '/';
}

GHashTable *lu_device_properties(LuQmp *qmp, GHashTable *lists, const char *path, const char *type)
{
	JsonNode *list = list_of(qmp, lists, type);
	GHashTable *properties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
						       (GDestroyNotify)json_node_unref);

	for (guint i = 0; i < lu_json_length(list); i++) {
		JsonNode *entry = lu_json_element(list, i);
		const char *name = lu_json_str(entry, "name"), *kind = lu_json_str(entry, "type");
		g_autoptr(JsonNode) value = NULL;

		if (!name || !kind || is_own(name) || g_str_has_prefix(kind, "child<"))
			continue;
		value = lu_qom_get(qmp, path, name);
		if (value && !is_inside(path, kind, value) &&
		    is_worth_saying(name, kind, value, lu_json_member(entry, "default-value")))
			g_hash_table_insert(properties, g_strdup(name), g_steal_pointer(&value));
	}
	return properties;
}
