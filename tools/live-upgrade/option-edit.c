// SPDX-License-Identifier: GPL-2.0-or-later
#include "option-edit.h"
#include "opts.h"

#include <string.h>

static gboolean is_json(const LuOption *option)
{
	return option->value && *option->value == '{';
}

static JsonNode *parse(const LuOption *option)
{
	return is_json(option) ? json_from_string(option->value, NULL) : NULL;
}

/* The object that has the last part of @dotted, which *@last is set to. */
static JsonObject *holder_of(JsonObject *object, const char *dotted, gboolean make,
			     const char **last)
{
	const char *dot;

	while (object && (dot = strchr(dotted, '.'))) {
		g_autofree char *part = g_strndup(dotted, dot - dotted);
		JsonNode *node = json_object_get_member(object, part);

		if ((!node || !JSON_NODE_HOLDS_OBJECT(node)) && make) {
			json_object_set_object_member(object, part, json_object_new());
			node = json_object_get_member(object, part);
		}
		object = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
		dotted = dot + 1;
	}
	*last = dotted;
	return object;
}

static JsonNode *find(JsonNode *root, const char *dotted)
{
	const char *last;
	JsonObject *holder = root && JSON_NODE_HOLDS_OBJECT(root)
				     ? holder_of(json_node_get_object(root), dotted, FALSE, &last)
				     : NULL;

	return holder ? json_object_get_member(holder, last) : NULL;
}

void lu_json_put_dotted(JsonObject *object, const char *dotted, JsonNode *value)
{
	const char *last;
	JsonObject *holder = holder_of(object, dotted, TRUE, &last);

	json_object_set_member(holder, last, value);
}

char *lu_json_object_text(JsonObject *object)
{
	g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);
	char *text = json_to_string(node, FALSE);

	json_object_unref(object);
	return text;
}

/* ------------------------------------------------------------------ reading */

static char *text_of(JsonNode *node)
{
	if (!node || !JSON_NODE_HOLDS_VALUE(node))
		return NULL;
	if (json_node_get_value_type(node) == G_TYPE_STRING)
		return json_node_dup_string(node);
	if (json_node_get_value_type(node) == G_TYPE_BOOLEAN)
		return g_strdup(json_node_get_boolean(node) ? "on" : "off");
	return json_to_string(node, FALSE);
}

char *lu_option_get(const LuOption *option, const char *dotted, const char *implied)
{
	g_autoptr(JsonNode) root = parse(option);
	g_autoptr(LuOpts) opts = NULL;

	if (!option->value)
		return NULL;
	if (root)
		return text_of(find(root, dotted));
	opts = lu_opts_parse(option->value, implied);
	return g_strdup(lu_opts_get(opts, dotted));
}

gboolean lu_option_get_bool(const LuOption *option, const char *dotted)
{
	static const char *const yes[] = {"on", "yes", "true", "y", NULL};
	g_autofree char *text = lu_option_get(option, dotted, NULL);

	return text && g_strv_contains(yes, text);
}

/* "a" of "a.b" */
static gboolean is_below(const char *name, const char *dotted)
{
	gsize length = strlen(dotted);

	return !strncmp(name, dotted, length) && name[length] == '.';
}

gboolean lu_option_has_tree(const LuOption *option, const char *dotted)
{
	g_autoptr(JsonNode) root = parse(option);
	JsonNode *node = find(root, dotted);
	g_autoptr(LuOpts) opts = NULL;

	if (root)
		return node && JSON_NODE_HOLDS_OBJECT(node);
	opts = lu_opts_parse(option->value, NULL);
	for (guint i = 0; i < lu_opts_length(opts); i++)
		if (is_below(lu_opts_name(opts, i), dotted))
			return TRUE;
	return FALSE;
}

/* ------------------------------------------------------------------ writing */

static void put(LuOption *option, const char *dotted, const char *implied, JsonNode *value)
{
	g_autoptr(JsonNode) root = parse(option);
	G_GNUC_UNUSED g_autoptr(JsonNode) owned = value;
	g_autoptr(LuOpts) opts = NULL;
	g_autofree char *text = NULL, *part = text_of(value);

	if (root) {
		lu_json_put_dotted(json_node_get_object(root), dotted, json_node_ref(value));
		text = json_to_string(root, FALSE);
	} else {
		opts = lu_opts_parse(option->value, implied);
		lu_opts_set(opts, dotted, part);
		text = lu_opts_text(opts);
	}
	lu_option_set(option, text);
}

void lu_option_put_string(LuOption *option, const char *dotted, const char *implied,
			  const char *value)
{
	put(option, dotted, implied, json_node_init_string(json_node_alloc(), value));
}

void lu_option_put_bool(LuOption *option, const char *dotted, const char *implied, gboolean value)
{
	put(option, dotted, implied, json_node_init_boolean(json_node_alloc(), value));
}

void lu_option_put_number(LuOption *option, const char *dotted, const char *implied, gint64 value)
{
	put(option, dotted, implied, json_node_init_int(json_node_alloc(), value));
}

void lu_option_remove(LuOption *option, const char *dotted, const char *implied)
{
	g_autoptr(JsonNode) root = parse(option);
	g_autoptr(LuOpts) opts = NULL;
	g_autofree char *text = NULL;
	JsonObject *holder;
	const char *last;

	if (root) {
		holder = holder_of(json_node_get_object(root), dotted, FALSE, &last);
		if (holder)
			json_object_remove_member(holder, last);
		text = json_to_string(root, FALSE);
	} else {
		opts = lu_opts_parse(option->value, implied);
		for (guint i = lu_opts_length(opts); i-- > 0;) {
			g_autofree char *name = g_strdup(lu_opts_name(opts, i));

			if (!strcmp(name, dotted) || is_below(name, dotted)) {
				lu_opts_remove(opts, name);
				i = lu_opts_length(opts);
			}
		}
		text = lu_opts_text(opts);
	}
	lu_option_set(option, text);
}
