/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this machine can do at best, to hold ways of moving a guest's memory against: one copy of
 * it, by each means that there is, and a descriptor through a socket. The source is filled by this
 * process; the threads share it in equal parts.
 *
 *     limits [--mib=N] [--threads=N] [--runs=N] [--json]
 *     limits --warm [--mib=N]     takes so much memory, and gives it back
 *
 * --warm: where the host is a VM itself, memory that it did not use yet costs several times as
 * much as any other, and what comes first would pay for it.
 */
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE_BYTES  (2ul << 20)
#define PAGE_BYTES  4096
#define THREADS_MAX 16
#define RUNS_MAX    100
#define PASSES	    1000

typedef struct Job {
	guint8 *from, *to; /* @from is the child's with process_vm_readv */
	gsize bytes;
	int fd;
	off_t offset;
	pid_t pid;
} Job;

static int mib = 1024, threads = 1, runs = 5;
static gboolean json, warm;
static const GOptionEntry options[] = {
	{"mib", 0, 0, G_OPTION_ARG_INT, &mib, "memory to copy", "MIB"},
	{"threads", 0, 0, G_OPTION_ARG_INT, &threads, "threads that share it", "N"},
	{"runs", 0, 0, G_OPTION_ARG_INT, &runs, "runs of each, at most 100", "N"},
	{"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
	{"warm", 0, 0, G_OPTION_ARG_NONE, &warm, "only take memory and give it back", NULL},
	{0},
};

static void G_GNUC_NORETURN die(const char *what)
{
	fprintf(stderr, "limits: %s: %s\n", what, g_strerror(errno));
	exit(1);
}

static gsize total_bytes(void)
{
	return (gsize)mib << 20;
}

/* As QEMU maps a guest's memory: in huge pages, where there are some. */
static guint8 *map_aligned(void)
{
	guint8 *host = mmap(NULL, total_bytes() + HUGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (host == MAP_FAILED)
		die("mmap");
	host += HUGE_BYTES - (guintptr)host % HUGE_BYTES;
	madvise(host, total_bytes(), MADV_HUGEPAGE);
	return host;
}

static void fill(guint8 *host)
{
	for (gsize at = 0; at < total_bytes(); at += sizeof(guint64))
		*(guint64 *)(host + at) = at + 1;
}

static gpointer do_memcpy(gpointer opaque)
{
	Job *job = opaque;

	memcpy(job->to, job->from, job->bytes);
	return NULL;
}

static gpointer do_touch(gpointer opaque)
{
	Job *job = opaque;

	for (gsize at = 0; at < job->bytes; at += PAGE_BYTES)
		job->to[at] = 1;
	return NULL;
}

static gpointer do_readv(gpointer opaque)
{
	Job *job = opaque;

	for (gsize at = 0; at < job->bytes; at += HUGE_BYTES) {
		struct iovec local = {job->to + at, MIN(HUGE_BYTES, job->bytes - at)};
		struct iovec remote = {job->from + at, local.iov_len};

		if (process_vm_readv(job->pid, &local, 1, &remote, 1, 0) != (ssize_t)local.iov_len)
			die("process_vm_readv");
	}
	return NULL;
}

static gpointer do_pwrite(gpointer opaque)
{
	Job *job = opaque;

	for (gsize at = 0; at < job->bytes; at += HUGE_BYTES) {
		gsize count = MIN(HUGE_BYTES, job->bytes - at);

		if (pwrite(job->fd, job->from + at, count, job->offset + (off_t)at) !=
		    (ssize_t)count)
			die("pwrite");
	}
	return NULL;
}

/* GB/s of all threads together. */
static double run_threads(GThreadFunc work, Job job)
{
	gsize each = total_bytes() / (gsize)threads / PAGE_BYTES * PAGE_BYTES;
	GThread *thread[THREADS_MAX];
	Job jobs[THREADS_MAX];
	gint64 begin_us = g_get_monotonic_time();

	for (int i = 0; i < threads; i++) {
		gsize at = (gsize)i * each;

		jobs[i] = job;
		jobs[i].from += at;
		if (job.to)
			jobs[i].to += at;
		jobs[i].offset = (off_t)at;
		jobs[i].bytes = i + 1 < threads ? each : total_bytes() - at;
		thread[i] = g_thread_new("copy", work, &jobs[i]);
	}
	for (int i = 0; i < threads; i++)
		g_thread_join(thread[i]);
	return (double)total_bytes() / (double)(g_get_monotonic_time() - begin_us) / 1000;
}

static double run_anonymous(GThreadFunc work, gboolean touched)
{
	guint8 *from = map_aligned(), *to = map_aligned();
	double result;

	if (work != do_touch)
		fill(from);
	if (touched)
		fill(to);
	result = run_threads(work, (Job){.from = from, .to = to});
	munmap(from, total_bytes());
	munmap(to, total_bytes());
	return result;
}

static double memcpy_fresh(void)
{
	return run_anonymous(do_memcpy, FALSE);
}

static double memcpy_touched(void)
{
	return run_anonymous(do_memcpy, TRUE);
}

static double touch_fresh(void)
{
	return run_anonymous(do_touch, FALSE);
}

/* From a child's memory, which has it in full before the clock starts. */
static double readv_fresh(void)
{
	guint8 *from = map_aligned(), *to = map_aligned();
	int ready[2], end[2];
	double result;
	pid_t child;
	char byte;

	if (pipe(ready) < 0 || pipe(end) < 0)
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		close(end[1]);
		fill(from);
		if (write(ready[1], "", 1) != 1 || read(end[0], &byte, 1) < 0)
			_exit(1);
		_exit(0);
	}
	close(end[0]);
	if (read(ready[0], &byte, 1) != 1)
		die("the child ended");
	result = run_threads(do_readv, (Job){.from = from, .to = to, .pid = child});
	close(end[1]);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	munmap(from, total_bytes());
	munmap(to, total_bytes());
	return result;
}

static double memfd_pwrite(void)
{
	int fd = memfd_create("limits", MFD_CLOEXEC);
	guint8 *from = map_aligned();
	double result;

	if (fd < 0 || ftruncate(fd, (off_t)total_bytes()) < 0)
		die("memfd");
	fill(from);
	result = run_threads(do_pwrite, (Job){.from = from, .fd = fd});
	munmap(from, total_bytes());
	close(fd);
	return result;
}

static void send_fd(int socket_fd, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {(char[1]){0}, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	if (sendmsg(socket_fd, &message, 0) != 1)
		die("sendmsg");
}

static int receive_fd(int socket_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC) != 1)
		die("recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (!header)
		die("no descriptor came");
	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return fd;
}

/* Microseconds for a memfd of all the bytes: sent, received, mapped. */
static double descriptor_us(void)
{
	int fd = memfd_create("limits", MFD_CLOEXEC), pair[2];
	gint64 begin_us;

	if (fd < 0 || ftruncate(fd, (off_t)total_bytes()) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("memfd or socketpair");
	begin_us = g_get_monotonic_time();
	for (int i = 0; i < PASSES; i++) {
		int received;
		void *host;

		send_fd(pair[0], fd);
		received = receive_fd(pair[1]);
		host = mmap(NULL, total_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, received, 0);
		if (host == MAP_FAILED)
			die("mmap");
		munmap(host, total_bytes());
		close(received);
	}
	begin_us = g_get_monotonic_time() - begin_us;
	close(pair[0]);
	close(pair[1]);
	close(fd);
	return (double)begin_us / PASSES;
}

typedef struct Limit {
	const char *name, *key, *unit;
	double (*run)(void);
	double value[RUNS_MAX];
} Limit;

static Limit limits[] = {
	{"memcpy to memory not touched before", "memcpy-fresh", "GB/s", memcpy_fresh, {0}},
	{"memcpy to memory touched before", "memcpy-touched", "GB/s", memcpy_touched, {0}},
	{"process_vm_readv to memory not touched before", "readv-fresh", "GB/s", readv_fresh, {0}},
	{"pwrite into a new memfd", "memfd-pwrite", "GB/s", memfd_pwrite, {0}},
	{"a page touched in each 4 KiB, no copy", "touch-fresh", "GB/s", touch_fresh, {0}},
	{"a memfd over a socket, and mapped", "descriptor", "us", descriptor_us, {0}},
};

static int compare(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) -
	       (*(const double *)a < *(const double *)b);
}

static void report(Limit *limit, gboolean last)
{
	const char *format = json ? "  {\"key\": \"%s\", \"name\": \"%s\", \"unit\": \"%s\", "
				    "\"median\": %.3f, \"low\": %.3f, \"high\": %.3f}%s\n"
				  : "%-16s%-48s%-6s median %7.2f (%.2f to %.2f)%s\n";

	qsort(limit->value, (size_t)runs, sizeof(double), compare);
	printf(format, limit->key, limit->name, limit->unit,
	       (limit->value[(runs - 1) / 2] + limit->value[runs / 2]) / 2, limit->value[0],
	       limit->value[runs - 1], json && !last ? "," : "");
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(GError) error = NULL;

	g_option_context_add_main_entries(context, options, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error)) {
		fprintf(stderr, "limits: %s\n", error->message);
		return 2;
	}
	if (mib < 2 || mib % 2 || runs < 1 || runs > RUNS_MAX || threads < 1 ||
	    threads > THREADS_MAX) {
		fprintf(stderr, "limits: --mib must be even, --runs 1 to %d, --threads 1 to %d\n",
			RUNS_MAX, THREADS_MAX);
		return 2;
	}
	if (warm) {
		do_touch(&(Job){.to = map_aligned(), .bytes = total_bytes()});
		return 0;
	}
	for (int run = 0; run < runs; run++)
		for (guint i = 0; i < G_N_ELEMENTS(limits); i++)
			limits[i].value[run] = limits[i].run();
	printf(json ? "[\n" : "%d MiB, %d threads, %d runs\n", mib, threads, runs);
	for (guint i = 0; i < G_N_ELEMENTS(limits); i++)
		report(&limits[i], i + 1 == G_N_ELEMENTS(limits));
	if (json)
		puts("]");
	return 0;
}
