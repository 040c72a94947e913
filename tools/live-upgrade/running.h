/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The running QEMU: its process, its command line, its monitor, and what it says of itself. */
#ifndef LIVE_UPGRADE_RUNNING_H
#define LIVE_UPGRADE_RUNNING_H

#include "command-line.h"
#include "context.h"
#include "process.h"
#include "qmp.h"
#include "unit.h"

typedef struct LuVersion {
	int major, minor, micro;
	char *text; /* "7.2.22" */
} LuVersion;

typedef struct LuRunning {
	LuProcess *process;
	LuContext *context;
	LuCommandLine *line;
	LuQmp *qmp;
	gboolean qmp_is_lent; /* by who manages the VM: not this one's to free */
	char *qmp_path; /* the name by which clients know the monitor, absolute, as QEMU sees it */
	LuVersion version;
	char *machine;	/* the type that runs, versioned: pc-q35-7.2 */
	char *cpu_type; /* qemu64-x86_64-cpu */
	char *status;	/* query-status before anything was done */
	gboolean kvm;
	LuUnit *unit; /* of systemd, whose main process it is, once it was checked; NULL: none */
	char *cwd;    /* where its relative paths begin */
} LuRunning;

/*
 * By the process, or (@qmp_path not NULL) by its monitor. @lent (else NULL) is a monitor by way of
 * who holds the one on the command line.
 */
LuRunning *lu_running_open(pid_t pid, const char *qmp_path, LuQmp *lent, GError **errp);
/* Connects to the monitor itself, in place of one that was lent. */
gboolean lu_running_connect(LuRunning *running, GError **errp);
void lu_running_free(LuRunning *running);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuRunning, lu_running_free)

/* The process behind a socket, -1 if there is none. */
pid_t lu_running_peer_of(const char *qmp_path);

gboolean lu_running_has_plugin(LuRunning *running, gboolean *has, GError **errp);
/* Whether it is in a state to be upgraded, and whether its service could follow. */
gboolean lu_running_check(LuRunning *running, GError **errp);

/* The model of a CPU type: "qemu64" of "qemu64-x86_64-cpu"; the caller's. */
char *lu_cpu_model(const char *type);

gboolean lu_version_read(LuQmp *qmp, LuVersion *version, GError **errp);
int lu_version_compare(const LuVersion *a, const LuVersion *b);

/*
 * A socket of an upgraded QEMU is bound under a name of its own and renamed: NAME.lu1 or NAME.lu2
 * is NAME. Both the caller's.
 */
char *lu_public_name(const char *path);
/* The one of the two that @path, in use, is not. */
char *lu_private_name(const char *path);

#endif
