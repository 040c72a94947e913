/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether two machines are the same machine, in words. */
#ifndef LM_LOCAL_INVENTORY_H
#define LM_LOCAL_INVENTORY_H

#include <migration/localhost.h>

/*
 * Every trait must be on both sides with the same identity. LM_ERROR_REFUSED (-EINVAL) names the
 * first few differences (three, then "and N more"), each with both values:
 *   machine type differs: source pc-q35-7.2, destination pc-i440fx-7.2
 *   device 0000:00:03.0 (e1000e) is only on the destination
 */
int lm_inventory_compare(const LmInventory *source, const LmInventory *destination, GError **errp);

#endif
