/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A QEMU that sees a /usr of its own, which becomes that of another release under it: what an
 * upgrade of the host does to the QEMUs that run.
 */
#ifndef LM_QTEST_OWN_USR_H
#define LM_QTEST_OWN_USR_H

#include "harness.h"

#include <sys/types.h>

/* For VmOptions' binary: the installed QEMU in a mount namespace of its own. The caller's. */
char *own_usr_program(LmTest *test);
/* What process @pid sees as /usr is @root's from now on. 0, or -errno. */
int own_usr_replace(pid_t pid, const char *root);

#endif
