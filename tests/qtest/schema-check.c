/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "schema-check.h"

#include <string.h>

static gboolean check_struct(const LmQapiStruct *structure, JsonNode *node, const char *path,
			     GError **errp);

static gboolean wrong(GError **errp, const char *path, const char *what)
{
	g_set_error(errp, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "%s: %s", path, what);
	return FALSE;
}

static gboolean check_type(GType is, gboolean right, const char *path, GError **errp)
{
	if (right)
		return TRUE;
	g_set_error(errp, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "%s: wrong type %s", path,
		    is == G_TYPE_INVALID ? "(no plain value)" : g_type_name(is));
	return FALSE;
}

static gboolean check_enum(const LmQapiEnum *enumeration, JsonNode *node, const char *path,
			   GError **errp)
{
	const char *value = json_node_get_string(node);

	for (size_t i = 0; i < enumeration->n_values; i++)
		if (value && strcmp(enumeration->values[i], value) == 0)
			return TRUE;
	return wrong(errp, path, "is no value of the enum");
}

static gboolean check_value(const LmQapiMember *member, JsonNode *node, const char *path,
			    GError **errp)
{
	GType is = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : G_TYPE_INVALID;

	switch (member->type) {
	case LM_QAPI_TYPE_STR:
		return check_type(is, is == G_TYPE_STRING, path, errp);
	case LM_QAPI_TYPE_INT:
		return check_type(is, is == G_TYPE_INT64, path, errp);
	case LM_QAPI_TYPE_SIZE:
		return check_type(is, is == G_TYPE_INT64, path, errp) &&
		       (json_node_get_int(node) >= 0 || wrong(errp, path, "is negative"));
	case LM_QAPI_TYPE_NUMBER:
		return check_type(is, is == G_TYPE_INT64 || is == G_TYPE_DOUBLE, path, errp);
	case LM_QAPI_TYPE_BOOL:
		return check_type(is, is == G_TYPE_BOOLEAN, path, errp);
	case LM_QAPI_TYPE_ENUM:
		return check_type(is, is == G_TYPE_STRING, path, errp) &&
		       check_enum(member->enumeration, node, path, errp);
	case LM_QAPI_TYPE_STRUCT:
		return check_struct(member->structure, node, path, errp);
	}
	return wrong(errp, path, "has a type that is not known");
}

static gboolean check_member(const LmQapiMember *member, JsonNode *node, const char *path,
			     GError **errp)
{
	JsonArray *array;

	if (!member->is_list)
		return check_value(member, node, path, errp);
	if (!JSON_NODE_HOLDS_ARRAY(node))
		return wrong(errp, path, "is no list");
	array = json_node_get_array(node);
	for (guint i = 0; i < json_array_get_length(array); i++) {
		g_autofree char *element = g_strdup_printf("%s[%u]", path, i);

		if (!check_value(member, json_array_get_element(array, i), element, errp))
			return FALSE;
	}
	return TRUE;
}

static const LmQapiMember *find_member(const LmQapiStruct *structure, const char *name)
{
	for (size_t i = 0; i < structure->n_members; i++)
		if (strcmp(structure->members[i].name, name) == 0)
			return &structure->members[i];
	return NULL;
}

static gboolean check_required(const LmQapiStruct *structure, JsonObject *object, const char *path,
			       GError **errp)
{
	for (size_t i = 0; i < structure->n_members; i++) {
		const LmQapiMember *member = &structure->members[i];
		g_autofree char *at = g_strdup_printf("%s.%s", path, member->name);

		if (!member->optional && !json_object_has_member(object, member->name))
			return wrong(errp, at, "is missing");
	}
	return TRUE;
}

static gboolean check_struct(const LmQapiStruct *structure, JsonNode *node, const char *path,
			     GError **errp)
{
	JsonObject *object;
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;

	if (!JSON_NODE_HOLDS_OBJECT(node))
		return wrong(errp, path, "is no object");
	object = json_node_get_object(node);
	json_object_iter_init(&iter, object);
	while (json_object_iter_next(&iter, &name, &value)) {
		const LmQapiMember *member = find_member(structure, name);
		g_autofree char *at = g_strdup_printf("%s.%s", path, name);

		if (!member)
			return wrong(errp, at, "is not in the schema");
		if (!check_member(member, value, at, errp))
			return FALSE;
	}
	return check_required(structure, object, path, errp);
}

gboolean schema_check(const LmQapiStruct *structure, JsonNode *node, GError **errp)
{
	return check_struct(structure, node, structure->name, errp);
}
