// SPDX-License-Identifier: GPL-2.0-or-later
#include "relay-serve.h"
#include "json.h"
#include "qmp.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)

typedef struct Server {
	const char *uri;
	virConnectPtr connection;
	virDomainPtr domain;
} Server;

/* ------------------------------------------------------------------- replies */

static char *failed(const char *what)
{
	const char *message = virGetLastErrorMessage();

	return lu_json_format("{'error': {'class': 'GenericError', 'desc': %s}}",
			      what ? what : message);
}

/* {"return": ...} of a node, which is taken. */
static char *returned(JsonNode *node)
{
	g_autoptr(JsonNode) value = node;
	g_autofree char *text = json_to_string(value, FALSE);

	return g_strdup_printf("{\"return\": %s}", text);
}

static JsonObject *describe(virDomainPtr domain)
{
	JsonObject *object = json_object_new();
	char uuid[VIR_UUID_STRING_BUFLEN] = "";

	virDomainGetUUIDString(domain, uuid);
	json_object_set_string_member(object, "name", virDomainGetName(domain));
	json_object_set_string_member(object, "uuid", uuid);
	/* (unsigned) -1: it does not run. */
	json_object_set_int_member(object, "id", (int)virDomainGetID(domain));
	return object;
}

static JsonNode *object_node(JsonObject *object)
{
	JsonNode *node = json_node_new(JSON_NODE_OBJECT);

	json_node_take_object(node, object);
	return node;
}

/* ------------------------------------------------------------------ commands */

static char *connect_to_libvirt(Server *server)
{
	if (!server->connection)
		server->connection = virConnectOpen(server->uri);
	if (!server->connection)
		return failed(NULL);
	if (g_strcmp0(virConnectGetType(server->connection), "QEMU"))
		return failed("this is not libvirt's driver for QEMU");
	return g_strdup("{\"return\": {}}");
}

static char *list(Server *server)
{
	virDomainPtr *domains = NULL;
	JsonArray *array;
	JsonNode *node;
	int count = virConnectListAllDomains(server->connection, &domains,
					     VIR_CONNECT_LIST_DOMAINS_ACTIVE);

	if (count < 0)
		return failed(NULL);
	array = json_array_new();
	for (int i = 0; i < count; i++) {
		json_array_add_object_element(array, describe(domains[i]));
		virDomainFree(domains[i]);
	}
	free(domains);
	node = json_node_new(JSON_NODE_ARRAY);
	json_node_take_array(node, array);
	return returned(node);
}

static char *select_domain(Server *server, const char *name)
{
	g_autoptr(virDomain) domain = virDomainLookupByName(server->connection, name);
	virDomainJobInfo job = {0};
	JsonObject *object;
	int state = 0, reason = 0;

	if (!domain)
		domain = virDomainLookupByUUIDString(server->connection, name);
	if (!domain) {
		g_autofree char *text = g_strdup_printf("libvirt has no domain %s", name);

		return failed(text);
	}
	if (virDomainGetState(domain, &state, &reason, 0) < 0)
		return failed(NULL);
	object = describe(domain);
	json_object_set_int_member(object, "state", state);
	json_object_set_int_member(object, "reason", reason);
	if (!virDomainGetJobInfo(domain, &job))
		json_object_set_int_member(object, "job", job.type);
	if (server->domain)
		virDomainFree(server->domain);
	server->domain = g_steal_pointer(&domain);
	return returned(object_node(object));
}

static char *probe(Server *server, const char *emulator)
{
	char *xml =
		virConnectGetDomainCapabilities(server->connection, emulator, NULL, NULL, NULL, 0);

	if (!xml)
		return failed(NULL);
	free(xml);
	return g_strdup("{\"return\": {}}");
}

/* ------------------------------------------------ a disk that libvirt copies */

static char *copy_begin(virDomainPtr domain, JsonNode *arguments)
{
	const char *type = lu_json_str(arguments, "type");
	const char *limit = lu_json_str(arguments, "bandwidth");
	g_autofree char *xml = g_markup_printf_escaped(
		"<disk type='%s'><source %s='%s'/><driver type='%s'/></disk>", type,
		g_strcmp0(type, "block") ? "file" : "dev", lu_json_str(arguments, "file"),
		lu_json_str(arguments, "format"));
	virTypedParameterPtr params = NULL;
	int count = 0, max = 0, ret;

	if (g_strcmp0(limit, "0") &&
	    virTypedParamsAddULLong(&params, &count, &max, VIR_DOMAIN_BLOCK_COPY_BANDWIDTH,
				    g_ascii_strtoull(limit, NULL, 10)) < 0)
		return failed(NULL);
	ret = virDomainBlockCopy(domain, lu_json_str(arguments, "disk"), xml, params, count,
				 VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB |
					 VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES);
	virTypedParamsFree(params, count);
	return ret < 0 ? failed(NULL) : g_strdup("{\"return\": {}}");
}

static char *copy_query(virDomainPtr domain, const char *disk)
{
	virDomainBlockJobInfo info = {0};
	int active = virDomainGetBlockJobInfo(domain, disk, &info, 0);
	JsonObject *object;

	if (active < 0)
		return failed(NULL);
	object = json_object_new();
	json_object_set_boolean_member(object, "active", active > 0);
	json_object_set_int_member(object, "offset", (gint64)info.cur);
	json_object_set_int_member(object, "len", (gint64)info.end);
	return returned(object_node(object));
}

static char *copy_pivot(virDomainPtr domain, const char *disk)
{
	if (virDomainBlockJobAbort(domain, disk, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) < 0)
		return failed(NULL);
	return g_strdup("{\"return\": {}}");
}

/* NULL: the command is another one. */
static char *copy(Server *server, const char *command, JsonNode *arguments)
{
	if (!g_str_has_prefix(command, "libvirt-copy-"))
		return NULL;
	if (!server->domain)
		return failed("no domain was selected");
	if (!strcmp(command, "libvirt-copy-begin"))
		return copy_begin(server->domain, arguments);
	if (!strcmp(command, "libvirt-copy-query"))
		return copy_query(server->domain, lu_json_str(arguments, "disk"));
	if (!strcmp(command, "libvirt-copy-pivot"))
		return copy_pivot(server->domain, lu_json_str(arguments, "disk"));
	return NULL;
}

/* ---------------------------------------------------------------------- serving */

/* libvirt gives QEMU's whole answer, an error's too. */
static char *pass_on(Server *server, const char *message)
{
	char *reply = NULL;
	char *copy;

	if (!server->domain)
		return failed("no domain was selected");
	if (virDomainQemuMonitorCommand(server->domain, message, &reply,
					VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) < 0)
		return failed(NULL);
	copy = g_strdup(reply);
	free(reply);
	return copy;
}

static char *answer(Server *server, const char *line)
{
	g_autoptr(JsonNode) message = json_from_string(line, NULL);
	JsonNode *arguments = lu_json_member(message, "arguments");
	const char *command = lu_json_str(message, "execute");
	char *reply;

	virResetLastError();
	if (!g_strcmp0(command, "qmp_capabilities"))
		return connect_to_libvirt(server);
	if (!server->connection)
		return failed("there is no connection to libvirt");
	if (!g_strcmp0(command, "libvirt-list"))
		return list(server);
	if (!g_strcmp0(command, "libvirt-select"))
		return select_domain(server, lu_json_str(arguments, "domain"));
	if (!g_strcmp0(command, "libvirt-probe"))
		return probe(server, lu_json_str(arguments, "emulator"));
	reply = command ? copy(server, command, arguments) : NULL;
	return reply ? reply : pass_on(server, line);
}

/* A line with the id of the command that it answers; libvirt sends commands with ids of its own. */
static char *line_of(const char *reply, JsonNode *id)
{
	g_autoptr(JsonNode) node = json_from_string(reply, NULL);

	if (node && id)
		json_object_set_member(json_node_get_object(node), "id", json_node_copy(id));
	return node ? json_to_string(node, FALSE) : g_strdup(reply);
}

static char *answer_line(Server *server, const char *line)
{
	g_autoptr(JsonNode) message = json_from_string(line, NULL);
	JsonNode *member = lu_json_member(message, "id");
	g_autoptr(JsonNode) id = member ? json_node_copy(member) : NULL;
	g_autofree char *text = NULL, *reply = NULL;

	if (id)
		json_object_remove_member(json_node_get_object(message), "id");
	text = message ? json_to_string(message, FALSE) : g_strdup(line);
	reply = answer(server, text);
	return line_of(reply, id);
}

static void keep_silent(void *opaque, virErrorPtr error)
{
}

void lu_relay_serve(const char *uri, int fd)
{
	Server server = {.uri = uri};
	FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
	char *line = NULL;
	size_t size = 0;

	virInitialize();
	virSetErrorFunc(NULL, keep_silent);
	fputs("{\"QMP\": {}}\n", out);
	fflush(out);
	while (getline(&line, &size, in) > 0) {
		g_autofree char *reply = NULL;

		g_strchomp(line);
		if (!*line)
			continue;
		reply = answer_line(&server, line);
		fputs(reply, out);
		fputc('\n', out);
		if (fflush(out))
			break;
	}
}
