// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects (-object, object-add). QOM has all of their properties, but not which ones may be given;
 * so there is a table of the types that can be made anew, and others are refused by name.
 *
 * A secret's data can be read back. Encrypted with another secret it is written as it is, as
 * management software does; a plain one is no word for a command line, which anybody may read, so
 * it goes to the new process in a file in memory.
 */
#include "changes.h"
#include "option-edit.h"
#include "qom.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const iothread[] = {
	"poll-max-ns",	 "poll-grow",	    "poll-shrink",     "poll-weight",
	"aio-max-batch", "thread-pool-min", "thread-pool-max", NULL};
#define MEMORY                                                                                     \
	"size", "share", "merge", "dump", "prealloc", "prealloc-threads", "reserve", "host-nodes", \
		"policy", "x-use-canonical-path-for-ramblock-id"
static const char *const memory[] = {MEMORY, NULL};
static const char *const memory_memfd[] = {MEMORY, "hugetlb", "hugetlbsize", "seal", NULL};
static const char *const memory_file[] = {MEMORY,     "mem-path", "align",	  "pmem",
					  "readonly", "offset",	  "discard-data", NULL};
static const char *const throttle_group[] = {"limits", NULL};
static const char *const secret[] = {"data", "file", "format", "keyid", "iv", NULL};
static const char *const rng_random[] = {"filename", NULL};
static const char *const rng_egd[] = {"chardev", NULL};
static const char *const nothing[] = {NULL};
static const char *const pr_manager[] = {"path", NULL};
static const char *const tls_creds[] = {"dir",		"endpoint",   "verify-peer", "priority",
					"sanity-check", "passwordid", "username",    NULL};

static const struct {
	const char *type;
	const char *const *properties;
} known[] = {
	{"iothread", iothread},
	{"memory-backend-ram", memory},
	{"memory-backend-memfd", memory_memfd},
	{"memory-backend-file", memory_file},
	{"throttle-group", throttle_group},
	{"secret", secret},
	{"rng-random", rng_random},
	{"rng-builtin", nothing},
	{"rng-egd", rng_egd},
	{"can-bus", nothing},
	{"pr-manager-helper", pr_manager},
	{"tls-creds-x509", tls_creds},
	{"tls-creds-psk", tls_creds},
	{"tls-creds-anon", tls_creds},
};

const char *const *lu_object_properties(const char *type)
{
	for (guint i = 0; type && i < G_N_ELEMENTS(known); i++)
		if (!strcmp(known[i].type, type))
			return known[i].properties;
	return NULL;
}

gboolean lu_object_is_settable(const char *property)
{
	return !strcmp(property, "limits") || g_strv_contains(iothread, property);
}

/* -------------------------------------------------------------------- secrets */

/* Its file is then a descriptor of the new process, as it may be one of the running. */
static void put_in_memory(LuPlan *plan, JsonObject *object, const char *id, const char *data)
{
	int fd = memfd_create("secret", MFD_CLOEXEC), number;
	g_autofree char *path = NULL;

	if (fd < 0 || write(fd, data, strlen(data)) != (ssize_t)strlen(data)) {
		lu_plan_refuse(plan, "secret %s cannot be handed on in memory", id);
		if (fd >= 0)
			close(fd);
		return;
	}
	number = lu_plan_number(plan);
	lu_descriptors_add(plan->descriptors, fd, number);
	path = g_strdup_printf("/proc/self/fd/%d", number);
	json_object_remove_member(object, "data");
	json_object_set_string_member(object, "file", path);
}

static void check_secret(LuPlan *plan, JsonObject *object, const char *id)
{
	const char *data = json_object_get_string_member_with_default(object, "data", NULL);
	const char *file = json_object_get_string_member_with_default(object, "file", NULL);
	g_autofree char *absolute = NULL, *here = NULL;

	if (data && !json_object_has_member(object, "keyid"))
		put_in_memory(plan, object, id, data);
	if (!file)
		return;
	absolute = g_canonicalize_filename(file, plan->running->cwd);
	here = lu_process_path(plan->running->process, absolute);
	if (!g_file_test(here, G_FILE_TEST_EXISTS))
		lu_plan_refuse(plan,
			       "object %s (secret) was added after the start, and its file %s is "
			       "gone",
			       id, file);
}

/* One that an upgrade before this one handed on. */
static void hand_on_secrets(LuPlan *plan)
{
	static const char prefix[] = "/proc/self/fd/";

	for (guint i = 0; i < plan->line->options->len; i++) {
		const LuOption *option = plan->line->options->pdata[i];
		g_autofree char *file = NULL;
		int number;

		if (!lu_option_is(option, "object"))
			continue;
		file = lu_option_get(option, "file", "qom-type");
		if (!file || !g_str_has_prefix(file, prefix))
			continue;
		number = (int)g_ascii_strtoll(file + strlen(prefix), NULL, 10);
		lu_plan_descriptor(plan, number, number, "a secret's file");
	}
}

/* ---------------------------------------------------------------------- added */

static gboolean is_nothing(JsonNode *value)
{
	return (JSON_NODE_HOLDS_ARRAY(value) && !lu_json_length(value)) ||
	       (JSON_NODE_HOLDS_VALUE(value) && json_node_get_value_type(value) == G_TYPE_STRING &&
		!*json_node_get_string(value));
}

static JsonObject *describe(LuPlan *plan, const char *id, const char *type)
{
	const char *const *properties = lu_object_properties(type);
	g_autofree char *path = g_strconcat("/objects/", id, NULL);
	JsonObject *object = json_object_new();

	json_object_set_string_member(object, "qom-type", type);
	json_object_set_string_member(object, "id", id);
	for (; *properties; properties++) {
		g_autoptr(JsonNode) value = lu_qom_get(plan->running->qmp, path, *properties);

		if (value && !is_nothing(value))
			json_object_set_member(object, *properties, g_steal_pointer(&value));
	}
	if (!strcmp(type, "secret"))
		check_secret(plan, object, id);
	return object;
}

/* Whether one of its values is the id of another. */
static gboolean refers_to(JsonObject *object, const char *id)
{
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;

	json_object_iter_init(&iter, object);
	while (json_object_iter_next(&iter, &name, &value))
		if (strcmp(name, "id") && JSON_NODE_HOLDS_VALUE(value) &&
		    json_node_get_value_type(value) == G_TYPE_STRING &&
		    !strcmp(json_node_get_string(value), id))
			return TRUE;
	return FALSE;
}

/* Those that others refer to first. */
static void append_all(LuPlan *plan, GHashTable *added)
{
	GHashTableIter iter, others;
	gpointer id, object, other;

	while (g_hash_table_size(added)) {
		gboolean found = FALSE;

		g_hash_table_iter_init(&iter, added);
		while (!found && g_hash_table_iter_next(&iter, &id, &object)) {
			g_autofree char *text = NULL;
			gboolean waits = FALSE;

			g_hash_table_iter_init(&others, added);
			while (g_hash_table_iter_next(&others, &other, NULL))
				waits |= refers_to(object, other);
			if (waits)
				continue;
			text = lu_json_object_text(json_object_ref(object));
			lu_command_line_append(plan->line, "object", text);
			g_hash_table_iter_remove(&iter);
			found = TRUE;
		}
		if (!found)
			break;
	}
}

/* Not of the command line, and nobody's but QEMU's: the machine's memory, monitors. */
static char *own_memory(LuPlan *plan)
{
	g_autofree char *path = lu_qom_string(plan->running->qmp, "/machine", "memory-backend");

	return path && *path ? g_path_get_basename(path) : g_strdup("");
}

static gboolean is_own(const char *id, const char *type, const char *memory_id)
{
	return !strcmp(id, memory_id) || g_str_has_prefix(type, "monitor-") ||
	       !strcmp(id, "main-loop");
}

/* The type that an option says is the one that is there. */
static gboolean holds(LuPlan *plan, const char *id, const char *type)
{
	LuOption *option = lu_changes_find(plan->line, "object", id);
	g_autofree char *said = option ? lu_option_get(option, "qom-type", "qom-type") : NULL;

	return !g_strcmp0(said, type);
}

void lu_changes_objects(LuPlan *plan)
{
	LuQmp *qmp = plan->running->qmp;
	g_autoptr(GPtrArray) said = lu_changes_ids(plan->line, "object");
	g_autoptr(GPtrArray) are = lu_qom_children(qmp, "/objects");
	g_autoptr(GHashTable) added = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
							    (GDestroyNotify)json_object_unref);
	g_autofree char *memory_id = own_memory(plan);

	for (guint i = 0; i < said->len; i++)
		if (!g_ptr_array_find_with_equal_func(are, said->pdata[i], g_str_equal, NULL))
			lu_changes_drop(plan, "object", said->pdata[i]);
	for (guint i = 0; i < are->len; i++) {
		g_autofree char *path = g_strconcat("/objects/", are->pdata[i], NULL);
		g_autofree char *type = lu_qom_string(qmp, path, "type");

		if (!type || holds(plan, are->pdata[i], type) ||
		    is_own(are->pdata[i], type, memory_id))
			continue;
		lu_changes_drop(plan, "object", are->pdata[i]);
		if (lu_object_properties(type))
			g_hash_table_insert(added, g_strdup(are->pdata[i]),
					    describe(plan, are->pdata[i], type));
		else
			lu_plan_refuse(plan,
				       "object %s (%s) was added after the start, and this tool "
				       "does not know how to make one like it",
				       (char *)are->pdata[i], type);
	}
	hand_on_secrets(plan);
	append_all(plan, added);
}
