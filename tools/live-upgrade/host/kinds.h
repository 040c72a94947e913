/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kinds of VMs that a host may have, by who manages them. A run over a host knows no more
 * about them than this table: a kind says which processes are its own, and how one of them is
 * upgraded; it may have something to do once before its first VM and after its last.
 */
#ifndef LIVE_UPGRADE_HOST_KINDS_H
#define LIVE_UPGRADE_HOST_KINDS_H

#include "vm.h"

struct LuVmKind {
	const char *name;   /* "service" */
	const char *plural; /* for people: "services of systemd" */
	/*
	 * Of @vms, all QEMU processes of the host, takes those whose kind is NULL still and that
	 * are its own: sets their kind, and what it knows better (name, unit, state and reason).
	 */
	void (*enumerate)(GPtrArray *vms);
	/*
	 * In the tool's own process, before the first VM of the kind; may be NULL. *@state is for
	 * the other two. If it fails, all VMs of the kind are refused with its error.
	 */
	gboolean (*begin)(const LuRequest *request, gpointer *state, GError **errp);
	/* In a process of its own for each VM, several at once; as lu_upgrade. NULL: not yet. */
	gboolean (*upgrade)(gpointer state, const LuVm *vm, const LuRequest *request,
			    LuResult *result, GError **errp);
	/* After the last one, whatever became of them; may be NULL. */
	void (*end)(gpointer state);
};

/* In the order of their turns; NULL at the end. */
extern const LuVmKind *const lu_vm_kinds[];

/* Gives each VM its kind. */
void lu_vm_kinds_enumerate(GPtrArray *vms);

#endif
