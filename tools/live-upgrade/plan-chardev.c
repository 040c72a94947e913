// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Character devices. A socket that listens under a name is made anew beside it; any other
 * listening socket is handed on; what is written to files is appended.
 */
#include "descriptor.h"
#include "opts.h"
#include "plan.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Where a chardev listens, by what QEMU says: "disconnected:tcp:127.0.0.1:4444,server=on". */
static char *listening_address(const LuPlan *plan, const char *label)
{
	g_autoptr(JsonNode) reply =
		plan->running->qmp ? lu_qmp_call(plan->running->qmp, NULL, "query-chardev", NULL)
				   : NULL;

	for (guint i = 0; i < lu_json_length(reply); i++) {
		JsonNode *chardev = lu_json_element(reply, i);
		const char *name = lu_json_str(chardev, "filename");
		g_auto(GStrv) parts = NULL;

		if (!name || g_strcmp0(lu_json_str(chardev, "label"), label))
			continue;
		if (g_str_has_prefix(name, "disconnected:"))
			name += strlen("disconnected:");
		parts = g_strsplit(name, ":", 2);
		if (!parts[0] || !parts[1])
			return NULL;
		parts[1][strcspn(parts[1], ",")] = '\0';
		return g_strdup(parts[1]);
	}
	return NULL;
}

static void hand_on_listener(LuPlan *plan, LuOpts *opts, const char *what, const char *address)
{
	static const char *const names[] = {"host", "port",	"to",	 "ipv4", "ipv6",
					    "addr", "abstract", "tight", "path", "nodelay"};
	int fd = address ? lu_descriptor_find_listener(plan->running->process, address) : -1;
	g_autofree char *text = NULL;
	int number;

	if (fd < 0) {
		lu_plan_refuse(plan, "%s: its listening socket (%s) is not found in process %d",
			       what, address ? address : "no address",
			       (int)plan->running->process->pid);
		return;
	}
	number = lu_plan_descriptor(plan, fd, -1, what);
	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		lu_opts_remove(opts, names[i]);
	text = g_strdup_printf("%d", number);
	lu_opts_set(opts, "fd", text);
	lu_plan_note(plan,
		     "%s: a client of %s that connects during the upgrade may reach the old "
		     "process",
		     what, address);
}

/* A monitor's client has negotiated with the running process, and would not with the new one. */
static gboolean is_monitor_of(const LuPlan *plan, const char *label)
{
	for (guint i = 0; label && i < plan->line->options->len; i++) {
		const LuOption *option = plan->line->options->pdata[i];
		g_autofree char *chardev = NULL;

		if (!lu_option_is(option, "mon"))
			continue;
		chardev = lu_option_member(option, "chardev", "chardev");
		if (!g_strcmp0(chardev, label))
			return TRUE;
	}
	return FALSE;
}

/*
 * A connection that was given to the running process goes to the new one with the guest, so that
 * not both read: until then there is a stand-in (migration/stand-in.c).
 */
static void given_connection(LuPlan *plan, int number, const char *what, const char *label)
{
	LuDescriptor *given =
		&g_array_index(plan->descriptors, LuDescriptor, plan->descriptors->len - 1);
	int ends[2], real = lu_plan_number(plan);

	if (is_monitor_of(plan, label)) {
		lu_plan_refuse(plan,
			       "%s: its client has negotiated with the running process's monitor",
			       what);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		lu_plan_refuse(plan, "%s: a socket: %s", what, g_strerror(errno));
		return;
	}
	given->number = real;
	lu_descriptors_add(plan->descriptors, ends[0], number);
	lu_descriptors_add(plan->descriptors, ends[1], lu_plan_number(plan));
	g_ptr_array_add(plan->stand_ins, g_strdup_printf("%d:%d", number, real));
	lu_plan_note(plan, "%s: what comes while the guest is stopped may be lost", what);
}

/* A descriptor that was given to QEMU: a listening socket, else a connection. */
static void given_socket(LuPlan *plan, LuOpts *opts, const char *what, const char *label)
{
	int number = (int)g_ascii_strtoll(lu_opts_get(opts, "fd"), NULL, 10);
	int fd = lu_plan_descriptor(plan, number, number, what), here;
	g_autofree char *path = NULL, *temporary = NULL;

	if (fd < 0)
		return;
	here = g_array_index(plan->descriptors, LuDescriptor, plan->descriptors->len - 1).fd;
	if (!lu_opts_bool(opts, "server", FALSE)) {
		if (lu_descriptor_is_connected(here))
			given_connection(plan, number, what, label);
		else
			lu_plan_refuse(plan, "%s: descriptor %d is not connected", what, number);
		return;
	}
	path = lu_descriptor_listening_path(here);
	if (!path)
		return; /* the same descriptor under the same number */
	g_array_set_size(plan->descriptors, plan->descriptors->len - 1);
	temporary = lu_plan_path(plan, what, path);
	lu_opts_remove(opts, "fd");
	lu_opts_set(opts, "path", temporary);
}

/* It has connected before the running one's connection ends. */
static void note_client(LuPlan *plan, const char *what)
{
	lu_plan_note(plan,
		     "%s: the new process connects by itself, before the running one's connection "
		     "ends; a server that takes one client only makes the upgrade fail, or loses "
		     "this one",
		     what);
}

static void plan_socket(LuPlan *plan, LuOpts *opts, const char *what, const char *label)
{
	const char *path = lu_opts_get(opts, "path");
	g_autofree char *address = NULL, *temporary = NULL;

	if (lu_opts_get(opts, "fd")) {
		given_socket(plan, opts, what, label);
		if (!lu_opts_bool(opts, "server", FALSE))
			return;
	} else if (!lu_opts_bool(opts, "server", FALSE)) {
		note_client(plan, what);
		return;
	} else if (path && !lu_opts_bool(opts, "abstract", FALSE)) {
		temporary = lu_plan_path(plan, what, path);
		lu_opts_set(opts, "path", temporary);
	} else {
		address = path ? g_strconcat("@", path, NULL) : listening_address(plan, label);
		hand_on_listener(plan, opts, what, address);
	}
	lu_opts_set(opts, "wait", "off");
}

static void plan_backend(LuPlan *plan, LuOpts *opts, const char *backend, const char *what,
			 const char *label)
{
	if (lu_opts_get(opts, "logfile"))
		lu_opts_set(opts, "logappend", "on");
	if (!strcmp(backend, "socket") && lu_plan_has_fs(plan, label))
		lu_plan_fs_chardev(plan, opts, what);
	else if (!strcmp(backend, "socket"))
		plan_socket(plan, opts, what, label);
	else if (!strcmp(backend, "file"))
		lu_opts_set(opts, "append", "on");
	else if (!strcmp(backend, "pty"))
		lu_plan_note(plan, "%s: the new process has another terminal name", what);
	else if (!strcmp(backend, "ringbuf"))
		lu_plan_note(plan, "%s: what it holds is lost", what);
	else if (!strcmp(backend, "udp") || g_str_has_prefix(backend, "spice") ||
		 !strcmp(backend, "dbus"))
		lu_plan_refuse(plan, "%s: a %s backend cannot be handed over yet", what, backend);
	else if (!strcmp(backend, "stdio") && lu_descriptor_is_terminal(plan->running->process, 0))
		lu_plan_refuse(plan,
			       "%s: the terminal belongs to the session of the running "
			       "process",
			       what);
}

void lu_plan_chardev(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autoptr(LuOpts) opts = lu_opts_parse(option->value, "backend");
	const char *backend = lu_opts_get(opts, "backend"), *id = lu_opts_get(opts, "id");
	g_autofree char *what = g_strdup_printf("-chardev %s", id ? id : "");
	g_autofree char *text = NULL, *name = g_strdup(id);

	if (!backend || !id)
		return;
	plan_backend(plan, opts, backend, what, name);
	text = lu_opts_text(opts);
	lu_option_set(option, text);
}

/* ------------------------------------------------- -serial, -qmp and the like */

static gboolean is_monitor(const LuOption *option)
{
	return lu_option_is(option, "monitor") || lu_option_is(option, "qmp") ||
	       lu_option_is(option, "qmp-pretty");
}

/* The label that QEMU gives; counts. */
static char *label_of(LuPlan *plan, const LuOption *option)
{
	if (lu_option_is(option, "serial"))
		return g_strdup_printf("serial%u", plan->serials++);
	if (lu_option_is(option, "parallel"))
		return g_strdup_printf("parallel%u", plan->parallels++);
	if (is_monitor(option))
		return g_strdup_printf("compat_monitor%u", plan->monitors++);
	return g_strdup(option->name);
}

/* "-serial X" as "-chardev ... -serial chardev:ID", which can say more. */
static void as_chardev(LuPlan *plan, guint *at, LuOpts *opts, const char *backend,
		       const char *label)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *rest = lu_opts_text(opts), *reference = NULL;
	g_autofree char *value =
		g_strdup_printf("%s,id=%s%s%s", backend, label, *rest ? "," : "", rest);

	if (!is_monitor(option)) {
		reference = g_strconcat("chardev:", label, NULL);
		lu_option_set(option, reference);
	} else {
		reference =
			g_strdup_printf("chardev=%s,mode=%s%s", label,
					lu_option_is(option, "monitor") ? "readline" : "control",
					lu_option_is(option, "qmp-pretty") ? ",pretty=on" : "");
		lu_option_set(option, reference);
		g_free(option->name);
		option->name = g_strdup("mon");
	}
	lu_command_line_insert(plan->line, (*at)++, "chardev", value);
}

static void legacy_unix(LuPlan *plan, LuOption *option, const char *mux, const char *rest,
			const char *what)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(rest, "path");
	g_autofree char *text = NULL, *value = NULL;

	plan_backend(plan, opts, "socket", what, NULL);
	text = lu_opts_text(opts);
	value = g_strconcat(mux, "unix:", text, NULL);
	lu_option_set(option, value);
}

static void legacy_tcp(LuPlan *plan, guint *at, const char *kind, const char *rest,
		       const char *what, const char *label)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(rest, "addr");

	if (lu_opts_get(opts, "server") == NULL || !lu_opts_bool(opts, "server", FALSE)) {
		note_client(plan, what);
		return;
	}
	if (strcmp(kind, "tcp"))
		lu_opts_set(opts, kind, "on");
	plan_backend(plan, opts, "socket", what, label);
	as_chardev(plan, at, opts, "socket", label);
}

static void legacy_file(LuPlan *plan, guint *at, const char *rest, const char *label)
{
	g_autoptr(LuOpts) opts = lu_opts_parse("", NULL);

	lu_opts_set(opts, "path", rest);
	lu_opts_set(opts, "append", "on");
	as_chardev(plan, at, opts, "file", label);
}

void lu_plan_legacy_chardev(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *what = g_strdup_printf("-%s %s", option->name, option->value);
	g_autofree char *label = label_of(plan, option), *value = g_strdup(option->value);
	const char *mux = g_str_has_prefix(value, "mon:") ? "mon:" : "";
	const char *device = value + strlen(mux), *colon = strchr(device, ':');
	g_autofree char *kind =
		colon ? g_strndup(device, colon - device) : g_strndup(device, strcspn(device, ","));
	const char *rest = colon ? colon + 1 : "";

	if (!strcmp(kind, "unix"))
		legacy_unix(plan, option, mux, rest, what);
	else if (*mux && strcmp(kind, "stdio"))
		lu_plan_refuse(plan, "%s cannot be handed over yet", what);
	else if (!strcmp(kind, "tcp") || !strcmp(kind, "telnet") || !strcmp(kind, "websocket"))
		legacy_tcp(plan, at, kind, rest, what, label);
	else if (!strcmp(kind, "file"))
		legacy_file(plan, at, rest, label);
	else if (!strcmp(kind, "pty") || !strcmp(kind, "stdio") || !strcmp(kind, "udp")) {
		g_autoptr(LuOpts) none = lu_opts_parse("", NULL);

		plan_backend(plan, none, kind, what, label);
	}
}

/* ------------------------------------------------------------------ fd sets */

/*
 * QEMU keeps a copy of what -add-fd gave it and closes the number that was given, so the sets are
 * asked for; that also finds what came by QMP since.
 */
void lu_plan_fdsets(LuPlan *plan)
{
	g_autoptr(JsonNode) sets = lu_qmp_call(plan->running->qmp, NULL, "query-fdsets", NULL);

	for (guint i = 0; i < lu_json_length(sets); i++) {
		JsonNode *set = lu_json_element(sets, i), *fds = lu_json_member(set, "fds");
		gint64 id = lu_json_int(set, "fdset-id");

		/* QEMU puts the newest first. */
		for (guint j = lu_json_length(fds); j-- > 0;) {
			JsonNode *entry = lu_json_element(fds, j);
			const char *opaque = lu_json_str(entry, "opaque");
			g_autoptr(LuOpts) opts = lu_opts_parse("", NULL);
			g_autofree char *text = NULL, *set_text = NULL, *fd_text = NULL;
			int number = lu_plan_descriptor(plan, (int)lu_json_int(entry, "fd"), -1,
							"a descriptor set");

			set_text = g_strdup_printf("%" G_GINT64_FORMAT, id);
			fd_text = g_strdup_printf("%d", number);
			lu_opts_set(opts, "fd", fd_text);
			lu_opts_set(opts, "set", set_text);
			if (opaque)
				lu_opts_set(opts, "opaque", opaque);
			text = lu_opts_text(opts);
			lu_command_line_append(plan->line, "add-fd", text);
		}
	}
}
