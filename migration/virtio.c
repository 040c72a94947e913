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

/*
 * virtio-net has its control queue behind those of the queue pairs, of which there is one until the
 * guest has asked for more, which a destination hears when it loads the device: the first pair and
 * the control queue are in the same places on both sides.
 */
static bool is_compared(int queue, int count, bool net)
{
	return !net || queue < 2 || queue == count - 1;
}

static char *describe_queues(Object *device)
{
	const bool net = qemu.object_dynamic_cast(device, "virtio-net-device") != NULL;
	const int count = qemu.virtio_get_num_queues(device);
	GString *lengths = g_string_new(NULL);

	for (int i = 0; i < count && (net || i < QUEUES_MAX); i++)
		if (is_compared(i, count, net))
			g_string_append_printf(lengths, "%s%d/%d", i ? " " : "",
					       qemu.virtio_queue_get_num(device, i),
					       qemu.virtio_queue_get_max_num(device, i));
	return g_string_free(lengths, FALSE);
}

void lm_virtio_describe(LmInventory *inventory, Object *device, const char *path)
{
	g_autofree char *lengths = NULL, *address = NULL;

	if (!qemu.virtio_get_num_queues || !qemu.virtio_queue_get_num ||
	    !qemu.virtio_queue_get_max_num || !qemu.object_dynamic_cast(device, "virtio-device"))
		return;
	lengths = describe_queues(device);
	address = qemu.qdev_get_dev_path(device);
	if (*lengths && (address || g_str_has_prefix(path, "/machine/peripheral")))
		lm_inventory_add_trait(inventory, "virtio queue of", address ? address : path,
				       lengths, NULL);
}
