/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast pages flip between two processes, by engine, channels and io_uring, against what one
 * copy costs at least (memcpy to memory not touched before; process_vm_readv without release).
 * Variants alternate, each run has a new receiving process, and medians are given with the
 * fastest and slowest run.
 *
 *     flip-bench [--mib=N] [--runs=N] [--channels=N] [--engine=NAME] [--small-pages] [--json]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flip.h"
#include "populated.h"
#include "region.h"

typedef enum Kind { KIND_FLIP, KIND_MEMCPY, KIND_COPY } Kind;

typedef struct Variant {
	const char *name;
	Kind kind;
	LmEngine engine;
	gboolean io_uring;
	double gb_per_s[100];
} Variant;

static Variant variants[] = {
	{.name = "vmsplice", .engine = LM_ENGINE_VMSPLICE},
	{.name = "vmsplice+io_uring", .engine = LM_ENGINE_VMSPLICE, .io_uring = TRUE},
	{.name = "process_vm_readv", .engine = LM_ENGINE_PROCESS_VM_READV},
	{.name = "process_vm_readv+io_uring",
	 .engine = LM_ENGINE_PROCESS_VM_READV,
	 .io_uring = TRUE},
	{.name = "one copy: memcpy to fresh", .kind = KIND_MEMCPY},
	{.name = "one copy: process_vm_readv", .kind = KIND_COPY},
};

static int mib = 1024, runs = 5, channels = 1;
static gboolean small_pages, json;
static char *only;
static const GOptionEntry options[] = {
	{"mib", 0, 0, G_OPTION_ARG_INT, &mib, "memory to move", "MIB"},
	{"runs", 0, 0, G_OPTION_ARG_INT, &runs, "runs of each variant, at most 100", "N"},
	{"channels", 0, 0, G_OPTION_ARG_INT, &channels, "pipes", "N"},
	{"engine", 0, 0, G_OPTION_ARG_STRING, &only, "only variants whose name begins so", "NAME"},
	{"small-pages", 0, 0, G_OPTION_ARG_NONE, &small_pages, "no huge pages", NULL},
	{"json", 0, 0, G_OPTION_ARG_NONE, &json, "print JSON", NULL},
	{0},
};

static void G_GNUC_NORETURN die(const char *what, GError *error)
{
	fprintf(stderr, "flip-bench: %s: %s\n", what, error ? error->message : strerror(errno));
	exit(1);
}

static guint64 total_bytes(void)
{
	return (guint64)mib << 20;
}

static guint8 *map_aligned(void)
{
	gsize bytes = total_bytes() + LM_WINDOW_BYTES;
	guint8 *host = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (host == MAP_FAILED)
		die("mmap", NULL);
	host += LM_WINDOW_BYTES - (guintptr)host % LM_WINDOW_BYTES;
	madvise(host, total_bytes(), small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	return host;
}

static LmRegion *make_region(guint8 *host)
{
	LmRegion *region = lm_region_new("bench");

	region->host = host;
	region->used_bytes = region->max_bytes = total_bytes();
	lm_region_bitmap_reset(region);
	return region;
}

static void expect_byte(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		die("the other process ended", NULL);
}

static void send_byte(int fd)
{
	if (write(fd, "", 1) != 1)
		die("write", NULL);
}

/* The whole of @source, by plain process_vm_readv of 2 MiB. */
static void copy_plainly(pid_t pid, guint8 *source, guint8 *to)
{
	for (guint64 at = 0; at < total_bytes(); at += LM_WINDOW_BYTES) {
		struct iovec local = {to + at, LM_WINDOW_BYTES};
		struct iovec remote = {source + at, LM_WINDOW_BYTES};

		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != LM_WINDOW_BYTES)
			die("process_vm_readv", NULL);
	}
}

static void G_GNUC_NORETURN receiver(const Variant *variant, const int *fds, int socket_fd,
				     int control_fd, guint8 *source)
{
	g_autoptr(GPtrArray) regions = g_ptr_array_new();
	guint8 *host = map_aligned();
	GError *error = NULL;
	LmPipes pipes;
	LmFlip flip = {
		.regions = regions,
		.pipes = &pipes,
		.engine = variant->engine,
		.io_uring = variant->io_uring,
		.peer_pid = getppid(),
		.peer_fd = socket_fd,
		.wait = {.deadline_ms = 10000, .cancel_fd = -1},
	};

	g_ptr_array_add(regions, make_region(host));
	if (lm_pipes_adopt(&pipes, channels, fds, variant->io_uring, &error) < 0)
		die("adopt", error);
	send_byte(control_fd);
	expect_byte(control_fd);
	if (variant->kind == KIND_COPY)
		copy_plainly(getppid(), source, host);
	else if (lm_flip_receive(&flip, &error) < 0)
		die("receive", error);
	send_byte(control_fd);
	expect_byte(control_fd);
	for (guint64 at = 0; at < total_bytes(); at += 4096)
		if (*(guint64 *)(host + at) != at + 1)
			die("the pages differ", NULL);
	_exit(0);
}

static void fill(guint8 *host)
{
	for (guint64 at = 0; at < total_bytes(); at += 8)
		*(guint64 *)(host + at) = at + 1;
}

static void flip_all(const Variant *variant, LmPipes *pipes, int socket_fd, guint8 *host)
{
	g_autoptr(GPtrArray) regions = g_ptr_array_new();
	g_autoptr(LmRegion) region = make_region(host);
	LmRange all = {0, total_bytes()};
	GError *error = NULL;
	LmFlip flip = {
		.regions = regions,
		.pipes = pipes,
		.engine = variant->engine,
		.io_uring = variant->io_uring,
		.peer_fd = socket_fd,
		.wait = {.deadline_ms = 10000, .cancel_fd = -1},
	};

	g_ptr_array_add(regions, region);
	lm_region_bitmap_set(region, &all);
	if (lm_flip_send(&flip, &error) < 0)
		die("send", error);
}

static double speed(gint64 since_us)
{
	return total_bytes() / (double)(g_get_monotonic_time() - since_us) / 1000;
}

static double run_two_processes(const Variant *variant)
{
	guint8 *host = map_aligned();
	int fds[2 * LM_CHANNELS_MAX], socket_fd[2], control_fd[2], status;
	g_auto(LmPipes) pipes = LM_PIPES_INIT;
	GError *error = NULL;
	gint64 begin_us;
	double result;
	pid_t child;

	if (lm_pipes_open(&pipes, channels, fds, &error) < 0)
		die("pipes", error);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, socket_fd) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, control_fd) < 0)
		die("socketpair", NULL);
	child = fork();
	if (child == 0) {
		lm_pipes_close(&pipes);
		close(socket_fd[0]);
		close(control_fd[0]);
		receiver(variant, fds, socket_fd[1], control_fd[1], host);
	}
	for (int i = 0; i < 2 * channels; i++)
		close(fds[i]);
	close(socket_fd[1]);
	close(control_fd[1]);
	expect_byte(control_fd[0]);
	fill(host);
	begin_us = g_get_monotonic_time();
	send_byte(control_fd[0]);
	if (variant->kind == KIND_FLIP)
		flip_all(variant, &pipes, socket_fd[0], host);
	expect_byte(control_fd[0]);
	result = speed(begin_us);
	send_byte(control_fd[0]);
	if (waitpid(child, &status, 0) != child || status)
		die("the receiver failed", NULL);
	close(socket_fd[0]);
	close(control_fd[0]);
	munmap(host, total_bytes());
	return result;
}

static double run_memcpy(void)
{
	guint8 *from = map_aligned(), *to = map_aligned();
	gint64 begin_us;
	double result;

	fill(from);
	begin_us = g_get_monotonic_time();
	memcpy(to, from, total_bytes());
	result = speed(begin_us);
	munmap(from, total_bytes());
	munmap(to, total_bytes());
	return result;
}

static int compare(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) -
	       (*(const double *)a < *(const double *)b);
}

static void report(Variant *variant, gboolean last)
{
	double *sorted = variant->gb_per_s;
	const char *format = json ? "  {\"variant\": \"%s\", \"median_gb_per_s\": %.3f, "
				    "\"slowest\": %.3f, \"fastest\": %.3f}%s\n"
				  : "%-28s median %5.2f GB/s  (%.2f to %.2f)%s\n";

	qsort(sorted, runs, sizeof(*sorted), compare);
	printf(format, variant->name, (sorted[(runs - 1) / 2] + sorted[runs / 2]) / 2, sorted[0],
	       sorted[runs - 1], json && !last ? "," : "");
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	GError *error = NULL;
	Variant *chosen[G_N_ELEMENTS(variants)];
	guint count = 0;

	g_option_context_add_main_entries(context, options, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error))
		die("options", error);
	if (mib < 2 || mib % 2 || runs < 1 || runs > 100)
		die("--mib must be even, --runs 1 to 100", (errno = EINVAL, NULL));
	for (guint i = 0; i < G_N_ELEMENTS(variants); i++)
		if (!only || g_str_has_prefix(variants[i].name, only))
			chosen[count++] = &variants[i];
	for (int run = 0; run < runs; run++)
		for (guint i = 0; i < count; i++)
			chosen[i]->gb_per_s[run] = chosen[i]->kind == KIND_MEMCPY
							   ? run_memcpy()
							   : run_two_processes(chosen[i]);
	printf(json ? "[\n" : "%d MiB, %d channels, %s pages, %d runs\n", mib, channels,
	       small_pages ? "small" : "huge", runs);
	for (guint i = 0; i < count; i++)
		report(chosen[i], i + 1 == count);
	if (json)
		printf("]\n");
	return 0;
}
