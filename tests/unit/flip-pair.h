/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of the flip: this process, and a child that does on command what the peer would.
 *
 * Regions are mapped before the fork and filled after it, so both processes have them at one
 * address and share no page.
 */
#ifndef LM_TESTS_FLIP_PAIR_H
#define LM_TESTS_FLIP_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flip.h"
#include "populated.h"
#include "region.h"

#define MIB	 (1024u * 1024u)
#define PAGE	 4096u
#define DEADLINE 5000u

typedef gboolean (*Pattern)(guint64 page);

typedef struct Reply {
	int ret, code;
	guint64 bytes;
	char message[256];
} Reply;

typedef struct Pair {
	GPtrArray *regions; /* of LmRegion */
	Pattern pattern[8]; /* which pages of each have content */
	LmPipes pipes;
	LmFlip flip;
	int peer_end; /* the child's end of the session's socket, -1 in general */
	int control_fd;
	pid_t child;
} Pair;

static inline gboolean full(guint64 page)
{
	return TRUE;
}

static inline gboolean none(guint64 page)
{
	return FALSE;
}

static inline gboolean every_other(guint64 page)
{
	return page % 2 == 0;
}

static inline gboolean single(guint64 page)
{
	return page % 701 == 3;
}

static inline gboolean blocks(guint64 page)
{
	return (page * 2654435761u >> 20) % 3 == 0 || page / 1024 % 3 == 1;
}

static inline guint count_entries(const char *path)
{
	DIR *dir = opendir(path);
	guint count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static inline void add_region(Pair *pair, const char *name, guint64 bytes, Pattern pattern,
			      int map_flags, int advice)
{
	LmRegion *region = lm_region_new(name);
	gsize spare = map_flags & MAP_HUGETLB ? 0 : LM_WINDOW_BYTES;
	guint8 *host = mmap(NULL, bytes + spare, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | map_flags, -1, 0);

	assert_true(host != MAP_FAILED);
	if (spare)
		host += LM_WINDOW_BYTES - (guintptr)host % LM_WINDOW_BYTES;
	if (advice)
		madvise(host, bytes, advice);
	region->host = host;
	region->used_bytes = region->max_bytes = bytes;
	region->page_bytes = map_flags & MAP_HUGETLB ? LM_WINDOW_BYTES : PAGE;
	lm_region_bitmap_reset(region);
	pair->pattern[pair->regions->len] = pattern;
	g_ptr_array_add(pair->regions, region);
}

static inline LmRegion *get_region(Pair *pair, guint index)
{
	return g_ptr_array_index(pair->regions, index);
}

static inline guint64 word_at(guint region, guint64 page, guint word)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull + region * 1000003ull + word;
}

/* Writes the pages that the patterns name, and scans. */
static inline void fill_pair(Pair *pair)
{
	for (guint i = 0; i < pair->regions->len; i++) {
		LmRegion *region = get_region(pair, i);

		if (region->way != LM_WAY_FLIP)
			continue;
		for (guint64 page = 0; page < region->used_bytes / PAGE; page++) {
			guint64 *words = (guint64 *)(region->host + page * PAGE);

			for (guint word = 0; pair->pattern[i](page) && word < PAGE / 8; word++)
				words[word] = word_at(i, page, word);
		}
		assert_int_equal(lm_populated_scan(region, LM_POPULATED_AUTO, NULL), 0);
	}
}

static inline guint64 bytes_here(Pair *pair)
{
	guint64 bytes = 0;

	for (guint i = 0; i < pair->regions->len; i++)
		if (get_region(pair, i)->way == LM_WAY_FLIP)
			bytes += lm_region_bitmap_count_bytes(get_region(pair, i));
	return bytes;
}

/* What the kernel says is in memory, whatever the bitmaps say. */
static inline guint64 bytes_populated(Pair *pair)
{
	guint64 bytes = 0;

	for (guint i = 0; i < pair->regions->len; i++) {
		LmRegion copy = *get_region(pair, i);

		if (copy.way != LM_WAY_FLIP)
			continue;
		copy.here = NULL;
		if (lm_populated_scan(&copy, LM_POPULATED_AUTO, NULL) < 0)
			return G_MAXUINT64;
		bytes += copy.populated_bytes;
		g_free(copy.here);
	}
	return bytes;
}

/* Pages whose bit is set and whose content is not what was written at first. */
static inline guint64 pages_wrong(Pair *pair)
{
	guint64 wrong = 0;

	for (guint i = 0; i < pair->regions->len; i++) {
		LmRegion *region = get_region(pair, i);
		for (guint64 at = 0; at < region->used_bytes; at += PAGE) {
			LmRange one = {at, PAGE};
			guint64 *words = (guint64 *)(region->host + at);
			gboolean same = TRUE;

			if (region->way != LM_WAY_FLIP || !lm_region_bitmap_any(region, &one))
				continue;
			for (guint word = 0; word < PAGE / 8; word++) {
				guint64 want = pair->pattern[i](at / PAGE)
						       ? word_at(i, at / PAGE, word)
						       : 0;

				same = same && words[word] == want;
			}
			wrong += !same;
		}
	}
	return wrong;
}

static inline void make_reply(Reply *reply, int ret, guint64 bytes, GError *error)
{
	*reply = (Reply){.ret = ret, .bytes = bytes, .code = error ? error->code : -1};
	if (error)
		g_strlcpy(reply->message, error->message, sizeof(reply->message));
	g_clear_error(&error);
}

/* The child's side of command(). */
static inline void serve(Pair *pair)
{
	char what;

	while (read(pair->control_fd, &what, 1) == 1) {
		GError *error = NULL;
		Reply reply = {0};
		int ret = 0;

		pair->flip.bytes = 0;
		if (what == 'R')
			ret = lm_flip_receive(&pair->flip, &error);
		else if (what == 'S')
			ret = lm_flip_send(&pair->flip, &error);
		make_reply(&reply, ret, pair->flip.bytes, error);
		if (what == 'W')
			reply.bytes = pages_wrong(pair);
		else if (what == 'H')
			reply.bytes = bytes_here(pair);
		else if (what == 'P')
			reply.bytes = bytes_populated(pair);
		if (write(pair->control_fd, &reply, sizeof(reply)) != sizeof(reply))
			break;
	}
	_exit(0);
}

static inline void tell(Pair *pair, char what)
{
	assert_int_equal(write(pair->control_fd, &what, 1), 1);
}

static inline Reply answer(Pair *pair)
{
	Reply reply;

	assert_int_equal(recv(pair->control_fd, &reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
	return reply;
}

static inline guint64 ask(Pair *pair, char what)
{
	tell(pair, what);
	return answer(pair).bytes;
}

static inline void init_pair(Pair *pair)
{
	memset(pair, 0, sizeof(*pair));
	pair->regions = g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);
	pair->peer_end = -1;
	pair->child = -1;
}

/* After the regions were added. With @keep_end, this process keeps the child's socket, too. */
static inline void start_pair(Pair *pair, guint channels, LmEngine engine, gboolean io_uring,
			      guint deadline_ms, gboolean keep_end)
{
	int fds[2 * LM_CHANNELS_MAX], session[2], control[2];
	pid_t parent = getpid();

	assert_int_equal(lm_pipes_open(&pair->pipes, channels, fds, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, session), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
	pair->flip = (LmFlip){
		.regions = pair->regions,
		.pipes = &pair->pipes,
		.engine = engine,
		.io_uring = io_uring,
		.peer_fd = session[0],
		.wait = {.deadline_ms = deadline_ms, .cancel_fd = -1},
	};
	pair->child = fork();
	assert_true(pair->child >= 0);
	if (pair->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(session[0]);
		close(control[0]);
		lm_pipes_close(&pair->pipes);
		if (lm_pipes_adopt(&pair->pipes, channels, fds, io_uring, NULL) < 0)
			_exit(1);
		pair->flip.peer_fd = session[1];
		pair->flip.peer_pid = parent;
		pair->control_fd = control[1];
		serve(pair);
	}
	pair->flip.peer_pid = pair->child;
	pair->control_fd = control[0];
	if (keep_end)
		pair->peer_end = session[1];
	else
		close(session[1]);
	close(control[1]);
	for (guint i = 0; i < 2 * channels; i++)
		close(fds[i]);
}

static inline void end_pair(Pair *pair)
{
	if (pair->child > 0) {
		kill(pair->child, SIGKILL);
		waitpid(pair->child, NULL, 0);
		close(pair->flip.peer_fd);
		close(pair->control_fd);
		lm_pipes_close(&pair->pipes);
	}
	if (pair->peer_end >= 0)
		close(pair->peer_end);
	for (guint i = 0; i < pair->regions->len; i++)
		munmap(get_region(pair, i)->host, get_region(pair, i)->used_bytes);
	g_ptr_array_unref(pair->regions);
}

static inline Reply send_from_here(Pair *pair)
{
	GError *error = NULL;
	Reply reply;
	int ret;

	pair->flip.bytes = 0;
	ret = lm_flip_send(&pair->flip, &error);
	make_reply(&reply, ret, pair->flip.bytes, error);
	return reply;
}

static inline Reply receive_here(Pair *pair)
{
	GError *error = NULL;
	Reply reply;
	int ret;

	pair->flip.bytes = 0;
	ret = lm_flip_receive(&pair->flip, &error);
	make_reply(&reply, ret, pair->flip.bytes, error);
	return reply;
}

typedef struct Setup {
	LmEngine engine;
	gboolean io_uring;
	guint channels;
} Setup;

static inline void add_mixed_regions(Pair *pair)
{
	add_region(pair, "full", 32 * MIB, full, 0, MADV_HUGEPAGE);
	add_region(pair, "passed", MIB, full, 0, 0);
	add_region(pair, "odd", 5 * MIB + 3 * PAGE, every_other, 0, MADV_NOHUGEPAGE);
	add_region(pair, "sparse", 64 * MIB, single, 0, MADV_NOHUGEPAGE);
	add_region(pair, "blocks", 32 * MIB, blocks, 0, MADV_NOHUGEPAGE);
	add_region(pair, "empty", 4 * MIB, none, 0, 0);
	add_region(pair, "page", PAGE, full, 0, 0);
	get_region(pair, 1)->way = LM_WAY_PASS;
}

static inline void start_mixed(Pair *pair, const Setup *setup, guint deadline_ms)
{
	init_pair(pair);
	add_mixed_regions(pair);
	start_pair(pair, setup->channels, setup->engine, setup->io_uring, deadline_ms, TRUE);
	fill_pair(pair);
}

static inline void assert_all_there(Pair *pair, guint64 bytes)
{
	assert_int_equal(bytes_here(pair), 0);
	assert_int_equal(bytes_populated(pair), 0);
	assert_int_equal(ask(pair, 'H'), bytes);
	assert_int_equal(ask(pair, 'W'), 0);
}

static inline void assert_all_here(Pair *pair, guint64 bytes)
{
	assert_int_equal(bytes_here(pair), bytes);
	assert_int_equal(bytes_populated(pair), bytes);
	assert_int_equal(pages_wrong(pair), 0);
	assert_int_equal(ask(pair, 'H'), 0);
	assert_int_equal(ask(pair, 'P'), 0);
}

static inline void forth(Pair *pair, guint64 bytes)
{
	Reply sent, received;

	tell(pair, 'R');
	sent = send_from_here(pair);
	received = answer(pair);
	assert_string_equal(sent.message, "");
	assert_string_equal(received.message, "");
	assert_int_equal(sent.ret, 0);
	assert_int_equal(received.ret, 0);
	assert_int_equal(sent.bytes, bytes);
	assert_int_equal(received.bytes, bytes);
}

static inline void back(Pair *pair, guint64 bytes)
{
	Reply sent, received;

	tell(pair, 'S');
	received = receive_here(pair);
	sent = answer(pair);
	assert_string_equal(received.message, "");
	assert_string_equal(sent.message, "");
	assert_int_equal(sent.bytes, bytes);
	assert_int_equal(received.bytes, bytes);
}

#endif
