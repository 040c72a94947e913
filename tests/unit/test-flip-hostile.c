/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a broken or hostile peer can put into the pipes, written there by hand. Each is refused
 * with an error that says what was wrong, and nothing outside the region is written.
 */
#include "flip-victim.h"

static void put_end(Victim *victim, guint64 sum)
{
	LmFrame end = {.flags = LM_FRAME_END, .payload_bytes = sum};

	put_frame(victim, &end);
}

static void put_one(Victim *victim, guint64 offset, guint64 length)
{
	LmFrame frame = frame_of(offset, length);

	put_frame(victim, &frame);
	put_pages(victim, PAGE, 'x');
}

/* So that the others fail for what they say, and not for something else. */
static void a_good_frame_is_taken(void **state)
{
	Victim *victim = *state;

	put_one(victim, 3 * PAGE, PAGE);
	put_end(victim, PAGE);
	assert_int_equal(lm_flip_receive(&victim->flip, NULL), 0);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), PAGE);
	assert_int_equal(ram(victim)->host[3 * PAGE], 'x');
	assert_int_equal(ram(victim)->host[4 * PAGE], 0);
	assert_canaries(victim);
}

static void region_out_of_range(void **state)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.region = 2;
	put_frame(*state, &frame);
	assert_refused(*state, "pages of region 2 came, of 2");
}

static void region_beyond_any_bound(void **state)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.region = G_MAXUINT32;
	put_frame(*state, &frame);
	assert_refused(*state, "a frame is for region 4294967295, and there are at most 1024");
}

static void region_that_is_passed(void **state)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.region = 1;
	put_frame(*state, &frame);
	put_pages(*state, PAGE, 'x');
	assert_refused(*state, "pages of RAM block vga came, which goes by pass");
}

static void offset_beyond_the_region(void **state)
{
	put_one(*state, REGION_BYTES, PAGE);
	assert_refused(*state, "a range of 4096 bytes at 4194304 is not within the region's "
			       "4194304");
}

static void end_beyond_the_region(void **state)
{
	put_one(*state, REGION_BYTES - PAGE, 2 * PAGE);
	assert_refused(*state, "a range of 8192 bytes at 4190208 is not within the region's "
			       "4194304");
}

static void end_that_overflows(void **state)
{
	put_one(*state, -(guint64)PAGE, 2 * PAGE);
	assert_refused(*state, "a range of 8192 bytes at 18446744073709547520 is not within the "
			       "region's 4194304");
}

static void offset_unaligned(void **state)
{
	put_one(*state, 100, PAGE);
	assert_refused(*state, "a range of 4096 bytes at 100 is not aligned to 4096");
}

static void length_unaligned(void **state)
{
	put_one(*state, 0, 100);
	assert_refused(*state, "a range of 100 bytes at 0 is not aligned to 4096");
}

static void ranges_overlap(void **state)
{
	LmFrame frame = {.range_count = 2,
			 .payload_bytes = 3 * PAGE,
			 .range = {{0, 2 * PAGE}, {PAGE, PAGE}}};

	put_frame(*state, &frame);
	put_pages(*state, 3 * PAGE, 'x');
	assert_refused(*state, "a range at 4096 begins before the end 8192 of the one before");
}

static void ranges_do_not_sum_up(void **state)
{
	LmFrame frame = frame_of(0, 2 * PAGE);

	frame.payload_bytes = PAGE;
	put_frame(*state, &frame);
	put_pages(*state, PAGE, 'x');
	assert_refused(*state, "the ranges of a frame have 8192 bytes, its pages 4096");
}

static void frame_in_two_windows(void **state)
{
	put_one(*state, LM_WINDOW_BYTES - PAGE, 2 * PAGE);
	assert_refused(*state, "a frame of RAM block ram from 2093056 to 2101248 is not in one "
			       "window");
}

static void no_ranges(void **state)
{
	LmFrame frame = {.payload_bytes = PAGE};

	put_frame(*state, &frame);
	assert_refused(*state, "a frame has 0 ranges instead of 1 to 512");
}

static void too_much_payload(void **state)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.payload_bytes = LM_FRAME_PAYLOAD_MAX + PAGE;
	put_frame(*state, &frame);
	assert_refused(*state, "a frame has 2101248 bytes of pages instead of 1 to 2097152");
}

static void unknown_flag(void **state)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.flags = 4;
	put_frame(*state, &frame);
	assert_refused(*state, "a frame has flags 0x4, and only 0x1 are known");
}

static void garbage(void **state)
{
	put_pages(*state, PAGE, 'G');
	assert_refused(*state, "a frame begins with 0x47474747, not 0x464d4c51");
}

static void page_is_here_already(void **state)
{
	Victim *victim = *state;
	LmRange here = {8 * PAGE, PAGE};
	LmFrame frame = {.range_count = 2,
			 .payload_bytes = 6 * PAGE,
			 .range = {{0, PAGE}, {4 * PAGE, 5 * PAGE}}};

	lm_region_bitmap_set(ram(victim), &here);
	put_frame(victim, &frame);
	put_pages(victim, 6 * PAGE, 'x');
	assert_fails(victim, -EPROTO, LM_ERROR_PROTOCOL,
		     "pages of RAM block ram at 16384 came though they are here");
	assert_untouched(victim);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), PAGE);
}

static void page_that_comes_twice(void **state)
{
	put_one(*state, 0, PAGE);
	put_one(*state, 0, PAGE);
	assert_fails(*state, -EPROTO, LM_ERROR_PROTOCOL,
		     "pages of RAM block ram at 0 came though they are here");
}

static void end_with_a_wrong_sum(void **state)
{
	put_one(*state, 0, PAGE);
	put_end(*state, 2 * PAGE);
	assert_fails(*state, -EPROTO, LM_ERROR_PROTOCOL,
		     "channel 0 ended after 4096 bytes of pages, and its end frame says 8192");
}

/* ------------------------------------------------------------- truncation */

static void close_theirs(Victim *victim)
{
	close(victim->theirs.pair[0].tx);
	victim->theirs.pair[0].tx = -1;
}

static void closed_after(Victim *victim, gsize header_bytes, gsize payload_bytes)
{
	LmFrame frame = frame_of(0, 2 * PAGE);
	guint8 encoded[LM_FRAME_BYTES_MAX];
	gsize length = lm_frame_encode(encoded, &frame);

	if (header_bytes)
		put(victim, encoded, MIN(header_bytes, length));
	if (payload_bytes)
		put_pages(victim, payload_bytes, 'x');
	close_theirs(victim);
	assert_fails(victim, -EPIPE, LM_ERROR_GONE, "the peer closed the pipe of channel 0");
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), 0);
}

static void closed_before_the_end(void **state)
{
	closed_after(*state, 0, 0);
}

static void closed_in_the_header(void **state)
{
	closed_after(*state, 17, 0);
}

static void closed_in_the_ranges(void **state)
{
	closed_after(*state, LM_FRAME_HEADER_BYTES + 5, 0);
}

static void closed_in_the_pages(void **state)
{
	closed_after(*state, LM_FRAME_BYTES_MAX, PAGE + 100);
}

static void silent_in_the_pages(void **state)
{
	Victim *victim = *state;
	LmFrame frame = frame_of(0, 2 * PAGE);

	put_frame(victim, &frame);
	put_pages(victim, PAGE, 'x');
	assert_fails(victim, -ETIMEDOUT, LM_ERROR_TIMEOUT,
		     "no page moved for 100 ms: the peer does not send");
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), 0);
}

/* ------------------------------------------------------- process_vm_readv */

static void put_address(Victim *victim, guint64 address)
{
	LmFrame frame = frame_of(0, PAGE);

	frame.address = address;
	put_frame(victim, &frame);
	victim->flip.engine = LM_ENGINE_PROCESS_VM_READV;
}

static void address_that_is_not_mapped(void **state)
{
	Victim *victim = *state;
	g_autofree char *message = g_strdup_printf(
		"cannot copy RAM block ram from process %d: Bad address", (int)getpid());

	put_address(victim, -(guint64)(16 * PAGE));
	assert_fails(victim, -EFAULT, LM_ERROR_FAILED, message);
	assert_untouched(victim);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), 0);
}

/* The page's end is where the addresses end, or a byte more. */
static void address_at_the_bound(void **state)
{
	Victim *victim = *state;
	g_autofree char *message = g_strdup_printf(
		"cannot copy RAM block ram from process %d: Bad address", (int)getpid());

	put_address(victim, 0);
	assert_fails(victim, -EFAULT, LM_ERROR_FAILED, message);
	put_address(victim, G_MAXUINT64 - PAGE);
	assert_fails(victim, -EFAULT, LM_ERROR_FAILED, message);
	assert_untouched(victim);
}

static void address_that_overflows(void **state)
{
	put_address(*state, G_MAXUINT64 - PAGE + 1);
	assert_refused(*state,
		       "RAM block ram cannot be at 0xfffffffffffff000 and have a page at 0");
}

static void process_that_has_gone(void **state)
{
	Victim *victim = *state;
	g_autofree char *message = NULL;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	victim->flip.peer_pid = child;
	message = g_strdup_printf("process %d has gone", (int)child);
	put_address(victim, 0x10000);
	assert_fails(victim, -EPIPE, LM_ERROR_GONE, message);
}

static void put_ack(Victim *victim, guint64 frames)
{
	guint64 wire = GUINT64_TO_LE(frames);

	assert_int_equal(write(victim->ours.pair[0].tx, &wire, sizeof(wire)), sizeof(wire));
}

/* The victim sends three frames, and the peer acknowledges what it likes. */
static void assert_ack_refused(Victim *victim, const char *message, guint64 bytes_left)
{
	LmRange all = {0, REGION_BYTES};
	g_autoptr(GError) error = NULL;

	memset(ram(victim)->host, 'x', REGION_BYTES);
	lm_region_bitmap_set(ram(victim), &all);
	victim->flip.pipes = &victim->theirs;
	victim->flip.engine = LM_ENGINE_PROCESS_VM_READV;
	assert_int_equal(lm_flip_send(&victim->flip, &error), -EPROTO);
	assert_string_equal(error->message, message);
	assert_int_equal(error->code, LM_ERROR_PROTOCOL);
	assert_int_equal(lm_region_bitmap_count_bytes(ram(victim)), bytes_left);
	for (guint64 at = 0; at < REGION_BYTES; at += PAGE) {
		LmRange one = {at, PAGE};

		if (lm_region_bitmap_any(ram(victim), &one))
			assert_int_equal(ram(victim)->host[at], 'x');
	}
	assert_canaries(victim);
}

static void ack_of_too_many(void **state)
{
	put_ack(*state, 3);
	assert_ack_refused(*state, "channel 0: the peer acknowledged frame 3 after 0 of 2",
			   REGION_BYTES);
}

static void ack_twice(void **state)
{
	put_ack(*state, 1);
	put_ack(*state, 1);
	assert_ack_refused(*state, "channel 0: the peer acknowledged frame 1 after 1 of 2",
			   REGION_BYTES - LM_WINDOW_BYTES);
}

static void ack_in_part(void **state)
{
	Victim *victim = *state;

	assert_int_equal(write(victim->ours.pair[0].tx, "abc", 3), 3);
	assert_ack_refused(victim, "channel 0: an acknowledgement of 3 bytes", REGION_BYTES);
}

/* -------------------------------------------------------------- channels */

/* One channel is refused: the other ends as well, though its peer is silent. */
static void one_channel_ends_all(void **state)
{
	Victim *victim = *state;
	LmPipes theirs, ours;
	gint64 begin_us = g_get_monotonic_time();
	int fds[6];

	assert_int_equal(lm_pipes_open(&theirs, 3, fds, NULL), 0);
	assert_int_equal(lm_pipes_adopt(&ours, 3, fds, FALSE, NULL), 0);
	victim->flip.pipes = &ours;
	victim->flip.wait.deadline_ms = 5000;
	assert_int_equal(write(theirs.pair[1].tx, "GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG", 32), 32);
	assert_refused(victim, "a frame begins with 0x47474747, not 0x464d4c51");
	assert_true(g_get_monotonic_time() - begin_us < 2000 * 1000);
	lm_pipes_close(&theirs);
	lm_pipes_close(&ours);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_good_frame_is_taken),
		TEST(region_out_of_range),
		TEST(region_beyond_any_bound),
		TEST(region_that_is_passed),
		TEST(offset_beyond_the_region),
		TEST(end_beyond_the_region),
		TEST(end_that_overflows),
		TEST(offset_unaligned),
		TEST(length_unaligned),
		TEST(ranges_overlap),
		TEST(ranges_do_not_sum_up),
		TEST(frame_in_two_windows),
		TEST(no_ranges),
		TEST(too_much_payload),
		TEST(unknown_flag),
		TEST(garbage),
		TEST(page_is_here_already),
		TEST(page_that_comes_twice),
		TEST(end_with_a_wrong_sum),
		TEST(closed_before_the_end),
		TEST(closed_in_the_header),
		TEST(closed_in_the_ranges),
		TEST(closed_in_the_pages),
		TEST(silent_in_the_pages),
		TEST(address_that_is_not_mapped),
		TEST(address_at_the_bound),
		TEST(address_that_overflows),
		TEST(process_that_has_gone),
		TEST(ack_of_too_many),
		TEST(ack_twice),
		TEST(ack_in_part),
		TEST(one_channel_ends_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
