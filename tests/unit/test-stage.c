// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of stages, the names that come from it, and every step that the ledger can take. */
#include "test-util.h"

#include "session.h"

/* ------------------------------------------------------------------- stages */

/* In the order of the walk, as docs/theory.md has them. */
static const struct {
	LmStage stage;
	const char *name;
	LmState state;
	gboolean undone[2]; /* by LmRole */
} documented[] = {
	{LM_STAGE_HELLO, "hello", LM_STATE_SETUP, {FALSE, FALSE}},
	{LM_STAGE_REGIONS, "regions", LM_STATE_SETUP, {FALSE, FALSE}},
	{LM_STAGE_SHARE, "share", LM_STATE_ACTIVE, {FALSE, FALSE}},
	{LM_STAGE_STOP, "stop", LM_STATE_ACTIVE, {TRUE, FALSE}},
	{LM_STAGE_FLIP, "flip", LM_STATE_ACTIVE, {TRUE, TRUE}},
	{LM_STAGE_DEVICES, "devices", LM_STATE_DEVICE, {FALSE, FALSE}},
	{LM_STAGE_LOAD, "load", LM_STATE_DEVICE, {FALSE, TRUE}},
	{LM_STAGE_COMMIT, "commit", LM_STATE_DEVICE, {FALSE, FALSE}},
};
G_STATIC_ASSERT(G_N_ELEMENTS(documented) == LM_STAGE__MAX);

static void test_as_documented(void **state)
{
	for (int i = 0; i < LM_STAGE__MAX; i++) {
		const LmStageEntry *entry = &lm_stage_table[i];

		assert_int_equal(documented[i].stage, i);
		assert_string_equal(entry->name, documented[i].name);
		assert_string_equal(lm_stage_name(i), documented[i].name);
		assert_int_equal(entry->state, documented[i].state);
		for (int role = 0; role < 2; role++)
			assert_true(!!entry->side[role].undo == documented[i].undone[role]);
	}
}

static void test_both_go_forward(void **state)
{
	for (int i = 0; i < LM_STAGE__MAX; i++) {
		const LmStageSteps *side = lm_stage_table[i].side;

		assert_true(side[LM_ROLE_SOURCE].forward != NULL);
		assert_true(side[LM_ROLE_DESTINATION].forward != NULL);
		assert_true(side[LM_ROLE_SOURCE].forward != side[LM_ROLE_DESTINATION].forward);
		for (int j = 0; j < i; j++) {
			const LmStageSteps *other = lm_stage_table[j].side;

			assert_true(side[0].forward != other[0].forward);
			assert_true(side[1].forward != other[1].forward);
		}
	}
}

static void test_names_are_unique(void **state)
{
	for (int i = 0; i < LM_STAGE__MAX; i++) {
		assert_true(lm_stage_name(i)[0] != '\0');
		for (int j = 0; j < i; j++)
			assert_string_not_equal(lm_stage_name(i), lm_stage_name(j));
	}
	assert_string_equal(lm_stage_name(LM_STAGE__MAX), "unknown");
	assert_string_equal(lm_stage_name((LmStage)-1), "unknown");
}

static void test_states_never_go_back(void **state)
{
	LmState before = LM_STATE_NONE;

	for (int i = 0; i < LM_STAGE__MAX; i++) {
		assert_true(lm_stage_table[i].state >= before);
		assert_true(lm_stage_table[i].state < LM_STATE_COMPLETED);
		before = lm_stage_table[i].state;
	}
}

/* The source's VM stops in one stage, whose undo is the last that the source walks back. */
static void test_undo_order(void **state)
{
	for (int i = 0; i < LM_STAGE_STOP; i++) {
		assert_null(lm_stage_table[i].side[LM_ROLE_SOURCE].undo);
		assert_null(lm_stage_table[i].side[LM_ROLE_DESTINATION].undo);
	}
	assert_ptr_equal(lm_stage_table[LM_STAGE_STOP].side[LM_ROLE_SOURCE].undo,
			 lm_source_undo_stop);
	assert_ptr_equal(lm_stage_table[LM_STAGE_FLIP].side[LM_ROLE_SOURCE].undo,
			 lm_source_undo_flip);
	assert_ptr_equal(lm_stage_table[LM_STAGE_FLIP].side[LM_ROLE_DESTINATION].undo,
			 lm_destination_undo_flip);
	assert_ptr_equal(lm_stage_table[LM_STAGE_LOAD].side[LM_ROLE_DESTINATION].undo,
			 lm_destination_undo_load);
}

static void test_state_names(void **state)
{
	for (int i = LM_STATE_NONE; i <= LM_STATE_CANCELLED; i++) {
		assert_string_not_equal(lm_state_name(i), "unknown");
		for (int j = LM_STATE_NONE; j < i; j++)
			assert_string_not_equal(lm_state_name(i), lm_state_name(j));
	}
	assert_string_equal(lm_state_name(LM_STATE_CANCELLED + 1), "unknown");
	assert_string_equal(lm_state_name((LmState)-1), "unknown");
}

/* ------------------------------------------------------------------- ledger */

/* A ledger in which @owner stands, whatever that is: through its second mapping. */
static LmLedger *ledger_with(guint32 owner)
{
	g_autoptr(LmLedger) ledger = lm_ledger_new(NULL);

	assert_non_null(ledger);
	assert_int_equal(pwrite(lm_ledger_fd(ledger), &owner, sizeof(owner), 4), sizeof(owner));
	assert_int_equal(lm_ledger_read(ledger), owner);
	return g_steal_pointer(&ledger);
}

static const struct {
	guint32 from;
	guint32 to; /* what is asked for */
	gboolean granted;
	guint32 then;
} steps[] = {
	{LM_LEDGER_OFFERED, LM_LEDGER_TAKEN, TRUE, LM_LEDGER_TAKEN},
	{LM_LEDGER_OFFERED, LM_LEDGER_WITHDRAWN, TRUE, LM_LEDGER_WITHDRAWN},
	{LM_LEDGER_TAKEN, LM_LEDGER_TAKEN, TRUE, LM_LEDGER_TAKEN},
	{LM_LEDGER_TAKEN, LM_LEDGER_WITHDRAWN, FALSE, LM_LEDGER_TAKEN},
	{LM_LEDGER_WITHDRAWN, LM_LEDGER_TAKEN, FALSE, LM_LEDGER_WITHDRAWN},
	{LM_LEDGER_WITHDRAWN, LM_LEDGER_WITHDRAWN, TRUE, LM_LEDGER_WITHDRAWN},
	/* With what a peer wrote there, it cannot be taken, and is the source's. */
	{0, LM_LEDGER_TAKEN, FALSE, 0},
	{0, LM_LEDGER_WITHDRAWN, TRUE, LM_LEDGER_WITHDRAWN},
	{4, LM_LEDGER_TAKEN, FALSE, 4},
	{4, LM_LEDGER_WITHDRAWN, TRUE, LM_LEDGER_WITHDRAWN},
	{G_MAXUINT32, LM_LEDGER_TAKEN, FALSE, G_MAXUINT32},
	{G_MAXUINT32, LM_LEDGER_WITHDRAWN, TRUE, LM_LEDGER_WITHDRAWN},
};

static gboolean ask(LmLedger *ledger, guint32 owner)
{
	return owner == LM_LEDGER_TAKEN ? lm_ledger_take(ledger) : lm_ledger_withdraw(ledger);
}

static void test_ledger_steps(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_autoptr(LmLedger) ledger = ledger_with(steps[i].from);

		assert_int_equal(!!ask(ledger, steps[i].to), steps[i].granted);
		assert_int_equal(lm_ledger_read(ledger), steps[i].then);
		/* Asking again changes nothing. */
		assert_int_equal(!!ask(ledger, steps[i].to), steps[i].granted);
		assert_int_equal(lm_ledger_read(ledger), steps[i].then);
	}
}

/* Nobody can ask twice and get both. */
static void test_ledger_one_owner(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
		g_autoptr(LmLedger) mine = ledger_with(steps[i].from);
		g_autoptr(LmLedger) theirs = lm_ledger_open(lm_ledger_fd(mine), NULL);
		gboolean taken, withdrawn;

		assert_non_null(theirs);
		if (i % 2)
			withdrawn = lm_ledger_withdraw(mine), taken = lm_ledger_take(theirs);
		else
			taken = lm_ledger_take(theirs), withdrawn = lm_ledger_withdraw(mine);
		assert_false(taken && withdrawn);
		assert_int_equal(lm_ledger_read(mine), lm_ledger_read(theirs));
		assert_true(taken == (lm_ledger_read(mine) == LM_LEDGER_TAKEN));
		assert_true(withdrawn == (lm_ledger_read(mine) == LM_LEDGER_WITHDRAWN));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_as_documented),    TEST(test_both_go_forward),
		TEST(test_names_are_unique), TEST(test_states_never_go_back),
		TEST(test_undo_order),	     TEST(test_state_names),
		TEST(test_ledger_steps),     TEST(test_ledger_one_owner),
	};

	return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
