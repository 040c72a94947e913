// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A server that has one client at a time (passt) turns others away, so the old connection is ended
 * first. That the server has taken note of it is seen at the old connection, too: the server
 * closes its end. The new process's socket, of which this one takes a copy, is connected then.
 */
#include "reconnect.h"
#include "descriptor.h"
#include "handle.h"
#include "qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define END_MS	   2000
#define CONNECT_MS 5000
#define RETRY_MS   10
/* A server that turns a client away does it at once. */
#define STAYS_MS 20

static void connection_free(gpointer data)
{
	LuConnection *connection = data;

	g_free(connection->path);
	g_free(connection);
}

GPtrArray *lu_connections_new(void)
{
	return g_ptr_array_new_with_free_func(connection_free);
}

void lu_connections_add(GPtrArray *connections, const char *path, int old, int new)
{
	LuConnection *connection = g_new0(LuConnection, 1);

	connection->path = g_strdup(path);
	connection->old = old;
	connection->new = new;
	g_ptr_array_add(connections, connection);
}

/* The other side can still speak, so that its end is heard. */
static void end_old(const LuConnection *connection, const LuProcess *old)
{
	g_auto(LuFd) fd = lu_descriptor_get(old, connection->old, NULL);
	struct pollfd pollfd = {.fd = fd, .events = 0}; /* POLLHUP comes unasked */

	if (fd < 0 || shutdown(fd, SHUT_WR) < 0)
		return;
	poll(&pollfd, 1, END_MS);
}

static int connect_new(int fd, const char *path)
{
	gint64 end_us = lu_end_us(CONNECT_MS);

	while (lu_unix_connect_socket(fd, path) < 0) {
		/* EAGAIN: its queue is full; the others: it is about to listen again. */
		if ((errno != EAGAIN && errno != ECONNREFUSED && errno != ENOENT) ||
		    !lu_left_ms(end_us))
			return errno == EISCONN ? 0 : errno;
		poll(NULL, 0, RETRY_MS);
	}
	return 0;
}

static int make(const LuConnection *connection, const LuProcess *old, const LuProcess *new)
{
	g_auto(LuFd) fd = lu_descriptor_get(new, connection->new, NULL);
	g_autofree char *here = lu_process_path(new, connection->path);
	struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};
	int err;

	if (fd < 0)
		return EBADF;
	if (lu_descriptor_is_connected(fd))
		return 0;
	if (old)
		end_old(connection, old);
	err = connect_new(fd, here);
	if (!err && poll(&pollfd, 1, STAYS_MS) > 0)
		err = ECONNRESET;
	return err;
}

void lu_connections_make(GPtrArray *connections, const LuProcess *old, const LuProcess *new,
			 GPtrArray *problems)
{
	for (guint i = 0; i < connections->len; i++) {
		const LuConnection *connection = connections->pdata[i];
		int err = make(connection, old, new);

		if (err)
			g_ptr_array_add(problems,
					g_strdup_printf("the guest's network by %s is not "
							"connected: %s",
							connection->path, g_strerror(err)));
	}
}
