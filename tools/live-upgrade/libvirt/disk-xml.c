// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disks that moved, in libvirt's files: the one of the running domain, where a disk is known by its
 * alias and its nodes have names, and the one that the domain is started from next, where it is
 * known by its target.
 */
#include "error.h"
#include "images.h"
#include "status.h"
#include "xml.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <stdio.h>

#define DEVICES "/domstatus/domain/devices"

/* ------------------------------------------------------------------ finding */

/* The element "disk" whose child @child has @value in @attribute; NULL: there is none. */
static xmlNode *find_disk(const xmlDoc *doc, const char *devices, const char *child,
			  const char *attribute, const char *value)
{
	g_autofree char *path = g_strconcat(devices, "/disk", NULL);
	g_autoptr(xmlXPathObject) disks = lu_xml_find(doc, path);

	for (int i = 0; i < lu_xml_count(disks); i++) {
		xmlNode *disk = disks->nodesetval->nodeTab[i], *found = lu_xml_child(disk, child);
		g_autofree char *is = found ? lu_xml_attribute(found, attribute) : NULL;

		if (!g_strcmp0(is, value))
			return disk;
	}
	return NULL;
}

static char *child_attribute(xmlNode *node, const char *child, const char *attribute)
{
	xmlNode *found = node ? lu_xml_child(node, child) : NULL;

	return found ? lu_xml_attribute(found, attribute) : NULL;
}

char *lu_status_disk_alias(const LuStatus *status, const char *target)
{
	return child_attribute(find_disk(status->doc, DEVICES, "target", "dev", target), "alias",
			       "name");
}

guint lu_status_last_node(const LuStatus *status)
{
	g_autoptr(xmlXPathObject) found = lu_xml_find(status->doc, "/domstatus/nodename");
	g_autofree char *index = lu_xml_count(found)
					 ? lu_xml_attribute(found->nodesetval->nodeTab[0], "index")
					 : NULL;

	return index ? (guint)g_ascii_strtoull(index, NULL, 10) : 0;
}

/* "/machine/peripheral/virtio-disk0/virtio-backend" is of virtio-disk0. */
static xmlNode *disk_of(const LuStatus *status, const LuDisk *disk, GError **errp)
{
	g_auto(GStrv) parts = g_strsplit(disk->device, "/", -1);
	xmlNode *found = NULL;

	if (g_strv_length(parts) > 3 && !strcmp(parts[2], "peripheral"))
		found = find_disk(status->doc, DEVICES, "alias", "name", parts[3]);
	if (!found)
		lu_fail(errp, LU_ERROR_REFUSED, "libvirt knows no disk %s", disk->device);
	return found;
}

/* ----------------------------------------------------------------- changing */

/*
 * What is beneath it the image's own header says, at the next start and when a saved guest is
 * restored: nobody knows yet how much is copied by then. An element, or an empty one, would be
 * believed instead, and what is not copied would be zeros.
 */
static void forget_beneath(xmlNode *element)
{
	xmlNode *beneath = lu_xml_child(element, "backingStore");

	if (!beneath)
		return;
	xmlUnlinkNode(beneath);
	xmlFreeNode(beneath);
}

static gboolean set_image(xmlNode *element, const LuDisk *disk, GError **errp)
{
	xmlNode *driver = lu_xml_child(element, "driver"),
		*source = lu_xml_child(element, "source");

	if (!driver || !source)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "libvirt's definition of disk %s has no driver or no source",
			       disk->move->disk);
	lu_xml_set(element, "type", "file");
	lu_xml_set(driver, "type", disk->move->format);
	xmlUnsetProp(source, (const xmlChar *)"dev");
	lu_xml_set(source, "file", disk->move->file);
	forget_beneath(element);
	return TRUE;
}

static gboolean set_nodes(xmlNode *element, const LuDisk *disk, guint number, GError **errp)
{
	xmlNode *source = lu_xml_child(element, "source");
	xmlNode *data = source ? lu_xml_child(source, "privateData") : NULL;
	xmlNode *names = data ? lu_xml_child(data, "nodenames") : NULL;

	if (!names)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "libvirt does not name the block nodes of disk %s",
			       disk->move->disk);
	lu_xml_set_number(source, "index", number);
	for (xmlNode *name = names->children; name; name = name->next) {
		g_autofree char *type = NULL;

		if (name->type != XML_ELEMENT_NODE)
			continue;
		type = lu_xml_attribute(name, "type");
		lu_xml_set(name, "name", g_strcmp0(type, "storage") ? disk->node : disk->file_node);
	}
	return TRUE;
}

static void set_last_node(LuStatus *status, guint number)
{
	g_autoptr(xmlXPathObject) found = lu_xml_find(status->doc, "/domstatus/nodename");

	if (lu_xml_count(found))
		lu_xml_set_number(found->nodesetval->nodeTab[0], "index", number);
}

gboolean lu_status_move_disks(LuStatus *status, GPtrArray *disks, GError **errp)
{
	guint number = lu_status_last_node(status);

	for (guint i = 0; disks && i < disks->len; i++) {
		const LuDisk *disk = disks->pdata[i];
		g_autofree char *name = g_strdup_printf("libvirt-%u-format", ++number);
		xmlNode *element = disk_of(status, disk, errp);

		if (!element)
			return FALSE;
		if (g_strcmp0(name, disk->node))
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "libvirt's next block node was %s and is %s: a disk was "
				       "changed while the new process was started",
				       disk->node, name);
		if (!set_image(element, disk, errp) || !set_nodes(element, disk, number, errp))
			return FALSE;
	}
	if (disks)
		set_last_node(status, number);
	return TRUE;
}

/* ------------------------------------------------------------- the next start */

static gboolean save(xmlDoc *doc, const char *path, GError **errp)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *context = xmlSaveToBuffer(buffer, NULL, XML_SAVE_NO_DECL);
	g_autoptr(GError) error = NULL;
	gboolean ok;

	xmlSaveDoc(context, doc);
	xmlSaveClose(context);
	ok = g_file_set_contents_full(path, (const char *)xmlBufferContent(buffer), -1,
				      G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
				      0600, &error);
	xmlBufferFree(buffer);
	return ok || lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
}

static gboolean has_image(xmlNode *element, const char *file)
{
	g_autofree char *path = child_attribute(element, "source", "file");
	g_autofree char *device = child_attribute(element, "source", "dev");

	return !g_strcmp0(path ? path : device, file);
}

/* A disk that the next start would not have, or in another image, is nobody's concern. */
static gboolean move_in(const LuStatus *status, GPtrArray *disks, xmlDoc *doc, GError **errp)
{
	for (guint i = 0; i < disks->len; i++) {
		const LuDisk *disk = disks->pdata[i];
		xmlNode *running = disk_of(status, disk, errp), *element;
		g_autofree char *target = NULL;

		if (!running)
			return FALSE;
		target = child_attribute(running, "target", "dev");
		element = find_disk(doc, "/domain/devices", "target", "dev", target);
		if (element && has_image(element, disk->old_file) &&
		    !set_image(element, disk, errp))
			return FALSE;
	}
	return TRUE;
}

gboolean lu_status_move_config(const LuStatus *status, GPtrArray *disks, const char *path,
			       const char *temporary, GError **errp)
{
	xmlDoc *doc =
		xmlReadFile(path, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	gboolean ok;

	if (!doc)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s is no XML", path);
	ok = move_in(status, disks, doc, errp) && save(doc, temporary, errp);
	xmlFreeDoc(doc);
	return ok;
}
