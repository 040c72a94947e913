// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * -netdev stream: frames in a stream, to passt or the like. What the running process has read of
 * it may end in the middle of a frame, so that nobody else can go on with its connection. A client
 * gets a new one, when the guest is in the new process (reconnect.c): the descriptor is there from
 * the start, as a stand-in, whose other end nobody closes; a socket that is not connected yet
 * takes its place with the guest. A server listens beside the old one, as chardevs do.
 */
#include "descriptor.h"
#include "error.h"
#include "handle.h"
#include "plan.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static char *member(const LuOption *option, const char *name)
{
	return lu_option_member(option, name, "type");
}

/* passt says it by an option, and ends with the connection that it has. */
static gboolean ends_with_connection(const char *const *argv, const char *path)
{
	g_autofree char *program = argv[0] ? g_path_get_basename(argv[0]) : g_strdup("");

	return g_str_has_prefix(program, "passt") && g_strv_contains(argv, path) &&
	       (g_strv_contains(argv, "--one-off") || g_strv_contains(argv, "-1"));
}

static gboolean is_one_off(const char *path)
{
	g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		gsize length = 0;
		g_autofree char *text = NULL;
		g_auto(GStrv) argv = NULL;

		if (!g_ascii_isdigit(*name))
			continue;
		text = lu_proc_read((pid_t)g_ascii_strtoll(name, NULL, 10), "cmdline", &length);
		argv = text ? lu_proc_split(text, length) : NULL;
		if (argv && ends_with_connection((const char *const *)argv, path))
			return TRUE;
	}
	return FALSE;
}

/* The running process's descriptor of the connection, and in *path where it leads; -1 if refused.
 */
static int find_connection(LuPlan *plan, const LuOption *option, const char *what, char **path)
{
	g_autofree char *said = member(option, "addr.path"), *number = member(option, "addr.str");
	int fd = -1;

	if (said) {
		*path = g_canonicalize_filename(said, plan->running->cwd);
		fd = lu_descriptor_find_connection(plan->running->process, said);
	} else if (number && g_ascii_isdigit(*number)) {
		fd = (int)g_ascii_strtoll(number, NULL, 10);
		*path = lu_descriptor_peer_path(plan->running->process, fd);
	}
	if (fd >= 0 && *path && **path == '/')
		return fd;
	lu_plan_refuse(plan, "%s: its connection is not to a unix socket with a name, or has ended",
		       what);
	return -1;
}

/* Under these numbers in the new process: the stand-in, its other end, and what takes its place. */
static int make_sockets(LuPlan *plan, int number, const char *what)
{
	int ends[2], later = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int later_number;

	if (later < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		lu_plan_refuse(plan, "%s: a socket: %s", what, g_strerror(errno));
		if (later >= 0)
			close(later);
		return -1;
	}
	if (number < 0)
		number = lu_plan_number(plan);
	later_number = lu_plan_number(plan);
	lu_descriptors_add(plan->descriptors, ends[0], number);
	lu_descriptors_add(plan->descriptors, ends[1], lu_plan_number(plan));
	lu_descriptors_add(plan->descriptors, later, later_number);
	g_ptr_array_add(plan->stand_ins, g_strdup_printf("%d:%d", number, later_number));
	return number;
}

static void plan_client(LuPlan *plan, LuOption *option, const char *what)
{
	static const char *const replaced[] = {"addr.path", "addr.abstract", "addr.tight",
					       "reconnect", "reconnect-ms"};
	g_autofree char *path = NULL, *text = NULL;
	gboolean by_path = FALSE;
	int old = find_connection(plan, option, what, &path), number;

	if (old < 0)
		return;
	if (is_one_off(path)) {
		lu_plan_refuse(plan,
			       "%s: passt was started with --one-off and would end with its "
			       "connection; start it without",
			       what);
		return;
	}
	text = member(option, "addr.path");
	by_path = text != NULL;
	number = make_sockets(plan, by_path ? -1 : old, what);
	if (number < 0)
		return;
	for (guint i = 0; i < G_N_ELEMENTS(replaced); i++)
		lu_option_set_member(option, replaced[i], NULL, "type");
	g_free(text);
	text = g_strdup_printf("%d", number);
	lu_option_set_member(option, "addr.type", "fd", "type");
	lu_option_set_member(option, "addr.str", text, "type");
	lu_connections_add(plan->connections, path, old, number);
	lu_plan_note(plan, "%s: its connection to %s is made anew; frames on their way are lost",
		     what, path);
}

static void plan_server(LuPlan *plan, LuOption *option, const char *what)
{
	g_autofree char *path = member(option, "addr.path"), *temporary = NULL;
	g_autofree char *abstract = member(option, "addr.abstract");

	if (!path || !g_strcmp0(abstract, "on")) {
		lu_plan_refuse(plan, "%s: it does not listen at a unix socket with a name", what);
		return;
	}
	temporary = lu_plan_path(plan, what, path);
	lu_option_set_member(option, "addr.path", temporary, "type");
	lu_plan_note(plan, "%s: its connection ends; the other side must connect to %s again", what,
		     path);
}

void lu_plan_stream(LuPlan *plan, LuOption *option, const char *what)
{
	g_autofree char *server = member(option, "server");

	if (server && (!strcmp(server, "on") || !strcmp(server, "yes") || !strcmp(server, "true")))
		plan_server(plan, option, what);
	else
		plan_client(plan, option, what);
}
