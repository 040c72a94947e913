/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of the running process. */
#ifndef LIVE_UPGRADE_DESCRIPTOR_H
#define LIVE_UPGRADE_DESCRIPTOR_H

#include "process.h"

/* A copy of it here (pidfd_getfd), or -1. */
int lu_descriptor_get(const LuProcess *process, int fd, GError **errp);
gboolean lu_descriptor_exists(const LuProcess *process, int fd);
gboolean lu_descriptor_is_terminal(const LuProcess *process, int fd);
/* Whether @fd, here, is a connected socket. */
gboolean lu_descriptor_is_connected(int fd);
/* The path at which descriptor @fd, here, listens; NULL if it does not, or has no such path. */
char *lu_descriptor_listening_path(int fd);
/* The listening socket at a numeric address, "127.0.0.1:4444" or "@name"; -1: there is none. */
int lu_descriptor_find_listener(const LuProcess *process, const char *address);
/* The connection to a unix socket that was bound as @path; -1: there is none, or several. */
int lu_descriptor_find_connection(const LuProcess *process, const char *path);
/* Where the process's connection @fd leads, a path in the file system; the caller's. NULL: none. */
char *lu_descriptor_peer_path(const LuProcess *process, int fd);

#endif
