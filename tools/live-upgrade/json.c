// SPDX-License-Identifier: GPL-2.0-or-later
#include "json.h"
#include "qmp.h"

char *lu_json_quote(const char *text)
{
	g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), text);

	return json_to_string(node, FALSE);
}

char *lu_json_expand(const char *format, va_list *args)
{
	GString *out = g_string_new(NULL);

	for (const char *f = format; *f; f++) {
		g_autofree char *quoted = NULL;

		if (*f == '\'') {
			g_string_append_c(out, '"');
		} else if (f[0] == '%' && f[1] == 's') {
			quoted = lu_json_quote(va_arg(*args, const char *));
			g_string_append(out, quoted);
			f++;
		} else if (f[0] == '%' && f[1] == 'd') {
			g_string_append_printf(out, "%d", va_arg(*args, int));
			f++;
		} else {
			g_string_append_c(out, *f);
		}
	}
	return g_string_free(out, FALSE);
}

char *lu_json_format(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = lu_json_expand(format, &args);
	va_end(args);
	return text;
}

JsonNode *lu_json_member(JsonNode *node, const char *member)
{
	if (!node || !JSON_NODE_HOLDS_OBJECT(node))
		return NULL;
	return json_object_get_member(json_node_get_object(node), member);
}

static JsonNode *value_of(JsonNode *node, const char *member, GType type)
{
	JsonNode *value = lu_json_member(node, member);

	if (!value || !JSON_NODE_HOLDS_VALUE(value) || json_node_get_value_type(value) != type)
		return NULL;
	return value;
}

const char *lu_json_str(JsonNode *node, const char *member)
{
	JsonNode *value = value_of(node, member, G_TYPE_STRING);

	return value ? json_node_get_string(value) : NULL;
}

gint64 lu_json_int(JsonNode *node, const char *member)
{
	JsonNode *value = value_of(node, member, G_TYPE_INT64);

	return value ? json_node_get_int(value) : 0;
}

double lu_json_double(JsonNode *node, const char *member)
{
	JsonNode *value = value_of(node, member, G_TYPE_DOUBLE);

	return value ? json_node_get_double(value) : (double)lu_json_int(node, member);
}

gboolean lu_json_bool(JsonNode *node, const char *member)
{
	JsonNode *value = value_of(node, member, G_TYPE_BOOLEAN);

	return value && json_node_get_boolean(value);
}

guint lu_json_length(JsonNode *node)
{
	return node && JSON_NODE_HOLDS_ARRAY(node)
		       ? json_array_get_length(json_node_get_array(node))
		       : 0;
}

JsonNode *lu_json_element(JsonNode *node, guint i)
{
	return json_array_get_element(json_node_get_array(node), i);
}
