/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets by path: what is refused, what is replaced, what is left behind. */
#include "listen-place.h"

#include <fcntl.h>

static ino_t inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_ino;
}

/* -------------------------------------------------------------------- uri */

static void check_uri(const char *uri, const char *part)
{
	g_autoptr(GError) error = NULL;

	assert_null(lm_uri_parse(uri, &error));
	check_failure(0, &error, 0, LM_ERROR_REFUSED, part);
}

static void test_uri(void **state)
{
	g_autofree char *absolute = lm_uri_parse("unix:/run/a b:c", NULL);
	g_autofree char *relative = lm_uri_parse("unix:a", NULL);

	assert_string_equal(absolute, "/run/a b:c");
	assert_string_equal(relative, "a");
	check_uri("", "\"\" is not unix:PATH");
	check_uri("/run/a", "\"/run/a\" is not unix:PATH");
	check_uri("tcp:host:1", "\"tcp:host:1\" is not unix:PATH");
	check_uri("UNIX:/a", "is not unix:PATH");
	check_uri("unix:", "the socket's path is empty");
	check_uri("unix:@name", "abstract socket @name is refused");
}

static void test_uri_length(void **state)
{
	g_autofree char *fits = g_strnfill(107, 'p');
	g_autofree char *longer = g_strnfill(108, 'p');
	g_autofree char *uri = g_strconcat("unix:", fits, NULL);
	g_autofree char *longer_uri = g_strconcat("unix:", longer, NULL);
	g_autofree char *path = lm_uri_parse(uri, NULL);

	assert_string_equal(path, fits);
	check_uri(longer_uri, "socket path of 108 bytes is over the limit of 107");
	check_listen(longer, LM_ERROR_REFUSED, "108 bytes is over the limit of 107");
	check_connect(longer, ENAMETOOLONG, LM_ERROR_REFUSED, "108 bytes is over the limit of 107");
	check_listen("", LM_ERROR_REFUSED, "path is empty");
	check_connect("@a", EINVAL, LM_ERROR_REFUSED, "abstract socket @a is refused");
}

/* ---------------------------------------------------------------- in order */

static void test_meet(void **state)
{
	g_auto(Place) place = place_new();
	g_autoptr(LmListener) listener = listen_at(place.path);
	const int source = lm_connect(place.path, 1000, NULL);
	const int destination = lm_accept(listener, NULL);
	char word[3] = "";

	assert_true(source >= 0);
	assert_true(destination >= 0);
	assert_true(fcntl(source, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(destination, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(send(source, "ab", 2, 0), 2);
	assert_int_equal(recv(destination, word, 2, MSG_WAITALL), 2);
	assert_string_equal(word, "ab");
	assert_int_equal(lm_channel_peer_pid(destination, NULL), getpid());
	assert_int_equal(lm_listener_turned_away(listener), 0);
	close(source);
	close(destination);
}

/* Whatever the umask. */
static void test_mode(void **state)
{
	static const mode_t masks[] = {0, 022, 0777};

	for (gsize i = 0; i < G_N_ELEMENTS(masks); i++) {
		g_auto(Place) place = place_new();
		const mode_t before = umask(masks[i]);
		LmListener *listener = lm_listen(place.path, NULL);
		struct stat st;

		umask(before);
		assert_non_null(listener);
		assert_int_equal(lstat(place.path, &st), 0);
		assert_true(S_ISSOCK(st.st_mode));
		assert_int_equal(st.st_mode & 07777, 0600 & ~masks[i]);
		lm_listener_free(listener);
		assert_int_equal(access(place.path, F_OK), -1);
	}
	lm_listener_free(NULL);
}

/* Removed where it was made, though the process has changed its directory since. */
static void test_relative(void **state)
{
	g_auto(Place) place = place_new();
	g_autofree char *here = g_get_current_dir();
	LmListener *listener;
	int fd;

	assert_int_equal(chdir(place.dir), 0);
	listener = listen_at("socket");
	fd = lm_connect("socket", 1000, NULL);
	assert_int_equal(chdir(here), 0);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(access(place.path, F_OK), 0);
	lm_listener_free(listener);
	assert_int_equal(access(place.path, F_OK), -1);
}

static void test_open_folder(void **state)
{
	g_auto(Place) place = place_new();
	LmListener *listener = listen_at(place.path);
	int fd;

	assert_int_equal(chmod(place.dir, 0777), 0);
	check_connect(place.path, EPERM, LM_ERROR_REFUSED, "(mode 0777) and has no sticky bit");
	assert_int_equal(chmod(place.dir, 01777), 0);
	fd = lm_connect(place.path, 1000, NULL);
	assert_true(fd >= 0);
	close(fd);
	lm_listener_free(listener);
	assert_int_equal(chmod(place.dir, 0757), 0);
	check_listen(place.path, LM_ERROR_REFUSED, "(mode 0757) and has no sticky bit");
	assert_int_equal(access(place.path, F_OK), -1);
	assert_int_equal(chmod(place.dir, 0775), 0);
	lm_listener_free(listen_at(place.path));
}

static void test_replaced(void **state)
{
	g_auto(Place) place = place_new();
	LmListener *listener = listen_at(place.path);

	assert_int_equal(unlink(place.path), 0);
	assert_true(g_file_set_contents(place.path, "mine", -1, NULL));
	lm_listener_free(listener);
	assert_int_equal(access(place.path, F_OK), 0);
}

/* ------------------------------------------------------- what is in the way */

static void test_stale(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

	for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
		g_auto(Place) place = place_new();
		g_autoptr(LmListener) listener = NULL;
		int fd;

		close(bind_plain(place.path, types[i]));
		assert_int_equal(access(place.path, F_OK), 0);
		check_connect(place.path, ECONNREFUSED, LM_ERROR_REFUSED, "Connection refused");
		listener = listen_at(place.path);
		fd = lm_connect(place.path, 1000, NULL);
		assert_true(fd >= 0);
		close(fd);
	}
}

/* In use, whether it listens or not and whatever its type; and it does not notice us. */
static void test_in_use(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	g_auto(Place) place = place_new();
	LmListener *listener = listen_at(place.path);
	const ino_t inode = inode_of(place.path);

	check_listen(place.path, LM_ERROR_REFUSED, "is in use by another process");
	assert_int_equal(inode_of(place.path), inode);
	lm_listener_interrupt(listener);
	assert_int_equal(lm_accept(listener, NULL), -ECANCELED);
	lm_listener_free(listener);
	for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
		const int fd = bind_plain(place.path, types[i]);

		assert_true(fd >= 0);
		check_listen(place.path, LM_ERROR_REFUSED, "is in use by another process");
		assert_int_equal(access(place.path, F_OK), 0);
		close(fd);
		unlink(place.path);
	}
}

static void test_no_socket(void **state)
{
	g_auto(Place) place = place_new();
	g_autoptr(LmListener) listener = NULL;
	g_autofree char *other = g_build_filename(place.dir, "other", NULL);

	check_connect(place.path, ENOENT, LM_ERROR_REFUSED, "cannot find socket");
	assert_true(g_file_set_contents(place.path, "keep", -1, NULL));
	check_listen(place.path, LM_ERROR_REFUSED, "socket is not a socket");
	check_connect(place.path, ENOTSOCK, LM_ERROR_REFUSED, "socket is not a socket");
	assert_int_equal(access(place.path, F_OK), 0);
	unlink(place.path);
	/* A link to a socket that would do. */
	listener = listen_at(other);
	assert_int_equal(symlink(other, place.path), 0);
	check_listen(place.path, LM_ERROR_REFUSED, "socket is not a socket");
	check_connect(place.path, ENOTSOCK, LM_ERROR_REFUSED, "socket is not a socket");
	unlink(place.path);
	assert_int_equal(mkdir(place.path, 0700), 0);
	check_listen(place.path, LM_ERROR_REFUSED, "socket is not a socket");
	rmdir(place.path);
}

static void test_no_directory(void **state)
{
	g_auto(Place) place = place_new();
	g_autofree char *path = g_build_filename(place.path, "deeper", NULL);

	check_listen(path, LM_ERROR_REFUSED, "cannot bind socket");
	check_connect(path, ENOENT, LM_ERROR_REFUSED, "cannot find socket");
}

/* Nobody accepts, and the queue is full. */
static void test_connect_timeout(void **state)
{
	g_auto(Place) place = place_new();
	const int fd = bind_plain(place.path, SOCK_STREAM);
	int waiting;

	assert_int_equal(listen(fd, 0), 0);
	waiting = connect_plain(place.path);
	assert_true(waiting >= 0);
	check_connect(place.path, ETIMEDOUT, LM_ERROR_TIMEOUT, "timed out after 100 ms waiting to");
	close(waiting);
	close(fd);
}

/* -------------------------------------------------------------- interrupted */

static gpointer run_accept(gpointer data)
{
	return GINT_TO_POINTER(lm_accept(data, NULL));
}

static void test_interrupted(void **state)
{
	g_auto(Place) place = place_new();
	g_autoptr(LmListener) listener = listen_at(place.path);
	GThread *thread = g_thread_new("accept", run_accept, listener);
	g_autoptr(GError) error = NULL;

	lm_listener_interrupt(listener);
	assert_int_equal(GPOINTER_TO_INT(g_thread_join(thread)), -ECANCELED);
	lm_listener_interrupt(listener);
	for (guint i = 0; i < 2; i++) {
		check_failure(lm_accept(listener, &error), &error, ECANCELED, LM_ERROR_CANCELLED,
			      "cancelled while waiting for a connection");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_uri),		TEST(test_uri_length),	 TEST(test_meet),
		TEST(test_mode),	TEST(test_relative),	 TEST(test_replaced),
		TEST(test_open_folder), TEST(test_stale),	 TEST(test_in_use),
		TEST(test_no_socket),	TEST(test_no_directory), TEST(test_connect_timeout),
		TEST(test_interrupted),
	};

	return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
