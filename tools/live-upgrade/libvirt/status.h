/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file in which libvirt's daemon keeps what it knows of a running domain, and from which it
 * finds the domain again when it begins: /run/libvirt/qemu/NAME.xml. Once the daemon cannot reach
 * the process that the file names it ends the domain, so it must be right at every moment.
 *
 * Of the new process it gets:
 *   - the process id, and the threads of the guest's CPUs;
 *   - the monitor's socket: first under the new process's private name, so that there is never a
 *     moment in which the id is of one process and the socket leads to the other; when the socket
 *     has its old name, this one;
 *   - the names of its pseudo-terminals;
 *   - the emulator, if that is another file: it is what a saved domain is restored with;
 *   - the new images of disks that moved, and their nodes;
 *   - of the capabilities those that the new QEMU has, too. None is added: libvirt also takes
 *     from them how it named things when it started the domain.
 * All else stays as it is.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_STATUS_H
#define LIVE_UPGRADE_LIBVIRT_STATUS_H

#include "manager.h"

typedef struct LuStatus LuStatus;

LuStatus *lu_status_load(const char *path, GError **errp);
LuStatus *lu_status_parse(const char *text, gsize length, GError **errp);
void lu_status_free(LuStatus *status);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuStatus, lu_status_free)
/* The caller's. */
char *lu_status_text(const LuStatus *status);
/* Whole or not at all, for root alone. */
gboolean lu_status_write(const LuStatus *status, const char *path, GError **errp);

pid_t lu_status_pid(const LuStatus *status);
/* Each the caller's, NULL if it is not there. */
char *lu_status_uuid(const LuStatus *status);
char *lu_status_emulator(const LuStatus *status);
char *lu_status_monitor(const LuStatus *status);
/* Refuses what libvirt is in the middle of. */
gboolean lu_status_check(const LuStatus *status, const char *name, GError **errp);

/* A set of char *: what libvirt knows a QEMU of this file to have; NULL if it does not know. */
GHashTable *lu_status_capabilities_of(const char *emulator);

/* The alias of the disk with this target ("vda"); the caller's, NULL: there is none. */
char *lu_status_disk_alias(const LuStatus *status, const char *target);
/* The number of the last block node that libvirt added; 0: it does not number them. */
guint lu_status_last_node(const LuStatus *status);

/* What changes with the process, all but the monitor. @capabilities may be NULL. */
gboolean lu_status_succeed(LuStatus *status, const LuSuccession *succession,
			   GHashTable *capabilities, GError **errp);
/*
 * Each of @disks (LuDisk) is in its new image, which libvirt would have named so itself. What is
 * beneath that is left to the image to say.
 */
gboolean lu_status_move_disks(LuStatus *status, GPtrArray *disks, GError **errp);
/*
 * The definition that the domain is started from next, in the file @path, with the same change
 * where it names the same old images, written to @temporary. @status says which disk is which.
 */
gboolean lu_status_move_config(const LuStatus *status, GPtrArray *disks, const char *path,
			       const char *temporary, GError **errp);
void lu_status_set_monitor(LuStatus *status, const char *path);

#endif
