// SPDX-License-Identifier: GPL-2.0-or-later
#include "journal.h"
#include "error.h"
#include "plan.h"
#include "process.h"
#include "reconnect.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define SUFFIX ".json"

static void made_file_free(gpointer data)
{
	LuMadeFile *made = data;

	g_free(made->file);
	g_free(made);
}

LuMadeFile *lu_made_files_add(GPtrArray *files, const char *file)
{
	LuMadeFile *made = g_new0(LuMadeFile, 1);

	made->file = g_strdup(file);
	g_ptr_array_add(files, made);
	return made;
}

LuJournal *lu_journal_new(void)
{
	LuJournal *journal = g_new0(LuJournal, 1);

	journal->paths = lu_paths_new();
	journal->records = lu_paths_new();
	journal->afterwards = g_ptr_array_new_with_free_func(g_free);
	journal->queues = g_array_new(FALSE, FALSE, sizeof(int));
	journal->connections = lu_connections_new();
	journal->images = g_ptr_array_new_with_free_func(made_file_free);
	return journal;
}

void lu_journal_free(LuJournal *journal)
{
	if (!journal)
		return;
	g_free(journal->file);
	g_free(journal->step);
	g_free(journal->handover);
	g_free(journal->qmp_path);
	g_free(journal->qmp_temporary);
	g_free(journal->from);
	g_free(journal->to);
	g_free(journal->status);
	g_free(journal->manager);
	g_free(journal->manager_id);
	g_ptr_array_unref(journal->records);
	g_free(journal->unit);
	g_ptr_array_unref(journal->paths);
	g_ptr_array_unref(journal->afterwards);
	g_array_unref(journal->queues);
	g_ptr_array_unref(journal->connections);
	g_ptr_array_unref(journal->images);
	g_free(journal);
}

/* --------------------------------------------------------------------- text */

static void put(JsonObject *object, const char *name, const char *value)
{
	if (value)
		json_object_set_string_member(object, name, value);
}

static JsonArray *path_array(const GPtrArray *paths)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; i < paths->len; i++) {
		const LuPath *path = paths->pdata[i];
		JsonObject *object = json_object_new();

		put(object, "what", path->what);
		put(object, "path", path->path);
		put(object, "temporary", path->temporary);
		json_array_add_object_element(array, object);
	}
	return array;
}

static JsonArray *connection_array(const LuJournal *journal)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; i < journal->connections->len; i++) {
		const LuConnection *connection = journal->connections->pdata[i];
		JsonObject *object = json_object_new();

		put(object, "path", connection->path);
		json_object_set_int_member(object, "old", connection->old);
		json_object_set_int_member(object, "new", connection->new);
		json_array_add_object_element(array, object);
	}
	return array;
}

static JsonArray *string_array(const GPtrArray *strings)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; i < strings->len; i++)
		json_array_add_string_element(array, strings->pdata[i]);
	return array;
}

static JsonArray *made_array(const GPtrArray *files)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; i < files->len; i++) {
		const LuMadeFile *made = files->pdata[i];
		JsonObject *object = json_object_new();

		put(object, "file", made->file);
		json_object_set_int_member(object, "dev", (gint64)made->dev);
		json_object_set_int_member(object, "ino", (gint64)made->ino);
		json_array_add_object_element(array, object);
	}
	return array;
}

char *lu_journal_text(const LuJournal *journal)
{
	g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
	g_autoptr(JsonObject) object = json_object_new();
	JsonArray *queues = json_array_new();

	put(object, "step", journal->step);
	json_object_set_int_member(object, "old-pid", journal->old_pid);
	json_object_set_int_member(object, "old-start", (gint64)journal->old_start);
	json_object_set_int_member(object, "new-pid", journal->new_pid);
	json_object_set_int_member(object, "new-start", (gint64)journal->new_start);
	put(object, "handover", journal->handover);
	put(object, "qmp-path", journal->qmp_path);
	put(object, "qmp-temporary", journal->qmp_temporary);
	put(object, "from", journal->from);
	put(object, "to", journal->to);
	put(object, "status", journal->status);
	put(object, "unit", journal->unit);
	json_object_set_array_member(object, "paths", path_array(journal->paths));
	put(object, "manager", journal->manager);
	put(object, "manager-id", journal->manager_id);
	json_object_set_array_member(object, "records", path_array(journal->records));
	json_object_set_array_member(object, "afterwards", string_array(journal->afterwards));
	json_object_set_array_member(object, "images", made_array(journal->images));
	for (guint i = 0; i < journal->queues->len; i++)
		json_array_add_int_element(queues, g_array_index(journal->queues, int, i));
	json_object_set_array_member(object, "queues", queues);
	json_object_set_array_member(object, "connections", connection_array(journal));
	json_object_set_boolean_member(object, "kill-old", journal->kill_old);
	json_node_set_object(node, object);
	return json_to_string(node, TRUE);
}

static void parse_network(LuJournal *journal, JsonNode *node)
{
	JsonNode *queues = lu_json_member(node, "queues");
	JsonNode *connections = lu_json_member(node, "connections");

	for (guint i = 0; i < lu_json_length(queues); i++) {
		int number = (int)json_node_get_int(lu_json_element(queues, i));

		g_array_append_val(journal->queues, number);
	}
	for (guint i = 0; i < lu_json_length(connections); i++) {
		JsonNode *connection = lu_json_element(connections, i);

		lu_connections_add(journal->connections, lu_json_str(connection, "path"),
				   (int)lu_json_int(connection, "old"),
				   (int)lu_json_int(connection, "new"));
	}
}

static void parse_paths(JsonNode *array, GPtrArray *paths)
{
	for (guint i = 0; i < lu_json_length(array); i++) {
		JsonNode *path = lu_json_element(array, i);

		lu_paths_add(paths, lu_json_str(path, "what"), lu_json_str(path, "path"),
			     lu_json_str(path, "temporary"));
	}
}

static void parse_strings(JsonNode *array, GPtrArray *strings)
{
	for (guint i = 0; i < lu_json_length(array); i++)
		g_ptr_array_add(strings, json_node_dup_string(lu_json_element(array, i)));
}

/* One of a tool that did not know which file it was names none that could be told. */
static void parse_made(JsonNode *array, GPtrArray *files)
{
	for (guint i = 0; i < lu_json_length(array); i++) {
		JsonNode *element = lu_json_element(array, i);
		LuMadeFile *made;

		if (!lu_json_str(element, "file"))
			continue;
		made = lu_made_files_add(files, lu_json_str(element, "file"));
		made->dev = (guint64)lu_json_int(element, "dev");
		made->ino = (guint64)lu_json_int(element, "ino");
	}
}

LuJournal *lu_journal_parse(const char *text)
{
	g_autoptr(JsonNode) node = json_from_string(text, NULL);
	g_autoptr(LuJournal) journal = NULL;

	if (!node || !lu_json_str(node, "step") || !lu_json_int(node, "old-pid"))
		return NULL;
	journal = lu_journal_new();
	journal->step = g_strdup(lu_json_str(node, "step"));
	journal->old_pid = (pid_t)lu_json_int(node, "old-pid");
	journal->old_start = (guint64)lu_json_int(node, "old-start");
	journal->new_pid = (pid_t)lu_json_int(node, "new-pid");
	journal->new_start = (guint64)lu_json_int(node, "new-start");
	journal->handover = g_strdup(lu_json_str(node, "handover"));
	journal->qmp_path = g_strdup(lu_json_str(node, "qmp-path"));
	journal->qmp_temporary = g_strdup(lu_json_str(node, "qmp-temporary"));
	journal->from = g_strdup(lu_json_str(node, "from"));
	journal->to = g_strdup(lu_json_str(node, "to"));
	journal->status = g_strdup(lu_json_str(node, "status"));
	journal->unit = g_strdup(lu_json_str(node, "unit"));
	journal->manager = g_strdup(lu_json_str(node, "manager"));
	journal->manager_id = g_strdup(lu_json_str(node, "manager-id"));
	parse_paths(lu_json_member(node, "paths"), journal->paths);
	parse_paths(lu_json_member(node, "records"), journal->records);
	parse_strings(lu_json_member(node, "afterwards"), journal->afterwards);
	parse_made(lu_json_member(node, "images"), journal->images);
	parse_network(journal, node);
	journal->kill_old = lu_json_bool(node, "kill-old");
	return g_steal_pointer(&journal);
}

/* -------------------------------------------------------------------- files */

static gboolean is_ours(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & 022);
}

int lu_journal_mkdir(const char *base)
{
	mode_t mode = geteuid() ? 0700 : 0711;

	if (g_mkdir(base, mode) < 0)
		return errno == EEXIST ? 0 : -1;
	return g_chmod(base, mode); /* whatever the umask of this process is */
}

char *lu_journal_base(GError **errp)
{
	const char *runtime = g_getenv("XDG_RUNTIME_DIR");
	g_autofree char *base = NULL;

	/* A QEMU of another user must be able to reach the handover's socket below. */
	if (!geteuid())
		base = g_strdup("/run/qemu-live-upgrade");
	else if (runtime && *runtime)
		base = g_build_filename(runtime, "qemu-live-upgrade", NULL);
	else
		base = g_strdup_printf("/tmp/qemu-live-upgrade-%u", geteuid());
	if (lu_journal_mkdir(base) < 0) {
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", base);
		return NULL;
	}
	if (!is_ours(base)) {
		lu_fail(errp, LU_ERROR_REFUSED, "%s is not a folder of user %u alone", base,
			geteuid());
		return NULL;
	}
	return g_steal_pointer(&base);
}

static LuJournal *load(const char *path)
{
	g_autofree char *text = NULL;
	LuJournal *journal;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return NULL;
	journal = lu_journal_parse(text);
	if (journal)
		journal->file = g_strdup(path);
	return journal;
}

GPtrArray *lu_journal_all(const char *base)
{
	GPtrArray *journals = g_ptr_array_new_with_free_func((GDestroyNotify)lu_journal_free);
	g_autoptr(GDir) dir = g_dir_open(base, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(base, name, NULL);
		LuJournal *journal = g_str_has_suffix(name, SUFFIX) ? load(path) : NULL;

		if (journal)
			g_ptr_array_add(journals, journal);
	}
	return journals;
}

GPtrArray *lu_journal_managed(const char *base)
{
	GPtrArray *journals = lu_journal_all(base);

	for (guint i = journals->len; i-- > 0;)
		if (!((const LuJournal *)journals->pdata[i])->manager)
			g_ptr_array_remove_index(journals, i);
	return journals;
}

/* A number may be another process's by now; one that has ended is still the journal's. */
static gboolean is_it(pid_t pid, pid_t of_journal, guint64 start_time)
{
	g_autofree char *stat = pid == of_journal ? lu_proc_read(pid, "stat", NULL) : NULL;
	guint64 now = 0;
	char state;

	return pid > 0 && pid == of_journal &&
	       (!stat || !lu_proc_parse_stat(stat, &state, &now) || now == start_time);
}

LuJournal *lu_journal_find(const char *base, pid_t pid, const char *qmp_path)
{
	g_autoptr(GPtrArray) journals = lu_journal_all(base);

	for (guint i = 0; i < journals->len; i++) {
		const LuJournal *journal = journals->pdata[i];

		if (is_it(pid, journal->old_pid, journal->old_start) ||
		    is_it(pid, journal->new_pid, journal->new_start) ||
		    (qmp_path && !g_strcmp0(journal->qmp_path, qmp_path)))
			return g_ptr_array_steal_index(journals, i);
	}
	return NULL;
}

gboolean lu_journal_write(const LuJournal *journal, GError **errp)
{
	g_autofree char *text = lu_journal_text(journal);
	g_autoptr(GError) error = NULL;

	if (!g_file_set_contents_full(journal->file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
				      &error))
		return lu_fail(errp, LU_ERROR_FAILED, "the journal cannot be written: %s",
			       error->message);
	return TRUE;
}

void lu_journal_remove(const LuJournal *journal)
{
	if (journal->file)
		g_unlink(journal->file);
}
