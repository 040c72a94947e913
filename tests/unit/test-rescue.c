// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Taking pages back from a destination that stopped, or died, after it had read a known part of
 * what was sent: any part, to the byte.
 */
#include "flip-pair.h"
#include "test-util.h"
#include "unstoppable.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "rescue.h"

#define IDLE_MS	     150
#define FRAME_PAGES  3
#define FRAME_HEAD   (LM_FRAME_HEADER_BYTES + 2 * LM_FRAME_RANGE_BYTES)
#define FRAME_STREAM (FRAME_HEAD + FRAME_PAGES * PAGE)
#define FRAMES	     16

typedef enum Fate { STOPS, DIES, DIES_UNNOTICED, CANNOT_STOP, CANNOT_BE_READ, ENDS_SLOWLY } Fate;

/* Of the first region, where a destination that cannot be read cannot be read. */
#define UNREADABLE_FRAME 5
#define UNREADABLE_AT	 (UNREADABLE_FRAME * LM_WINDOW_BYTES + 4 * PAGE)

/* Three pages in each window, in two ranges: small frames, of which a pipe holds many. */
static gboolean few(guint64 page)
{
	return page % 512 == 3 || page % 512 == 4 || page % 512 == 100;
}

/* The source's side of a test. */
typedef struct Rescue {
	Pair pair; /* regions; the child is the destination */
	LmSession *session;
	guint64 populated_bytes;
} Rescue;

/* -------------------------------------------------------------- destination */

/* At most @length bytes; fewer when the prefix ends or nothing comes any more. */
static gsize take(int fd, guint8 *to, gsize length, guint64 *left)
{
	gsize taken = 0;

	length = MIN(length, *left);
	while (taken < length) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		gssize n;

		if (poll(&ready, 1, IDLE_MS) <= 0)
			break;
		n = read(fd, to + taken, length - taken);
		if (n <= 0)
			break;
		taken += n;
	}
	*left -= taken;
	return taken;
}

/* Reads a prefix of @left bytes of a channel's stream, pages straight into memory. */
static void read_prefix(GPtrArray *regions, int fd, guint64 left)
{
	guint8 bytes[LM_FRAME_BYTES_MAX];
	LmFrame frame;

	for (;;) {
		LmRegion *region;
		gsize ranges;

		if (take(fd, bytes, LM_FRAME_HEADER_BYTES, &left) < LM_FRAME_HEADER_BYTES)
			return;
		g_assert(!lm_frame_header_decode(bytes, &frame, NULL));
		ranges = frame.range_count * LM_FRAME_RANGE_BYTES;
		if (take(fd, bytes, ranges, &left) < ranges)
			return;
		if (frame.flags & LM_FRAME_END)
			return;
		region = g_ptr_array_index(regions, frame.region);
		g_assert(!lm_frame_ranges_decode(bytes, &frame, region->used_bytes, PAGE, NULL));
		for (guint i = 0; i < frame.range_count; i++)
			if (take(fd, region->host + frame.range[i].offset_bytes,
				 frame.range[i].length_bytes, &left) < frame.range[i].length_bytes)
				return;
	}
}

/* The kernel frees it page by page. */
static void touch_much(void)
{
	const gsize bytes = 256 * MIB;
	guint8 *much =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	g_assert(much != MAP_FAILED);
	madvise(much, bytes, MADV_NOHUGEPAGE);
	memset(much, 1, bytes);
}

static G_NORETURN void be_destination(Rescue *rescue, const int *fds, const guint64 *prefix,
				      Fate fate, int done_fd)
{
	LmPipes pipes = LM_PIPES_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	g_assert(!lm_pipes_adopt(&pipes, rescue->session->pipes.count, fds, FALSE, NULL));
	for (guint i = 0; i < pipes.count; i++)
		read_prefix(rescue->pair.regions, pipes.pair[i].rx, prefix[i]);
	if (fate == CANNOT_BE_READ)
		g_assert(!mprotect(get_region(&rescue->pair, 0)->host + UNREADABLE_AT, PAGE,
				   PROT_NONE));
	if (fate == ENDS_SLOWLY)
		touch_much();
	g_assert(write(done_fd, "", 1) == 1);
	if (fate == DIES || fate == DIES_UNNOTICED)
		_exit(0);
	if (fate == CANNOT_STOP)
		become_unstoppable();
	for (;;)
		pause();
}

/* ------------------------------------------------------------------- source */

static void start(Rescue *rescue, guint channels, const guint64 *prefix, Fate fate, int *done_fd)
{
	const LmOptions options = {.channels = channels, .deadline_ms = 200};
	LmSession *session = lm_session_new(LM_ROLE_SOURCE, NULL, NULL, &options);
	int fds[2 * LM_CHANNELS_MAX], done[2];
	pid_t child;

	rescue->session = session;
	session->regions = g_ptr_array_ref(rescue->pair.regions);
	assert_int_equal(lm_pipes_open(&session->pipes, channels, fds, NULL), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		be_destination(rescue, fds, prefix, fate, done[1]);
	for (guint i = 0; i < 2 * channels; i++)
		close(fds[i]);
	close(done[1]);
	*done_fd = done[0];
	rescue->pair.child = session->status.peer_pid = child;
	session->peer_pidfd = syscall(SYS_pidfd_open, child, 0);
	assert_true(session->peer_pidfd >= 0);
}

/* Sends all pages, or as many as the pipes take of those that nobody reads. */
static void send_pages(Rescue *rescue)
{
	LmSession *session = rescue->session;
	LmFlip flip = {.regions = session->regions,
		       .pipes = &session->pipes,
		       .engine = LM_ENGINE_VMSPLICE,
		       .peer_fd = -1,
		       .wait = {.deadline_ms = 2 * IDLE_MS, .cancel_fd = -1},
		       .log = session->log};
	int rc;

	fill_pair(&rescue->pair);
	rescue->populated_bytes = bytes_here(&rescue->pair);
	for (guint i = 0; i < session->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(session->regions, i);

		region->populated = lm_region_bitmap_copy(region);
		region->peer_address = (guintptr)region->host;
	}
	rc = lm_flip_send(&flip, NULL);
	assert_true(rc == 0 || rc == -ETIMEDOUT);
}

/* The destination has read what it will, and has met its fate. */
static void await_fate(Rescue *rescue, Fate fate, int done_fd)
{
	struct pollfd exited = {.fd = rescue->session->peer_pidfd, .events = POLLIN};
	char byte;

	assert_int_equal(read(done_fd, &byte, 1), 1);
	close(done_fd);
	if (fate == DIES || fate == DIES_UNNOTICED)
		assert_int_equal(poll(&exited, 1, 5000), 1);
	if (fate == DIES) {
		assert_int_equal(waitpid(rescue->pair.child, NULL, 0), rescue->pair.child);
		rescue->pair.child = -1;
	}
	if (fate == CANNOT_STOP)
		g_usleep(20000);
}

static void add_few(Rescue *rescue)
{
	init_pair(&rescue->pair);
	add_region(&rescue->pair, "few", FRAMES * LM_WINDOW_BYTES, few, 0, MADV_NOHUGEPAGE);
}

static void run(Rescue *rescue, guint channels, const guint64 *prefix, Fate fate)
{
	int done_fd;

	start(rescue, channels, prefix, fate, &done_fd);
	send_pages(rescue);
	await_fate(rescue, fate, done_fd);
}

static void rescue_clear(Rescue *rescue)
{
	if (rescue->pair.child > 0) {
		kill(rescue->pair.child, SIGKILL);
		waitpid(rescue->pair.child, NULL, 0);
	}
	rescue->pair.child = -1;
	lm_session_free(rescue->session);
	end_pair(&rescue->pair);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Rescue, rescue_clear)

static void check_all_back(Rescue *rescue, guint64 prefix)
{
	g_autoptr(GError) error = NULL;
	int rc = lm_rescue(rescue->session, &error);

	if (rc || bytes_here(&rescue->pair) != rescue->populated_bytes ||
	    pages_wrong(&rescue->pair))
		fail_msg("prefix %d: rc %d (%s), %d of %d bytes, %d pages wrong", (int)prefix, rc,
			 error ? error->message : "", (int)bytes_here(&rescue->pair),
			 (int)rescue->populated_bytes, (int)pages_wrong(&rescue->pair));
}

/* ------------------------------------------------------------- small frames */

static const guint64 small_prefixes[] = {
	0,
	1,
	LM_FRAME_HEADER_BYTES / 2,
	LM_FRAME_HEADER_BYTES,
	LM_FRAME_HEADER_BYTES + 8,
	FRAME_HEAD - 1,
	FRAME_HEAD,
	FRAME_HEAD + 1,
	FRAME_HEAD + PAGE - 1,
	FRAME_HEAD + PAGE,
	FRAME_HEAD + PAGE + PAGE / 2,
	FRAME_HEAD + 2 * PAGE + 1234, /* in the second range */
	FRAME_STREAM - 1,
	FRAME_STREAM,
	FRAME_STREAM + 16,
	5 * FRAME_STREAM,
	5 * FRAME_STREAM + FRAME_HEAD + PAGE + PAGE / 2,
	(FRAMES - 1) * FRAME_STREAM + FRAME_HEAD + 3 * PAGE - 1,
	FRAMES *FRAME_STREAM,
	FRAMES *FRAME_STREAM + 16,
	FRAMES *FRAME_STREAM + LM_FRAME_HEADER_BYTES, /* the end frame, too */
};

static void test_small_frames(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(small_prefixes); i++) {
		g_auto(Rescue) rescue = {0};

		add_few(&rescue);
		run(&rescue, 1, &small_prefixes[i], STOPS);
		assert_int_equal(bytes_here(&rescue.pair), 0); /* all have left */
		assert_int_equal(rescue.populated_bytes, FRAMES * FRAME_PAGES * PAGE);
		check_all_back(&rescue, small_prefixes[i]);
	}
}

/* The pages of which not one byte was read. */
static guint64 pages_unread(guint64 prefix)
{
	guint64 pages = 0;

	for (guint frame = 0; frame < FRAMES; frame++)
		for (guint page = 0; page < FRAME_PAGES; page++)
			pages += frame * FRAME_STREAM + FRAME_HEAD + page * PAGE >= prefix;
	return pages;
}

static void check_dead(guint64 prefix, Fate fate)
{
	g_auto(Rescue) rescue = {0};
	guint64 unread_bytes = pages_unread(prefix) * PAGE;

	add_few(&rescue);
	run(&rescue, 1, &prefix, fate);
	if (unread_bytes < rescue.populated_bytes)
		assert_true(lm_rescue(rescue.session, NULL) < 0);
	else
		lm_rescue(rescue.session, NULL);
	assert_int_equal(bytes_here(&rescue.pair), unread_bytes);
	assert_int_equal(pages_wrong(&rescue.pair), 0);
}

/* Only what is whole in the pipes comes back; nothing else is said to be here. */
static void test_dead(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(small_prefixes); i++) {
		check_dead(small_prefixes[i], DIES);
		check_dead(small_prefixes[i], DIES_UNNOTICED); /* a zombie */
	}
}

/* -------------------------------------------------------------- large frames */

static void add_large(Rescue *rescue)
{
	init_pair(&rescue->pair);
	add_region(&rescue->pair, "full", 8 * MIB, full, 0, MADV_HUGEPAGE);
	add_region(&rescue->pair, "few", 4 * LM_WINDOW_BYTES, few, 0, MADV_NOHUGEPAGE);
	add_region(&rescue->pair, "half", 5 * MIB + 3 * PAGE, every_other, 0, MADV_NOHUGEPAGE);
}

/* Frames that no pipe holds: the sender, too, is cut in the middle of one. */
static void test_large_frames(void **state)
{
	const guint64 head = LM_FRAME_HEADER_BYTES + LM_FRAME_RANGE_BYTES;
	const guint64 prefixes[] = {0,
				    head,
				    head + PAGE + PAGE / 2,
				    head + MIB + 77,
				    head + 2 * MIB,
				    head + 2 * MIB + 20,
				    3 * (head + 2 * MIB) + head + 99 * PAGE + 5,
				    4 * (head + 2 * MIB) + 1000,
				    11 * MIB + 123};

	for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++) {
		g_auto(Rescue) rescue = {0};

		add_large(&rescue);
		run(&rescue, 1, &prefixes[i], STOPS);
		check_all_back(&rescue, prefixes[i]);
	}
}

static void test_channels(void **state)
{
	static const guint64 prefixes[][3] = {{0, 0, 0},
					      {0, 3 * MIB + 7, 0},
					      {MIB + 1, 77, 5 * MIB + 4097},
					      {20, 2 * MIB + 50, G_MAXUINT64},
					      {G_MAXUINT64, G_MAXUINT64, G_MAXUINT64}};

	for (guint i = 0; i < G_N_ELEMENTS(prefixes); i++) {
		g_auto(Rescue) rescue = {0};

		add_large(&rescue);
		run(&rescue, 3, prefixes[i], STOPS);
		check_all_back(&rescue, i);
	}
}

/* ----------------------------------------------------------------- not at all */

/* Its word on where its memory is was wrong: what is whole in the pipes is all there is. */
static void test_wrong_address(void **state)
{
	const guint64 prefix = 5 * FRAME_STREAM + FRAME_HEAD + PAGE / 2;
	g_auto(Rescue) rescue = {0};
	g_autoptr(GError) error = NULL;
	int rc;

	add_few(&rescue);
	run(&rescue, 1, &prefix, STOPS);
	get_region(&rescue.pair, 0)->peer_address = 0;
	rc = lm_rescue(rescue.session, &error);
	assert_int_equal(rc, -EFAULT);
	assert_non_null(strstr(error->message, "RAM block few: reading the destination's memory"));
	assert_int_equal(bytes_here(&rescue.pair), pages_unread(prefix) * PAGE);
	assert_int_equal(pages_wrong(&rescue.pair), 0);
}

/* It may read on at any time: then nothing that is in the pipes has a certain place. */
static void test_cannot_stop(void **state)
{
	const guint64 prefix = 5 * FRAME_STREAM;
	g_auto(Rescue) rescue = {0};
	g_autoptr(GError) error = NULL;
	int rc;

	add_few(&rescue);
	run(&rescue, 1, &prefix, CANNOT_STOP);
	rc = lm_rescue(rescue.session, &error);
	assert_int_equal(rc, -ETIMEDOUT);
	assert_non_null(strstr(error->message, "cannot be stopped"));
	assert_int_equal(bytes_here(&rescue.pair), 0);
}

/* All was read before: it is all in its memory, and nothing more comes to that from the pipes. */
static void test_cannot_stop_all_read(void **state)
{
	const guint64 prefix = G_MAXUINT64;
	g_auto(Rescue) rescue = {0};
	g_autoptr(GError) error = NULL;

	add_few(&rescue);
	run(&rescue, 1, &prefix, CANNOT_STOP);
	rescue.session->flip_arrived = TRUE;
	assert_int_equal(lm_rescue(rescue.session, &error), -ETIMEDOUT);
	assert_non_null(strstr(error->message, "cannot be stopped"));
	assert_int_equal(bytes_here(&rescue.pair), rescue.populated_bytes);
	assert_int_equal(pages_wrong(&rescue.pair), 0);
}

/* One page cannot be read, the others come; unless that one is still in the pipe, whole. */
static void test_unreadable_page(void **state)
{
	static const struct {
		guint64 prefix;
		guint pages_missing;
	} rows[] = {
		{G_MAXUINT64, 1},
		{UNREADABLE_FRAME * FRAME_STREAM + FRAME_HEAD + PAGE + 1, 1},
		{UNREADABLE_FRAME * FRAME_STREAM, 0},
	};

	for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_auto(Rescue) rescue = {0};
		g_autoptr(GError) error = NULL;
		LmRange page = {UNREADABLE_AT, PAGE};

		add_few(&rescue);
		run(&rescue, 1, &rows[i].prefix, CANNOT_BE_READ);
		assert_int_equal(lm_rescue(rescue.session, &error), -EFAULT);
		assert_non_null(strstr(error->message, "RAM block few"));
		assert_int_equal(bytes_here(&rescue.pair),
				 rescue.populated_bytes - rows[i].pages_missing * PAGE);
		assert_int_equal(lm_region_bitmap_any(get_region(&rescue.pair, 0), &page),
				 !rows[i].pages_missing);
		assert_int_equal(pages_wrong(&rescue.pair), 0);
	}
}

/* A thread that cannot be looked at, for want of descriptors, is not known to be stopped. */
static void test_no_descriptors(void **state)
{
	const guint64 prefix = 5 * FRAME_STREAM;
	g_auto(Rescue) rescue = {0};
	struct rlimit limit, before;
	int last;

	add_few(&rescue);
	run(&rescue, 1, &prefix, CANNOT_STOP);
	close(rescue.session->pipes.pair[0].tx);
	close(rescue.session->pipes.pair[0].rx);
	rescue.session->pipes.pair[0].tx = rescue.session->pipes.pair[0].rx = -1;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	last = dup(STDERR_FILENO); /* the lowest that is free: one, and none after it */
	assert_true(last >= 0);
	limit = (struct rlimit){last + 1, before.rlim_max};
	close(last);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(lm_rescue(rescue.session, NULL), -ETIMEDOUT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(bytes_here(&rescue.pair), 0);
}

/* However short the deadline, one that was killed has the time that the kernel needs to end it. */
static void test_slow_end(void **state)
{
	const guint64 prefix = 5 * FRAME_STREAM;
	g_auto(Rescue) rescue = {0};
	g_autoptr(GError) error = NULL;
	int rc;

	add_few(&rescue);
	run(&rescue, 1, &prefix, ENDS_SLOWLY);
	rescue.session->options.deadline_ms = 0;
	rescue.session->flipping = rescue.session->flip_answered = TRUE;
	rescue.session->status.populated_bytes = rescue.populated_bytes;
	rc = lm_source_undo_flip(rescue.session, &error);
	if (rc)
		fail_msg("%s", error->message);
	assert_int_equal(bytes_here(&rescue.pair), rescue.populated_bytes);
	assert_int_equal(pages_wrong(&rescue.pair), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_small_frames),	 TEST(test_dead),
		TEST(test_large_frames),	 TEST(test_channels),
		TEST(test_wrong_address),	 TEST(test_cannot_stop),
		TEST(test_cannot_stop_all_read), TEST(test_unreadable_page),
		TEST(test_no_descriptors),	 TEST(test_slow_end),

	};

	return cmocka_run_group_tests_name("rescue", tests, NULL, NULL);
}
