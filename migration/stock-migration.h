/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's own migration, which must not run while the VM is handed over: it would send RAM that is
 * on its way, and change the run state under us. Main loop only.
 */
#ifndef LM_STOCK_MIGRATION_H
#define LM_STOCK_MIGRATION_H

#include <migration/localhost.h>

/* Nothing blocks migration, and none is under way. */
int lm_stock_migration_check(GError **errp);
/* None begins from now on ("migrate", "savevm"); it fails if one has begun. */
int lm_stock_migration_block(GError **errp);
void lm_stock_migration_unblock(void);

#endif
