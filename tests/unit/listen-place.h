/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A path to listen at, and sockets that know nothing of our rules. */
#ifndef LM_LISTEN_PLACE_H
#define LM_LISTEN_PLACE_H

#include "test-util.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "channel.h"

/* A directory of its own for each test, entered by all users, and a path in it. */
typedef struct Place {
	char *dir, *path;
} Place;

static inline void place_clear(Place *place)
{
	unlink(place->path);
	assert_int_equal(rmdir(place->dir), 0);
	g_free(place->dir);
	g_free(place->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static inline Place place_new(void)
{
	Place place;

	place.dir = g_dir_make_tmp("lm-listen-XXXXXX", NULL);
	assert_non_null(place.dir);
	assert_int_equal(chmod(place.dir, 01777), 0);
	place.path = g_build_filename(place.dir, "socket", NULL);
	return place;
}

static inline LmListener *listen_at(const char *path)
{
	g_autoptr(GError) error = NULL;
	LmListener *listener = lm_listen(path, &error);

	assert_null(error);
	assert_non_null(listener);
	return listener;
}

static inline void check_listen(const char *path, LmErrorCode code, const char *part)
{
	g_autoptr(GError) error = NULL;

	assert_null(lm_listen(path, &error));
	check_failure(0, &error, 0, code, part);
}

static inline void check_connect(const char *path, int err, LmErrorCode code, const char *part)
{
	g_autoptr(GError) error = NULL;
	const int ret = lm_connect(path, 100, &error);

	check_failure(ret, &error, err, code, part);
}

/* A bound socket that knows nothing of our rules. */
static inline int bind_plain(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_true(fd >= 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline int connect_plain(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

#endif
