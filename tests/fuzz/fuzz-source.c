/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A source, from hello to commit, against a destination that says what the input says. The VM is in
 * one place afterwards: gone if and only if the ledger was taken, else here, and as it was unless
 * pages had been given away; lost only then.
 */
#include "conversation.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	static gboolean mapped;
	Conversation c;
	const FakeNotes *notes;
	gboolean taken;

	if (!mapped) {
		fuzz_map(SCRIPT_RAM_BYTES);
		mapped = TRUE;
	}
	conversation_run(&c, LM_ROLE_SOURCE, data, size);
	notes = c.host.notes;
	taken = c.ledger && lm_ledger_read(c.ledger) == LM_LEDGER_TAKEN;
	g_assert(taken == (c.outcome == LM_OUTCOME_GONE));
	g_assert(notes->gone == (c.outcome == LM_OUTCOME_GONE));
	g_assert(notes->lost == (c.outcome == LM_OUTCOME_LOST));
	if (c.outcome == LM_OUTCOME_HERE) {
		g_assert(notes->resumed == notes->stopped);
		g_assert(c.heard_flip || notes->intact);
	} else {
		g_assert(!notes->resumed);
		g_assert(c.outcome == LM_OUTCOME_GONE || c.heard_flip);
	}
	conversation_clear(&c);
	return 0;
}
