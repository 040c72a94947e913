// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The proof of a plan: the same questions to both processes, while the guest runs in the old one.
 *
 * What is asked becomes a table of texts: "device vb: drive" -> "overlay". A text that one process
 * has and the other has not, or has differently, is refused by name, with both. The table leaves
 * out what QEMU makes up anew in each process, such as the numbers of block nodes without names. A
 * device that was plugged since the start is compared in each property that makes it what it is;
 * those of the start in what they are connected to, for their options are the same. Another version
 * may have other properties for the same device: there only those that both have are compared.
 */
#include "steps.h"
#include "carry.h"
#include "changes.h"
#include "qom.h"

#include "error.h"

#include <string.h>

typedef struct Asked {
	LuQmp *qmp;
	const LuProcess *process;
	const char *cwd;     /* where both were started */
	GHashTable *answers; /* of char *, by char * */
	GHashTable *lists;   /* of lu_device_properties */
} Asked;

static void asked_clear(Asked *asked)
{
	g_clear_pointer(&asked->answers, g_hash_table_unref);
	g_clear_pointer(&asked->lists, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Asked, asked_clear)

/* Takes both. */
static void answer(Asked *asked, char *question, char *text)
{
	g_hash_table_replace(asked->answers, question, text);
}

static char *text_of(JsonNode *node)
{
	if (node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
		return json_node_dup_string(node);
	return node ? json_to_string(node, FALSE) : g_strdup("nothing");
}

/* ------------------------------------------------------------------ devices */

/* A PCI address of either kind. */
static char *property_text(const char *name, JsonNode *value)
{
	gint64 devfn;

	if (!strcmp(name, "addr") && JSON_NODE_HOLDS_VALUE(value) &&
	    json_node_get_value_type(value) == G_TYPE_INT64 && json_node_get_int(value) >= 0 &&
	    json_node_get_int(value) < 256) {
		devfn = json_node_get_int(value);
		return devfn & 7 ? g_strdup_printf("%02x.%x", (guint)devfn >> 3, (guint)devfn & 7)
				 : g_strdup_printf("%02x", (guint)devfn >> 3);
	}
	return text_of(value);
}

/* A node without a name, or the name that it is given in the new process. */
static gboolean is_made_up(JsonNode *drive)
{
	g_autofree char *name = text_of(drive);

	return *name == '#' || g_str_has_prefix(name, LU_GIVEN_NAME);
}

static void ask_connections(Asked *asked, const char *path, const char *label)
{
	static const char *const names[] = {"drive",  "netdev", "chardev",  "iothread",
					    "memdev", "mac",	"bootindex"};
	g_autofree char *bus = lu_qom_string(asked->qmp, path, "parent_bus");

	answer(asked, g_strdup(label), lu_qom_string(asked->qmp, path, "type"));
	/* Where the bus itself is may differ from version to version. */
	answer(asked, g_strdup_printf("%s: bus", label), bus ? g_path_get_basename(bus) : NULL);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autoptr(JsonNode) value = lu_qom_get(asked->qmp, path, names[i]);

		if (!value || (!strcmp(names[i], "drive") && is_made_up(value)))
			continue;
		answer(asked, g_strdup_printf("%s: %s", label, names[i]), text_of(value));
	}
}

/*
 * QOM knows a USB port only if it was said; the plugin compares addresses. A file system's queues
 * are as long as they are, whatever was said (plan-vhost-user.c).
 */
static gboolean is_compared(const char *type, const char *name)
{
	if (!strcmp(name, "queue-size"))
		return !type || !g_str_has_prefix(type, "vhost-user-fs");
	return strcmp(name, "drive") && strcmp(name, "port");
}

static void ask_properties(Asked *asked, const char *path, const char *label)
{
	g_autofree char *type = lu_qom_string(asked->qmp, path, "type");
	g_autoptr(GHashTable) properties =
		lu_device_properties(asked->qmp, asked->lists, path, type ? type : "");
	GHashTableIter iter;
	gpointer name, value;

	g_hash_table_iter_init(&iter, properties);
	while (g_hash_table_iter_next(&iter, &name, &value))
		if (is_compared(type, name))
			answer(asked, g_strdup_printf("%s: %s", label, (char *)name),
			       property_text(name, value));
}

static void ask_folder(Asked *asked, const char *folder, GHashTable *hot)
{
	g_autoptr(GPtrArray) names = lu_qom_children(asked->qmp, folder);

	for (guint i = 0; i < names->len; i++) {
		g_autofree char *path = g_build_path("/", folder, names->pdata[i], NULL);
		g_autofree char *label = g_strconcat("device ", names->pdata[i], NULL);

		ask_connections(asked, path, label);
		if (lu_qom_bool(asked->qmp, path, "hotplugged"))
			g_hash_table_add(hot, g_strdup(path));
	}
}

static void ask_hot(Asked *asked, GHashTable *hot)
{
	GHashTableIter iter;
	gpointer path;

	g_hash_table_iter_init(&iter, hot);
	while (g_hash_table_iter_next(&iter, &path, NULL)) {
		g_autofree char *name = g_path_get_basename(path);
		g_autofree char *label = g_strconcat("device ", name, NULL);
		g_autofree char *type = lu_qom_string(asked->qmp, path, "type");

		if (!type || !g_str_has_suffix(type, "-cpu"))
			ask_properties(asked, path, label);
	}
}

static void ask_cpus(Asked *asked)
{
	g_autoptr(JsonNode) slots = lu_qmp_call(asked->qmp, NULL, "query-hotpluggable-cpus", NULL);

	for (guint i = 0; i < lu_json_length(slots); i++) {
		JsonNode *slot = lu_json_element(slots, i);
		g_autofree char *place = json_to_string(lu_json_member(slot, "props"), FALSE);

		answer(asked, g_strdup_printf("CPU %s", place),
		       g_strdup(lu_json_str(slot, "qom-path") ? "there" : "not there"));
	}
}

/* ------------------------------------------------------- objects and back ends */

/* 0 is a word for the default, which some versions replace by what it is. */
static gboolean is_default(const char *property, JsonNode *value)
{
	return g_str_has_prefix(property, "poll-") && JSON_NODE_HOLDS_VALUE(value) &&
	       json_node_get_value_type(value) == G_TYPE_INT64 && !json_node_get_int(value);
}

static void ask_objects(Asked *asked)
{
	g_autoptr(GPtrArray) ids = lu_qom_children(asked->qmp, "/objects");

	for (guint i = 0; i < ids->len; i++) {
		g_autofree char *path = g_strconcat("/objects/", ids->pdata[i], NULL);
		char *type = lu_qom_string(asked->qmp, path, "type");
		const char *const *property = lu_object_properties(type);

		/* A secret's may be another file with the same in it. */
		for (; property && *property && strcmp(type, "secret"); property++) {
			g_autoptr(JsonNode) value = lu_qom_get(asked->qmp, path, *property);

			if (value && !is_default(*property, value))
				answer(asked,
				       g_strdup_printf("object %s: %s", (char *)ids->pdata[i],
						       *property),
				       text_of(value));
		}
		if (type && g_str_has_prefix(type, "monitor-"))
			g_free(type);
		else
			answer(asked, g_strdup_printf("object %s", (char *)ids->pdata[i]), type);
	}
}

/* Of user networking all that is told; others have descriptors of their own. */
static void ask_netdev(Asked *asked, const LuBackend *backend)
{
	g_autofree char *type = lu_backend_get(backend, "type");

	if (*backend->id == '#')
		return;
	answer(asked, g_strdup_printf("netdev %s", backend->id),
	       !strcmp(type, "user")
		       ? g_strdup(backend->queues->pdata[0])
		       : g_strdup_printf("%s with %u queues", type, backend->queues->len));
}

static void ask_backends(Asked *asked)
{
	g_autoptr(GHashTable) backends = lu_backends(asked->qmp);
	g_autoptr(JsonNode) chardevs = lu_qmp_call(asked->qmp, NULL, "query-chardev", NULL);
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, backends);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		ask_netdev(asked, value);
	for (guint i = 0; i < lu_json_length(chardevs); i++) {
		const char *label = lu_json_str(lu_json_element(chardevs, i), "label");
		g_autofree char *path = g_strconcat("/chardevs/", label, NULL);
		char *type = lu_qom_string(asked->qmp, path, "type");

		answer(asked, g_strdup_printf("chardev %s", label),
		       type ? type : g_strdup("there"));
	}
}

/* -------------------------------------------------------------------- blocks */

static char *file_text(const Asked *asked, const char *name)
{
	g_autofree char *absolute = name ? g_canonicalize_filename(name, asked->cwd) : NULL;
	g_autofree char *here = absolute ? lu_process_path(asked->process, absolute) : NULL;
	struct stat st;

	if (!here || g_str_has_prefix(name, "json:") || stat(here, &st) < 0)
		return g_strdup(name ? name : "no file");
	return g_strdup_printf("%s (inode %" G_GUINT64_FORMAT ")", name, (guint64)st.st_ino);
}

static int by_text(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *children_text(const LuNode *node)
{
	g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < node->children->len; i++) {
		const LuEdge *edge = &g_array_index(node->children, LuEdge, i);

		g_ptr_array_add(parts, g_strdup_printf("%s=%s", edge->name,
						       lu_node_has_name(edge->child)
							       ? edge->child->name
							       : edge->child->driver));
	}
	g_ptr_array_sort(parts, by_text);
	g_ptr_array_add(parts, NULL);
	return g_strjoinv(", ", (char **)parts->pdata);
}

/* A node that a device has: without a name, or with one that was given in its stead. */
static void ask_node(Asked *asked, const LuNode *node, const char *label)
{
	static const char *const names[] = {"drv", "ro", "detect_zeroes", "write_threshold"};
	static const char *const caches[] = {"direct", "no-flush"};
	JsonNode *cache = lu_json_member(node->info, "cache");

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		answer(asked, g_strdup_printf("%s: %s", label, names[i]),
		       text_of(lu_json_member(node->info, names[i])));
	for (guint i = 0; i < G_N_ELEMENTS(caches); i++)
		answer(asked, g_strdup_printf("%s: cache.%s", label, caches[i]),
		       text_of(lu_json_member(cache, caches[i])));
	answer(asked, g_strdup_printf("%s: file", label), file_text(asked, node->file));
	answer(asked, g_strdup_printf("%s: children", label), children_text(node));
}

static void ask_drive(Asked *asked, const LuNodes *nodes, JsonNode *drive)
{
	const LuNode *root = lu_drive_root(nodes, drive);
	const char *device = lu_json_str(drive, "device"), *qdev = lu_json_str(drive, "qdev");
	g_autofree char *label = g_strconcat("drive ", lu_drive_key(drive), NULL);
	g_autoptr(JsonNode) limits = lu_carry_limits(drive);

	if (!root && (!qdev || !*qdev))
		return; /* an empty place, which versions have more or less of */
	answer(asked, g_strdup_printf("%s: name", label), g_strdup(device ? device : ""));
	answer(asked, g_strdup_printf("%s: medium", label),
	       root ? file_text(asked, root->file) : g_strdup("none"));
	answer(asked, g_strdup_printf("%s: throttling", label), text_of(limits));
	for (guint depth = 0; root; depth++) {
		g_autofree char *of_node = g_strdup_printf("%s: image %u", label, depth);

		ask_node(asked, root, of_node);
		root = lu_node_child(root, "backing");
	}
}

static gboolean ask_blocks(Asked *asked, GError **errp)
{
	g_autoptr(LuNodes) nodes = lu_nodes_read(asked->qmp, errp);

	for (guint i = 0; nodes && i < nodes->all->len; i++) {
		const LuNode *node = nodes->all->pdata[i];
		g_autofree char *label = g_strconcat("block node ", node->name, NULL);

		if (lu_node_has_name(node) && !g_str_has_prefix(node->name, LU_GIVEN_NAME))
			ask_node(asked, node, label);
	}
	for (guint i = 0; nodes && i < lu_json_length(nodes->drives); i++)
		ask_drive(asked, nodes, lu_json_element(nodes->drives, i));
	return nodes != NULL;
}

/* ---------------------------------------------------------------------- both */

static gboolean ask(Asked *asked, LuQmp *qmp, const LuProcess *process, GHashTable *hot,
		    GError **errp)
{
	asked->qmp = qmp;
	asked->process = process;
	asked->answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	asked->lists = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
					     (GDestroyNotify)json_node_unref);
	ask_folder(asked, "/machine/peripheral", hot);
	ask_folder(asked, "/machine/peripheral-anon", hot);
	ask_hot(asked, hot);
	ask_cpus(asked);
	ask_objects(asked);
	ask_backends(asked);
	return ask_blocks(asked, errp);
}

/* A property of a device or an object that only one version has. */
static gboolean is_of_one_version(const char *question)
{
	return (g_str_has_prefix(question, "device ") || g_str_has_prefix(question, "object ")) &&
	       strstr(question, ": ");
}

static gboolean differ(const LuUpgrade *up, const char *question, const char *old, const char *new)
{
	gboolean other_version = lu_version_compare(&up->running->version, &up->probe.version);

	return g_strcmp0(old, new) &&
	       !(other_version && (!old || !new) && is_of_one_version(question));
}

/* The questions that are answered in different ways; of a thing before those of its parts. */
static GPtrArray *differences(const LuUpgrade *up, GHashTable *old, GHashTable *new)
{
	GPtrArray *questions = g_ptr_array_new();
	GHashTableIter iter;
	gpointer question, text;

	g_hash_table_iter_init(&iter, old);
	while (g_hash_table_iter_next(&iter, &question, &text))
		if (differ(up, question, text, g_hash_table_lookup(new, question)))
			g_ptr_array_add(questions, question);
	g_hash_table_iter_init(&iter, new);
	while (g_hash_table_iter_next(&iter, &question, &text))
		if (!g_hash_table_contains(old, question) && differ(up, question, NULL, text))
			g_ptr_array_add(questions, question);
	g_ptr_array_sort(questions, by_text);
	return questions;
}

static gboolean compare(const LuUpgrade *up, GHashTable *old, GHashTable *new, GError **errp)
{
	g_autoptr(GPtrArray) questions = differences(up, old, new);
	const char *question, *was, *is;

	if (!questions->len)
		return TRUE;
	question = questions->pdata[0];
	was = g_hash_table_lookup(old, question);
	is = g_hash_table_lookup(new, question);
	return lu_fail(errp, LU_ERROR_REFUSED, "%s is %s in process %d and %s in the new one",
		       question, was ? was : "not there", (int)up->old->pid, is ? is : "not there");
}

gboolean lu_compare_processes(LuUpgrade *up, GError **errp)
{
	g_autoptr(GHashTable) hot = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_auto(Asked) old = {.cwd = up->running->cwd}, new = {.cwd = up->running->cwd};

	/* What was plugged in the old one is asked for in the new one. */
	return ask(&old, up->old_qmp, up->old, hot, errp) &&
	       ask(&new, up->new_qmp, up->new, hot, errp) &&
	       compare(up, old.answers, new.answers, errp);
}
