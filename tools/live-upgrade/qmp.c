// SPDX-License-Identifier: GPL-2.0-or-later
#include "qmp.h"
#include "error.h"
#include "handle.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <local/rights.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define REPLY_MS 20000

G_DEFINE_QUARK(live - upgrade - qmp - error - quark, lu_qmp_error)

struct LuQmp {
	LuFd fd;
	pid_t peer;
	GString *in;
	gint64 last_id; /* of a command */
};

void lu_qmp_free(LuQmp *qmp)
{
	if (!qmp)
		return;
	lu_fd_clear(&qmp->fd);
	g_string_free(qmp->in, TRUE);
	g_free(qmp);
}

pid_t lu_qmp_peer(const LuQmp *qmp)
{
	return qmp->peer;
}

/* --------------------------------------------------------------- connecting */

/* The address has room for 107 bytes, a path in another root is longer: so by its folder. */
int lu_unix_connect_socket(int fd, const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path), *name = g_path_get_basename(path);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	g_auto(LuFd) dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -1;
	if (g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir,
		       name) >= (int)sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

int lu_unix_connect(const char *path)
{
	g_auto(LuFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || lu_unix_connect_socket(fd, path) < 0)
		return -1;
	return lu_fd_steal(&fd);
}

static gboolean has_ended(int pidfd, int timeout_ms)
{
	struct pollfd pollfd = {.fd = pidfd, .events = POLLIN}; /* -1 is passed over */

	return poll(&pollfd, 1, timeout_ms) > 0;
}

LuQmp *lu_qmp_open(const char *path, int pidfd, gint64 end_us, GError **errp)
{
	for (;;) {
		int fd = lu_unix_connect(path), err = errno;

		if (fd >= 0)
			return lu_qmp_new(fd, end_us, errp);
		/* EAGAIN: its queue of clients is full, for a moment or for good. */
		if ((pidfd < 0 && err != EAGAIN) || !lu_left_ms(end_us)) {
			lu_fail_errno(errp, LU_ERROR_REFUSED, err, "QMP socket %s", path);
			return NULL;
		}
		if (has_ended(pidfd, 10)) {
			lu_fail(errp, LU_ERROR_FAILED, "it ended before it opened its QMP socket");
			return NULL;
		}
	}
}

/* ----------------------------------------------------------------- messages */

static gboolean fill(LuQmp *qmp, gint64 end_us, GError **errp)
{
	struct pollfd pollfd = {.fd = qmp->fd, .events = POLLIN};
	char chunk[4096];
	ssize_t got;

	if (poll(&pollfd, 1, lu_left_ms(end_us)) <= 0)
		return lu_fail(errp, LU_ERROR_FAILED, "no answer on the QMP socket");
	got = read(qmp->fd, chunk, sizeof(chunk));
	if (got <= 0)
		return lu_fail(errp, LU_ERROR_FAILED, "QEMU closed the QMP socket");
	g_string_append_len(qmp->in, chunk, got);
	return TRUE;
}

static JsonNode *next_message(LuQmp *qmp, gint64 end_us, GError **errp)
{
	g_autofree char *line = NULL;
	JsonNode *message;
	char *end;

	while (!(end = memchr(qmp->in->str, '\n', qmp->in->len)))
		if (!fill(qmp, end_us, errp))
			return NULL;
	line = g_strndup(qmp->in->str, end - qmp->in->str);
	g_string_erase(qmp->in, 0, end - qmp->in->str + 1);
	message = json_from_string(line, NULL);
	if (message && JSON_NODE_HOLDS_OBJECT(message))
		return message;
	g_clear_pointer(&message, json_node_unref);
	lu_fail(errp, LU_ERROR_REFUSED, "what answers there does not speak QMP");
	return NULL;
}

static gboolean send_all(LuQmp *qmp, const char *text, gint64 end_us, GError **errp)
{
	struct pollfd pollfd = {.fd = qmp->fd, .events = POLLOUT};
	gsize length = strlen(text);

	while (length) {
		ssize_t sent = send(qmp->fd, text, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN && poll(&pollfd, 1, lu_left_ms(end_us)) > 0)
			continue;
		if (sent < 0 && errno != EINTR)
			return lu_fail_errno(errp, LU_ERROR_FAILED, errno, "QMP socket");
		if (sent > 0) {
			text += sent;
			length -= sent;
		}
	}
	return TRUE;
}

/* Tests do not wait as long as administrators. */
static guint reply_ms(void)
{
	const char *ms = LM_FAULT_INJECTION ? g_getenv("QEMU_LIVE_UPGRADE_REPLY_MS") : NULL;

	return ms ? (guint)g_ascii_strtoull(ms, NULL, 10) : REPLY_MS;
}

/* A line with @id, by which its reply is known from one that comes after its deadline. */
static char *with_id(const char *message, gint64 id)
{
	g_autoptr(JsonNode) node = json_from_string(message, NULL);
	g_autofree char *text = NULL;

	json_object_set_int_member(json_node_get_object(node), "id", id);
	text = json_to_string(node, FALSE);
	return g_strconcat(text, "\n", NULL);
}

static gboolean is_late(JsonNode *reply, gint64 id)
{
	return lu_json_member(reply, "id") && lu_json_int(reply, "id") != id;
}

JsonNode *lu_qmp_send(LuQmp *qmp, const char *message, GError **errp)
{
	const gint64 end_us = lu_end_us(reply_ms()), id = ++qmp->last_id;
	g_autofree char *line = with_id(message, id);

	if (!send_all(qmp, line, end_us, errp))
		return NULL;
	for (;;) {
		g_autoptr(JsonNode) reply = next_message(qmp, end_us, errp);
		const char *text;

		if (!reply)
			return NULL;
		if (is_late(reply, id))
			continue;
		if (lu_json_member(reply, "return"))
			return json_node_ref(lu_json_member(reply, "return"));
		if (!lu_json_member(reply, "error"))
			continue; /* an event */
		text = lu_json_str(lu_json_member(reply, "error"), "desc");
		g_set_error_literal(errp, LU_QMP_ERROR, 0, text ? text : "an error without a text");
		return NULL;
	}
}

static JsonNode *call(LuQmp *qmp, GError **errp, const char *command, const char *arguments,
		      va_list *args)
{
	g_autofree char *expanded = arguments ? lu_json_expand(arguments, args) : NULL;
	g_autofree char *name = lu_json_quote(command);
	g_autofree char *message =
		g_strdup_printf("{\"execute\": %s%s%s}", name, expanded ? ", \"arguments\": " : "",
				expanded ? expanded : "");
	JsonNode *reply = lu_qmp_send(qmp, message, errp);

	if (!reply)
		g_prefix_error(errp, "%s: ", command);
	return reply;
}

JsonNode *lu_qmp_call(LuQmp *qmp, GError **errp, const char *command, const char *arguments, ...)
{
	JsonNode *reply;
	va_list args;

	va_start(args, arguments);
	reply = call(qmp, errp, command, arguments, &args);
	va_end(args);
	return reply;
}

gboolean lu_qmp_do(LuQmp *qmp, GError **errp, const char *command, const char *arguments, ...)
{
	g_autoptr(JsonNode) reply = NULL;
	va_list args;

	va_start(args, arguments);
	reply = call(qmp, errp, command, arguments, &args);
	va_end(args);
	return reply != NULL;
}

/* A space between two messages carries it. */
gboolean lu_qmp_pass_fd(LuQmp *qmp, int fd, const char *name, GError **errp)
{
	LM_RIGHTS(control, 1);
	struct iovec iov = {(char[1]){' '}, 1};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	lm_rights_attach(&message, control, &fd, 1);
	if (sendmsg(qmp->fd, &message, MSG_NOSIGNAL) != 1)
		return lu_fail_errno(errp, LU_ERROR_FAILED, errno, "QMP socket");
	return lu_qmp_do(qmp, errp, "getfd", "{'fdname': %s}", name);
}

char *lu_qmp_hmp(LuQmp *qmp, const char *line, GError **errp)
{
	g_autoptr(JsonNode) reply =
		lu_qmp_call(qmp, errp, "human-monitor-command", "{'command-line': %s}", line);

	return reply ? g_strdup(json_node_get_string(reply)) : NULL;
}

LuQmp *lu_qmp_new(int fd, gint64 end_us, GError **errp)
{
	g_autoptr(LuQmp) qmp = g_new0(LuQmp, 1);
	struct ucred peer = {0};
	socklen_t size = sizeof(peer);
	g_autoptr(JsonNode) greeting = NULL;

	qmp->fd = fd;
	qmp->in = g_string_new(NULL);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	qmp->peer = peer.pid;
	greeting = next_message(qmp, end_us, errp);
	if (!greeting) {
		g_prefix_error(errp, "no greeting (is another client connected?): ");
		return NULL;
	}
	if (!lu_json_member(greeting, "QMP")) {
		lu_fail(errp, LU_ERROR_REFUSED, "what answers there does not speak QMP");
		return NULL;
	}
	return lu_qmp_do(qmp, errp, "qmp_capabilities", NULL) ? g_steal_pointer(&qmp) : NULL;
}
