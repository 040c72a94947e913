// SPDX-License-Identifier: GPL-2.0-or-later
#include "device-use.h"
#include "lu-libvirt.h"
#include "xml.h"

#include <libxml/parser.h>
#include <sys/stat.h>

/* What domains are started from. */
#define CONFIG "/etc/libvirt/qemu"

static gboolean is_device(const char *file, dev_t device)
{
	struct stat st;

	return file && stat(file, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == device;
}

static gboolean is_in_drives(JsonNode *drives, dev_t device)
{
	for (guint i = 0; i < lu_json_length(drives); i++) {
		JsonNode *inserted = lu_json_member(lu_json_element(drives, i), "inserted");
		JsonNode *image = lu_json_member(inserted, "image");

		for (; image; image = lu_json_member(image, "backing-image"))
			if (is_device(lu_json_str(image, "filename"), device))
				return TRUE;
	}
	return FALSE;
}

/* Disks, what is beneath them, and what they are being copied to. */
static gboolean is_in_xml(const char *path, dev_t device)
{
	xmlDoc *doc =
		xmlReadFile(path, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	xmlXPathObject *sources = doc ? lu_xml_find(doc, "//disk//source") : NULL;
	gboolean found = FALSE;

	for (int i = 0; !found && i < lu_xml_count(sources); i++) {
		g_autofree char *dev = lu_xml_attribute(sources->nodesetval->nodeTab[i], "dev");
		g_autofree char *file = lu_xml_attribute(sources->nodesetval->nodeTab[i], "file");

		found = is_device(dev, device) || is_device(file, device);
	}
	xmlXPathFreeObject(sources);
	xmlFreeDoc(doc);
	return found;
}

/* @but (may be NULL): not this domain. */
static char *user_in(const char *folder, dev_t device, const char *but)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		g_autofree char *domain = NULL;

		if (!g_str_has_suffix(name, ".xml"))
			continue;
		domain = g_strndup(name, strlen(name) - strlen(".xml"));
		if (g_strcmp0(domain, but) && is_in_xml(path, device))
			return g_steal_pointer(&domain);
	}
	return NULL;
}

char *lu_device_user(const char *domain, JsonNode *drives, const char *file)
{
	struct stat st;
	char *user;

	if (stat(file, &st) < 0)
		return NULL;
	if (is_in_drives(drives, st.st_rdev))
		return g_strdup(domain);
	user = user_in(LU_LIBVIRT_STATE, st.st_rdev, NULL);
	/* Its own definition may name the device for the next start already. */
	return user ? user : user_in(CONFIG, st.st_rdev, domain);
}
