/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pipes: directions, flags, sizes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipes.h"

static guint open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	guint count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void assert_flags(int fd, int access)
{
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), access | O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void assert_flows(int tx, int rx, char what)
{
	char got = 0;

	assert_int_equal(write(tx, &what, 1), 1);
	assert_int_equal(read(rx, &got, 1), 1);
	assert_int_equal(got, what);
}

static void opens_and_adopts(void **state)
{
	guint before = open_fds();
	LmPipes source = LM_PIPES_INIT, destination = LM_PIPES_INIT;
	int fds[2 * LM_CHANNELS_MAX];

	assert_int_equal(lm_pipes_open(&source, LM_CHANNELS_MAX, fds, NULL), 0);
	assert_int_equal(open_fds(), before + 5 * LM_CHANNELS_MAX);
	for (guint i = 0; i < 2 * LM_CHANNELS_MAX; i++) {
		fcntl(fds[i], F_SETFL, 0);
		fcntl(fds[i], F_SETFD, 0);
	}
	assert_int_equal(lm_pipes_adopt(&destination, LM_CHANNELS_MAX, fds, TRUE, NULL), 0);
	assert_int_equal(source.count, LM_CHANNELS_MAX);
	assert_int_equal(destination.count, LM_CHANNELS_MAX);
	for (guint i = 0; i < LM_CHANNELS_MAX; i++) {
		assert_flags(source.pair[i].tx, O_WRONLY);
		assert_flags(source.pair[i].rx, O_RDONLY);
		assert_flags(source.pair[i].tx_back, O_RDONLY);
		assert_flags(destination.pair[i].tx, O_WRONLY);
		assert_flags(destination.pair[i].rx, O_RDONLY);
		assert_int_equal(destination.pair[i].tx_back, -1);
		assert_flows(source.pair[i].tx, destination.pair[i].rx, 'a' + i);
		assert_flows(source.pair[i].tx, source.pair[i].tx_back, 'A' + i);
		assert_flows(destination.pair[i].tx, source.pair[i].rx, '0' + i);
	}
	lm_pipes_close(&destination);
	lm_pipes_close(&source);
	lm_pipes_close(&source);
	assert_int_equal(source.count, 0);
	assert_int_equal(open_fds(), before);
}

static void is_as_large_as_allowed(void **state)
{
	LmPipes pipes;
	int fds[2];

	assert_int_equal(lm_pipes_open(&pipes, 1, fds, NULL), 0);
	assert_in_range(fcntl(pipes.pair[0].tx, F_GETPIPE_SZ), 4096, LM_PIPE_BYTES);
	if (geteuid() == 0) {
		assert_int_equal(fcntl(pipes.pair[0].tx, F_GETPIPE_SZ), LM_PIPE_BYTES);
		assert_int_equal(fcntl(pipes.pair[0].rx, F_GETPIPE_SZ), LM_PIPE_BYTES);
	}
	lm_pipes_close(&pipes);
	close(fds[0]);
	close(fds[1]);
}

/* The peer may change the flags of its end; ours stay. */
static void our_second_end_is_independent(void **state)
{
	LmPipes pipes;
	int fds[2];

	assert_int_equal(lm_pipes_open(&pipes, 1, fds, NULL), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, 0), 0);
	assert_flags(pipes.pair[0].tx_back, O_RDONLY);
	lm_pipes_close(&pipes);
	close(fds[0]);
	close(fds[1]);
}

/* The same for a destination: a source that keeps what it sent cannot make it wait. */
static void adopted_ends_are_independent(void **state)
{
	guint before = open_fds();
	LmPipes source, destination;
	int fds[2], kept[2];

	assert_int_equal(lm_pipes_open(&source, 1, fds, NULL), 0);
	for (guint i = 0; i < 2; i++)
		kept[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	assert_int_equal(lm_pipes_adopt(&destination, 1, fds, FALSE, NULL), 0);
	assert_int_equal(fcntl(kept[0], F_SETFL, 0), 0);
	assert_int_equal(fcntl(kept[1], F_SETFL, 0), 0);
	assert_flags(destination.pair[0].rx, O_RDONLY);
	assert_flags(destination.pair[0].tx, O_WRONLY);
	assert_flows(source.pair[0].tx, destination.pair[0].rx, 'x');
	assert_flows(destination.pair[0].tx, source.pair[0].rx, 'y');
	lm_pipes_close(&destination);
	lm_pipes_close(&source);
	close(kept[0]);
	close(kept[1]);
	assert_int_equal(open_fds(), before);
}

static void a_count_out_of_bounds(void **state)
{
	LmPipes pipes = LM_PIPES_INIT;
	g_autoptr(GError) error = NULL;
	int fds[2 * LM_CHANNELS_MAX] = {0};

	assert_int_equal(lm_pipes_open(&pipes, 0, fds, &error), -EINVAL);
	assert_string_equal(error->message, "0 channels: must be 1 to 16");
	assert_int_equal(lm_pipes_open(&pipes, LM_CHANNELS_MAX + 1, fds, NULL), -EINVAL);
	assert_int_equal(lm_pipes_adopt(&pipes, 0, fds, FALSE, NULL), -EINVAL);
	assert_int_equal(lm_pipes_adopt(&pipes, LM_CHANNELS_MAX + 1, fds, FALSE, NULL), -EINVAL);
}

static void out_of_descriptors(void **state)
{
	guint before = open_fds();
	struct rlimit limit, small;
	LmPipes pipes = LM_PIPES_INIT;
	g_autoptr(GError) error = NULL;
	int fds[2 * LM_CHANNELS_MAX] = {77};

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	small = limit;
	for (guint spare = 0; spare < 10; spare++) {
		small.rlim_cur = before + spare;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
		assert_int_equal(lm_pipes_open(&pipes, LM_CHANNELS_MAX, fds, &error), -EMFILE);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_true(g_str_has_prefix(error->message, "cannot open the pipes of channel "));
		g_clear_error(&error);
		assert_int_equal(fds[0], 77);
		assert_int_equal(pipes.count, 0);
		assert_int_equal(open_fds(), before);
	}
}

static void assert_refused(int rx, int tx, const char *part)
{
	LmPipes pipes = {.count = 5};
	g_autoptr(GError) error = NULL;
	int fds[2] = {rx, tx};
	int flags = fcntl(rx, F_GETFL);

	assert_int_equal(lm_pipes_adopt(&pipes, 1, fds, FALSE, &error), rx < 0 ? -EBADF : -EINVAL);
	assert_true(g_error_matches(error, LM_ERROR, LM_ERROR_PROTOCOL));
	if (!strstr(error->message, part))
		fail_msg("\"%s\" lacks \"%s\"", error->message, part);
	assert_int_equal(pipes.count, 5);
	assert_int_equal(fcntl(rx, F_GETFL), flags);
}

static void refuses_what_is_no_pipe(void **state)
{
	int a[2], b[2], pair[2];

	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_refused(pair[0], b[1], "is no pipe");
	assert_refused(a[0], pair[0], "is no pipe");
	assert_refused(a[1], b[1], "is not the pipe's read end");
	assert_refused(a[0], b[0], "is not the pipe's write end");
	assert_refused(a[0], a[1], "are one pipe");
	assert_refused(-1, a[1], "cannot examine");
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
		close(pair[i]);
	}
}

static void default_count(void **state)
{
	cpu_set_t before, one;

	assert_in_range(lm_pipes_default_count(), 1, 4);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &before))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(lm_pipes_default_count(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_and_adopts),
		cmocka_unit_test(is_as_large_as_allowed),
		cmocka_unit_test(our_second_end_is_independent),
		cmocka_unit_test(adopted_ends_are_independent),
		cmocka_unit_test(a_count_out_of_bounds),
		cmocka_unit_test(out_of_descriptors),
		cmocka_unit_test(refuses_what_is_no_pipe),
		cmocka_unit_test(default_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
