/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM of this QEMU: stopped, saved, resumed; loaded, run. All: main loop only. */
#ifndef LM_VM_H
#define LM_VM_H

#include <migration/localhost.h>

/* A line of QEMU's Error becomes a GError; frees @error. Returns -@err. */
struct Error;
int lm_vm_fail(GError **errp, struct Error *error, int err, const char *what);

/* Everything both sides say of themselves. */
int lm_vm_describe(LmInventory *inventory, GError **errp);

/* Source. */
int lm_vm_check_source(GError **errp);
/* Stops the VM, unless it is another machine by now than @described says. */
int lm_vm_stop(const LmInventory *described, gint64 *stop_ns, GError **errp);
int lm_vm_save(gboolean keep_disks, int *state_fd, GError **errp);
int lm_vm_resume(GError **errp);
/* The VM must not run here again: postmigrate, and cont is refused with @why. */
void lm_vm_retire(const char *why);
gboolean lm_vm_is_retired(void);

/* Destination. */
gboolean lm_vm_is_inmigrate(void);
int lm_vm_check_destination(GError **errp);
int lm_vm_load(int state_fd, GError **errp);
int lm_vm_activate(GError **errp);
void lm_vm_deactivate(void);
void lm_vm_run(void);

#endif
