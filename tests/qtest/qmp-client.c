/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp-client.h"
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

G_DEFINE_QUARK(qmp - error - quark, qmp_error)

struct QmpClient {
	int fd;
	guint timeout_ms;
	GString *in;
	GPtrArray *events; /* of QmpEvent */
};

static void event_free(QmpEvent *event)
{
	g_free(event->name);
	g_clear_pointer(&event->data, json_node_unref);
	g_free(event);
}

void qmp_free(QmpClient *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	g_string_free(client->in, TRUE);
	g_ptr_array_free(client->events, TRUE);
	g_free(client);
}

const char *qmp_str(const JsonNode *node, const char *member)
{
	JsonNode *object = (JsonNode *)node, *value = NULL;

	if (object && JSON_NODE_HOLDS_OBJECT(object))
		value = json_object_get_member(json_node_get_object(object), member);
	if (!value || json_node_get_value_type(value) != G_TYPE_STRING)
		return NULL;
	return json_node_get_string(value);
}

gint64 qmp_int(const JsonNode *node, const char *member)
{
	JsonObject *object = json_node_get_object((JsonNode *)node);

	return json_object_get_int_member_with_default(object, member, -1);
}

gboolean qmp_bool(const JsonNode *node, const char *member)
{
	JsonObject *object = json_node_get_object((JsonNode *)node);

	return json_object_get_boolean_member_with_default(object, member, FALSE);
}

/* Reads once; TRUE if there is more in client->in. */
static gboolean fill(QmpClient *client, int timeout_ms, GError **errp)
{
	struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
	char chunk[4096];
	ssize_t got;

	if (poll(&pollfd, 1, timeout_ms) <= 0) {
		g_set_error(errp, QMP_ERROR, QMP_ERROR_TIMEOUT, "no answer on the QMP socket");
		return FALSE;
	}
	got = read(client->fd, chunk, sizeof(chunk));
	if (got <= 0) {
		g_set_error(errp, QMP_ERROR, QMP_ERROR_CLOSED, "the QMP socket was closed");
		return FALSE;
	}
	g_string_append_len(client->in, chunk, got);
	return TRUE;
}

/* The next whole line, or NULL (without an error) if there is none yet. */
static JsonNode *take_line(QmpClient *client, GError **errp)
{
	char *end = memchr(client->in->str, '\n', client->in->len);
	g_autofree char *line = NULL;

	if (!end)
		return NULL;
	line = g_strndup(client->in->str, end - client->in->str);
	g_string_erase(client->in, 0, end - client->in->str + 1);
	return json_from_string(line, errp);
}

static gboolean keep_event(QmpClient *client, JsonNode *message)
{
	JsonObject *object = json_node_get_object(message);
	QmpEvent *event;

	if (!json_object_has_member(object, "event"))
		return FALSE;
	event = g_new0(QmpEvent, 1);
	event->name = g_strdup(json_object_get_string_member(object, "event"));
	event->received_us = g_get_monotonic_time();
	if (json_object_has_member(object, "data"))
		event->data = json_object_dup_member(object, "data");
	g_ptr_array_add(client->events, event);
	return TRUE;
}

/* The next message that is no event; events are kept on the way. */
static JsonNode *next_reply(QmpClient *client, gint64 end_us, GError **errp)
{
	for (;;) {
		g_autoptr(GError) error = NULL;
		g_autoptr(JsonNode) message = take_line(client, &error);

		if (error) {
			g_propagate_error(errp, g_steal_pointer(&error));
			return NULL;
		}
		if (message && !keep_event(client, message))
			return g_steal_pointer(&message);
		if (!message && !fill(client, lm_left_ms(end_us), errp))
			return NULL;
	}
}

gboolean qmp_poll(QmpClient *client)
{
	g_autoptr(GError) error = NULL;

	for (;;) {
		g_autoptr(JsonNode) message = take_line(client, NULL);

		if (message)
			keep_event(client, message);
		else if (!fill(client, 0, &error))
			return !g_error_matches(error, QMP_ERROR, QMP_ERROR_CLOSED);
	}
}

static gboolean send_all(QmpClient *client, const char *text, GError **errp)
{
	gsize length = strlen(text);

	while (length) {
		ssize_t sent = send(client->fd, text, length, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_CLOSED, "QMP socket: %s",
				    g_strerror(errno));
			return FALSE;
		}
		if (sent > 0) {
			text += sent;
			length -= sent;
		}
	}
	return TRUE;
}

static void append_quoted(GString *out, const char *text)
{
	g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), text);
	g_autofree char *quoted = json_to_string(node, FALSE);

	g_string_append(out, quoted);
}

static char *expand(const char *format, va_list *args)
{
	GString *out = g_string_new(NULL);

	for (const char *f = format; *f; f++) {
		if (*f == '\'') {
			g_string_append_c(out, '"');
		} else if (g_str_has_prefix(f, "%s")) {
			append_quoted(out, va_arg(*args, const char *));
			f++;
		} else if (g_str_has_prefix(f, "%d")) {
			g_string_append_printf(out, "%d", va_arg(*args, int));
			f++;
		} else if (g_str_has_prefix(f, "%ld")) {
			g_string_append_printf(out, "%ld", va_arg(*args, long));
			f += 2;
		} else {
			g_string_append_c(out, *f);
		}
	}
	return g_string_free(out, FALSE);
}

static void error_from_reply(JsonNode *error, GError **errp)
{
	const char *class_name = qmp_str(error, "class");
	QmpErrorCode code = QMP_ERROR_OTHER_CLASS;

	if (g_strcmp0(class_name, "GenericError") == 0)
		code = QMP_ERROR_GENERIC;
	else if (g_strcmp0(class_name, "CommandNotFound") == 0)
		code = QMP_ERROR_COMMAND_NOT_FOUND;
	g_set_error_literal(errp, QMP_ERROR, code, qmp_str(error, "desc"));
}

static JsonNode *execute(QmpClient *client, const char *name, const char *arguments, GError **errp)
{
	g_autoptr(GString) line = g_string_new("{\"execute\": ");
	g_autoptr(JsonNode) reply = NULL;
	JsonObject *object;

	append_quoted(line, name);
	if (arguments)
		g_string_append_printf(line, ", \"arguments\": %s", arguments);
	g_string_append(line, "}\n");
	if (!send_all(client, line->str, errp))
		return NULL;
	reply = next_reply(client, lm_end_us(client->timeout_ms), errp);
	if (!reply) {
		g_prefix_error(errp, "%s: ", name);
		return NULL;
	}
	object = json_node_get_object(reply);
	if (json_object_has_member(object, "return"))
		return json_object_dup_member(object, "return");
	error_from_reply(json_object_get_member(object, "error"), errp);
	return NULL;
}

JsonNode *qmp_command_va(QmpClient *client, GError **errp, const char *name, const char *arguments,
			 va_list args)
{
	g_autofree char *expanded = NULL;
	va_list copy;

	va_copy(copy, args);
	if (arguments)
		expanded = expand(arguments, &copy);
	va_end(copy);
	return execute(client, name, expanded, errp);
}

JsonNode *qmp_command(QmpClient *client, GError **errp, const char *name, const char *arguments,
		      ...)
{
	JsonNode *reply;
	va_list args;

	va_start(args, arguments);
	reply = qmp_command_va(client, errp, name, arguments, args);
	va_end(args);
	return reply;
}

/* A space between two messages carries it. */
gboolean qmp_pass_fd(QmpClient *client, int fd, GError **errp)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(char[1]){' '}, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_len = CMSG_LEN(sizeof(int));
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(client->fd, &message, MSG_NOSIGNAL) == 1)
		return TRUE;
	g_set_error(errp, QMP_ERROR, QMP_ERROR_SYSTEM, "cannot pass a descriptor: %s",
		    g_strerror(errno));
	return FALSE;
}

void qmp_set_timeout(QmpClient *client, guint timeout_ms)
{
	client->timeout_ms = timeout_ms;
}

char *qmp_hmp(QmpClient *client, const char *line, GError **errp)
{
	g_autoptr(JsonNode) reply =
		qmp_command(client, errp, "human-monitor-command", "{'command-line': %s}", line);

	return reply ? g_strdup(json_node_get_string(reply)) : NULL;
}

static const QmpEvent *find_event(QmpClient *client, const char *name, QmpPredicate predicate,
				  const void *opaque)
{
	for (guint i = 0; i < client->events->len; i++) {
		QmpEvent *event = client->events->pdata[i];

		if (event->waited || strcmp(event->name, name) ||
		    (predicate && !predicate(event, opaque)))
			continue;
		event->waited = TRUE;
		return event;
	}
	return NULL;
}

const QmpEvent *qmp_wait_event(QmpClient *client, const char *name, QmpPredicate predicate,
			       const void *opaque, guint timeout_ms, GError **errp)
{
	gint64 end_us = lm_end_us(timeout_ms);

	for (;;) {
		g_autoptr(JsonNode) message = NULL;
		const QmpEvent *event = find_event(client, name, predicate, opaque);

		if (event)
			return event;
		message = take_line(client, NULL);
		if (message) {
			keep_event(client, message);
		} else if (!fill(client, lm_left_ms(end_us), errp)) {
			g_prefix_error(errp, "event %s: ", name);
			return NULL;
		}
	}
}

const GPtrArray *qmp_events(const QmpClient *client)
{
	return client->events;
}

guint qmp_count_events(const QmpClient *client, const char *name)
{
	guint count = 0;

	for (guint i = 0; i < client->events->len; i++) {
		const QmpEvent *event = client->events->pdata[i];

		count += strcmp(event->name, name) == 0;
	}
	return count;
}

static int connect_until(const char *path, int pidfd, gint64 end_us, GError **errp)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
			return fd;
		close(fd);
		if (poll(&ended, 1, 5) > 0) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_CLOSED,
				    "QEMU ended before it "
				    "opened its QMP socket");
			return -1;
		}
		if (!lm_left_ms(end_us)) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_TIMEOUT, "%s: %s", path,
				    g_strerror(errno));
			return -1;
		}
	}
}

QmpClient *qmp_connect(const char *path, int pidfd, guint timeout_ms, GError **errp)
{
	gint64 end_us = lm_end_us(timeout_ms);
	int fd = connect_until(path, pidfd, end_us, errp);
	g_autoptr(QmpClient) client = NULL;
	g_autoptr(JsonNode) greeting = NULL, reply = NULL;

	if (fd < 0)
		return NULL;
	client = g_new0(QmpClient, 1);
	client->fd = fd;
	client->timeout_ms = LM_WAIT_MS;
	client->in = g_string_new(NULL);
	client->events = g_ptr_array_new_with_free_func((GDestroyNotify)event_free);
	greeting = next_reply(client, end_us, errp);
	if (!greeting)
		return NULL;
	reply = qmp_command(client, errp, "qmp_capabilities", NULL);
	return reply ? g_steal_pointer(&client) : NULL;
}
