/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMs under libvirt. The daemon (libvirtd, virtqemud) holds the monitor of each, and knows its
 * process; so for the moment in which guests move it is ended, and then begun again. To it that
 * is a restart: it finds its domains by the files that it keeps of them (status.h), and in these
 * the new processes.
 *
 *     LuLibvirt *libvirt = lu_libvirt_open(NULL, &error);
 *     for each domain:     lu_libvirt_begin      all that can be done while the daemon serves
 *     lu_libvirt_away                            once
 *     for each domain:     lu_upgrade_end        the guest moves
 *     lu_libvirt_back                            in any case
 *
 * What a run before this one left when it was killed is settled by lu_libvirt_recover, which comes
 * first. The first three may be done in one process for each domain, with a handle of its own.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_H
#define LIVE_UPGRADE_LIBVIRT_H

#include "upgrade.h"

/* Where the QEMU driver of the system's daemon keeps the files of running domains. */
#define LU_LIBVIRT_STATE "/run/libvirt/qemu"

typedef struct LuLibvirt LuLibvirt;

/* @uri: NULL is qemu:///system, and the only one that is known so far. */
LuLibvirt *lu_libvirt_open(const char *uri, GError **errp);
/* Brings the daemon back if it is away, and says so to nobody; NULL is none. */
void lu_libvirt_close(LuLibvirt *libvirt);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuLibvirt, lu_libvirt_close)

typedef struct LuLibvirtDomain {
	char *name, *uuid;
	int id;
	pid_t pid;
} LuLibvirtDomain;

/* All that run; of LuLibvirtDomain, owned. */
GPtrArray *lu_libvirt_list(LuLibvirt *libvirt, GError **errp);

/*
 * Everything up to a new process that waits for the guest, while the daemon serves. @domain: a
 * name or a UUID. @request: as for lu_upgrade, but for pid and qmp. To be ended by lu_upgrade_end,
 * when the daemon is away, or by lu_upgrade_abandon; before @libvirt is closed.
 */
LuUpgrade *lu_libvirt_begin(LuLibvirt *libvirt, const char *domain, const LuRequest *request,
			    LuResult *result, GError **errp);

/* On failure the daemon is still there, or will be when it is asked to come back. */
gboolean lu_libvirt_away(LuLibvirt *libvirt, guint deadline_ms, GError **errp);
/* LU_ERROR_MANAGER: it, or one of its domains, did not come back. */
gboolean lu_libvirt_back(LuLibvirt *libvirt, GError **errp);
/* With the daemon back: waits until the disks that move are copied; what does not go well is noted.
 */
void lu_libvirt_copy(LuLibvirt *libvirt);
/* How long it gave no answer, so far. */
double lu_libvirt_away_ms(const LuLibvirt *libvirt);

/*
 * What an interrupted run left under libvirt is finished or taken back, and the daemon is back.
 * @results (may be NULL): of LuLibvirtOutcome, owned, one for each VM that was finished.
 */
gboolean lu_libvirt_is_interrupted(void);
/* The name of a daemon that such a run left away; the caller's, NULL: it serves, or none is known.
 */
char *lu_libvirt_away_daemon(void);
gboolean lu_libvirt_recover(const LuRequest *request, GPtrArray *results, GError **errp);

/* One domain of a run, and what became of it. */
typedef struct LuLibvirtOutcome {
	char *name;  /* as it was given */
	char *title; /* its name, where @name is its UUID; or NULL */
	LuRequest request;
	LuResult result;
	GError *error;
	gboolean is_done; /* by what was done for an interrupted run */
} LuLibvirtOutcome;

void lu_libvirt_outcome_free(LuLibvirtOutcome *outcome);

/*
 * All of the above for these domains, one after the other, with the daemon away once. Those that
 * are refused are left as they are; when one fails that was not refused, no further guest is
 * moved. Returns one LuLibvirtOutcome for each, owned, and then those of an interrupted run that
 * nobody named and that failed. @begin (may be NULL) is told of each.
 */
GPtrArray *lu_libvirt_run(char *const *domains, const LuRequest *request,
			  void (*begin)(void *opaque, const char *domain), void *opaque);

/* One domain; as lu_upgrade. */
gboolean lu_libvirt_upgrade(const char *domain, const LuRequest *request, LuResult *result,
			    GError **errp);

#endif
