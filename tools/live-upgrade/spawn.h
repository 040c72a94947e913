/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that runs as the running QEMU does. It is made in two halves: first a child that
 * waits, so that it can be written down who it is; then its exec. If this program dies in between,
 * the child ends.
 */
#ifndef LIVE_UPGRADE_SPAWN_H
#define LIVE_UPGRADE_SPAWN_H

#include "context.h"
#include "process.h"

typedef struct LuDescriptor {
	int fd;	    /* here; owned by the array that holds it */
	int number; /* there */
} LuDescriptor;

/* Of LuDescriptor, which are closed with it. */
GArray *lu_descriptors_new(void);
/* Takes @fd. */
void lu_descriptors_add(GArray *descriptors, int fd, int number);

typedef struct LuSpawn {
	const LuProcess *like;
	const LuContext *context;
	char **argv;
	const char *cwd;     /* as the new process sees it */
	GArray *descriptors; /* 0, 1 and 2 too; what is absent is /dev/null */
	gboolean sandboxed;
	gboolean temporary; /* ends when this process does */
	gboolean orphan;    /* no child of this process: the first process adopts it */
} LuSpawn;

typedef struct LuChild {
	pid_t pid;
	int pidfd;
	guint64 start_time;
	int go_fd, error_fd;
} LuChild;

gboolean lu_spawn_fork(const LuSpawn *spawn, LuChild *child, GError **errp);
/* Lets it go on to its exec, and waits for that. */
gboolean lu_spawn_exec(LuChild *child, const char *program, GError **errp);
/* Kills it if it still is, waits for its end, and clears. */
void lu_child_clear(LuChild *child);
/* Leaves it running. */
void lu_child_release(LuChild *child);
/* How it ended, "exited with 1"; the caller's. NULL if it has not, or is no child. */
char *lu_child_end(LuChild *child);

#endif
