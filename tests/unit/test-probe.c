/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The probes leave nothing behind, and answer the same each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmsplice_probe),
		cmocka_unit_test(io_uring_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
