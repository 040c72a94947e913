/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the guest has put its PCI devices in memory, told to the destination before the VM stops
 * (memory-map.c says why). All: main loop only. Where QEMU lacks one of the functions, nothing of
 * it is done, and loading takes longer.
 */
#ifndef LM_MEMORY_MAP_H
#define LM_MEMORY_MAP_H

#include <glib.h>

/* Source: appends it to @hint, and keeps it for lm_memory_map_is_as_told. */
void lm_memory_map_tell(GByteArray *hint);
/* Source, the VM is stopped: nothing has moved since. */
gboolean lm_memory_map_is_as_told(void);
/* Source: lets go of the devices, which could not be unplugged otherwise. */
void lm_memory_map_forget(void);

/* Destination: puts the devices there. @hint comes from the other process, and may be anything. */
void lm_memory_map_place(const guint8 *hint, gsize bytes);
/*
 * Destination, around the loading of the devices' state: the memory map is not made anew before
 * lm_memory_map_release. Does nothing unless all devices are where they will be, which @as_told
 * says of the source.
 */
void lm_memory_map_hold(gboolean as_told);
void lm_memory_map_release(void);

#endif
