/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A destination, from hello to commit, against a source that says what the input says: it runs the
 * VM if and only if it has the ledger, and gives the disks back if it does not.
 */
#include "conversation.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	static gboolean mapped;
	Conversation c;
	const FakeNotes *notes;

	if (!mapped) {
		*(guint64 *)fuzz_map(SCRIPT_RAM_BYTES) = FUZZ_ADDRESS; /* the probe's word */
		mapped = TRUE;
	}
	conversation_run(&c, LM_ROLE_DESTINATION, data, size);
	notes = c.host.notes;
	g_assert(notes->ran == (c.outcome == LM_OUTCOME_TAKEN));
	g_assert(!notes->ran || lm_ledger_read(c.ledger) == LM_LEDGER_TAKEN);
	g_assert(!c.ledger || lm_ledger_read(c.ledger) != LM_LEDGER_TAKEN || notes->ran);
	g_assert(notes->activated == notes->deactivated + notes->ran);
	g_assert(notes->loaded <= 1 && !notes->stopped && !notes->resumed && !notes->gone);
	g_assert(c.outcome != LM_OUTCOME_UNTOUCHED || !notes->loaded);
	conversation_clear(&c);
	return 0;
}
