// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Chardevs that were added (chardev-add) or removed since the start. QOM has their type, and of a
 * socket its address; query-chardev has the rest, in a text. They are written as options would be,
 * and plan-chardev.c does with them what it does with those of the start.
 */
#include "changes.h"
#include "opts.h"
#include "qom.h"

#include <string.h>

/* Of -serial, -monitor and the like, or of QEMU's own. */
static gboolean is_own(const char *label)
{
	static const char *const prefixes[] = {"serial", "parallel", "compat_monitor",
					       "gdb",	 "debugcon", "vc",
					       "stdio",	 "mon",	     "#"};

	for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++)
		if (g_str_has_prefix(label, prefixes[i]))
			return TRUE;
	return g_str_has_suffix(label, "-base");
}

/* "disconnected:telnet:127.0.0.1:4444,server=on" */
static void add_kind(LuOpts *opts, const char *filename)
{
	static const char *const kinds[] = {"telnet", "tn3270", "websocket"};
	const char *kind = g_str_has_prefix(filename, "disconnected:")
				   ? filename + strlen("disconnected:")
				   : filename;

	for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (g_str_has_prefix(kind, kinds[i]))
			lu_opts_set(opts, kinds[i], "on");
	if (strstr(filename, ",server=on")) {
		lu_opts_set(opts, "server", "on");
		lu_opts_set(opts, "wait", "off");
	}
}

static gboolean add_socket(LuQmp *qmp, LuOpts *opts, const char *label, const char *filename)
{
	g_autofree char *path = g_strconcat("/chardevs/", label, NULL);
	g_autoptr(JsonNode) address = lu_qom_get(qmp, path, "addr");
	const char *type = lu_json_str(address, "type");

	if (!g_strcmp0(type, "unix")) {
		lu_opts_set(opts, "path", lu_json_str(address, "path"));
		if (lu_json_bool(address, "abstract"))
			lu_opts_set(opts, "abstract", "on");
	} else if (!g_strcmp0(type, "inet")) {
		lu_opts_set(opts, "host", lu_json_str(address, "host"));
		lu_opts_set(opts, "port", lu_json_str(address, "port"));
	} else {
		return FALSE; /* a descriptor that was given by a name */
	}
	add_kind(opts, filename);
	return TRUE;
}

static char *type_of(LuQmp *qmp, const char *label)
{
	g_autofree char *path = g_strconcat("/chardevs/", label, NULL);
	char *type = lu_qom_string(qmp, path, "type");

	if (type && g_str_has_prefix(type, "chardev-"))
		memmove(type, type + strlen("chardev-"), strlen(type + strlen("chardev-")) + 1);
	return type;
}

static gboolean describe(LuQmp *qmp, LuOpts *opts, const char *type, JsonNode *chardev)
{
	static const char *const plain[] = {"null",	"pty",	   "vc",    "msmouse",
					    "wctablet", "testdev", "stdio", NULL};
	const char *filename = lu_json_str(chardev, "filename");

	if (!type || !filename)
		return FALSE;
	if (!strcmp(type, "socket"))
		return add_socket(qmp, opts, lu_json_str(chardev, "label"), filename);
	return g_strv_contains(plain, type) || !strcmp(type, "ringbuf");
}

static void add(LuPlan *plan, JsonNode *chardev)
{
	const char *label = lu_json_str(chardev, "label");
	g_autofree char *type = type_of(plan->running->qmp, label), *text = NULL;
	g_autoptr(LuOpts) opts = lu_opts_parse(type ? type : "", "backend");

	lu_opts_set(opts, "id", label);
	if (!describe(plan->running->qmp, opts, type, chardev)) {
		lu_plan_refuse(plan,
			       "chardev %s (%s) was added after the start, and QEMU does not tell "
			       "how to make one like it",
			       label, type ? type : "?");
		return;
	}
	text = lu_opts_text(opts);
	lu_command_line_append(plan->line, "chardev", text);
}

static gboolean is_there(JsonNode *chardevs, const char *label)
{
	for (guint i = 0; i < lu_json_length(chardevs); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(chardevs, i), "label"), label))
			return TRUE;
	return FALSE;
}

void lu_changes_chardevs(LuPlan *plan)
{
	g_autoptr(JsonNode) chardevs = lu_qmp_call(plan->running->qmp, NULL, "query-chardev", NULL);
	g_autoptr(GPtrArray) said = lu_changes_ids(plan->line, "chardev");

	for (guint i = 0; i < said->len; i++)
		if (chardevs && !is_there(chardevs, said->pdata[i]))
			lu_changes_drop(plan, "chardev", said->pdata[i]);
	for (guint i = 0; i < lu_json_length(chardevs); i++) {
		JsonNode *chardev = lu_json_element(chardevs, i);
		const char *label = lu_json_str(chardev, "label");

		if (label && !is_own(label) && !lu_changes_find(plan->line, "chardev", label))
			add(plan, chardev);
	}
}
