/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies of small regions that flip: firmware, ACPI tables, a little video memory. They cost next
 * to nothing, and with them a VM whose RAM is shared cannot be lost at all, whoever is killed.
 */
#ifndef LM_LOCAL_KEEP_H
#define LM_LOCAL_KEEP_H

#include <migration/localhost.h>

#define LM_KEEP_BYTES_MAX (8u << 20) /* of all regions together */

/* After the scan: copies regions, those with the least content first, as long as they fit. */
void lm_keep_small(GPtrArray *regions);
/* Puts back what is not here of a region that was copied, and sets its bits. */
void lm_keep_restore(GPtrArray *regions);
void lm_keep_forget(GPtrArray *regions);

#endif
