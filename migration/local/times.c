/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "times.h"

#define STEPS_SHIFT 4
#define STEPS	    (1u << STEPS_SHIFT) /* buckets of an octave */
#define LONGEST_US  ((G_GUINT64_CONSTANT(1) << 31) - 1)

G_STATIC_ASSERT(LM_TIMES_BUCKETS == STEPS * (31 - STEPS_SHIFT + 1));

/* The bits below the highest one select the octave's bucket. */
static guint bucket_of(guint64 us)
{
	guint shift;

	us = MIN(us, LONGEST_US);
	if (us < STEPS)
		return us;
	shift = 63 - __builtin_clzll(us) - STEPS_SHIFT;
	return (shift << STEPS_SHIFT) + (us >> shift);
}

static guint64 middle_of(guint bucket)
{
	guint shift;

	if (bucket < 2 * STEPS)
		return bucket;
	shift = (bucket >> STEPS_SHIFT) - 1;
	return ((guint64)(bucket - (shift << STEPS_SHIFT)) << shift) +
	       ((G_GUINT64_CONSTANT(1) << shift) >> 1);
}

void lm_times_add(LmTimes *times, guint64 us)
{
	guint64 max = __atomic_load_n(&times->max_us, __ATOMIC_RELAXED);

	while (max < us && !__atomic_compare_exchange_n(&times->max_us, &max, us, FALSE,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	__atomic_fetch_add(&times->bucket[bucket_of(us)], 1, __ATOMIC_RELAXED);
}

static guint32 load_bucket(const LmTimes *times, guint bucket)
{
	return __atomic_load_n(&times->bucket[bucket], __ATOMIC_RELAXED);
}

guint64 lm_times_count(const LmTimes *times)
{
	guint64 count = 0;

	for (guint i = 0; i < LM_TIMES_BUCKETS; i++)
		count += load_bucket(times, i);
	return count;
}

guint64 lm_times_percentile(const LmTimes *times, double percent)
{
	const guint64 max_us = __atomic_load_n(&times->max_us, __ATOMIC_RELAXED);
	const guint64 count = lm_times_count(times);
	const double exact = count * CLAMP(percent, 0, 100) / 100;
	guint64 rank = (guint64)exact;
	guint64 seen = 0;

	if (count == 0)
		return 0;
	if (percent >= 100)
		return max_us;
	rank += rank < exact ? 1 : 0;
	rank = MAX(rank, 1);
	for (guint i = 0; i < LM_TIMES_BUCKETS; i++) {
		seen += load_bucket(times, i);
		if (seen >= rank)
			return MIN(middle_of(i), max_us);
	}
	return max_us;
}
