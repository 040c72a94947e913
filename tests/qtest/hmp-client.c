/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hmp-client.h"
#include "harness.h"
#include "qmp-client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PROMPT "(qemu) "

struct HmpClient {
	int fd;
};

void hmp_free(HmpClient *client)
{
	if (!client)
		return;
	close(client->fd);
	g_free(client);
}

/* Everything up to a prompt that nothing follows. */
static char *read_answer(HmpClient *client, guint timeout_ms, GError **errp)
{
	g_autoptr(GString) text = g_string_new(NULL);
	gint64 end_us = lm_end_us(timeout_ms);

	while (!g_str_has_suffix(text->str, PROMPT)) {
		struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
		char chunk[1024];
		ssize_t got;

		if (poll(&pollfd, 1, lm_left_ms(end_us)) <= 0) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_TIMEOUT,
				    "no prompt from the monitor; it said: %s", text->str);
			return NULL;
		}
		got = read(client->fd, chunk, sizeof(chunk));
		if (got <= 0) {
			g_set_error(errp, QMP_ERROR, QMP_ERROR_CLOSED,
				    "the monitor was closed; it said: %s", text->str);
			return NULL;
		}
		g_string_append_len(text, chunk, got);
	}
	return g_strdup(text->str);
}

/* Without terminal sequences and carriage returns. */
static char *plain(const char *text)
{
	g_autoptr(GRegex) sequences = g_regex_new("\\x1b\\[[0-9;]*[A-Za-z]|\r", 0, 0, NULL);

	return g_regex_replace_literal(sequences, text, -1, 0, "", 0, NULL);
}

HmpClient *hmp_connect(const char *path, guint timeout_ms, GError **errp)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	g_autoptr(HmpClient) client = g_new0(HmpClient, 1);
	g_autofree char *greeting = NULL;

	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (connect(client->fd, (struct sockaddr *)&address, sizeof(address))) {
		g_set_error(errp, QMP_ERROR, QMP_ERROR_SYSTEM, "%s: %s", path, g_strerror(errno));
		return NULL;
	}
	greeting = read_answer(client, timeout_ms, errp);
	return greeting ? g_steal_pointer(&client) : NULL;
}

char *hmp_command(HmpClient *client, const char *line, guint timeout_ms, GError **errp)
{
	g_autofree char *sent = g_strconcat(line, "\n", NULL);
	g_autofree char *raw = NULL, *said = NULL;
	char *echo_end, *prompt;

	if (send(client->fd, sent, strlen(sent), MSG_NOSIGNAL) != (ssize_t)strlen(sent)) {
		g_set_error(errp, QMP_ERROR, QMP_ERROR_CLOSED, "the monitor was closed");
		return NULL;
	}
	raw = read_answer(client, timeout_ms, errp);
	if (!raw)
		return NULL;
	said = plain(raw);
	echo_end = strchr(said, '\n');
	prompt = said + strlen(said) - strlen(PROMPT);
	*prompt = '\0';
	return g_strdup(echo_end && echo_end < prompt ? echo_end + 1 : "");
}
