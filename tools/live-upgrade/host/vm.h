/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One VM of a host, and what becomes of it in a run over all of them. */
#ifndef LIVE_UPGRADE_HOST_VM_H
#define LIVE_UPGRADE_HOST_VM_H

#include "upgrade.h"

#include <json-glib/json-glib.h>

typedef struct LuVmKind LuVmKind;

typedef enum LuVmState {
	LU_VM_WAITING,
	LU_VM_UNDER_WAY,
	/* What it ended in. */
	LU_VM_CURRENT, /* it runs what is installed */
	LU_VM_UPGRADED,
	LU_VM_POSSIBLE,	 /* --dry-run */
	LU_VM_REHEARSED, /* --rehearse */
	LU_VM_REFUSED,	 /* untouched */
	LU_VM_ENDED,	 /* by itself, before its turn or in it */
	LU_VM_ROLLED_BACK,
	LU_VM_NO_LIBVIRT, /* upgraded, but libvirt's daemon did not come back */
	LU_VM_LOST,
	LU_VM_LEFT, /* the run stopped before its turn */
	LU_VM_STATES,
} LuVmState;

typedef struct LuVm {
	const LuVmKind *kind;
	pid_t pid; /* that has the guest, or had it when the run began */
	guint64 start_time;
	uid_t uid;
	char *name;	      /* of the guest if it has one */
	char *unit;	      /* of systemd, if this is its main process; else NULL */
	guint64 memory_bytes; /* of the guest */
	char *interrupted;    /* at this step another run was, when it was killed; else NULL */
	LuVmState state;
	char *reason;	  /* for the state, one line; or NULL */
	JsonNode *report; /* of its upgrade, as --json prints it; or NULL */
	/* While it is under way. */
	char *step;
	guint64 done, total;
} LuVm;

LuVm *lu_vm_new(pid_t pid, guint64 start_time);
void lu_vm_free(LuVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuVm, lu_vm_free)

/* "under-way", as in the JSON. */
const char *lu_vm_state_name(LuVmState state);
/* The other way round; @otherwise if it is none. */
LuVmState lu_vm_state_parse(const char *name, LuVmState otherwise);
/* Takes @reason. */
void lu_vm_set(LuVm *vm, LuVmState state, char *reason);
/* All that is known, with the members of its report beside it; the caller's. */
JsonObject *lu_vm_json(const LuVm *vm);

/* Bytes of "-m": "512", "size=2G,slots=2"; 128 MiB if @value is NULL. 0: not understood. */
guint64 lu_vm_parse_memory(const char *value);

#endif
