// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Handovers whose private memory becomes shared first, and rehearsals. Here nothing can be lost:
 * whatever becomes of the destination before the commit, the VM is in the source.
 */
#include "test-util.h"

#include <errno.h>
#include <string.h>

#include "fake-host.h"
#include "session.h"

static FakePair *new_pair(gboolean live, gboolean rehearse)
{
	FakePair *pair = fake_pair_new(TRUE);

	pair->source.options.ram = LM_WAY_SHARE;
	pair->source.options.live = live;
	pair->source.options.rehearse = rehearse;
	return pair;
}

static void assert_kept(FakePair *pair, gboolean was_stopped)
{
	const FakeNotes *source = pair->source.notes, *destination = pair->destination.notes;

	if (source->outcome != LM_OUTCOME_HERE || (pair->rc < 0) != !!pair->error)
		fail_msg("outcome %d, rc %d", source->outcome, pair->rc);
	assert_int_equal(source->gone + source->lost, 0);
	assert_int_equal(source->stopped, was_stopped);
	assert_int_equal(source->resumed, was_stopped);
	assert_true(fake_source_intact(pair));
	assert_int_equal(destination->ran, 0);
	if (destination->finished)
		assert_int_equal(destination->activated, destination->deactivated);
}

static void check_moved(gboolean live)
{
	FakePair *pair = new_pair(live, FALSE);
	g_auto(LmStatus) status = {0};

	fake_pair_run(pair);
	if (pair->rc < 0)
		fail_msg("%s", pair->error->message);
	assert_int_equal(pair->source.notes->outcome, LM_OUTCOME_GONE);
	assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_TAKEN);
	assert_true(pair->destination.notes->intact);
	assert_true(fake_source_intact(pair)); /* both map it */
	lm_session_query(pair->session, &status);
	assert_true(status.share.asked);
	assert_int_equal(status.share.live, live && lm_share_live_works(NULL) == 0);
	assert_int_equal(status.share.why_not_live != NULL, live && !status.share.live);
	assert_true(fake_content_is(status.share.shared_bytes));
	assert_int_equal(status.share.private_bytes, 0);
	assert_int_equal(status.flipped_bytes + status.populated_bytes, 0);
	assert_int_equal(((LmRegionStatus *)g_ptr_array_index(status.regions, 0))->way,
			 LM_WAY_SHARE);
	assert_int_equal(((LmRegionStatus *)g_ptr_array_index(status.regions, 1))->way,
			 LM_WAY_PASS);
	for (int i = 0; i < LM_PAUSE__MAX; i++)
		assert_true(status.pause_us[i] >= 0);
	fake_pair_free(pair);
}

static void test_stopped(void **state)
{
	check_moved(FALSE);
}

/* Where the kernel cannot, the guest is stopped for it. */
static void test_live(void **state)
{
	check_moved(TRUE);
}

/* What was shared is found again wherever it is mapped, and only there. */
static void test_shares_end_with_their_mapping(void **state)
{
	check_moved(FALSE);
	check_moved(FALSE); /* probably at the same addresses */
}

static void check_destination(const char *action, gboolean rehearse)
{
	for (LmStage stage = 0; stage < LM_STAGE__MAX; stage++) {
		FakePair *pair = new_pair(FALSE, rehearse);
		g_autofree char *fault = g_strdup_printf("%s:%s", lm_stage_name(stage), action);

		pair->source.options.deadline_ms = 300;
		pair->destination.options.fault = fault;
		fake_pair_run(pair);
		/* In a rehearsal the source waits for nothing after the third ready. */
		if (!(rehearse && stage == LM_STAGE_COMMIT))
			assert_true(pair->rc < 0);
		assert_kept(pair, stage >= LM_STAGE_STOP);
		fake_pair_free(pair);
	}
}

static void test_destination_killed(void **state)
{
	check_destination("kill", FALSE);
}

static void test_destination_hangs(void **state)
{
	check_destination("stop", FALSE);
}

static void test_destination_fails(void **state)
{
	check_destination("fail", FALSE);
}

/* ---------------------------------------------------------------- rehearsal */

static void test_rehearsal(void **state)
{
	FakePair *pair = new_pair(FALSE, TRUE);
	g_auto(LmStatus) status = {0};

	pair->destination.scribbles = TRUE;
	fake_pair_run(pair);
	if (pair->rc < 0)
		fail_msg("%s", pair->error->message);
	assert_kept(pair, TRUE);
	assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_REHEARSED);
	assert_int_equal(pair->destination.notes->loaded, 1);
	assert_int_equal(pair->destination.notes->activated, 0);
	lm_session_query(pair->session, &status);
	assert_true(status.rehearsal);
	assert_int_equal(status.state, LM_STATE_COMPLETED);
	assert_true(status.downtime_us >= 0);
	fake_pair_free(pair);
}

static void test_rehearsal_needs_shared_memory(void **state)
{
	FakePair *pair = new_pair(FALSE, TRUE);

	pair->source.options.ram = LM_WAY_FLIP;
	fake_pair_run(pair);
	assert_kept(pair, FALSE);
	assert_non_null(strstr(pair->error->message, "RAM block ram is private"));
	assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_UNTOUCHED);
	fake_pair_free(pair);
}

static void test_rehearsal_fails(void **state)
{
	FakePair *pair = new_pair(FALSE, TRUE);

	pair->destination.fail_at = "load";
	fake_pair_run(pair);
	assert_true(pair->rc < 0);
	assert_kept(pair, TRUE);
	assert_non_null(strstr(pair->error->message, "load failed"));
	fake_pair_free(pair);
}

static void test_rehearsal_with_faults(void **state)
{
	check_destination("kill", TRUE);
	check_destination("stop", TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_shares_end_with_their_mapping),
		cmocka_unit_test(test_destination_killed),
		cmocka_unit_test(test_destination_hangs),
		cmocka_unit_test(test_destination_fails),
		cmocka_unit_test(test_rehearsal),
		cmocka_unit_test(test_rehearsal_needs_shared_memory),
		cmocka_unit_test(test_rehearsal_fails),
		cmocka_unit_test(test_rehearsal_with_faults),
	};

	return cmocka_run_group_tests_name("session-share", tests, NULL, NULL);
}
