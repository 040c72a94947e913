/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is let in. What takes a second user is tried by root only, in a child process that becomes
 * nobody.
 */
#include "listen-place.h"

#include <signal.h>
#include <sys/wait.h>

#define NOBODY 65534

/* A child of another user: what @act returns is its exit status. */
static pid_t fork_nobody(int (*act)(const char *path), const char *path)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(100);
		_exit(act(path));
	}
	return pid;
}

static int exit_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static gboolean is_root(void)
{
	if (geteuid() == 0)
		return TRUE;
	print_message("not root: there is no other user to try it with\n");
	return FALSE;
}

static int act_connect_plain(const char *path)
{
	return connect_plain(path) < 0 ? errno : 0;
}

static int act_connect(const char *path)
{
	return lm_connect(path, 1000, NULL) < 0 ? 1 : 0;
}

static int act_leave_socket(const char *path)
{
	return bind_plain(path, SOCK_STREAM) < 0 ? 1 : 0;
}

static int act_listen(const char *path)
{
	g_autoptr(GError) error = NULL;

	if (lm_listen(path, &error))
		return 1;
	return strstr(error->message, "is of user 0, this process of user 65534") ? 0 : 2;
}

/* Listens at a socket of its own until it is killed. */
static int act_serve(const char *path)
{
	const int fd = bind_plain(path, SOCK_STREAM);

	if (fd < 0 || chmod(path, 0666) < 0 || listen(fd, 1) < 0)
		return 1;
	pause();
	return 0;
}

/* The mode keeps them out; where someone has changed it, who they are does. */
static void test_foreign_peer(void **state)
{
	g_auto(Place) place = place_new();
	g_autoptr(LmListener) listener = NULL;
	int source, destination;

	if (!is_root())
		return;
	listener = listen_at(place.path);
	assert_int_equal(exit_of(fork_nobody(act_connect_plain, place.path)), EACCES);
	assert_int_equal(chmod(place.path, 0666), 0);
	for (guint i = 0; i < 3; i++)
		assert_int_equal(exit_of(fork_nobody(act_connect_plain, place.path)), 0);
	source = lm_connect(place.path, 1000, NULL);
	assert_true(source >= 0);
	destination = lm_accept(listener, NULL);
	assert_true(destination >= 0);
	assert_int_equal(lm_listener_turned_away(listener), 3);
	close(source);
	close(destination);
}

/* Root's socket is fine for any user who may connect. */
static void test_root_listener(void **state)
{
	g_auto(Place) place = place_new();
	g_autoptr(LmListener) listener = NULL;

	if (!is_root())
		return;
	listener = listen_at(place.path);
	assert_int_equal(chmod(place.path, 0666), 0);
	assert_int_equal(exit_of(fork_nobody(act_connect, place.path)), 0);
}

static void test_foreign_socket(void **state)
{
	g_auto(Place) place = place_new();

	if (!is_root())
		return;
	assert_int_equal(exit_of(fork_nobody(act_leave_socket, place.path)), 0);
	check_listen(place.path, LM_ERROR_REFUSED, "is of user 65534, this process of user 0");
	check_connect(place.path, EPERM, LM_ERROR_REFUSED,
		      "is of user 65534, this process of user 0");
	assert_int_equal(access(place.path, F_OK), 0);
	/* The other way round: another user at root's. */
	unlink(place.path);
	close(bind_plain(place.path, SOCK_STREAM));
	assert_int_equal(exit_of(fork_nobody(act_listen, place.path)), 0);
}

/* The file is root's, the process behind it is not. */
static void test_foreign_listener(void **state)
{
	g_auto(Place) place = place_new();
	pid_t pid;
	int tries = 0;

	if (!is_root())
		return;
	pid = fork_nobody(act_serve, place.path);
	for (int fd = -1; fd < 0 && tries < 500; tries++) {
		fd = connect_plain(place.path);
		if (fd < 0)
			g_usleep(10000);
		else
			close(fd);
	}
	assert_int_equal(chown(place.path, 0, 0), 0);
	check_connect(place.path, EPERM, LM_ERROR_REFUSED,
		      "the peer is of user 65534, this process of user 0");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_foreign_peer),
		TEST(test_root_listener),
		TEST(test_foreign_socket),
		TEST(test_foreign_listener),
	};

	return cmocka_run_group_tests_name("listen-users", tests, NULL, NULL);
}
