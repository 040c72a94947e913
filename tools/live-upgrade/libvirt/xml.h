/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libxml2, with GLib's strings: for status.c and disk-xml.c. */
#ifndef LIVE_UPGRADE_LIBVIRT_XML_H
#define LIVE_UPGRADE_LIBVIRT_XML_H

#include <glib.h>
#include <libxml/xpath.h>
#include <string.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlXPathContext, xmlXPathFreeContext)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlXPathObject, xmlXPathFreeObject)

struct LuStatus {
	xmlDoc *doc;
};

static inline xmlXPathObject *lu_xml_find(const xmlDoc *doc, const char *path)
{
	g_autoptr(xmlXPathContext) context = xmlXPathNewContext((xmlDoc *)doc);

	return context ? xmlXPathEvalExpression((const xmlChar *)path, context) : NULL;
}

static inline int lu_xml_count(const xmlXPathObject *object)
{
	return object && object->nodesetval ? object->nodesetval->nodeNr : 0;
}

static inline char *lu_xml_take(xmlChar *text)
{
	char *copy = g_strdup((const char *)text);

	xmlFree(text);
	return copy;
}

/* The caller's; NULL: it has none. */
static inline char *lu_xml_attribute(xmlNode *node, const char *name)
{
	return lu_xml_take(xmlGetProp(node, (const xmlChar *)name));
}

static inline void lu_xml_set(xmlNode *node, const char *name, const char *value)
{
	xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

static inline void lu_xml_set_number(xmlNode *node, const char *name, gint64 value)
{
	g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, value);

	lu_xml_set(node, name, text);
}

static inline xmlNode *lu_xml_child(xmlNode *node, const char *name)
{
	for (xmlNode *child = node->children; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE && !strcmp((const char *)child->name, name))
			return child;
	return NULL;
}

#endif
