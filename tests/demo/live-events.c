/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When a process stopped its guest, and when one runs it: by the events STOP and RESUME of a
 * monitor of its own, which QEMU connects to a socket that is listened on here. So no event can
 * come before somebody listens, even from a process that has no other monitor yet. The times are
 * those that QEMU itself writes into its events: no scheduling of this process is in them.
 */
#include "live.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct Events {
	char *path;
	int listener, fd;
	GString *unread;
};

Events *events_listen(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	Events *events = g_new0(Events, 1);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	events->path = g_strdup(path);
	events->fd = -1;
	events->unread = g_string_new(NULL);
	events->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (events->listener < 0 ||
	    bind(events->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(events->listener, 1))
		demo_fail("%s: %s", path, g_strerror(errno));
	return events;
}

void events_free(Events *events)
{
	if (!events)
		return;
	if (events->fd >= 0)
		close(events->fd);
	close(events->listener);
	unlink(events->path);
	g_string_free(events->unread, TRUE);
	g_free(events->path);
	g_free(events);
}

char *events_argument(const Events *events)
{
	return g_strdup_printf("socket,id=events,path=%s,server=off", events->path);
}

static gboolean is_readable(int fd, gint64 end_us)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, lm_left_ms(end_us)) == 1;
}

void events_connect(Events *events)
{
	static const char hello[] = "{\"execute\": \"qmp_capabilities\"}\n";

	if (is_readable(events->listener, lm_end_us(LM_WAIT_MS)))
		events->fd = accept4(events->listener, NULL, NULL, SOCK_CLOEXEC);
	if (events->fd < 0 ||
	    write(events->fd, hello, sizeof(hello) - 1) != (ssize_t)sizeof(hello) - 1)
		demo_fail("QEMU did not connect its monitor to %s", events->path);
}

/* The next whole line, or NULL; the caller's. */
static char *next_line(Events *events, gint64 end_us)
{
	char text[4096];

	for (;;) {
		const char *end = memchr(events->unread->str, '\n', events->unread->len);
		ssize_t got;

		if (end) {
			gssize length = end - events->unread->str;
			char *line = g_strndup(events->unread->str, (gsize)length);

			g_string_erase(events->unread, 0, length + 1);
			return line;
		}
		if (!is_readable(events->fd, end_us))
			return NULL;
		got = read(events->fd, text, sizeof(text));
		if (got <= 0)
			return NULL;
		g_string_append_len(events->unread, text, got);
	}
}

/* When @line's event was; 0 if it is not a @name. */
static gint64 event_us(const char *line, const char *name)
{
	g_autoptr(JsonNode) node = json_from_string(line, NULL);
	const char *is = node ? qmp_str(node, "event") : NULL;
	JsonNode *time;

	if (!is || strcmp(is, name))
		return 0;
	time = json_object_get_member(json_node_get_object(node), "timestamp");
	return qmp_int(time, "seconds") * G_USEC_PER_SEC + qmp_int(time, "microseconds");
}

gint64 events_wait(Events *events, const char *name, guint timeout_ms)
{
	gint64 end_us = lm_end_us(timeout_ms), us = 0;

	while (!us) {
		g_autofree char *line = next_line(events, end_us);

		if (!line)
			return 0;
		us = event_us(line, name);
	}
	return us;
}

void events_measure(Events *source, Events *destination, gint64 begin_us, Hop *hop)
{
	gint64 resume_us = events_wait(destination, "RESUME", MIGRATION_MS);
	gint64 stop_us = resume_us ? events_wait(source, "STOP", LM_WAIT_MS) : 0;

	if (!resume_us || !stop_us)
		return; /* who asks for the status is told why */
	hop->down_ms = (double)(resume_us - stop_us) / 1000;
	hop->until_ms = (double)(resume_us - begin_us) / 1000;
}
