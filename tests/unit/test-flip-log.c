// SPDX-License-Identifier: GPL-2.0-or-later
/* The sender's log: where in a channel's stream each page is, as far back as a pipe can hold. */
#include "flip-pair.h"
#include "test-util.h"

#include "flip-log.h"

#define FRAME_HEAD   (LM_FRAME_HEADER_BYTES + 2 * LM_FRAME_RANGE_BYTES)
#define FRAME_STREAM (FRAME_HEAD + 3 * PAGE)

static const LmLoggedFrame *logged(LmFlipLog *log, guint nth)
{
	return g_queue_peek_nth(&log->frames, nth);
}

static void test_log(void **state)
{
	LmFlipLog log = {0};
	LmFrame frame = {.region = 7,
			 .range_count = 2,
			 .payload_bytes = 3 * PAGE,
			 .range = {{0, PAGE}, {5 * PAGE, 2 * PAGE}}};

	lm_flip_log_frame(&log, &frame, FRAME_HEAD);
	assert_int_equal(log.stream_bytes, 0); /* nothing is written yet */
	lm_flip_log_wrote(&log, FRAME_HEAD);
	lm_flip_log_wrote(&log, 3 * PAGE);
	assert_int_equal(log.stream_bytes, FRAME_STREAM);
	lm_flip_log_frame(&log, &frame, FRAME_HEAD);
	assert_int_equal(log.frames.length, 2);
	assert_int_equal(logged(&log, 0)->pages_at, FRAME_HEAD);
	assert_int_equal(logged(&log, 0)->end_at, FRAME_STREAM);
	assert_int_equal(logged(&log, 1)->pages_at, FRAME_STREAM + FRAME_HEAD);
	assert_int_equal(logged(&log, 1)->region, 7);
	assert_int_equal(logged(&log, 1)->range_count, 2);
	assert_memory_equal(logged(&log, 1)->range, frame.range, 2 * sizeof(LmRange));
	lm_flip_log_clear(&log);
	assert_int_equal(log.frames.length + log.stream_bytes, 0);
}

/* What a pipe can still hold is remembered, to the byte; what it cannot is not. */
static void test_log_forgets(void **state)
{
	LmFlipLog log = {0};
	LmFrame frame = {.range_count = 1, .payload_bytes = PAGE, .range = {{0, PAGE}}};

	lm_flip_log_frame(&log, &frame, 48);
	lm_flip_log_wrote(&log, 48 + PAGE); /* its end */
	lm_flip_log_wrote(&log, LM_PIPE_BYTES);
	lm_flip_log_frame(&log, &frame, 48);
	assert_int_equal(log.frames.length, 2);
	lm_flip_log_wrote(&log, 1);
	lm_flip_log_frame(&log, &frame, 48);
	assert_int_equal(log.frames.length, 2);
	for (guint i = 0; i < 10000; i++) {
		lm_flip_log_frame(&log, &frame, 48);
		lm_flip_log_wrote(&log, 48 + PAGE);
	}
	assert_in_range(log.frames.length, LM_PIPE_BYTES / (48 + PAGE),
			LM_PIPE_BYTES / (48 + PAGE) + 2);
	lm_flip_log_clear(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_log), TEST(test_log_forgets)};

	return cmocka_run_group_tests_name("flip-log", tests, NULL, NULL);
}
