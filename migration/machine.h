/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this QEMU's machine is, for comparison with the other's. All: main loop only. */
#ifndef LM_MACHINE_H
#define LM_MACHINE_H

#include <migration/localhost.h>

/* machine.c: machine type, CPUs, devices; refuses devices whose state cannot travel. */
int lm_machine_describe(LmInventory *inventory, GError **errp);
/* virtio.c: how long its queues are, if @device is a virtio device. */
struct Object;
void lm_virtio_describe(LmInventory *inventory, struct Object *device, const char *path);
/* drives.c: what each of the guest's drives is backed by; refuses what pins the images. */
int lm_drives_describe(LmInventory *inventory, GError **errp);
/* What an image is, whatever it is called: "inode 12 on 8:1"; the caller frees it. */
char *lm_image_identity(const char *filename);
/* The block driver that opens @filename: "file" or "host_device". */
const char *lm_image_driver(const char *filename);
/* The key of the trait of a drive: @info of query-block's answer, @qdev the one it says. */
struct QDict;
const char *lm_drive_key(const struct QDict *info, const char *qdev);
/* blocks.c: the RAM blocks. */
int lm_blocks_describe(LmInventory *inventory, GError **errp);

#endif
