/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel says of a process. */
#ifndef LM_QTEST_PROCESS_H
#define LM_QTEST_PROCESS_H

#include <glib.h>
#include <sys/types.h>

/* Runs a tool; its exit status, and what it said in *said (the caller's; may be NULL). */
int process_run(char **said, const char *const *argv);
/* -1 if the process is gone. */
int process_count_fds(pid_t pid);
int process_count_threads(pid_t pid);
/* The sum of a field of smaps, in bytes: "AnonHugePages", "Rss". */
guint64 process_smaps_bytes(pid_t pid, const char *field);
/* All that is mapped; 0 if the process is gone. */
guint64 process_address_bytes(pid_t pid);

/* 'R', 'S', 'T' ... as in proc(5); 0 if the process is gone. */
char process_state(pid_t pid);

#endif
