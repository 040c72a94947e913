/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two bridges of a host, in namespaces of the test's own. */
#ifndef LM_BRIDGES_H
#define LM_BRIDGES_H

#include "tool.h"

#define BRIDGES_HOST "10.0.2.100" /* the host's address on lmbr0 */

/* lmbr0 and lmbr1, for QEMU's helper, until the end of the case. */
void bridges_make(LmTest *test);
/* Netdev @id of the run's new process is on this one. */
void bridges_assert_on(const Run *run, const char *id, const char *bridge);

#endif
