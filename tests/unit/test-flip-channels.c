/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile peer that sends a page on two channels at once. Two threads write to it then, which is
 * what the thread sanitizer would say of this program; it is not run there.
 */
#include "flip-victim.h"

#include <sys/ioctl.h>

typedef struct Twice {
	const LmPipes *pipes;
	const LmRegion *region;
} Twice;

static void write_to(const LmPipes *pipes, guint channel, const void *data, gsize length)
{
	g_assert(write(pipes->pair[channel].tx, data, length) == (ssize_t)length);
}

static void await_read(const LmPipes *pipes, guint channel)
{
	int left;

	while (ioctl(pipes->pair[channel].tx, FIONREAD, &left) == 0 && left)
		g_usleep(1000);
}

/* Channel 1 has passed all checks and is half way in the page when it comes on channel 0. */
static gpointer send_page_twice(gpointer opaque)
{
	static const guint8 page[PAGE] = {'x'};
	const Twice *twice = opaque;
	LmFrame frame = frame_of(0, PAGE);
	guint8 encoded[LM_FRAME_BYTES_MAX];
	gsize length = lm_frame_encode(encoded, &frame);

	write_to(twice->pipes, 1, encoded, length);
	write_to(twice->pipes, 1, page, PAGE / 2);
	await_read(twice->pipes, 1);
	write_to(twice->pipes, 0, encoded, length);
	write_to(twice->pipes, 0, page, PAGE);
	while (!lm_region_bitmap_any(twice->region, &frame.range[0]))
		g_usleep(1000);
	write_to(twice->pipes, 1, page + PAGE / 2, PAGE / 2);
	return NULL;
}

static void page_that_comes_on_two_channels(void **state)
{
	Victim *victim = *state;
	LmPipes theirs, ours;
	Twice twice = {&theirs, ram(victim)};
	GThread *thread;
	int fds[4];

	assert_int_equal(lm_pipes_open(&theirs, 2, fds, NULL), 0);
	assert_int_equal(lm_pipes_adopt(&ours, 2, fds, FALSE, NULL), 0);
	victim->flip.pipes = &ours;
	victim->flip.wait.deadline_ms = 5000;
	thread = g_thread_new("twice", send_page_twice, &twice);
	assert_fails(victim, -EPROTO, LM_ERROR_PROTOCOL,
		     "pages of RAM block ram at 0 came though they are here");
	g_thread_join(thread);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), PAGE);
	assert_int_equal(victim->flip.bytes, PAGE);
	lm_pipes_close(&theirs);
	lm_pipes_close(&ours);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(page_that_comes_on_two_channels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
