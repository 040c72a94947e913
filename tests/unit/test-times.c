/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The distribution of durations. */
#include "test-util.h"

#include <inttypes.h>

#include "times.h"

static void none(void **state)
{
	LmTimes times = {0};

	assert_int_equal(lm_times_count(&times), 0);
	assert_int_equal(lm_times_percentile(&times, 0), 0);
	assert_int_equal(lm_times_percentile(&times, 50), 0);
	assert_int_equal(lm_times_percentile(&times, 100), 0);
}

static void check_near(guint64 found, guint64 expected)
{
	const guint64 apart = found > expected ? found - expected : expected - found;

	if (apart * 100 > expected * 4)
		fail_msg("%" PRIu64 " us, expected %" PRIu64, found, expected);
}

/* Whatever the duration, it is found within 4 %, and the longest exactly. */
static void one_of_each_size(void **state)
{
	for (guint64 us = 0; us < 1ull << 30; us += us / 7 + 1) {
		LmTimes times = {0};

		lm_times_add(&times, us);
		assert_int_equal(lm_times_count(&times), 1);
		check_near(lm_times_percentile(&times, 50), us);
		assert_int_equal(lm_times_percentile(&times, 100), us);
		lm_times_add(&times, us + us / 2);
		check_near(lm_times_percentile(&times, 0), us);
		check_near(lm_times_percentile(&times, 50), us);
		check_near(lm_times_percentile(&times, 51), us + us / 2);
	}
}

static void small_ones_are_exact(void **state)
{
	for (guint64 us = 0; us < 32; us++) {
		LmTimes times = {0};

		lm_times_add(&times, us);
		lm_times_add(&times, 1000);
		assert_int_equal(lm_times_percentile(&times, 50), us);
	}
}

static void percentiles(void **state)
{
	LmTimes times = {0};

	for (guint64 us = 1; us <= 10000; us++)
		lm_times_add(&times, us);
	assert_int_equal(lm_times_count(&times), 10000);
	assert_int_equal(lm_times_percentile(&times, 0), 1);
	for (guint percent = 1; percent < 100; percent++)
		check_near(lm_times_percentile(&times, percent), percent * 100);
	check_near(lm_times_percentile(&times, 99.9), 9990);
	assert_int_equal(lm_times_percentile(&times, 100), 10000);
	assert_int_equal(lm_times_percentile(&times, 1000), 10000);
	assert_int_equal(lm_times_percentile(&times, -5), 1);
}

/* No percentile is more than the longest. */
static void never_more_than_the_longest(void **state)
{
	LmTimes times = {0};

	lm_times_add(&times, 1024);
	assert_int_equal(lm_times_percentile(&times, 99), 1024);
}

static void for_ever(void **state)
{
	LmTimes times = {0};

	lm_times_add(&times, G_MAXUINT64);
	lm_times_add(&times, 5);
	assert_int_equal(lm_times_count(&times), 2);
	assert_int_equal(lm_times_percentile(&times, 50), 5);
	assert_int_equal(lm_times_percentile(&times, 100), G_MAXUINT64);
}

static gpointer add_many(gpointer opaque)
{
	for (guint64 us = 0; us < 100000; us++)
		lm_times_add(opaque, us % 1000);
	return NULL;
}

static void from_several_threads(void **state)
{
	GThread *thread[3];
	LmTimes times = {0};

	for (int i = 0; i < 3; i++)
		thread[i] = g_thread_new("add", add_many, &times);
	for (int i = 0; i < 3; i++)
		g_thread_join(thread[i]);
	assert_int_equal(lm_times_count(&times), 300000);
	check_near(lm_times_percentile(&times, 50), 500);
	assert_int_equal(lm_times_percentile(&times, 100), 999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(none),
		TEST(one_of_each_size),
		TEST(small_ones_are_exact),
		TEST(percentiles),
		TEST(never_more_than_the_longest),
		TEST(for_ever),
		TEST(from_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
