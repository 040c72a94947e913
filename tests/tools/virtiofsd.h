/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtiofsd, for tests: it is killed at the end of the case. */
#ifndef LM_VIRTIOFSD_H
#define LM_VIRTIOFSD_H

#include "harness.h"

typedef struct Virtiofsd {
	pid_t pid;
	char *socket, *folder, *log; /* folder: what it shares */
} Virtiofsd;

/*
 * The program's path, the caller's. Debian 12 has none: it is a copy of Debian 13's, with the
 * libraries of its root. NULL, and a note: there is none.
 */
char *virtiofsd_find(LmTest *test);
Virtiofsd *virtiofsd_start(LmTest *test, const char *program, const char *name);
/* It runs, and was not asked to part with its state, of which it would complain. */
void virtiofsd_assert_serves(const Virtiofsd *server);

#endif
