/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A running domain as a VM that somebody manages (manager.h). */
#ifndef LIVE_UPGRADE_LIBVIRT_DOMAIN_H
#define LIVE_UPGRADE_LIBVIRT_DOMAIN_H

#include "manager.h"
#include "move-disk.h"
#include "relay.h"

typedef struct LuDomain {
	char *name, *uuid, *title; /* title: "libvirt domain NAME" */
	int id;
	pid_t pid;
	char *status_file, *monitor;
	guint last_node;	  /* that libvirt numbered */
	GHashTable *capabilities; /* of the new emulator; NULL: not known */
	LuRelay *relay;
	LuManager manager;
} LuDomain;

/* Refuses one that does not run, or is busy. @name: a name or a UUID. */
LuDomain *lu_domain_open(const char *uri, const char *name, GError **errp);
void lu_domain_free(LuDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuDomain, lu_domain_free)

/*
 * Of @asked (of LuDiskMove) those that go with the guest, with the names that QEMU has for the
 * disks, and the domain is made ready to have its records say so; the caller's. The others, which
 * libvirt copies afterwards (copy-disk.h), are checked.
 */
GPtrArray *lu_domain_disk_moves(LuDomain *domain, GPtrArray *asked, GError **errp);
/* Has libvirt look at the new program. */
void lu_domain_probe(LuDomain *domain, const char *program);
/* What it lent goes back. */
void lu_domain_end_loan(LuDomain *domain);
/* After the daemon is back: it must have the domain as before, and reach its monitor. */
gboolean lu_domain_verify(const LuDomain *domain, LuRelay *relay, GError **errp);

/* Of this running domain, as libvirt says; 0: there is none. */
pid_t lu_libvirt_pid(const char *name);
/* NAME of a title; the title's. */
const char *lu_domain_name_of(const char *title);
/*
 * The records of a VM of an interrupted run: what the daemon wrote since the first ones were
 * renamed is kept in the last one.
 */
void lu_domain_refresh_records(GPtrArray *records);

#endif
