/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this QEMU's machine is, for comparison with the other's. All: main loop only. */
#ifndef LM_MACHINE_H
#define LM_MACHINE_H

#include <migration/localhost.h>

/* machine.c: machine type, CPUs, devices; refuses devices whose state cannot travel. */
int lm_machine_describe(LmInventory *inventory, GError **errp);
/* drives.c: what each of the guest's drives is backed by; refuses what pins the images. */
int lm_drives_describe(LmInventory *inventory, GError **errp);
/* blocks.c: the RAM blocks. */
int lm_blocks_describe(LmInventory *inventory, GError **errp);

#endif
