/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kinds of VMs that a host may have, by who manages them. A run over a host knows no more
 * about them than this table: a kind says which processes are its own, and how one of them, or
 * all that are to be upgraded in one go, are.
 */
#ifndef LIVE_UPGRADE_HOST_KINDS_H
#define LIVE_UPGRADE_HOST_KINDS_H

#include "vm.h"

/* Who is told what becomes of each VM where there are several. */
typedef struct LuTeller {
	void (*begun)(void *opaque, const LuVm *vm);
	/* @error is NULL if it was upgraded. */
	void (*ended)(void *opaque, const LuVm *vm, const LuRequest *request,
		      const LuResult *result, const GError *error);
	void *opaque;
} LuTeller;

/* It has one of upgrade and upgrade_together. */
struct LuVmKind {
	const char *name;   /* "service" */
	const char *plural; /* for people: "services of systemd" */
	/*
	 * Of @vms, all QEMU processes of the host, takes those whose kind is NULL still and that
	 * are its own: sets their kind, and what it knows better (name, unit, state and reason).
	 */
	void (*enumerate)(GPtrArray *vms);
	/* In a process of its own for each VM, several at once; as lu_upgrade. */
	gboolean (*upgrade)(const LuVm *vm, const LuRequest *request, LuResult *result,
			    GError **errp);
	/* In one process for all of @vms; each of them is told to have ended, or it is settled. */
	void (*upgrade_together)(GPtrArray *vms, const LuRequest *request, const LuTeller *teller);
	/*
	 * What a run before this one left that is of none of the VMs, when none of the kind waits;
	 * with @request->dry_run in any case, and it is only told. *@told: what there is to say, a
	 * line, or NULL. May be NULL.
	 */
	gboolean (*settle)(const LuRequest *request, char **told, GError **errp);
};

/* domains.c */
extern const LuVmKind lu_domain_kind;

/* In the order of their turns; NULL at the end. */
extern const LuVmKind *const lu_vm_kinds[];

/* Gives each VM its kind. */
void lu_vm_kinds_enumerate(GPtrArray *vms);

#endif
