/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host on which no QEMU runs but the test's: a PID namespace of its own, for tests that upgrade
 * all VMs of a host, and a mount namespace, in which another QEMU can be installed.
 */
#ifndef LM_OWN_HOST_H
#define LM_OWN_HOST_H

#include "tool.h"

/* Where the tool has its journals. */
#define OWN_HOST_BASE "/run/qemu-live-upgrade"

/* Runs @run as the first process there, and returns its status; prints a skip if it cannot be. */
int own_host_main(int argc, char **argv, int (*run)(int argc, char **argv));
/* A folder that is to be empty there; FALSE: it cannot be. To be called by @run. */
gboolean own_host_hide(const char *folder, const char *options);
/* What apt would do: the name leads to another file, the running processes keep theirs. */
void own_host_install(LmTest *test);
/* What the report of --all says of the VM of this name; the report's. */
JsonNode *own_host_vm(const Run *run, const char *name);

#endif
