/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The probes leave nothing behind, and answer the same each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "flip.h"

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

/* A whole page out of the pipe, to compare with what the probe says of its first byte. */
static gboolean vmsplice_refers(void)
{
	static guint8 out[4096];
	guint8 *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = {page, 4096};
	int ends[2];

	page[4095] = 'a';
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(vmsplice(ends[1], &iov, 1, 0), 4096);
	page[4095] = 'b';
	assert_int_equal(read(ends[0], out, 4096), 4096);
	close(ends[0]);
	close(ends[1]);
	munmap(page, 4096);
	return out[4095] == 'b';
}

static void vmsplice_probe(void **state)
{
	guint before = open_fds();

	assert_int_equal(lm_vmsplice_takes_references(), vmsplice_refers());
	assert_int_equal(lm_vmsplice_takes_references(), vmsplice_refers());
	assert_int_equal(open_fds(), before);
}

static void io_uring_probe(void **state)
{
	guint before = open_fds();
	gboolean works = lm_io_uring_works();
	struct io_uring ring;
	gboolean can = io_uring_queue_init(1, &ring, 0) == 0;

	if (can)
		io_uring_queue_exit(&ring);
	assert_true(can || !works);
	assert_int_equal(lm_io_uring_works(), works);
	assert_true(works || !lm_io_uring_pays());
	assert_int_equal(open_fds(), before);
}

/* With a pipe in which there is nothing, which only a ring that can read one returns from. */
static gboolean ring_sees_nothing(void)
{
	struct iovec iov = {&(char){0}, 1};
	struct io_uring_cqe *cqe = NULL;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int ends[2], result;

	if (io_uring_queue_init(1, &ring, 0) < 0)
		return FALSE;
	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_readv(sqe, ends[0], &iov, 1, -1);
	sqe->rw_flags = RWF_NOWAIT;
	assert_int_equal(io_uring_submit_and_wait(&ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(&ring, &cqe), 0);
	result = cqe->res;
	io_uring_queue_exit(&ring);
	close(ends[0]);
	close(ends[1]);
	assert_true(result == -EAGAIN || result == -EOPNOTSUPP);
	return result == -EAGAIN;
}

static void io_uring_reads_probe(void **state)
{
	guint before = open_fds();

	assert_int_equal(lm_io_uring_reads_pipes(), ring_sees_nothing());
	assert_int_equal(lm_io_uring_reads_pipes(), ring_sees_nothing());
	assert_int_equal(open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmsplice_probe),
		cmocka_unit_test(io_uring_probe),
		cmocka_unit_test(io_uring_reads_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
