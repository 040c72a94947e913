/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel reads and writes the memory itself while it becomes shared: direct I/O, and buffers
 * that it holds on to for good. */
#include "share-memory.h"

#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* --------------------------------------------------------------- direct I/O */

#define FILE_PAGES  2048u
#define PAGES_OF_IO 16u
#define NOT_HERE    77

/* A file on a disk whose file system does direct I/O; -1: there is none. */
static int open_direct(void)
{
	char path[] = "/var/tmp/lm-test-share-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC | O_DIRECT);

	if (fd >= 0)
		unlink(path);
	return fd;
}

typedef struct Disk {
	const Memory *memory;
	gsize first_page, pages; /* of the memory, that this thread uses */
	int fd;
	guint32 seed;
	int *stop;
	guint64 count, wrong;
	GThread *thread;
} Disk;

/* Each thread has done something, before and after; at most for ten seconds. */
static void await(const guint64 *count)
{
	const guint64 before = __atomic_load_n(count, __ATOMIC_RELAXED);

	for (guint i = 0; i < 1000 && __atomic_load_n(count, __ATOMIC_RELAXED) == before; i++)
		g_usleep(10000);
	assert_true(__atomic_load_n(count, __ATOMIC_RELAXED) > before);
}

static gsize pick(Disk *disk, gsize count)
{
	disk->seed = disk->seed * 1664525 + 1013904223;
	return ((guint64)disk->seed * count) >> 32;
}

/* Reads pages of the file into the memory, where they must be then. */
static gpointer read_directly(gpointer opaque)
{
	const gsize bytes = PAGES_OF_IO * PAGE;
	Disk *disk = opaque;

	while (!g_atomic_int_get(disk->stop)) {
		const gsize from = pick(disk, FILE_PAGES - PAGES_OF_IO);
		const gsize to = disk->first_page + pick(disk, disk->pages - PAGES_OF_IO);

		if (pread(disk->fd, word_at(disk->memory, to), bytes, from * PAGE) !=
		    (ssize_t)bytes)
			disk->wrong++;
		for (gsize i = 0; i < PAGES_OF_IO; i++)
			disk->wrong += word_at(disk->memory, to + i)[0] != mark(from + i) ||
				       word_at(disk->memory, to + i)[511] != ~mark(from + i);
		__atomic_fetch_add(&disk->count, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Writes what was just put into the memory to the file, where it must be then. */
static gpointer write_directly(gpointer opaque)
{
	const gsize bytes = PAGES_OF_IO * PAGE;
	guint64 *back = aligned_alloc(PAGE, bytes);
	Disk *disk = opaque;

	while (!g_atomic_int_get(disk->stop)) {
		const gsize from = disk->first_page + pick(disk, disk->pages - PAGES_OF_IO);

		__atomic_fetch_add(&disk->count, 1, __ATOMIC_RELAXED);
		for (gsize i = 0; i < bytes / 8; i++)
			word_at(disk->memory, from)[i] = disk->count + i;
		if (pwrite(disk->fd, word_at(disk->memory, from), bytes, 0) != (ssize_t)bytes ||
		    pread(disk->fd, back, bytes, 0) != (ssize_t)bytes)
			disk->wrong++;
		for (gsize i = 0; i < bytes / 8; i++)
			disk->wrong += back[i] != disk->count + i;
	}
	free(back);
	return NULL;
}

static void fill_file(int fd)
{
	guint64 *page = aligned_alloc(PAGE, PAGE);

	for (gsize i = 0; i < FILE_PAGES; i++) {
		memset(page, 0, PAGE);
		page[0] = mark(i);
		page[511] = ~mark(i);
		assert_int_equal(pwrite(fd, page, PAGE, i * PAGE), PAGE);
	}
	free(page);
}

static void check_direct_io(int read_fd, int write_fd, int advice)
{
	Memory memory = map_memory(32 * MIB, 0, advice);
	const gsize half = memory.bytes / PAGE / 2;
	LmShare *share = get_share(&memory);
	int stop = 0;
	Disk disk[2] = {
		{.memory = &memory, .pages = half, .fd = read_fd, .seed = 1, .stop = &stop},
		{.memory = &memory,
		 .first_page = half,
		 .pages = half,
		 .fd = write_fd,
		 .seed = 2,
		 .stop = &stop},
	};

	fill(&memory, 0, 3);
	disk[0].thread = g_thread_new("reader", read_directly, &disk[0]);
	disk[1].thread = g_thread_new("writer", write_directly, &disk[1]);
	await(&disk[0].count);
	await(&disk[1].count);
	share_live(share);
	await(&disk[0].count);
	await(&disk[1].count);
	g_atomic_int_set(&stop, 1);
	for (guint i = 0; i < 2; i++) {
		g_thread_join(disk[i].thread);
		assert_int_equal(disk[i].wrong, 0);
	}
	check_memfd(share, &memory);
	unmap_memory(&memory);
}

static void direct_io(void **state)
{
	int read_fd = open_direct(), write_fd = open_direct();

	if (read_fd >= 0 && write_fd >= 0) {
		fill_file(read_fd);
		for (guint i = 0; i < 3; i++) {
			check_direct_io(read_fd, write_fd, MADV_HUGEPAGE);
			check_direct_io(read_fd, write_fd, MADV_NOHUGEPAGE);
		}
	} else {
		print_message("# no direct I/O in /var/tmp\n");
	}
	if (read_fd >= 0)
		close(read_fd);
	if (write_fd >= 0)
		close(write_fd);
}

/* A file of a file system that is not known to pin memory: here, an overlay. An exit code. */
static int check_overlay(const char *directory)
{
	g_autofree char *path = g_strconcat(directory, "/merged/disk", NULL);
	g_autofree char *merged = g_strconcat(directory, "/merged", NULL);
	g_autofree char *options =
		g_strdup_printf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", directory,
				directory, directory);
	g_autoptr(GError) error = NULL;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("overlay", merged, "overlay", 0, options) < 0)
		return NOT_HERE;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || lm_share_live_works(NULL) < 0)
		return 1; /* what is not direct does not matter */
	close(fd);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return NOT_HERE;
	if (lm_share_live_works(&error) >= 0 || !strstr(error->message, "merged/disk") ||
	    !strstr(error->message, "0x794c7630"))
		return 2;
	close(fd);
	return lm_share_live_works(NULL) < 0 ? 3 : 0;
}

static void direct_io_that_does_not_pin(void **state)
{
	const char *const names[] = {"lower", "upper", "work", "merged"};
	char directory[] = "/var/tmp/lm-test-share-XXXXXX";
	g_autofree char *command = NULL;
	pid_t child;
	int status;

	assert_non_null(mkdtemp(directory));
	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *path = g_build_filename(directory, names[i], NULL);

		assert_int_equal(mkdir(path, 0700), 0);
	}
	child = fork();
	if (child == 0)
		_exit(check_overlay(directory));
	assert_int_equal(waitpid(child, &status, 0), child);
	command = g_strdup_printf("rm -r %s", directory);
	assert_int_equal(system(command), 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NOT_HERE)
		print_message("# no overlay here\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

/* A thread that the kernel faults for: a read into the memory, of what is not there yet. */
static gpointer read_zeros(gpointer opaque)
{
	Disk *disk = opaque;
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	while (!g_atomic_int_get(disk->stop)) {
		const gsize page = pick(disk, disk->pages);
		const ssize_t got = read(fd, word_at(disk->memory, page), PAGE);

		disk->wrong += got != PAGE;
		__atomic_fetch_add(&disk->count, 1, __ATOMIC_RELAXED);
	}
	close(fd);
	return NULL;
}

static void the_kernel_waits_too(void **state)
{
	for (guint i = 0; i < 3; i++) {
		Memory memory = map_memory(32 * MIB, 0, MADV_NOHUGEPAGE);
		int stop = 0;
		Disk disk = {
			.memory = &memory, .pages = memory.bytes / PAGE, .seed = 3, .stop = &stop};

		disk.thread = g_thread_new("zeros", read_zeros, &disk);
		await(&disk.count);
		share_live(get_share(&memory));
		await(&disk.count);
		g_atomic_int_set(&stop, 1);
		g_thread_join(disk.thread);
		assert_int_equal(disk.wrong, 0);
		check_filled(&memory, 1000000, 1);
		unmap_memory(&memory);
	}
}

/* ------------------------------------------------------ registered buffers */

#define BUFFER_PAGE 600u /* in the second slot */

typedef struct Ring {
	struct io_uring ring;
	int pipe[2];
} Ring;

/* The kernel holds on to two pages of the memory. FALSE: there is no io_uring. */
static gboolean begin_ring(Ring *ring, const Memory *memory)
{
	struct iovec buffer = {word_at(memory, BUFFER_PAGE), 2 * PAGE};

	if (io_uring_queue_init(2, &ring->ring, 0) < 0) {
		print_message("# no io_uring here\n");
		return FALSE;
	}
	assert_int_equal(io_uring_register_buffers(&ring->ring, &buffer, 1), 0);
	assert_int_equal(pipe2(ring->pipe, O_CLOEXEC), 0);
	return TRUE;
}

static void end_ring(Ring *ring)
{
	close(ring->pipe[0]);
	close(ring->pipe[1]);
	io_uring_queue_exit(&ring->ring);
}

/* The kernel writes @value to the registered buffer. */
static void kernel_writes(Ring *ring, const Memory *memory, guint64 value)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);
	struct io_uring_cqe *cqe;

	assert_int_equal(write(ring->pipe[1], &value, sizeof(value)), sizeof(value));
	io_uring_prep_read_fixed(sqe, ring->pipe[0], word_at(memory, BUFFER_PAGE), sizeof(value), 0,
				 0);
	assert_int_equal(io_uring_submit_and_wait(&ring->ring, 1), 1);
	assert_int_equal(io_uring_wait_cqe(&ring->ring, &cqe), 0);
	assert_int_equal(cqe->res, sizeof(value));
	io_uring_cqe_seen(&ring->ring, cqe);
	if (word_at(memory, BUFFER_PAGE)[0] != value)
		fail_msg("what the kernel wrote is not there");
}

static guint64 memfd_word(const LmShare *share, gsize page)
{
	guint64 word = 0;

	assert_int_equal(pread(lm_share_fd(share), &word, sizeof(word), page * PAGE), 8);
	return word;
}

/* What stays private after a live run is copied when the VM stops, and forgotten if it runs on. */
static void copy_and_forget(Ring *ring, LmShare *share, const Memory *memory)
{
	const guint64 others = memfd_bytes(share);
	LmShareRun run = begin_run(share);

	assert_int_equal(memfd_word(share, BUFFER_PAGE), 0);
	run_stopped(&run, 2);
	assert_int_equal(lm_share_private_bytes(share), SLOT);
	assert_int_equal(run.done_bytes, SLOT);
	check_memfd(share, memory);
	kernel_writes(ring, memory, 3); /* where we read it, and the memfd does not know */
	assert_int_equal(memfd_word(share, BUFFER_PAGE), 2);
	run_stopped(&run, 2); /* again, without having forgotten */
	check_memfd(share, memory);
	assert_int_equal(memfd_word(share, BUFFER_PAGE), 3);
	lm_share_forget_copies(share);
	assert_int_equal(memfd_bytes(share), others);
	assert_int_equal(memfd_word(share, BUFFER_PAGE), 0);
	assert_int_equal(lm_share_private_bytes(share), SLOT);
	end_run(&run);
}

static void check_registered(int advice)
{
	Memory memory = map_memory(3 * SLOT, 0, advice);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	Ring ring;

	fill(&memory, 0, 1);
	if (begin_ring(&ring, &memory)) {
		kernel_writes(&ring, &memory, 1);
		run_live(&run);
		assert_int_equal(lm_share_private_bytes(share), SLOT);
		assert_int_equal(run.done_bytes, 2 * SLOT);
		assert_int_equal(memfd_bytes(share), 2 * SLOT);
		assert_int_equal(count_mappings(&memory), 3);
		kernel_writes(&ring, &memory, 2);
		copy_and_forget(&ring, share, &memory);
		end_ring(&ring);
		share_live(share);
		assert_int_equal(word_at(&memory, BUFFER_PAGE)[0], 3);
		word_at(&memory, BUFFER_PAGE)[0] = mark(BUFFER_PAGE);
		check_filled(&memory, 0, 1);
		check_memfd(share, &memory);
	}
	end_run(&run);
	unmap_memory(&memory);
}

static void registered_buffers_in_huge_pages(void **state)
{
	check_registered(MADV_HUGEPAGE);
}

static void registered_buffers_in_small_pages(void **state)
{
	check_registered(MADV_NOHUGEPAGE);
}

/* What was copied of a slot and is a hole by now is a hole in the memfd as well. */
static void a_copied_page_becomes_a_hole(void **state)
{
	Memory memory = map_memory(3 * SLOT, 0, MADV_NOHUGEPAGE);
	LmShare *share = get_share(&memory);
	LmShareRun run = begin_run(share);
	Ring ring;

	fill(&memory, 0, 1);
	if (begin_ring(&ring, &memory)) {
		run_stopped(&run, 1);
		assert_int_equal(lm_share_private_bytes(share), SLOT);
		end_ring(&ring);
		g_usleep(100000); /* the kernel lets go of it some time later */
		assert_int_equal(madvise(word_at(&memory, 700), PAGE, MADV_DONTNEED), 0);
		share_live(share);
		assert_int_equal(word_at(&memory, 700)[0], 0);
		word_at(&memory, 700)[0] = mark(700);
		word_at(&memory, 700)[511] = ~mark(700);
		check_filled(&memory, 0, 1);
	}
	end_run(&run);
	unmap_memory(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(direct_io),
		TEST(direct_io_that_does_not_pin),
		TEST(the_kernel_waits_too),
		TEST(registered_buffers_in_huge_pages),
		TEST(registered_buffers_in_small_pages),
		TEST(a_copied_page_becomes_a_hole),
	};

	return need_live() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
