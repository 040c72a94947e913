/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this kernel does, found out by trying; each is tried once. */
#include "flip.h"

#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "region.h"

static void *map_page(void)
{
	void *page = mmap(NULL, LM_BASE_PAGE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

/* A page that is changed after it went into the pipe comes out changed if it went by reference. */
static gboolean page_is_referenced(guint8 *page, const int *ends)
{
	struct iovec iov = {page, LM_BASE_PAGE_BYTES};
	guint8 seen = 0;

	*page = 1;
	if (vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK) != LM_BASE_PAGE_BYTES)
		return FALSE;
	*(volatile guint8 *)page = 2;
	return read(ends[0], &seen, 1) == 1 && seen == 2;
}

static gboolean try_vmsplice(void)
{
	guint8 *page = map_page();
	gboolean referenced = FALSE;
	int ends[2];

	if (page && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
		referenced = page_is_referenced(page, ends);
		close(ends[0]);
		close(ends[1]);
	}
	if (page)
		munmap(page, LM_BASE_PAGE_BYTES);
	return referenced;
}

gboolean lm_vmsplice_takes_references(void)
{
	static gsize answer; /* 1: no, 2: yes */

	if (g_once_init_enter(&answer))
		g_once_init_leave(&answer, try_vmsplice() ? 2 : 1);
	return answer == 2;
}

/* The request that a sender makes: the page must be gone after it. */
static gboolean ring_releases(struct io_uring *ring, guint8 *page)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	gboolean done;

	*page = 1;
	io_uring_prep_madvise(sqe, page, LM_BASE_PAGE_BYTES, MADV_DONTNEED);
	if (io_uring_submit_and_wait(ring, 1) < 1 || io_uring_peek_cqe(ring, &cqe) < 0)
		return FALSE;
	done = cqe->res == 0 && *(volatile guint8 *)page == 0;
	io_uring_cqe_seen(ring, cqe);
	return done;
}

static gboolean try_io_uring(void)
{
	guint8 *page = map_page();
	struct io_uring ring;
	gboolean works = FALSE;

	if (page && io_uring_queue_init(1, &ring, 0) == 0) {
		works = ring_releases(&ring, page);
		io_uring_queue_exit(&ring);
	}
	if (page)
		munmap(page, LM_BASE_PAGE_BYTES);
	return works;
}

gboolean lm_io_uring_works(void)
{
	static gsize answer; /* 1: no, 2: yes */

	if (g_once_init_enter(&answer))
		g_once_init_leave(&answer, try_io_uring() ? 2 : 1);
	return answer == 2;
}

/*
 * As a receiver reads, of a pipe in which there is something: where the kernel cannot tell
 * beforehand whether a pipe would block (before Linux 6.4) it refuses RWF_NOWAIT, without which a
 * read in a ring may wait for ever, O_NONBLOCK or not.
 */
static gboolean ring_reads(struct io_uring *ring, const int *ends)
{
	guint8 sent = 1, seen = 0;
	struct iovec iov = {&seen, 1};
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	gboolean done;

	if (write(ends[1], &sent, 1) != 1)
		return FALSE;
	io_uring_prep_readv(sqe, ends[0], &iov, 1, -1);
	sqe->rw_flags = RWF_NOWAIT;
	if (io_uring_submit_and_wait(ring, 1) < 1 || io_uring_peek_cqe(ring, &cqe) < 0)
		return FALSE;
	done = cqe->res == 1 && seen == sent;
	io_uring_cqe_seen(ring, cqe);
	return done;
}

static gboolean try_ring_reads(void)
{
	struct io_uring ring;
	gboolean works = FALSE;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return FALSE;
	if (io_uring_queue_init(1, &ring, 0) == 0) {
		works = ring_reads(&ring, ends);
		io_uring_queue_exit(&ring);
	}
	close(ends[0]);
	close(ends[1]);
	return works;
}

gboolean lm_io_uring_reads_pipes(void)
{
	static gsize answer; /* 1: no, 2: yes */

	if (g_once_init_enter(&answer))
		g_once_init_leave(&answer, try_ring_reads() ? 2 : 1);
	return answer == 2;
}

/*
 * It does not. The pipe's pages are copied by whoever reads, ring or not, and the kernel's workers,
 * which release memory for a ring, take processors from the copying. GB/s, plain and with io_uring,
 * medians of bench/flip-bench, 512 MiB, two processors, an idle machine; runs differ by a fifth:
 *
 *                     vmsplice        process_vm_readv
 *     1 channel       6.4    6.1       5.8    5.6
 *     2 channels     11.1   10.6      12.7   10.6
 *     2, small pages  2.6    2.4       2.7    2.6
 */
gboolean lm_io_uring_pays(void)
{
	return FALSE;
}
