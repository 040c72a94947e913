// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Destinations that fail while pages move. That is the worst moment: some pages are in the source,
 * some in the pipes, some in the destination, and one of each channel may be in two of them.
 */
#include "test-util.h"

#include "fake-host.h"

#define DEADLINE_MS 300
/* More than what is kept in any case (keep.h), in frames of which a pipe holds several. */
#define SPARSE_BYTES (96u << 20)
#define SPARSE_STEP  (512u << 10)

static FakePair *new_pair(gboolean sparse, guint channels, LmEngine engine)
{
	FakePair *pair = fake_pair_new(FALSE);
	FakeHost *hosts[] = {&pair->source, &pair->destination};

	for (guint i = 0; i < G_N_ELEMENTS(hosts); i++) {
		hosts[i]->options.deadline_ms = DEADLINE_MS;
		hosts[i]->options.channels = channels;
		hosts[i]->options.engine = engine;
		if (!sparse)
			continue;
		hosts[i]->ram_bytes = SPARSE_BYTES;
		hosts[i]->step_bytes = SPARSE_STEP;
	}
	return pair;
}

static void check_kept_after(FakePair *pair, const char *text, int resumes)
{
	g_auto(LmStatus) status = {0};

	lm_session_query(pair->session, &status);
	assert_true(pair->rc < 0);
	if (pair->source.notes->outcome != LM_OUTCOME_HERE || !strstr(pair->error->message, text))
		fail_msg("outcome %d: %s", pair->source.notes->outcome, pair->error->message);
	assert_null(strchr(pair->error->message, '\n'));
	assert_int_equal(status.lost_bytes, 0);
	assert_int_equal(pair->source.notes->resumed, resumes);
	assert_true(pair->source.notes->intact);
	assert_true(fake_source_intact(pair));
	assert_int_equal(pair->destination.notes->ran, 0);
}

static void check_kept(FakePair *pair, const char *text)
{
	check_kept_after(pair, text, 1);
}

static const struct {
	gboolean sparse;
	guint channels;
	LmEngine engine;
} setups[] = {
	{FALSE, 1, LM_ENGINE_VMSPLICE},		{FALSE, 2, LM_ENGINE_VMSPLICE},
	{TRUE, 1, LM_ENGINE_VMSPLICE},		{TRUE, 4, LM_ENGINE_VMSPLICE},
	{FALSE, 2, LM_ENGINE_PROCESS_VM_READV}, {TRUE, 1, LM_ENGINE_PROCESS_VM_READV},
};

/* At the first page, in the middle of the first frame, of later ones, at the end. */
static const guint64 broken_at[] = {0x1000, 0x80000, 0xa00000, 0xa80000, 0x17e0000};

/* A page of the destination cannot be written. */
static void test_memory_fails(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		for (guint j = 0; j < G_N_ELEMENTS(broken_at); j++) {
			FakePair *pair =
				new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

			pair->destination.broken_at = broken_at[j];
			if (setups[i].sparse)
				pair->destination.broken_at &= ~(SPARSE_STEP - 1ull);
			if (!pair->destination.broken_at)
				pair->destination.broken_at = 0x8000;
			fake_pair_run(pair);
			check_kept(pair, setups[i].engine == LM_ENGINE_VMSPLICE ? "cannot write to"
										: "cannot copy");
			fake_pair_free(pair);
		}
	}
}

/* The destination fails just before its receive, and at each stage after it. */
static void test_fails_at_stage(void **state)
{
	static const char *const faults[] = {"stop:fail", "devices:fail", "load:fail",
					     "commit:fail"};

	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		for (guint j = 0; j < G_N_ELEMENTS(faults); j++) {
			FakePair *pair =
				new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

			pair->destination.options.fault = faults[j];
			fake_pair_run(pair);
			check_kept(pair, "fault injected");
			fake_pair_free(pair);
		}
	}
}

/* The source's user cancels while frames move; many, so that some are in the pipes. */
static void cancel_at_flip(FakePair *pair)
{
	fake_wait_stage(pair, LM_STAGE_FLIP);
	lm_session_cancel(pair->session);
}

static void test_cancel(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		FakePair *pair = new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

		pair->source.options.fault = "frame:hold";
		pair->meanwhile = cancel_at_flip;
		fake_pair_run(pair);
		check_kept(pair, "cancelled");
		assert_int_equal(pair->destination.notes->outcome, LM_OUTCOME_SPOILT);
		fake_pair_free(pair);
	}
}

/* It stops for good before it gives anything back. */
static void test_return_hangs(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		FakePair *pair = new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

		pair->source.fail_at = "save";
		pair->destination.options.fault = "return:stop";
		fake_pair_run(pair);
		check_kept(pair, "save failed");
		fake_pair_free(pair);
	}
}

/* The destination has given back all but a disk's lock: that goes with its process. */
static void test_disk_is_kept(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		FakePair *pair = new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

		pair->source.fail_at = "resume";
		pair->destination.options.fault = "load:fail";
		fake_pair_run(pair);
		check_kept_after(pair, "fault injected", 2);
		fake_pair_free(pair);
	}
}

/* It hangs with all pages in its memory, and cannot even be stopped. */
static void test_load_hangs(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		FakePair *pair = new_pair(setups[i].sparse, setups[i].channels, setups[i].engine);

		pair->destination.load_hangs = TRUE;
		fake_pair_run(pair);
		check_kept(pair, "timed out");
		fake_pair_free(pair);
	}
}

/* The source is busy for longer than the destination has patience with one that is dead. */
static void test_source_is_slow(void **state)
{
	FakePair *pair = new_pair(TRUE, 2, LM_ENGINE_VMSPLICE);

	pair->source.options.deadline_ms = 500;
	pair->source.options.fault = "devices:hold";
	pair->destination.options.deadline_ms = 100;
	fake_pair_run(pair);
	check_kept(pair, "");
	fake_pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_memory_fails),   TEST(test_fails_at_stage), TEST(test_cancel),
		TEST(test_return_hangs),   TEST(test_disk_is_kept),   TEST(test_load_hangs),
		TEST(test_source_is_slow),
	};

	return cmocka_run_group_tests_name("session-failing", tests, NULL, NULL);
}
