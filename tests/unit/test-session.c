// SPDX-License-Identifier: GPL-2.0-or-later
/* Whole handovers between two processes with made-up hosts: every way in which they can end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "fake-host.h"
#include "test-util.h"

static void assert_text(const char *text, const char *part)
{
	if (!text || !strstr(text, part)) {
		print_message("\"%s\" does not contain \"%s\"\n", text ? text : "(none)", part);
		fail();
	}
}

/* The VM is in the source, and is as it was. */
static void assert_kept(FakePair *pair, gboolean was_stopped)
{
	const FakeNotes *source = pair->source.notes, *destination = pair->destination.notes;

	assert_true(pair->rc < 0);
	assert_non_null(pair->error);
	if (source->outcome != LM_OUTCOME_HERE)
		print_message("%s\n", pair->error->message);
	assert_int_equal(source->outcome, LM_OUTCOME_HERE);
	assert_int_equal(source->gone + source->lost, 0);
	assert_int_equal(source->resumed, was_stopped ? 1 : 0);
	assert_true(fake_source_intact(pair));
	if (was_stopped)
		assert_true(source->intact); /* already when it was resumed */
	assert_int_equal(destination->ran, 0);
	if (!destination->finished)
		return; /* it was killed, and its disks are free */
	assert_int_equal(destination->activated,
			 destination->deactivated +
				 !g_strcmp0(pair->destination.fail_at, "activate"));
}

/* The VM is in the destination, and is as it was. */
static void assert_moved(FakePair *pair)
{
	const FakeNotes *source = pair->source.notes, *destination = pair->destination.notes;

	if (pair->rc < 0)
		print_message("%s\n", pair->error->message);
	assert_int_equal(pair->rc, 0);
	assert_int_equal(source->outcome, LM_OUTCOME_GONE);
	assert_int_equal(source->gone, 1);
	assert_int_equal(source->resumed + source->lost, 0);
	assert_int_equal(destination->ran, 1);
	assert_true(destination->intact);
	assert_true(destination->prepared == 1 && destination->hinted);
	assert_int_equal(destination->as_hinted, pair->source.as_hinted);
	assert_int_equal(destination->outcome, LM_OUTCOME_TAKEN);
}

static void test_moves(void **state)
{
	FakePair *pair = fake_pair_new(FALSE);
	g_auto(LmStatus) status = {0};
	int fds = count_fds();

	fake_pair_run(pair);
	assert_moved(pair);
	lm_session_query(pair->session, &status);
	assert_int_equal(status.state, LM_STATE_COMPLETED);
	assert_true(fake_content_is(status.populated_bytes));
	assert_int_equal(status.flipped_bytes, status.populated_bytes);
	assert_int_equal(status.skipped_bytes, FAKE_RAM_BYTES - status.populated_bytes);
	assert_int_equal(status.lost_bytes + status.returned_bytes, 0);
	assert_true(status.downtime_us >= 0);
	assert_string_equal(status.peer_version, "0.0 (made up)");
	for (int i = 0; i < LM_STAGE__MAX; i++)
		assert_true(status.stage_us[i] >= 0);
	fake_pair_free(pair);
	assert_int_equal(count_fds(), fds);
}

static void test_moves_readv(void **state)
{
	FakePair *pair = fake_pair_new(TRUE);

	pair->source.options.engine = LM_ENGINE_PROCESS_VM_READV;
	pair->source.as_hinted = TRUE;
	fake_pair_run(pair);
	assert_moved(pair);
	fake_pair_free(pair);
}

static void test_shared_passes(void **state)
{
	FakePair *pair = fake_pair_new(TRUE);
	g_auto(LmStatus) status = {0};

	fake_pair_run(pair);
	assert_moved(pair);
	lm_session_query(pair->session, &status);
	assert_int_equal(status.regions->len, 2);
	assert_int_equal(((LmRegionStatus *)g_ptr_array_index(status.regions, 1))->way,
			 LM_WAY_PASS);
	assert_true(fake_content_is(status.flipped_bytes));
	fake_pair_free(pair);
}

static void test_disks(void **state)
{
	FakePair *pair = fake_pair_new(FALSE);

	pair->source.with_disk = TRUE;
	fake_pair_run(pair);
	assert_moved(pair);
	assert_int_equal(pair->destination.notes->moved_disks, 1);
	fake_pair_free(pair);
}

/* The destination says no; the VM was not stopped, and another source may come. */
static void test_disks_refused(void **state)
{
	FakePair *pair = fake_pair_new(FALSE);

	pair->source.with_disk = TRUE;
	pair->destination.fail_at = "move_disks";
	fake_pair_run(pair);
	assert_kept(pair, FALSE);
	assert_text(pair->error->message, "move_disks");
	assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_UNTOUCHED);
	fake_pair_free(pair);
}

static void test_refuses_machine(void **state)
{
	FakePair *pair = fake_pair_new(FALSE);

	pair->destination.machine = "made-up-2.0";
	fake_pair_run(pair);
	assert_kept(pair, FALSE);
	assert_int_equal(pair->source.notes->stopped, 0);
	assert_text(pair->error->message, "made-up-1.0");
	assert_text(pair->error->message, "made-up-2.0");
	assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_UNTOUCHED);
	fake_pair_free(pair);
}

static void test_refuses_size(void **state)
{
	FakePair *pair = fake_pair_new(FALSE);

	pair->destination.ram_bytes = FAKE_RAM_BYTES / 2;
	fake_pair_run(pair);
	assert_kept(pair, FALSE);
	assert_int_equal(pair->source.notes->stopped, 0);
	assert_text(pair->error->message, G_STRINGIFY(25165824));
	assert_text(pair->error->message, G_STRINGIFY(12582912));
	fake_pair_free(pair);
}

/* The host would go on to use the file at its own offset, where other memory is. */
static void test_refuses_file_offset(void **state)
{
	FakePair *pair = fake_pair_new(TRUE);

	pair->destination.shared_at = 8192;
	fake_pair_run(pair);
	assert_kept(pair, FALSE);
	assert_text(pair->error->message,
		    "RAM block shared begins at 0 of its file on the source, and at 8192");
	fake_pair_free(pair);
}

/* A callback fails on either side: who, which, and whether the VM had been stopped. */
static const struct {
	LmRole role;
	const char *callback;
	gboolean stopped;
} callbacks[] = {
	{LM_ROLE_SOURCE, "describe", FALSE},	 {LM_ROLE_SOURCE, "stop", TRUE},
	{LM_ROLE_SOURCE, "save", TRUE},		 {LM_ROLE_DESTINATION, "describe", FALSE},
	{LM_ROLE_DESTINATION, "adopted", FALSE}, {LM_ROLE_DESTINATION, "load", TRUE},
	{LM_ROLE_DESTINATION, "activate", TRUE},
};

static void test_callback_fails(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(callbacks); i++) {
		FakePair *pair = fake_pair_new(TRUE);
		FakeHost *host =
			callbacks[i].role == LM_ROLE_SOURCE ? &pair->source : &pair->destination;

		host->fail_at = callbacks[i].callback;
		fake_pair_run(pair);
		assert_kept(pair, callbacks[i].stopped);
		assert_text(pair->error->message, callbacks[i].callback);
		fake_pair_free(pair);
	}
}

/* An injected failure at every stage of either side. Before the commit the VM is kept. */
static void test_fault_fails(void **state)
{
	for (LmStage stage = 0; stage < LM_STAGE__MAX; stage++) {
		for (int role = 0; role < 2; role++) {
			FakePair *pair = fake_pair_new(FALSE);
			g_autofree char *fault = g_strdup_printf("%s:fail", lm_stage_name(stage));
			/* After the device state, the source only learns of what is decided. */
			gboolean may_move = role == LM_ROLE_SOURCE && stage >= LM_STAGE_LOAD;

			(role ? &pair->destination : &pair->source)->options.fault = fault;
			fake_pair_run(pair);
			if (may_move && pair->rc == 0)
				assert_moved(pair);
			else
				assert_kept(pair, pair->source.notes->stopped);
			fake_pair_free(pair);
		}
	}
}

/* The destination is killed when it comes to a stage. */
static void test_destination_killed(void **state)
{
	for (LmStage stage = 0; stage < LM_STAGE__MAX; stage++) {
		FakePair *pair = fake_pair_new(FALSE);
		g_autofree char *fault = g_strdup_printf("%s:kill", lm_stage_name(stage));
		g_auto(LmStatus) status = {0};

		pair->destination.options.fault = fault;
		fake_pair_run(pair);
		lm_session_query(pair->session, &status);
		if (stage <= LM_STAGE_FLIP) {
			/* At flip: it had read nothing, so all is still in the pipes. */
			assert_kept(pair, stage >= LM_STAGE_STOP);
		} else {
			assert_int_equal(pair->source.notes->outcome, LM_OUTCOME_LOST);
			assert_int_equal(pair->source.notes->lost, 1);
			assert_int_equal(pair->source.notes->resumed, 0);
			assert_true(fake_content_is(status.lost_bytes));
			assert_text(pair->error->message, "lost");
		}
		fake_pair_free(pair);
	}
}

/* A destination that hangs (SIGSTOP) is robbed of the pages and killed; nothing is lost. */
static void test_destination_hangs(void **state)
{
	for (LmStage stage = 0; stage < LM_STAGE__MAX; stage++) {
		FakePair *pair = fake_pair_new(TRUE);
		g_autofree char *fault = g_strdup_printf("%s:stop", lm_stage_name(stage));

		pair->source.options.deadline_ms = 300;
		pair->destination.options.fault = fault;
		fake_pair_run(pair);
		assert_kept(pair, stage >= LM_STAGE_STOP);
		fake_pair_free(pair);
	}
}

/* It hangs before it gives a page back, or when it has given back the first of many. */
static void test_destination_hangs_returning(void **state)
{
	static const char *const faults[] = {"return:stop", "frame:stop"};

	for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
		FakePair *pair = fake_pair_new(FALSE);

		pair->source.options.deadline_ms = 300;
		pair->source.options.fault = "devices:fail";
		pair->destination.options.fault = faults[i];
		fake_pair_run(pair);
		assert_kept(pair, TRUE);
		fake_pair_free(pair);
	}
}

/*
 * It cannot give back what it has: its socket is cut, or it has no descriptors left. It stays where
 * it is until the source has taken the pages from it.
 */
static void test_destination_cannot_return(void **state)
{
	static const char *const faults[] = {"flip:short",    "devices:emfile", "return:fail",
					     "return:emfile", "return:short",	"frame:emfile"};

	for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
		FakePair *pair = fake_pair_new(FALSE);

		pair->source.options.fault = "devices:fail";
		pair->destination.options.fault = faults[i];
		fake_pair_run(pair);
		assert_kept(pair, TRUE);
		fake_pair_free(pair);
	}
}

static void cancel_at_flip(FakePair *pair)
{
	fake_wait_stage(pair, LM_STAGE_FLIP);
	lm_session_cancel(pair->session);
}

static void test_cancel(void **state)
{
	static const char *const faults[] = {"flip:hold", "frame:hold"};

	for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
		FakePair *pair = fake_pair_new(FALSE);
		g_auto(LmStatus) status = {0};

		pair->source.options.fault = faults[i];
		pair->meanwhile = cancel_at_flip;
		fake_pair_run(pair);
		assert_kept(pair, TRUE);
		lm_session_query(pair->session, &status);
		assert_int_equal(status.state, LM_STATE_CANCELLED);
		fake_pair_free(pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_moves_readv),
		cmocka_unit_test(test_shared_passes),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_disks_refused),
		cmocka_unit_test(test_refuses_machine),
		cmocka_unit_test(test_refuses_size),
		cmocka_unit_test(test_refuses_file_offset),
		cmocka_unit_test(test_callback_fails),
		cmocka_unit_test(test_fault_fails),
		cmocka_unit_test(test_destination_killed),
		cmocka_unit_test(test_destination_hangs),
		cmocka_unit_test(test_destination_hangs_returning),
		cmocka_unit_test(test_destination_cannot_return),
		cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
