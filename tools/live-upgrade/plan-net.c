// SPDX-License-Identifier: GPL-2.0-or-later
/* Network back ends, and displays that listen on the network. */
#include "json.h"
#include "opts.h"
#include "plan.h"
#include "tap.h"

#include <string.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------ netdevs */

/* The ports are the running process's until that ends, so forwarding begins then. */
static void stop_forwarding(LuPlan *plan, LuOption *option, const char *what)
{
	g_autoptr(LuOpts) opts = NULL;
	g_autofree char *text = NULL;

	if (!strstr(option->value, "hostfwd"))
		return;
	if (*option->value == '{') {
		lu_plan_refuse(plan, "%s: forwarded ports in JSON cannot be moved yet", what);
		return;
	}
	opts = lu_opts_parse(option->value, "type");
	if (!lu_opts_get(opts, "id"))
		lu_plan_refuse(plan, "%s: its forwarded ports can be moved only if it has an id",
			       what);
	lu_opts_remove(opts, "hostfwd");
	text = lu_opts_text(opts);
	lu_option_set(option, text);
}

static void forward(LuPlan *plan, const char *id, GStrv fields)
{
	g_autofree char *kind = g_ascii_strdown(fields[0], strcspn(fields[0], "["));
	const char *host = strcmp(fields[2], "*") ? fields[2] : "";
	g_autofree char *line = g_strdup_printf("hostfwd_add %s %s:%s:%s-%s:%s", id, kind, host,
						fields[3], fields[4], fields[5]);

	g_ptr_array_add(plan->afterwards,
			lu_json_format("{'execute': 'human-monitor-command', 'arguments': "
				       "{'command-line': %s}}",
				       line));
}

/* "Hub -1 (n0):", and "  TCP[HOST_FORWARD]  12  127.0.0.1  4022  10.0.2.15  22  0  0" below it. */
void lu_plan_forwards(LuPlan *plan)
{
	g_autofree char *text = lu_qmp_hmp(plan->running->qmp, "info usernet", NULL);
	g_auto(GStrv) lines = g_strsplit_set(text ? text : "", "\r\n", -1);
	g_autofree char *id = NULL;

	for (guint i = 0; lines[i]; i++) {
		g_autofree char *line = g_strdup(lines[i]);
		g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
		g_auto(GStrv) words = g_strsplit(g_strstrip(line), " ", -1), fields = NULL;
		char *open = strrchr(line, '('), *close = open ? strchr(open, ')') : NULL;

		for (guint j = 0; words[j]; j++)
			if (*words[j])
				g_strv_builder_add(builder, words[j]);
		fields = g_strv_builder_end(builder);
		if (close && close[1] == ':') {
			g_free(id);
			id = g_strndup(open + 1, close - open - 1);
		} else if (id && g_strv_length(fields) >= 6 &&
			   strstr(fields[0], "[HOST_FORWARD]")) {
			forward(plan, id, fields);
		}
	}
}

/*
 * Each datagram is a frame, so a socket of these goes on in another process. Either takes one
 * frame that it cannot give to the guest.
 */
static void hand_on_datagrams(LuPlan *plan, const char *list, const char *what)
{
	int number = (int)g_ascii_strtoll(list, NULL, 10), type = 0;
	socklen_t size = sizeof(type);

	if (!g_ascii_isdigit(*list)) {
		lu_plan_refuse(plan, "%s: descriptor %s is known by a name only", what, list);
		return;
	}
	if (lu_plan_descriptor(plan, number, number, what) < 0)
		return;
	if (getsockopt(
		    g_array_index(plan->descriptors, LuDescriptor, plan->descriptors->len - 1).fd,
		    SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    type != SOCK_DGRAM)
		lu_plan_refuse(plan,
			       "%s: descriptor %d is no datagram socket: a stream may be in the "
			       "middle of a frame (but -netdev stream to a unix socket can be "
			       "connected again)",
			       what, number);
}

/* What there is no way for, and why. */
static const struct {
	const char *type, *why;
} without_way[] = {
	{"socket", "its socket is the running process's (one given as fd= could be handed on, and "
		   "-netdev stream to a unix socket be connected again)"},
	{"dgram", "its socket is the running process's (one given as local.type=fd could be "
		  "handed on)"},
	{"vhost-user", "its back end serves one QEMU at a time: unplug the NIC (device_del, "
		       "netdev_del) and plug it again afterwards"},
	{"vhost-vdpa", "the device serves one QEMU at a time"},
	{"passt", "the running process started passt, which ends with it (-netdev stream to a "
		  "passt of its own could be connected again)"},
	{"vde", "the switch knows the running process's connection only"},
	{"l2tpv3", "its socket is the running process's"},
	{"af-xdp", "its rings are in the running process's memory"},
	{"netmap", "its rings are in the running process's memory"},
};

static void refuse_type(LuPlan *plan, const char *type, const char *what)
{
	const char *why = "this tool does not know it";

	for (guint i = 0; i < G_N_ELEMENTS(without_way); i++)
		if (!strcmp(type, without_way[i].type))
			why = without_way[i].why;
	lu_plan_refuse(plan, "%s: a %s back end cannot be handed over: %s", what, type, why);
}

void lu_plan_netdev(LuPlan *plan, guint *at)
{
	static const char *const without_state[] = {"none", "nic", "hubport", NULL};
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *what = g_strdup_printf("-%s %s", option->name, option->value);
	g_autofree char *type = lu_option_member(option, "type", "type"), *fd = NULL;

	if (!type || g_strv_contains(without_state, type))
		return;
	fd = lu_option_member(option, !strcmp(type, "dgram") ? "local.str" : "fd", "type");
	if (lu_tap_is(option)) {
		lu_plan_tap(plan, option, what);
	} else if (!strcmp(type, "stream")) {
		lu_plan_stream(plan, option, what);
	} else if (!strcmp(type, "user")) {
		lu_plan_note(plan, "%s: the connections of user networking end", what);
		stop_forwarding(plan, option, what);
	} else if (fd && (!strcmp(type, "socket") || !strcmp(type, "dgram"))) {
		hand_on_datagrams(plan, fd, what);
	} else {
		refuse_type(plan, type, what);
	}
}

/* ---------------------------------------------------------------------- VNC */

/* Where the running process listens, for display-update; NULL: nowhere. */
static char *vnc_addresses(LuPlan *plan)
{
	g_autoptr(JsonNode) reply =
		lu_qmp_call(plan->running->qmp, NULL, "query-vnc-servers", NULL);
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < lu_json_length(reply); i++) {
		JsonNode *servers = lu_json_member(lu_json_element(reply, i), "server");

		for (guint j = 0; j < lu_json_length(servers); j++) {
			JsonNode *server = lu_json_element(servers, j);
			const char *host = lu_json_str(server, "host");
			const char *port = lu_json_str(server, "service");

			if (host && port && g_strcmp0(lu_json_str(server, "family"), "unix"))
				g_string_append_printf(text,
						       "%s{\"type\": \"inet\", \"host\": \"%s\", "
						       "\"port\": \"%s\"}",
						       text->len ? ", " : "", host, port);
		}
	}
	return g_string_free(text, !text->len);
}

static gboolean vnc_listens(LuPlan *plan)
{
	g_autofree char *addresses = plan->running->qmp ? vnc_addresses(plan) : NULL;

	return addresses != NULL;
}

static char *plan_vnc(LuPlan *plan, const char *value, const char *what)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(value, "vnc");
	const char *display = lu_opts_get(opts, "vnc");
	g_autofree char *temporary = NULL, *name = NULL, *addresses = NULL;

	if (lu_opts_bool(opts, "password", FALSE) && !lu_opts_get(opts, "password-secret"))
		lu_plan_refuse(plan, "%s: its password was set while QEMU ran and cannot be read",
			       what);
	if (lu_opts_get(opts, "websocket") || lu_opts_bool(opts, "reverse", FALSE))
		lu_plan_refuse(plan, "%s: websocket and reverse cannot be handed over yet", what);
	/* An upgraded one has "none", and was told later where to listen. */
	if (!display || (!strcmp(display, "none") && !vnc_listens(plan)))
		return g_strdup(value);
	lu_plan_note(plan, "%s: its connections end", what);
	if (g_str_has_prefix(display, "unix:")) {
		temporary = lu_plan_path(plan, what, display + strlen("unix:"));
		name = g_strconcat("unix:", temporary, NULL);
		lu_opts_set(opts, "vnc", name);
		return lu_opts_text(opts);
	}
	/* The port is the running process's until that ends. */
	addresses = plan->running->qmp ? vnc_addresses(plan) : NULL;
	if (!addresses)
		lu_plan_refuse(plan, "%s: QEMU does not say where it listens", what);
	else
		g_ptr_array_add(plan->afterwards,
				g_strdup_printf("{\"execute\": \"display-update\", \"arguments\": "
						"{\"type\": \"vnc\", \"addresses\": [%s]}}",
						addresses));
	lu_opts_set(opts, "vnc", "none");
	return lu_opts_text(opts);
}

void lu_plan_vnc(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *what = g_strdup_printf("-vnc %s", option->value);
	g_autofree char *value = plan_vnc(plan, option->value, what);

	lu_option_set(option, value);
}

void lu_plan_display(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *what = g_strdup_printf("-display %s", option->value), *value = NULL;
	g_autofree char *vnc = NULL;

	if (g_str_has_prefix(option->value, "vnc=")) {
		vnc = plan_vnc(plan, option->value + strlen("vnc="), what);
		value = g_strconcat("vnc=", vnc, NULL);
		lu_option_set(option, value);
	} else if (g_str_has_prefix(option->value, "curses") ||
		   g_str_has_prefix(option->value, "dbus") ||
		   g_str_has_prefix(option->value, "spice")) {
		lu_plan_refuse(plan, "%s cannot be handed over yet", what);
	} else if (!g_str_has_prefix(option->value, "none") &&
		   !g_str_has_prefix(option->value, "egl-headless")) {
		lu_plan_note(plan, "%s: a new window is opened", what);
	}
}

/* Without -display and the like QEMU may choose VNC by itself. */
void lu_plan_default_vnc(LuPlan *plan)
{
	static const char *const names[] = {"display", "vnc",	 "nographic",
					    "spice",   "curses", "sdl"};
	g_autofree char *addresses = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		if (lu_command_line_has(plan->running->line, names[i]))
			return;
	addresses = vnc_addresses(plan);
	if (addresses)
		lu_command_line_append(plan->line, "vnc", "default");
}
