/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service of systemd whose main process is a QEMU. When a main process ends, systemd ends the
 * service and kills what is left of it; so before the old QEMU ends, the new one must be the main
 * process. Two of systemd's own interfaces do that:
 *
 *   NotifyAccess= is not "none": the message MAINPID= of sd_notify(3), which root may send in the
 *       old QEMU's name. systemd then says who the main process is. Whether it listens is tried
 *       before, with a harmless message (STATUS=).
 *   PIDFile= is the file that the VM writes (-pidfile): systemd reads it when the main process
 *       ends, and follows. So that the file is there then, the old QEMU is killed: one that ends
 *       by itself removes it.
 *
 * systemd waits for a main process when it stops a service only if that is its own child. So the
 * new QEMU is made an orphan, which the first process adopts.
 */
#ifndef LIVE_UPGRADE_UNIT_H
#define LIVE_UPGRADE_UNIT_H

#include "process.h"

typedef struct LuUnit {
	char *name;	  /* "vm1.service" */
	gboolean of_user; /* of a user's systemd, not the system's */
	gboolean listens; /* NotifyAccess= */
	char *pid_file;	  /* PIDFile=, or NULL */
} LuUnit;

void lu_unit_free(LuUnit *unit);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuUnit, lu_unit_free)

/* The service whose main process this is, and its name; NULL if it is none's. */
LuUnit *lu_unit_find(pid_t pid);
char *lu_unit_of_main_process(pid_t pid);

/* Whether it could follow; @pid_file is the VM's own, as it sees it, or NULL. Touches nothing. */
gboolean lu_unit_check(const LuUnit *unit, const LuProcess *process, const char *pid_file,
		       GError **errp);
/* Whether systemd listens. The service shows @status from then on. */
gboolean lu_unit_try(const LuUnit *unit, pid_t main_pid, const char *status, GError **errp);
/* Makes @new_pid the main process, or sees to it that it will be when the old one ends. */
gboolean lu_unit_hand_on(const LuUnit *unit, pid_t old_pid, pid_t new_pid, const char *status,
			 GError **errp);
/* Waits until systemd says so. */
gboolean lu_unit_wait_main(const LuUnit *unit, pid_t pid);

#endif
