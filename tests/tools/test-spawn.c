// SPDX-License-Identifier: GPL-2.0-or-later
/* The two halves of a new process, of several at once: none waits for another. */
#include "unit.h"

#include "handle.h"
#include "spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 5000

typedef struct Maker {
	LuProcess *like;
	LuContext *context;
	GArray *descriptors;
	LuSpawn spawn;
} Maker;

static void maker_clear(Maker *maker)
{
	lu_process_free(maker->like);
	lu_context_free(maker->context);
	g_array_unref(maker->descriptors);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Maker, maker_clear)

static void maker_init(Maker *maker, const char *const *argv)
{
	maker->like = lu_process_open(getpid(), NULL);
	maker->context = lu_context_read(getpid(), NULL);
	maker->descriptors = lu_descriptors_new();
	assert_true(maker->like && maker->context);
	maker->spawn = (LuSpawn){.like = maker->like,
				 .context = maker->context,
				 .argv = (char **)argv,
				 .cwd = "/",
				 .descriptors = maker->descriptors};
}

static void make(const Maker *maker, LuChild *child)
{
	g_autoptr(GError) error = NULL;

	if (!lu_spawn_fork(&maker->spawn, child, &error))
		fail_msg("%s", error->message);
}

static gboolean ends(const LuChild *child)
{
	struct pollfd pollfd = {.fd = child->pidfd, .events = POLLIN};

	return poll(&pollfd, 1, WAIT_MS) == 1;
}

/* As if its maker had died, while a younger one still waits. */
static void test_maker_dies(void **state)
{
	static const char *const argv[] = {"/bin/true", NULL};
	g_auto(Maker) maker = {0};
	LuChild old, young;

	maker_init(&maker, argv);
	make(&maker, &old);
	make(&maker, &young);
	lu_fd_clear(&old.go_fd);
	assert_true(ends(&old));
	lu_child_clear(&old);
	lu_child_clear(&young);
}

/* Its exec is seen at once, though a younger one still waits. */
static void test_exec_is_seen(void **state)
{
	static const char *const argv[] = {"/bin/true", NULL};
	g_autoptr(GError) error = NULL;
	g_auto(Maker) maker = {0};
	LuChild old, young;
	gint64 begin_us;

	maker_init(&maker, argv);
	make(&maker, &old);
	make(&maker, &young);
	begin_us = g_get_monotonic_time();
	assert_true(lu_spawn_exec(&old, argv[0], &error));
	assert_true(g_get_monotonic_time() - begin_us < WAIT_MS * 1000);
	assert_true(ends(&old));
	lu_child_clear(&old);
	lu_child_clear(&young);
}

/* What it is given arrives under its number, wherever it was. */
static void test_descriptors(void **state)
{
	static const char *const argv[] = {"/bin/sh", "-c", "echo here >/proc/self/fd/40", NULL};
	g_auto(Maker) maker = {0};
	char text[16] = "";
	LuChild child;
	int pipe_fds[2];

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	maker_init(&maker, argv);
	lu_descriptors_add(maker.descriptors, pipe_fds[1], 40);
	make(&maker, &child);
	assert_true(lu_spawn_exec(&child, argv[0], NULL));
	assert_true(ends(&child));
	assert_int_equal(read(pipe_fds[0], text, sizeof(text) - 1), 5);
	assert_string_equal(text, "here\n");
	close(pipe_fds[0]);
	lu_child_clear(&child);
}

static void test_no_program(void **state)
{
	static const char *const argv[] = {"/nowhere/program", NULL};
	g_autoptr(GError) error = NULL;
	g_auto(Maker) maker = {0};
	LuChild child;

	maker_init(&maker, argv);
	make(&maker, &child);
	assert_false(lu_spawn_exec(&child, argv[0], &error));
	assert_non_null(strstr(error->message, "/nowhere/program"));
	assert_non_null(strstr(error->message, "exec"));
	lu_child_clear(&child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_maker_dies), TEST(test_exec_is_seen),
					   TEST(test_descriptors), TEST(test_no_program)};

	return cmocka_run_group_tests_name("tool-spawn", tests, NULL, NULL);
}
