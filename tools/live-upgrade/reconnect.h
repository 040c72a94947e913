/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections of the running process that the new one gets anew when it has the guest. */
#ifndef LIVE_UPGRADE_RECONNECT_H
#define LIVE_UPGRADE_RECONNECT_H

#include "process.h"

typedef struct LuConnection {
	char *path; /* of the server, absolute, as QEMU sees it */
	int old;    /* the running process's descriptor */
	int new;    /* the new one's, a socket that is not connected yet */
} LuConnection;

GPtrArray *lu_connections_new(void); /* of LuConnection, owned */
void lu_connections_add(GPtrArray *connections, const char *path, int old, int new);

/*
 * Ends the connections of @old (NULL: it has ended already), and makes those of @new. Done by a
 * run before this one is done. Says in @problems (of char *, the caller's) what could not be.
 */
void lu_connections_make(GPtrArray *connections, const LuProcess *old, const LuProcess *new,
			 GPtrArray *problems);

#endif
