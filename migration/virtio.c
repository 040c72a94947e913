// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lengths of a virtio device's queues, as far as the guest has set them, and what this QEMU
 * takes at most.
 *
 * QEMU before 11.1 makes each queue 1024 entries long since a fix of 2026 (seen in 10.0.13),
 * whatever queue-size= says, and the guest may use all of them. 11.1 loads no queue that is longer
 * than its own, and an older one that lacks the fix would, with too little memory for it. Either
 * shows only while the state is loaded, when the guest has stopped: so it is compared before.
 */
#include "machine.h"
#include "qemu.h"

/* As many as fit the wire; a device's further queues are like these. */
#define QUEUES_MAX 256

void lm_virtio_describe(LmInventory *inventory, Object *device, const char *path)
{
	g_autoptr(GString) lengths = g_string_new(NULL);
	g_autofree char *address = NULL;
	int count;

	if (!qemu.virtio_get_num_queues || !qemu.virtio_queue_get_num ||
	    !qemu.virtio_queue_get_max_num || !qemu.object_dynamic_cast(device, "virtio-device"))
		return;
	count = MIN(qemu.virtio_get_num_queues(device), QUEUES_MAX);
	for (int i = 0; i < count; i++)
		g_string_append_printf(lengths, "%s%d/%d", i ? " " : "",
				       qemu.virtio_queue_get_num(device, i),
				       qemu.virtio_queue_get_max_num(device, i));
	address = qemu.qdev_get_dev_path(device);
	if (count && (address || g_str_has_prefix(path, "/machine/peripheral")))
		lm_inventory_add_trait(inventory, "virtio queue of", address ? address : path,
				       lengths->str, NULL);
}
