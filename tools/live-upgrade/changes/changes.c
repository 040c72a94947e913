// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was plugged, removed or changed since the start, so that the command line does not say it.
 *
 * The plan's command line is made true: an option whose thing still is stays as it is, one whose
 * thing is gone goes, what has another value gets it, and what came since is appended, as QEMU's
 * own queries describe it. What they do not tell is refused by name. Nothing here has to be
 * trusted: before the guest moves, the new process is asked the same questions (compare.c), and the
 * plugin compares what the guest sees once more.
 *
 * What is no option but a setting (throttling, migration parameters) is set in the new process when
 * it is there (carry.c).
 */
#include "changes.h"
#include "option-edit.h"

static const char *implied_name(const char *name)
{
	static const struct {
		const char *option, *implied;
	} names[] = {{"device", "driver"},  {"object", "qom-type"}, {"netdev", "type"},
		     {"nic", "type"},	    {"net", "type"},	    {"chardev", "backend"},
		     {"blockdev", "driver"}};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		if (!g_strcmp0(names[i].option, name))
			return names[i].implied;
	return NULL;
}

static char *id_of(const LuOption *option, const char *name)
{
	if (!lu_option_is(option, name) || !option->value)
		return NULL;
	return lu_option_get(option, g_strcmp0(name, "blockdev") ? "id" : "node-name",
			     implied_name(name));
}

LuOption *lu_changes_find(const LuCommandLine *line, const char *name, const char *id)
{
	for (guint i = 0; i < line->options->len; i++) {
		g_autofree char *is = id_of(line->options->pdata[i], name);

		if (is && !g_strcmp0(is, id))
			return line->options->pdata[i];
	}
	return NULL;
}

void lu_changes_drop(LuPlan *plan, const char *name, const char *id)
{
	for (guint i = plan->line->options->len; i-- > 0;) {
		g_autofree char *is = id_of(plan->line->options->pdata[i], name);

		if (is && !g_strcmp0(is, id))
			g_ptr_array_remove_index(plan->line->options, i);
	}
}

GPtrArray *lu_changes_ids(const LuCommandLine *line, const char *name)
{
	GPtrArray *ids = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < line->options->len; i++) {
		char *id = id_of(line->options->pdata[i], name);

		if (id)
			g_ptr_array_add(ids, id);
	}
	return ids;
}

void lu_plan_changes(LuPlan *plan)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(LuNodes) nodes = lu_nodes_read(plan->running->qmp, &error);

	if (!nodes) {
		lu_plan_refuse(plan, "QEMU does not tell its block nodes: %s", error->message);
		return;
	}
	/* Netdevs first: their descriptors keep their numbers, others get what is free. */
	lu_changes_netdevs(plan);
	lu_changes_objects(plan);
	lu_changes_chardevs(plan);
	lu_changes_drives(plan, nodes);
	lu_changes_blockdevs(plan, nodes);
	lu_changes_devices(plan, nodes);
}
