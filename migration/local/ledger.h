/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger: one atomic word in a sealed memfd that both processes map, which says who owns the
 * VM. There is no moment at which both may run it, or neither knows, whoever is killed when.
 *
 *     OFFERED ──▶ TAKEN       the destination, when nothing can fail any more
 *        └──────▶ WITHDRAWN   the source, on any doubt
 */
#ifndef LM_LOCAL_LEDGER_H
#define LM_LOCAL_LEDGER_H

#include <migration/localhost.h>

typedef enum LmOwner { LM_LEDGER_OFFERED = 1, LM_LEDGER_TAKEN, LM_LEDGER_WITHDRAWN } LmOwner;

typedef struct LmLedger LmLedger;

/* A new ledger, OFFERED. */
LmLedger *lm_ledger_new(GError **errp);
/* Maps a received one; @fd stays the caller's. Refuses what is no memfd of the right size with
 * the seals SHRINK, GROW and SEAL. */
LmLedger *lm_ledger_open(int fd, GError **errp);
/* For sending; the ledger's. */
int lm_ledger_fd(LmLedger *ledger);
/* Both return whether this call or an earlier one of the same kind made it so. */
gboolean lm_ledger_take(LmLedger *ledger);
gboolean lm_ledger_withdraw(LmLedger *ledger);
LmOwner lm_ledger_read(LmLedger *ledger);
void lm_ledger_free(LmLedger *ledger);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LmLedger, lm_ledger_free)

#endif
