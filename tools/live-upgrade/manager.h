/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who manages a VM and must not see its process change, such as libvirt. It holds the VM's
 * monitor, and keeps records of its process in files.
 *
 *   until the new process is there   the manager lends its monitor, and serves as ever
 *   from "take" on                   it is away: the monitor is asked directly
 *   take                             its records for the new process are written beside
 *   record, settle                   they are renamed over the old ones, which cannot fail
 *
 * So there is no moment in which a manager that comes back by itself would find records that lead
 * to a process without the guest. Who calls lu_upgrade_begin and lu_upgrade_end sees to it that it
 * is away in between, and brings it back.
 */
#ifndef LIVE_UPGRADE_MANAGER_H
#define LIVE_UPGRADE_MANAGER_H

#include "process.h"
#include "running.h"

/* What is known when the new process waits for the guest. */
typedef struct LuSuccession {
	const LuRunning *old;
	const LuProcess *new;
	LuQmp *new_qmp;
	const char *program;	  /* of the new process */
	const LuVersion *version; /* and its version */
	const char *qmp_path, *qmp_temporary;
	GPtrArray *disks; /* of LuDisk, that move; NULL: none */
} LuSuccession;

typedef struct LuManager {
	const char *name;     /* "libvirt domain vm1" */
	const char *id;	      /* its name for the VM, of one word */
	LuQmp *qmp;	      /* what it lends, */
	const char *qmp_path; /* and the socket of the monitor behind it */
	/*
	 * Of LuPath: its records, and where they are written beside. "first" ones are renamed
	 * when the guest has moved, "last" ones when the sockets have their old names.
	 */
	GPtrArray *records;
	/* Writes them; refuses if they are not as they were when it lent its monitor. */
	gboolean (*stage)(void *opaque, const LuSuccession *succession, GError **errp);
	/* libvirt's number for the next block node that it adds; 0: the manager names none. */
	guint next_node;
	void *opaque;
} LuManager;

#endif
