// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Settings that no option has, or that differ from what the option says: both processes are asked,
 * and what differs is set in the new one as it is in the old one, by the command by which somebody
 * set it there. Throttling of drives, limits and polling of objects, write thresholds, migration
 * parameters and capabilities.
 *
 * Whether it took is compare.c's to see. Migration parameters decide nothing about the guest, so
 * one that the new version does not take is noted.
 */
#include "steps.h"
#include "error.h"
#include "carry.h"
#include "changes.h"
#include "json.h"
#include "option-edit.h"
#include "qom.h"

#include <string.h>

static gboolean run(LuQmp *qmp, const char *command, JsonObject *arguments, GError **errp)
{
	JsonObject *message = json_object_new();
	g_autoptr(JsonNode) reply = NULL;
	g_autofree char *text = NULL;

	json_object_set_string_member(message, "execute", command);
	json_object_set_object_member(message, "arguments", arguments);
	text = lu_json_object_text(message);
	reply = lu_qmp_send(qmp, text, errp);
	return reply != NULL;
}

/* --------------------------------------------------------------- throttling */

/* Their names in query-block, and in block_set_io_throttle. */
static const char *const required[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};
static const char *const optional[] = {
	"bps_max",	     "bps_rd_max",	"bps_wr_max",	      "iops_max",
	"iops_rd_max",	     "iops_wr_max",	"bps_max_length",     "bps_rd_max_length",
	"bps_wr_max_length", "iops_max_length", "iops_rd_max_length", "iops_wr_max_length",
	"iops_size"};

static JsonObject *limits_of(JsonNode *drive)
{
	JsonNode *inserted = lu_json_member(drive, "inserted");
	JsonObject *limits;
	const char *group = lu_json_str(inserted, "group");

	if (!inserted)
		return NULL;
	limits = json_object_new();
	for (guint i = 0; i < G_N_ELEMENTS(required); i++)
		json_object_set_int_member(limits, required[i], lu_json_int(inserted, required[i]));
	for (guint i = 0; i < G_N_ELEMENTS(optional); i++)
		if (lu_json_member(inserted, optional[i]))
			json_object_set_int_member(limits, optional[i],
						   lu_json_int(inserted, optional[i]));
	if (group)
		json_object_set_string_member(limits, "group", group);
	return limits;
}

JsonNode *lu_carry_limits(JsonNode *drive)
{
	JsonObject *limits = limits_of(drive);

	return limits ? json_node_init_object(json_node_alloc(), limits) : NULL;
}

static JsonNode *same_drive(JsonNode *drives, JsonNode *like)
{
	for (guint i = 0; i < lu_json_length(drives); i++) {
		JsonNode *drive = lu_json_element(drives, i);

		if (!g_strcmp0(lu_drive_key(drive), lu_drive_key(like)))
			return drive;
	}
	return NULL;
}

static gboolean carry_limits(LuUpgrade *up, GError **errp)
{
	g_autoptr(JsonNode) old = lu_qmp_call(up->old_qmp, errp, "query-block", NULL);
	g_autoptr(JsonNode) new = old ? lu_qmp_call(up->new_qmp, errp, "query-block", NULL) : NULL;

	for (guint i = 0; new &&i < lu_json_length(old); i++) {
		JsonNode *drive = lu_json_element(old, i);
		const char *device = lu_json_str(drive, "device"), *key = lu_drive_key(drive);
		g_autoptr(JsonNode) was = lu_carry_limits(drive);
		g_autoptr(JsonNode) is = lu_carry_limits(same_drive(new, drive));
		JsonObject *arguments;

		if (!was || !is || lu_json_equal(was, is))
			continue;
		arguments = limits_of(drive);
		json_object_set_string_member(arguments, device && *device ? "device" : "id",
					      device && *device ? device : key);
		if (!run(up->new_qmp, "block_set_io_throttle", arguments, errp)) {
			g_prefix_error(errp, "throttling of drive %s: ", key);
			return FALSE;
		}
	}
	return new != NULL;
}

static gboolean carry_threshold(LuUpgrade *up, const LuNode *node, GError **errp)
{
	gint64 bytes = lu_json_int(node->info, "write_threshold");
	JsonObject *arguments;

	if (!bytes || !lu_node_has_name(node))
		return TRUE;
	arguments = json_object_new();
	json_object_set_string_member(arguments, "node-name", node->name);
	json_object_set_int_member(arguments, "write-threshold", bytes);
	if (run(up->new_qmp, "block-set-write-threshold", arguments, errp))
		return TRUE;
	g_prefix_error(errp, "write threshold of block node %s: ", node->name);
	return FALSE;
}

static gboolean has_command(LuQmp *qmp, const char *name)
{
	g_autoptr(JsonNode) commands = lu_qmp_call(qmp, NULL, "query-commands", NULL);

	for (guint i = 0; i < lu_json_length(commands); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(commands, i), "name"), name))
			return TRUE;
	return FALSE;
}

/*
 * QEMU 10.0 forgets to take nodes over that nothing uses (bdrv_next begins the second of its lists
 * in the middle), and has a command that does it.
 */
static gboolean activate_unused(LuUpgrade *up, const LuNodes *nodes, GError **errp)
{
	gboolean knows = has_command(up->new_qmp, "blockdev-set-active");

	for (guint i = 0; knows && i < nodes->all->len; i++) {
		const LuNode *node = nodes->all->pdata[i];

		if (lu_node_has_name(node) && !node->parents && !node->is_root)
			g_ptr_array_add(up->journal->afterwards,
					lu_json_format("{'execute': 'blockdev-set-active', "
						       "'arguments': {'node-name': %s, "
						       "'active': true}}",
						       node->name));
	}
	return lu_journal_write(up->journal, errp);
}

static gboolean carry_nodes(LuUpgrade *up, GError **errp)
{
	g_autoptr(LuNodes) nodes = lu_nodes_read(up->old_qmp, errp);

	for (guint i = 0; nodes && i < nodes->all->len; i++)
		if (!carry_threshold(up, nodes->all->pdata[i], errp))
			return FALSE;
	return nodes && activate_unused(up, nodes, errp);
}

/* ------------------------------------------------------------------ objects */

static gboolean carry_property(LuUpgrade *up, const char *path, const char *property, GError **errp)
{
	g_autoptr(JsonNode) was = lu_qom_get(up->old_qmp, path, property);
	g_autoptr(JsonNode) is = lu_qom_get(up->new_qmp, path, property);
	JsonObject *arguments;

	if (!was || !is || lu_json_equal(was, is))
		return TRUE;
	arguments = json_object_new();
	json_object_set_string_member(arguments, "path", path);
	json_object_set_string_member(arguments, "property", property);
	json_object_set_member(arguments, "value", g_steal_pointer(&was));
	if (run(up->new_qmp, "qom-set", arguments, errp))
		return TRUE;
	g_prefix_error(errp, "%s of %s: ", property, path);
	return FALSE;
}

static gboolean carry_objects(LuUpgrade *up, GError **errp)
{
	g_autoptr(GPtrArray) ids = lu_qom_children(up->old_qmp, "/objects");

	for (guint i = 0; i < ids->len; i++) {
		g_autofree char *path = g_strconcat("/objects/", ids->pdata[i], NULL);
		g_autofree char *type = lu_qom_string(up->old_qmp, path, "type");
		const char *const *property = lu_object_properties(type);

		for (; property && *property; property++)
			if (lu_object_is_settable(*property) &&
			    !carry_property(up, path, *property, errp))
				return FALSE;
	}
	return TRUE;
}

/* ---------------------------------------------------------------- migration */

static void carry_parameters(LuUpgrade *up)
{
	g_autoptr(JsonNode) old = lu_qmp_call(up->old_qmp, NULL, "query-migrate-parameters", NULL);
	g_autoptr(JsonNode) new = lu_qmp_call(up->new_qmp, NULL, "query-migrate-parameters", NULL);
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;

	if (!old || !new)
		return;
	json_object_iter_init(&iter, json_node_get_object(old));
	while (json_object_iter_next(&iter, &name, &value)) {
		g_autoptr(GError) error = NULL;
		JsonObject *arguments;

		if (!lu_json_member(new, name) || lu_json_equal(value, lu_json_member(new, name)))
			continue;
		arguments = json_object_new();
		json_object_set_member(arguments, name, json_node_copy(value));
		if (!run(up->new_qmp, "migrate-set-parameters", arguments, &error))
			lu_note(up,
				g_strdup_printf("migration parameter %s is not carried over: %s",
						name, error->message));
	}
}

static gboolean has_capability(JsonNode *list, const char *name, gboolean *state)
{
	for (guint i = 0; i < lu_json_length(list); i++) {
		JsonNode *entry = lu_json_element(list, i);

		if (g_strcmp0(lu_json_str(entry, "capability"), name))
			continue;
		*state = lu_json_bool(entry, "state");
		return TRUE;
	}
	return FALSE;
}

static void carry_capabilities(LuUpgrade *up)
{
	g_autoptr(JsonNode) old =
		lu_qmp_call(up->old_qmp, NULL, "query-migrate-capabilities", NULL);
	g_autoptr(JsonNode) new =
		lu_qmp_call(up->new_qmp, NULL, "query-migrate-capabilities", NULL);

	for (guint i = 0; i < lu_json_length(old); i++) {
		JsonNode *entry = lu_json_element(old, i);
		const char *name = lu_json_str(entry, "capability");
		gboolean was = lu_json_bool(entry, "state"), is = FALSE;
		g_autofree char *message = NULL;
		g_autoptr(GError) error = NULL;
		G_GNUC_UNUSED g_autoptr(JsonNode) reply = NULL;

		if (has_capability(new, name, &is) ? was == is : !was)
			continue;
		message = lu_json_format(was ? "{'execute': 'migrate-set-capabilities', "
					       "'arguments': {'capabilities': [{'capability': %s, "
					       "'state': true}]}}"
					     : "{'execute': 'migrate-set-capabilities', "
					       "'arguments': {'capabilities': [{'capability': %s, "
					       "'state': false}]}}",
					 name);
		reply = lu_qmp_send(up->new_qmp, message, &error);
		if (error)
			lu_note(up,
				g_strdup_printf("migration capability %s is not carried over: %s",
						name, error->message));
	}
}

/* What QEMU says no to is refused: the guest was not touched. */
gboolean lu_carry_settings(LuUpgrade *up, GError **errp)
{
	g_autoptr(GError) error = NULL;

	if (!carry_limits(up, &error) || !carry_nodes(up, &error) || !carry_objects(up, &error)) {
		if (error->domain == LU_QMP_ERROR)
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "the new process does not take the %s", error->message);
		g_propagate_error(errp, g_steal_pointer(&error));
		return FALSE;
	}
	carry_parameters(up);
	carry_capabilities(up);
	return TRUE;
}
