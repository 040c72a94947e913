// SPDX-License-Identifier: GPL-2.0-or-later
#include "status.h"
#include "error.h"

#include "xml.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITIES "/var/cache/libvirt/qemu/capabilities"

/* The text of the first node, element or attribute; NULL: there is none. */
static char *text_at(const LuStatus *status, const char *path)
{
	g_autoptr(xmlXPathObject) object = lu_xml_find(status->doc, path);

	return lu_xml_count(object) ? lu_xml_take(xmlNodeGetContent(object->nodesetval->nodeTab[0]))
				    : NULL;
}

/* ---------------------------------------------------------------------- files */

LuStatus *lu_status_parse(const char *text, gsize length, GError **errp)
{
	xmlDoc *doc =
		length > G_MAXINT
			? NULL
			: xmlReadMemory(text, (int)length, "status.xml", NULL,
					XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	LuStatus *status;

	if (!doc || !xmlDocGetRootElement(doc) ||
	    strcmp((const char *)xmlDocGetRootElement(doc)->name, "domstatus")) {
		xmlFreeDoc(doc);
		lu_fail(errp, LU_ERROR_REFUSED, "it is not a status file of libvirt's");
		return NULL;
	}
	status = g_new0(LuStatus, 1);
	status->doc = doc;
	return status;
}

LuStatus *lu_status_load(const char *path, GError **errp)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	LuStatus *status;
	gsize length;

	if (!g_file_get_contents(path, &text, &length, &error)) {
		lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
		return NULL;
	}
	status = lu_status_parse(text, length, errp);
	if (!status)
		g_prefix_error(errp, "%s: ", path);
	return status;
}

void lu_status_free(LuStatus *status)
{
	if (!status)
		return;
	xmlFreeDoc(status->doc);
	g_free(status);
}

char *lu_status_text(const LuStatus *status)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save = xmlSaveToBuffer(buffer, NULL, XML_SAVE_NO_DECL);
	char *text;

	xmlSaveDoc(save, status->doc);
	xmlSaveClose(save);
	text = g_strdup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	return text;
}

gboolean lu_status_write(const LuStatus *status, const char *path, GError **errp)
{
	g_autofree char *text = lu_status_text(status);
	g_autoptr(GError) error = NULL;

	if (!g_file_set_contents_full(path, text, -1,
				      G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
				      0600, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	return TRUE;
}

/* -------------------------------------------------------------------- reading */

pid_t lu_status_pid(const LuStatus *status)
{
	g_autofree char *text = text_at(status, "/domstatus/@pid");

	return text ? (pid_t)g_ascii_strtoll(text, NULL, 10) : 0;
}

char *lu_status_uuid(const LuStatus *status)
{
	return text_at(status, "/domstatus/domain/uuid");
}

char *lu_status_emulator(const LuStatus *status)
{
	return text_at(status, "/domstatus/domain/devices/emulator");
}

char *lu_status_monitor(const LuStatus *status)
{
	return text_at(status, "/domstatus/monitor[1]/@path");
}

gboolean lu_status_check(const LuStatus *status, const char *name, GError **errp)
{
	static const struct {
		const char *path, *what;
	} refused[] = {
		{"/domstatus/job[@async and @async!='none']/@async", "job"},
		{"/domstatus/blockjobs/blockjob/@name", "block job (virsh blockjob)"},
		{"/domstatus/blockjobs[@active='yes']/@active", "block job"},
		{"/domstatus/backups/domainbackup/@mode", "backup"},
		{"/domstatus/lockstate[text()]", "lock of a lock manager"},
		{"/domstatus/slirp", "network helper process"},
		{"/domstatus/dbusVMState", "helper process with state (dbus-vmstate)"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
		g_autofree char *is = text_at(status, refused[i].path);

		if (is)
			return lu_fail(errp, LU_ERROR_REFUSED, "libvirt domain %s has a %s: %s",
				       name, refused[i].what, is);
	}
	return TRUE;
}

/* --------------------------------------------------------------- capabilities */

/* The cache that libvirt keeps of each emulator: a file that is named by its path's sum. */
GHashTable *lu_status_capabilities_of(const char *emulator)
{
	g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, emulator, -1);
	g_autofree char *path = g_strdup_printf(CAPABILITIES "/%s.xml", sum);
	xmlDoc *doc =
		xmlReadFile(path, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	g_autoptr(xmlXPathObject) flags = doc ? lu_xml_find(doc, "/qemuCaps/flag") : NULL;
	GHashTable *names = NULL;

	if (lu_xml_count(flags))
		names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	for (int i = 0; i < lu_xml_count(flags); i++)
		g_hash_table_add(names, lu_xml_attribute(flags->nodesetval->nodeTab[i], "name"));
	g_clear_pointer(&flags, xmlXPathFreeObject);
	xmlFreeDoc(doc);
	return names;
}

static void keep_capabilities(LuStatus *status, GHashTable *capabilities)
{
	g_autoptr(xmlXPathObject) flags = lu_xml_find(status->doc, "/domstatus/qemuCaps/flag");

	for (int i = 0; i < lu_xml_count(flags); i++) {
		xmlNode *node = flags->nodesetval->nodeTab[i], *blank = node->prev;
		g_autofree char *name = lu_xml_attribute(node, "name");

		if (!name || g_hash_table_contains(capabilities, name))
			continue;
		if (blank && xmlIsBlankNode(blank)) {
			xmlUnlinkNode(blank);
			xmlFreeNode(blank);
		}
		xmlUnlinkNode(node);
		xmlFreeNode(node);
		flags->nodesetval->nodeTab[i] = NULL;
	}
}

/* -------------------------------------------------------------------- changing */

/* libvirt counts the CPUs as QEMU does. One without a thread (TCG of old) stays so. */
static gboolean set_threads(LuStatus *status, const LuSuccession *succession, GError **errp)
{
	g_autoptr(xmlXPathObject) vcpus =
		lu_xml_find(status->doc, "/domstatus/vcpus/vcpu[@pid!='0']");
	g_autoptr(JsonNode) reply = lu_qmp_call(succession->new_qmp, errp, "query-cpus-fast", NULL);

	if (!reply)
		return FALSE;
	for (int i = 0; i < lu_xml_count(vcpus); i++) {
		xmlNode *node = vcpus->nodesetval->nodeTab[i];
		g_autofree char *id = lu_xml_attribute(node, "id");
		gint64 thread = 0;

		for (guint j = 0; id && j < lu_json_length(reply); j++) {
			JsonNode *cpu = lu_json_element(reply, j);

			if (lu_json_int(cpu, "cpu-index") == g_ascii_strtoll(id, NULL, 10))
				thread = lu_json_int(cpu, "thread-id");
		}
		if (!thread)
			return lu_fail(errp, LU_ERROR_REFUSED, "the new process has no CPU %s", id);
		lu_xml_set_number(node, "pid", thread);
	}
	return TRUE;
}

/* "pty:/dev/pts/3"; the caller's. */
static char *terminal_of(JsonNode *chardevs, const char *alias)
{
	g_autofree char *label = g_strconcat("char", alias, NULL);

	for (guint i = 0; i < lu_json_length(chardevs); i++) {
		JsonNode *chardev = lu_json_element(chardevs, i);
		const char *file = lu_json_str(chardev, "filename");

		if (!g_strcmp0(lu_json_str(chardev, "label"), label) && file &&
		    g_str_has_prefix(file, "pty:"))
			return g_strdup(file + strlen("pty:"));
	}
	return NULL;
}

static gboolean set_terminals(LuStatus *status, const LuSuccession *succession, GError **errp)
{
	g_autoptr(xmlXPathObject) devices =
		lu_xml_find(status->doc, "/domstatus/domain/devices/*[@type='pty']");
	g_autoptr(JsonNode) chardevs =
		lu_qmp_call(succession->new_qmp, errp, "query-chardev", NULL);

	if (!chardevs)
		return FALSE;
	for (int i = 0; i < lu_xml_count(devices); i++) {
		xmlNode *node = devices->nodesetval->nodeTab[i];
		xmlNode *alias = lu_xml_child(node, "alias"),
			*source = lu_xml_child(node, "source");
		g_autofree char *name = alias ? lu_xml_attribute(alias, "name") : NULL;
		g_autofree char *terminal = name ? terminal_of(chardevs, name) : NULL;

		if (!terminal || !source)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "the new process has no pseudo-terminal for %s",
				       name ? name : (const char *)node->name);
		lu_xml_set(source, "path", terminal);
		if (xmlHasProp(node, (const xmlChar *)"tty"))
			lu_xml_set(node, "tty", terminal);
	}
	return TRUE;
}

static void set_emulator(LuStatus *status, const LuSuccession *succession)
{
	g_autoptr(xmlXPathObject) emulator =
		lu_xml_find(status->doc, "/domstatus/domain/devices/emulator");
	xmlChar *escaped;

	/* The old one's own name may be that of a link or a script. */
	if (!lu_xml_count(emulator) || !strcmp(succession->program, succession->old->process->exe))
		return;
	escaped = xmlEncodeSpecialChars(status->doc, (const xmlChar *)succession->program);
	xmlNodeSetContent(emulator->nodesetval->nodeTab[0], escaped);
	xmlFree(escaped);
}

gboolean lu_status_succeed(LuStatus *status, const LuSuccession *succession,
			   GHashTable *capabilities, GError **errp)
{
	lu_xml_set_number(xmlDocGetRootElement(status->doc), "pid", succession->new->pid);
	set_emulator(status, succession);
	if (capabilities)
		keep_capabilities(status, capabilities);
	return set_threads(status, succession, errp) && set_terminals(status, succession, errp);
}

void lu_status_set_monitor(LuStatus *status, const char *path)
{
	g_autoptr(xmlXPathObject) monitor = lu_xml_find(status->doc, "/domstatus/monitor[1]");

	if (lu_xml_count(monitor))
		lu_xml_set(monitor->nodesetval->nodeTab[0], "path", path);
}
