// SPDX-License-Identifier: GPL-2.0-or-later
#include "daemon-journal.h"
#include "descriptor.h"
#include "error.h"
#include "qmp.h"
#include "spawn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ----------------------------------------------------------------- describing */

/* Lines of "systemctl show"; empty if there is none. */
static GStrv show(const char *property, const char *unit)
{
	g_autofree char *option = g_strconcat("--property=", property, NULL), *out = NULL;
	const char *argv[] = {"systemctl", "show", option, "--value", unit, NULL};

	if (!g_spawn_sync(NULL, (char **)argv, NULL,
			  G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL,
			  NULL, NULL))
		return g_new0(char *, 1);
	return g_strsplit_set(g_strchomp(out), " \n", -1);
}

static gboolean is_active(const char *unit)
{
	g_auto(GStrv) state = show("ActiveState", unit);

	return !g_strcmp0(state[0], "active");
}

/* The service that it is the main process of, and before it the sockets that begin it. */
static GStrv find_units(const LuDaemon *daemon)
{
	g_autoptr(GPtrArray) groups = lu_cgroup_read(daemon->process->pid);
	g_autoptr(GStrvBuilder) units = g_strv_builder_new();

	for (guint i = 0; i < groups->len; i++) {
		const LuCgroup *group = groups->pdata[i];
		g_autofree char *service = NULL;
		g_auto(GStrv) main_pid = NULL, sockets = NULL;

		if (*group->controllers && strcmp(group->controllers, "name=systemd"))
			continue;
		service = lu_cgroup_service(group->path);
		main_pid = service ? show("MainPID", service) : NULL;
		if (!service || !main_pid[0] || atoi(main_pid[0]) != daemon->process->pid)
			continue;
		sockets = show("TriggeredBy", service);
		for (guint j = 0; sockets[j]; j++)
			if (*sockets[j] && is_active(sockets[j]))
				g_strv_builder_add(units, sockets[j]);
		g_strv_builder_add(units, service);
		break;
	}
	return g_strv_builder_end(units);
}

static GArray *copy_stdio(const LuProcess *process)
{
	GArray *stdio = lu_descriptors_new();

	for (int fd = 0; fd < 3; fd++) {
		int copy = lu_descriptor_get(process, fd, NULL);

		if (copy >= 0)
			lu_descriptors_add(stdio, copy, fd);
	}
	return stdio;
}

void lu_daemon_describe(LuDaemon *daemon)
{
	const LuProcess *process = daemon->process;
	g_autofree char *oom = lu_proc_read(process->pid, "oom_score_adj", NULL);
	g_autofree char *status = lu_proc_read(process->pid, "status", NULL);
	g_autofree char *mask = lu_proc_status_field(status, "Umask");

	daemon->units = find_units(daemon);
	daemon->exe = g_strdup(process->exe);
	daemon->cwd = g_strdup(process->cwd);
	daemon->argv = g_strdupv(process->argv);
	daemon->envp = g_strdupv(process->envp);
	/* What is executed is its file; some were begun by a bare name. */
	g_free(daemon->argv[0]);
	daemon->argv[0] = g_strdup(process->exe);
	daemon->cgroups = lu_proc_read(process->pid, "cgroup", NULL);
	daemon->limits = lu_proc_read(process->pid, "limits", NULL);
	daemon->oom_score_adj = oom ? atoi(oom) : 0;
	daemon->umask = mask ? (mode_t)g_ascii_strtoull(mask, NULL, 8) : 022;
	daemon->nice = getpriority(PRIO_PROCESS, process->pid);
	daemon->stdio = copy_stdio(process);
}

/* ---------------------------------------------------------------------- text */

static void put_list(JsonObject *object, const char *name, char *const *list)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; list && list[i]; i++)
		json_array_add_string_element(array, list[i]);
	json_object_set_array_member(object, name, array);
}

static GStrv get_list(JsonNode *node, const char *name)
{
	JsonNode *array = lu_json_member(node, name);
	g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

	for (guint i = 0; i < lu_json_length(array); i++)
		g_strv_builder_add(builder, json_node_get_string(lu_json_element(array, i)));
	return g_strv_builder_end(builder);
}

char *lu_daemon_journal_text(const LuDaemon *daemon)
{
	g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
	g_autoptr(JsonObject) object = json_object_new();

	json_object_set_string_member(object, "daemon", daemon->name);
	json_object_set_string_member(object, "exe", daemon->exe);
	json_object_set_string_member(object, "cwd", daemon->cwd);
	json_object_set_string_member(object, "cgroups", daemon->cgroups);
	json_object_set_string_member(object, "limits", daemon->limits);
	json_object_set_int_member(object, "oom-score-adj", daemon->oom_score_adj);
	json_object_set_int_member(object, "umask", daemon->umask);
	json_object_set_int_member(object, "nice", daemon->nice);
	put_list(object, "units", daemon->units);
	put_list(object, "argv", daemon->argv);
	put_list(object, "environment", daemon->envp);
	json_node_set_object(node, object);
	return json_to_string(node, TRUE);
}

LuDaemon *lu_daemon_journal_parse(const char *text)
{
	g_autoptr(JsonNode) node = json_from_string(text, NULL);
	LuDaemon *daemon;

	if (!lu_json_str(node, "daemon") || !lu_json_str(node, "exe") || !lu_json_str(node, "cwd"))
		return NULL;
	daemon = g_new0(LuDaemon, 1);
	daemon->lock_fd = -1;
	daemon->name = g_strdup(lu_json_str(node, "daemon"));
	daemon->exe = g_strdup(lu_json_str(node, "exe"));
	daemon->cwd = g_strdup(lu_json_str(node, "cwd"));
	daemon->cgroups = g_strdup(lu_json_str(node, "cgroups"));
	daemon->limits = g_strdup(lu_json_str(node, "limits"));
	daemon->oom_score_adj = (int)lu_json_int(node, "oom-score-adj");
	daemon->umask = (mode_t)lu_json_int(node, "umask");
	daemon->nice = (int)lu_json_int(node, "nice");
	daemon->units = get_list(node, "units");
	daemon->argv = get_list(node, "argv");
	daemon->envp = get_list(node, "environment");
	daemon->stdio = lu_descriptors_new();
	return daemon;
}

/* --------------------------------------------------------------------- files */

/* Not .json: it is no journal of a VM. */
char *lu_daemon_journal_file(const char *base)
{
	return g_build_filename(base, "libvirt.daemon", NULL);
}

gboolean lu_daemon_journal_write(const LuDaemon *daemon, GError **errp)
{
	g_autofree char *text = lu_daemon_journal_text(daemon);
	g_autoptr(GError) error = NULL;

	if (!g_file_set_contents_full(daemon->journal, text, -1, G_FILE_SET_CONTENTS_CONSISTENT,
				      0600, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "the journal cannot be written: %s",
			       error->message);
	return TRUE;
}

LuDaemon *lu_daemon_journal_read(const char *file)
{
	g_autofree char *text = NULL;
	LuDaemon *daemon;

	if (!g_file_get_contents(file, &text, NULL, NULL))
		return NULL;
	daemon = lu_daemon_journal_parse(text);
	if (daemon)
		daemon->journal = g_strdup(file);
	return daemon;
}
