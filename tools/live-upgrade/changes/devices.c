// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices that were plugged in or removed since the start.
 *
 * QEMU knows of each device whether it was there when the machine was made ("hotplugged"). Those
 * that were keep their option, with the drive that they have now. One that was not is written as
 * JSON: its type, the bus it is on, and each property that differs from the type's default, as QOM
 * gives them; texts and links have no default and are written if they are not empty. Devices come
 * behind the ones whose bus they are on.
 *
 * A device without an id has no name on the command line. The ones of the start are numbered in the
 * order of their options, by which they are recognized.
 */
#include "changes.h"
#include "option-edit.h"
#include "qom.h"

#include <string.h>

#define NAMED	"/machine/peripheral/"
#define UNNAMED "/machine/peripheral-anon/"

/* ------------------------------------------------------------ devices added */

typedef struct Added {
	char *path, *id, *owner; /* owner: the device whose bus it is on; NULL: the machine's */
	JsonObject *object;
} Added;

static void added_free(gpointer data)
{
	Added *added = data;

	g_free(added->path);
	g_free(added->id);
	g_free(added->owner);
	g_clear_pointer(&added->object, json_object_unref);
	g_free(added);
}

/* "/machine/peripheral/rp0" of "/machine/peripheral/rp0/rp0" */
static char *owner_of(const char *bus)
{
	static const char *const folders[] = {NAMED, UNNAMED};

	for (guint i = 0; bus && i < G_N_ELEMENTS(folders); i++) {
		gsize length = strlen(folders[i]);

		if (g_str_has_prefix(bus, folders[i]))
			return g_strndup(bus, length + strcspn(bus + length, "/"));
	}
	return NULL;
}

static void put_bus(Added *added, LuQmp *qmp)
{
	g_autofree char *bus = lu_qom_string(qmp, added->path, "parent_bus"), *name = NULL;

	if (!bus || !*bus)
		return;
	name = g_path_get_basename(bus);
	if (strcmp(name, "sysbus") && strcmp(name, "main-system-bus"))
		json_object_set_string_member(added->object, "bus", name);
	added->owner = owner_of(bus);
}

/* A PCI address is a number in some versions and a text in others. */
static void put_property(JsonObject *object, const char *name, JsonNode *value)
{
	g_autofree char *address = NULL;
	gint64 devfn;

	if (!strcmp(name, "addr") && json_node_get_value_type(value) == G_TYPE_INT64 &&
	    json_node_get_int(value) >= 0 && json_node_get_int(value) < 256 &&
	    json_object_has_member(object, "bus")) {
		devfn = json_node_get_int(value);
		address = g_strdup_printf("%02x.%x", (guint)devfn >> 3, (guint)devfn & 7);
		json_object_set_string_member(object, name, address);
		return;
	}
	json_object_set_member(object, name, json_node_copy(value));
}

static int by_name(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_properties(LuPlan *plan, Added *added, const char *type)
{
	g_autoptr(GHashTable) lists = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
							    (GDestroyNotify)json_node_unref);
	g_autoptr(GHashTable) properties =
		lu_device_properties(plan->running->qmp, lists, added->path, type);
	g_autofree gpointer *names = g_hash_table_get_keys_as_array(properties, NULL);
	guint count = g_hash_table_size(properties);

	if (!g_hash_table_size(lists))
		lu_plan_refuse(plan,
			       "device %s was added after the start, and QEMU does not say "
			       "what a %s is",
			       added->path, type);
	qsort(names, count, sizeof(*names), by_name);
	for (guint i = 0; i < count; i++)
		put_property(added->object, names[i], g_hash_table_lookup(properties, names[i]));
}

/* A CPU is where it is; what it can do is -cpu's. */
static gboolean put_cpu(LuPlan *plan, Added *added)
{
	g_autoptr(JsonNode) slots =
		lu_qmp_call(plan->running->qmp, NULL, "query-hotpluggable-cpus", NULL);

	for (guint i = 0; i < lu_json_length(slots); i++) {
		JsonNode *slot = lu_json_element(slots, i), *value;
		JsonObjectIter iter;
		const char *name;

		if (g_strcmp0(lu_json_str(slot, "qom-path"), added->path))
			continue;
		json_object_iter_init(&iter, json_node_get_object(lu_json_member(slot, "props")));
		while (json_object_iter_next(&iter, &name, &value))
			json_object_set_member(added->object, name, json_node_copy(value));
		return TRUE;
	}
	return FALSE;
}

/* "  Device 0.1, Port 1.2, Speed 480 Mb/s, Product QEMU USB Tablet, ID: ut": QOM has not the port
 * that QEMU chose. */
static void put_usb_port(LuPlan *plan, Added *added)
{
	g_autofree char *text = lu_qmp_hmp(plan->running->qmp, "info usb", NULL);
	g_auto(GStrv) lines = g_strsplit_set(text ? text : "", "\r\n", -1);
	g_autofree char *end = g_strconcat(", ID: ", added->id, NULL);

	for (guint i = 0; lines[i]; i++) {
		const char *port = strstr(lines[i], ", Port ");
		g_autofree char *value = NULL;

		if (!port || !g_str_has_suffix(lines[i], end))
			continue;
		port += strlen(", Port ");
		value = g_strndup(port, strcspn(port, ","));
		json_object_set_string_member(added->object, "port", value);
	}
}

/* usb-storage gives its drive to a SCSI disk that it makes below itself. */
static char *drive_of(LuQmp *qmp, const char *path)
{
	g_autofree char *type = lu_qom_string(qmp, path, "type");
	g_autoptr(GPtrArray) children = NULL;

	if (g_strcmp0(type, "usb-storage"))
		return lu_qom_string(qmp, path, "drive");
	children = lu_qom_children(qmp, path);
	for (guint i = 0; i < children->len; i++) {
		g_autofree char *disk =
			g_strconcat(path, "/", children->pdata[i], "/legacy[0]", NULL);
		char *drive = lu_qom_string(qmp, disk, "drive");

		if (drive)
			return drive;
	}
	return g_strdup("");
}

static void put_drive(Added *added, LuQmp *qmp, const LuNodes *nodes)
{
	g_autofree char *drive = drive_of(qmp, added->path);

	if (drive && *drive)
		json_object_set_string_member(added->object, "drive", lu_nodes_name(nodes, drive));
}

static Added *describe(LuPlan *plan, const LuNodes *nodes, const char *folder, const char *name)
{
	LuQmp *qmp = plan->running->qmp;
	Added *added = g_new0(Added, 1);
	g_autofree char *type = NULL;

	added->path = g_strconcat(folder, name, NULL);
	added->id = g_strdup(!strcmp(folder, NAMED) ? name : NULL);
	added->object = json_object_new();
	type = lu_qom_string(qmp, added->path, "type");
	json_object_set_string_member(added->object, "driver", type ? type : "");
	if (added->id)
		json_object_set_string_member(added->object, "id", added->id);
	if (put_cpu(plan, added))
		return added;
	put_bus(added, qmp);
	put_properties(plan, added, type ? type : "");
	put_drive(added, qmp, nodes);
	if (type && g_str_has_prefix(type, "usb-") && added->id &&
	    !json_object_has_member(added->object, "port"))
		put_usb_port(plan, added);
	return added;
}

static gboolean is_pending(const GPtrArray *pending, const char *path)
{
	for (guint i = 0; path && i < pending->len; i++)
		if (!strcmp(((const Added *)pending->pdata[i])->path, path))
			return TRUE;
	return FALSE;
}

/* A bus before who is on it. */
static void append_in_order(LuPlan *plan, GPtrArray *pending)
{
	for (guint i = 0; i < pending->len;) {
		Added *added = pending->pdata[i];
		g_autofree char *text = NULL;

		if (is_pending(pending, added->owner)) {
			i++;
			continue;
		}
		text = lu_json_object_text(g_steal_pointer(&added->object));
		lu_command_line_append(plan->line, "device", text);
		g_ptr_array_remove_index(pending, i);
		i = 0;
	}
}

static void collect(LuPlan *plan, const LuNodes *nodes, const char *folder, GPtrArray *pending)
{
	g_autofree char *path = g_strndup(folder, strlen(folder) - 1);
	g_autoptr(GPtrArray) names = lu_qom_children(plan->running->qmp, path);

	for (guint i = 0; i < names->len; i++) {
		g_autofree char *device = g_strconcat(folder, names->pdata[i], NULL);

		if (lu_qom_bool(plan->running->qmp, device, "hotplugged"))
			g_ptr_array_add(pending, describe(plan, nodes, folder, names->pdata[i]));
	}
}

/* ----------------------------------------------- devices of the command line */

static gboolean is_in_use(const LuNodes *nodes, const char *drive)
{
	const LuNode *node = lu_nodes_find(nodes, drive);

	for (guint i = 0; i < lu_json_length(nodes->drives); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(nodes->drives, i), "device"), drive))
			return TRUE;
	return node && node->is_root;
}

/* The drive that the device has now, under the name that the new process will know. */
static void set_drive(LuPlan *plan, const LuNodes *nodes, LuOption *option, const char *path)
{
	g_autofree char *said = lu_option_get(option, "drive", "driver");
	g_autofree char *is = drive_of(plan->running->qmp, path);
	const char *name = is ? lu_nodes_name(nodes, is) : NULL;

	if (!is || (!said && !*is) || !g_strcmp0(said, name))
		return;
	if (*is)
		lu_option_put_string(option, "drive", "driver", name);
	else if (!is_in_use(nodes, said))
		lu_option_remove(option, "drive", "driver");
}

static void keep_named(LuPlan *plan, const LuNodes *nodes, const char *id)
{
	g_autofree char *path = g_strconcat(NAMED, id, NULL);
	g_autofree char *type = lu_qom_string(plan->running->qmp, path, "type");

	if (!type || lu_qom_bool(plan->running->qmp, path, "hotplugged"))
		lu_changes_drop(plan, "device", id);
	else
		set_drive(plan, nodes, lu_changes_find(plan->line, "device", id), path);
}

/* First those that are not JSON: QEMU makes them in that order. */
static GPtrArray *unnamed_options(const LuCommandLine *line)
{
	GPtrArray *options = g_ptr_array_new();

	for (guint pass = 0; pass < 2; pass++)
		for (guint i = 0; i < line->options->len; i++) {
			LuOption *option = line->options->pdata[i];
			g_autofree char *id = NULL;

			if (!lu_option_is(option, "device") ||
			    (*option->value == '{') != (pass == 1))
				continue;
			id = lu_option_get(option, "id", "driver");
			if (!id)
				g_ptr_array_add(options, option);
		}
	return options;
}

static GPtrArray *unnamed_devices(LuPlan *plan)
{
	GPtrArray *names = lu_qom_children(plan->running->qmp, "/machine/peripheral-anon");

	for (guint i = names->len; i-- > 0;) {
		g_autofree char *path = g_strconcat(UNNAMED, names->pdata[i], NULL);

		if (lu_qom_bool(plan->running->qmp, path, "hotplugged"))
			g_ptr_array_remove_index(names, i);
	}
	return names;
}

/* -drive if=virtio and the like make devices as well, so they are not always as many. */
static void keep_unnamed(LuPlan *plan, const LuNodes *nodes)
{
	g_autoptr(GPtrArray) options = unnamed_options(plan->line);
	g_autoptr(GPtrArray) devices = unnamed_devices(plan);

	if (devices->len < options->len)
		lu_plan_refuse(plan,
			       "%u devices without an id are on the command line and %u are left, "
			       "and it cannot be told which",
			       options->len, devices->len);
	for (guint i = 0; i < options->len && devices->len == options->len; i++) {
		g_autofree char *path = g_strconcat(UNNAMED, devices->pdata[i], NULL);
		g_autofree char *type = lu_qom_string(plan->running->qmp, path, "type");
		g_autofree char *driver = lu_option_get(options->pdata[i], "driver", "driver");

		if (type && driver && g_str_has_prefix(type, driver))
			set_drive(plan, nodes, options->pdata[i], path);
	}
}

/* Those of -smp are no devices of the command line: it would have to say another number. */
static void check_cpus(LuPlan *plan)
{
	g_autoptr(JsonNode) slots =
		lu_qmp_call(plan->running->qmp, NULL, "query-hotpluggable-cpus", NULL);
	g_autoptr(JsonNode) smp = lu_qom_get(plan->running->qmp, "/machine", "smp");
	gint64 of_start = 0, said = lu_json_int(smp, "cpus");

	for (guint i = 0; i < lu_json_length(slots); i++) {
		JsonNode *slot = lu_json_element(slots, i);
		const char *path = lu_json_str(slot, "qom-path");

		if (path && g_str_has_prefix(path, "/machine/unattached/"))
			of_start += lu_json_int(slot, "vcpus-count");
	}
	if (slots && smp && of_start < said)
		lu_plan_refuse(plan, "%d of the %d CPUs of -smp were removed since the start",
			       (int)(said - of_start), (int)said);
}

void lu_changes_devices(LuPlan *plan, const LuNodes *nodes)
{
	g_autoptr(GPtrArray) ids = lu_changes_ids(plan->line, "device");
	g_autoptr(GPtrArray) pending = g_ptr_array_new_with_free_func(added_free);

	keep_unnamed(plan, nodes);
	for (guint i = 0; i < ids->len; i++)
		keep_named(plan, nodes, ids->pdata[i]);
	collect(plan, nodes, NAMED, pending);
	collect(plan, nodes, UNNAMED, pending);
	check_cpus(plan);
	append_in_order(plan, pending);
}
