// SPDX-License-Identifier: GPL-2.0-or-later
#include "command-line.h"
#include "error.h"
#include "opts.h"
#include "qmp.h"

#include <string.h>

/* Of QEMU 7.2, 10.0 and 11.1 for x86. */
static const char *const without_argument[] = {
	"S",
	"alt-grab",
	"async-teardown",
	"audio-help",
	"ctrl-grab",
	"curses",
	"daemonize",
	"enable-fips",
	"enable-hax",
	"enable-kvm",
	"enable-sync-profile",
	"full-screen",
	"h",
	"help",
	"jitdump",
	"mem-prealloc",
	"no-acpi",
	"no-fd-bootchk",
	"no-hpet",
	"no-kvm",
	"no-quit",
	"no-reboot",
	"no-shutdown",
	"no-user-config",
	"nodefaults",
	"nographic",
	"old-param",
	"one-insn-per-tb",
	"only-migratable",
	"perfmap",
	"portrait",
	"preconfig",
	"s",
	"sdl",
	"semihosting",
	"singlestep",
	"snapshot",
	"usb",
	"version",
	"win2k-hack",
	"xen-attach",
	"xen-domid-restrict",
	NULL,
};

static const char *const with_argument[] = {
	"D",
	"L",
	"M",
	"accel",
	"acpitable",
	"action",
	"add-fd",
	"append",
	"audio",
	"audiodev",
	"bios",
	"blockdev",
	"boot",
	"cdrom",
	"chardev",
	"chroot",
	"compat",
	"cpu",
	"d",
	"debugcon",
	"device",
	"dfilter",
	"display",
	"drive",
	"dtb",
	"dump-vmstate",
	"echr",
	"fda",
	"fdb",
	"fsdev",
	"fw_cfg",
	"gdb",
	"global",
	"hda",
	"hdb",
	"hdc",
	"hdd",
	"icount",
	"incoming",
	"initrd",
	"iscsi",
	"k",
	"kernel",
	"loadvm",
	"m",
	"machine",
	"mem-path",
	"mon",
	"monitor",
	"msg",
	"mtdblock",
	"name",
	"net",
	"netdev",
	"nic",
	"numa",
	"object",
	"option-rom",
	"overcommit",
	"parallel",
	"pflash",
	"pidfile",
	"plugin",
	"qmp",
	"qmp-pretty",
	"qtest",
	"qtest-log",
	"readconfig",
	"rotate",
	"rtc",
	"run-with",
	"runas",
	"sandbox",
	"sd",
	"seed",
	"serial",
	"set",
	"shim",
	"smbios",
	"smp",
	"spice",
	"tb-size",
	"tpmdev",
	"trace",
	"usbdevice",
	"uuid",
	"vga",
	"virtfs",
	"vnc",
	"watchdog",
	"watchdog-action",
	"xen-domid",
	NULL,
};

static void option_free(gpointer data)
{
	LuOption *option = data;

	g_free(option->name);
	g_free(option->value);
	g_free(option);
}

static LuOption *option_new(const char *name, const char *value)
{
	LuOption *option = g_new0(LuOption, 1);

	option->name = g_strdup(name);
	option->value = g_strdup(value);
	option->place = G_MAXUINT;
	return option;
}

static LuCommandLine *line_new(const char *program)
{
	LuCommandLine *line = g_new0(LuCommandLine, 1);

	line->program = g_strdup(program);
	line->options = g_ptr_array_new_with_free_func(option_free);
	return line;
}

void lu_command_line_free(LuCommandLine *line)
{
	if (!line)
		return;
	g_free(line->program);
	g_ptr_array_free(line->options, TRUE);
	g_free(line);
}

/* ------------------------------------------------------------------ reading */

static gboolean parse_one(LuCommandLine *line, char *const **at, GError **errp)
{
	const char *argument = *(*at)++, *name = argument;

	if (*name != '-') {
		g_ptr_array_add(line->options, option_new(NULL, argument));
		return TRUE;
	}
	name += name[1] == '-' ? 2 : 1;
	if (g_strv_contains(without_argument, name)) {
		g_ptr_array_add(line->options, option_new(name, NULL));
		return TRUE;
	}
	if (!g_strv_contains(with_argument, name))
		return lu_fail(
			errp, LU_ERROR_REFUSED,
			"the running QEMU was started with %s, which this tool does not know",
			argument);
	if (!**at)
		return lu_fail(errp, LU_ERROR_REFUSED, "the running QEMU's %s has no argument",
			       argument);
	g_ptr_array_add(line->options, option_new(name, *(*at)++));
	return TRUE;
}

LuCommandLine *lu_command_line_parse(char *const *argv, GError **errp)
{
	g_autoptr(LuCommandLine) line = NULL;

	if (!*argv) {
		lu_fail(errp, LU_ERROR_REFUSED, "an empty command line");
		return NULL;
	}
	line = line_new(*argv++);
	while (*argv)
		if (!parse_one(line, &argv, errp))
			return NULL;
	return g_steal_pointer(&line);
}

/* ------------------------------------------------------------------ writing */

LuCommandLine *lu_command_line_copy(const LuCommandLine *line)
{
	LuCommandLine *copy = line_new(line->program);

	for (guint i = 0; i < line->options->len; i++) {
		const LuOption *option = line->options->pdata[i];

		lu_command_line_append(copy, option->name, option->value);
		((LuOption *)copy->options->pdata[i])->place = i;
	}
	return copy;
}

GStrv lu_command_line_argv(const LuCommandLine *line)
{
	GPtrArray *argv = g_ptr_array_new();

	g_ptr_array_add(argv, g_strdup(line->program));
	for (guint i = 0; i < line->options->len; i++) {
		const LuOption *option = line->options->pdata[i];

		if (option->name)
			g_ptr_array_add(argv, g_strconcat("-", option->name, NULL));
		if (option->value)
			g_ptr_array_add(argv, g_strdup(option->value));
	}
	g_ptr_array_add(argv, NULL);
	return (GStrv)g_ptr_array_free(argv, FALSE);
}

char *lu_command_line_text(const LuCommandLine *line)
{
	g_auto(GStrv) argv = lu_command_line_argv(line);
	GString *text = g_string_new(NULL);

	for (guint i = 0; argv[i]; i++) {
		gboolean plain =
			*argv[i] && !argv[i][strcspn(argv[i], " \t\n'\"\\$`*?[]{}()<>|&;#~!")];
		g_autofree char *quoted = plain ? g_strdup(argv[i]) : g_shell_quote(argv[i]);

		g_string_append_printf(text, i ? " %s" : "%s", quoted);
	}
	return g_string_free(text, FALSE);
}

/* ------------------------------------------------------------------ options */

const char *lu_option_canonical(const char *name)
{
	if (!g_strcmp0(name, "M"))
		return "machine";
	return name;
}

gboolean lu_option_is(const LuOption *option, const char *name)
{
	return !g_strcmp0(lu_option_canonical(option->name), name);
}

void lu_option_set(LuOption *option, const char *value)
{
	char *copy = g_strdup(value);

	g_free(option->value);
	option->value = copy;
}

LuOption *lu_command_line_find(const LuCommandLine *line, const char *name)
{
	for (guint i = 0; i < line->options->len; i++)
		if (lu_option_is(line->options->pdata[i], name))
			return line->options->pdata[i];
	return NULL;
}

const char *lu_command_line_value(const LuCommandLine *line, const char *name)
{
	const char *value = NULL;

	for (guint i = 0; i < line->options->len; i++) {
		const LuOption *option = line->options->pdata[i];

		if (lu_option_is(option, name))
			value = option->value;
	}
	return value;
}

gboolean lu_command_line_has(const LuCommandLine *line, const char *name)
{
	return lu_command_line_find(line, name) != NULL;
}

void lu_command_line_remove(LuCommandLine *line, const char *name)
{
	for (guint i = line->options->len; i-- > 0;)
		if (lu_option_is(line->options->pdata[i], name))
			g_ptr_array_remove_index(line->options, i);
}

void lu_command_line_append(LuCommandLine *line, const char *name, const char *value)
{
	g_ptr_array_add(line->options, option_new(name, value));
}

void lu_command_line_insert(LuCommandLine *line, guint at, const char *name, const char *value)
{
	g_ptr_array_insert(line->options, (int)at, option_new(name, value));
}

/* ------------------------------------------------------------------ members */

/* The object that "a.b" is in, and "b"; NULL: there is none, and @make is FALSE. */
static JsonObject *object_of(JsonNode *root, const char *member, gboolean make, const char **name)
{
	JsonObject *object = json_node_get_object(root);
	const char *dot;

	*name = member;
	while (!json_object_has_member(object, *name) && (dot = strchr(*name, '.'))) {
		g_autofree char *outer = g_strndup(*name, dot - *name);
		JsonNode *node = json_object_get_member(object, outer);

		if (!node && make) {
			json_object_set_object_member(object, outer, json_object_new());
			node = json_object_get_member(object, outer);
		}
		if (!node || !JSON_NODE_HOLDS_OBJECT(node))
			return NULL;
		object = json_node_get_object(node);
		*name = dot + 1;
	}
	return object;
}

static JsonNode *parse_json(const char *text)
{
	JsonNode *node = *text == '{' ? json_from_string(text, NULL) : NULL;

	if (node && JSON_NODE_HOLDS_OBJECT(node))
		return node;
	g_clear_pointer(&node, json_node_unref);
	return NULL;
}

/* As it is written without JSON. */
static char *value_text(JsonNode *node)
{
	GType type = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : 0;

	if (type == G_TYPE_STRING)
		return json_node_dup_string(node);
	if (type == G_TYPE_INT64)
		return g_strdup_printf("%" G_GINT64_FORMAT, json_node_get_int(node));
	if (type == G_TYPE_BOOLEAN)
		return g_strdup(json_node_get_boolean(node) ? "on" : "off");
	return NULL;
}

char *lu_option_member(const LuOption *option, const char *member, const char *implied)
{
	g_autoptr(LuOpts) opts = NULL;
	g_autoptr(JsonNode) root = option->value ? parse_json(option->value) : NULL;

	if (root) {
		const char *name;
		JsonObject *object = object_of(root, member, FALSE, &name);

		return object ? value_text(json_object_get_member(object, name)) : NULL;
	}
	if (!option->value || *option->value == '{')
		return NULL;
	opts = lu_opts_parse(option->value, implied);
	return g_strdup(lu_opts_get(opts, member));
}

static char *edited_opts(const char *text, const char *member, const char *value,
			 const char *implied)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(text, implied);

	if (value)
		lu_opts_set(opts, member, value);
	else
		lu_opts_remove(opts, member);
	return lu_opts_text(opts);
}

void lu_option_set_member(LuOption *option, const char *member, const char *value,
			  const char *implied)
{
	g_autoptr(JsonNode) root = parse_json(option->value);
	g_autofree char *text = NULL;

	if (root) {
		const char *name;
		JsonObject *object = object_of(root, member, value != NULL, &name);

		if (object && value)
			json_object_set_string_member(object, name, value);
		else if (object && json_object_has_member(object, name))
			json_object_remove_member(object, name);
		text = json_to_string(root, FALSE);
	} else {
		text = edited_opts(option->value, member, value, implied);
	}
	lu_option_set(option, text);
}
