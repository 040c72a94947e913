/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of another process. It takes the right to trace it, and no stop. */
#ifndef TOOLS_ATTACH_REMOTE_H
#define TOOLS_ATTACH_REMOTE_H

#include "error.h"

int attach_remote_read(pid_t pid, guint64 address, void *buffer, gsize bytes, GError **errp);
/* A string of at most @max bytes, cut there; the caller's. NULL if it cannot be read. */
char *attach_remote_string(pid_t pid, guint64 address, gsize max);

#endif
