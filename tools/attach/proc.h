/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What /proc says of a process. Nothing here fails loudly: what cannot be read is absent. */
#ifndef TOOLS_ATTACH_PROC_H
#define TOOLS_ATTACH_PROC_H

#include <glib.h>
#include <sys/types.h>

/* /proc/PID/NAME as a path, and as text (NULL if it cannot be read); the caller's. */
char *attach_proc_path(pid_t pid, const char *name);
char *attach_proc_read(pid_t pid, const char *name);
/* The target of a link of /proc/PID; the caller's. */
char *attach_proc_link(pid_t pid, const char *name);
/* What stands behind "NAME:" in /proc/PID/status; the caller's. */
char *attach_proc_status(pid_t pid, const char *name);
/* The same as a number; -1 if it is not there. */
gint64 attach_proc_status_number(pid_t pid, const char *name);
/* The process's name, for people: "gdb"; the caller's. */
char *attach_proc_comm(pid_t pid);

/* One line of /proc/PID/maps. */
typedef struct AttachMapping {
	guint64 start, end, offset;
	guint64 dev, ino; /* 0: no file */
	char *path;	  /* "" if it has none */
} AttachMapping;
/* Of AttachMapping, owned; empty if it cannot be read. */
GPtrArray *attach_proc_maps(pid_t pid);
/* The next file in @maps, from @*index on, that is mapped from its first byte; NULL at the end. */
const AttachMapping *attach_proc_next_file(const GPtrArray *maps, guint *index);

/*
 * What tells a process from every other one that gets its number, and from itself before it
 * executed another program; NULL if it cannot be read. The caller's.
 */
char *attach_proc_identity(pid_t pid);
/* An entry of the auxiliary vector (AT_ENTRY); 0 if it is not there. */
guint64 attach_proc_auxv(pid_t pid, guint64 type);
/*
 * The number of the system call in which the main thread sleeps; -1 if it does not, -2 if the
 * kernel does not say.
 */
int attach_proc_syscall(pid_t pid);

#endif
