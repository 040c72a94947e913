/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding each other by a path. Whoever can connect could take a machine's memory, or give it
 * another's, so both sides let in none but this user and root, and do so twice:
 *   - by the file. Linux gives a bound socket's file the mode of the socket's own inode, so
 *     fchmod before bind leaves no moment in which others could connect. The source looks at the
 *     file's type and owner before it connects, and after that whether it is still the same file.
 *   - by the kernel's word for who is at the other end (SO_PEERCRED), which no race can fool.
 * What somebody puts in the socket's place can so be a nuisance, but not a danger; still, a folder
 * in which everybody may replace everything is refused.
 *
 * Whether a socket that is in the way is in use is asked with a datagram socket: connect() then
 * says ECONNREFUSED if no process has the file bound, and EPROTOTYPE if one has. A stream socket
 * would leave a connection in its queue.
 */
#include <migration/localhost.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"
#include "error.h"

#define URI_PREFIX     "unix:"
#define LISTEN_BACKLOG 4

struct LmListener {
	int fd;
	int interrupt_fd; /* an eventfd; never read, so that it stays interrupted */
	char *path;	  /* absolute: the process may change its directory; NULL: not bound */
	dev_t dev;
	ino_t ino;
	guint turned_away; /* __atomic */
};

/* Closes at the end of a scope unless stolen. */
typedef int ScopedFd;
static void scoped_fd_clear(ScopedFd *fd)
{
	if (*fd >= 0)
		close(*fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ScopedFd, scoped_fd_clear)

static int steal_fd(ScopedFd *scoped)
{
	const int fd = *scoped;

	*scoped = -1;
	return fd;
}

/* ------------------------------------------------------------------ paths */

static int make_address(const char *path, struct sockaddr_un *address, GError **errp)
{
	const gsize length = strlen(path);

	if (length == 0)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "the socket's path is empty");
	if (path[0] == '@') {
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "abstract socket %s is refused: it has no owner and no mode", path);
	}
	if (length >= sizeof(address->sun_path)) {
		return lm_fail(errp, LM_ERROR_REFUSED, ENAMETOOLONG,
			       "socket path of %" G_GSIZE_FORMAT
			       " bytes is over the limit of %" G_GSIZE_FORMAT ": %s",
			       length, sizeof(address->sun_path) - 1, path);
	}
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path, path, length);
	return 0;
}

char *lm_uri_parse(const char *uri, GError **errp)
{
	struct sockaddr_un address;

	if (!g_str_has_prefix(uri, URI_PREFIX)) {
		lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "\"%s\" is not unix:PATH", uri);
		return NULL;
	}
	if (make_address(uri + strlen(URI_PREFIX), &address, errp) < 0)
		return NULL;
	return g_strdup(uri + strlen(URI_PREFIX));
}

/* The file at @path, which must be a socket and of one of these two users. */
static int stat_socket(const char *path, uid_t user, uid_t other_user, struct stat *st,
		       GError **errp)
{
	if (lstat(path, st) < 0)
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "cannot find socket %s", path);
	if (!S_ISSOCK(st->st_mode))
		return lm_fail(errp, LM_ERROR_REFUSED, ENOTSOCK, "%s is not a socket", path);
	if (st->st_uid != user && st->st_uid != other_user) {
		return lm_fail(errp, LM_ERROR_REFUSED, EPERM,
			       "socket %s is of user %u, this process of user %u", path, st->st_uid,
			       user);
	}
	return 0;
}

/* In a folder with the sticky bit, as /tmp, a file can be replaced by its owner only. */
static int check_folder(const char *path, GError **errp)
{
	g_autofree char *folder = g_path_get_dirname(path);
	struct stat st;

	if (stat(folder, &st) < 0)
		return 0; /* then there is no socket, nor can there be one */
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
		return lm_fail(errp, LM_ERROR_REFUSED, EPERM,
			       "folder %s of the socket can be written by everybody (mode %04o) "
			       "and has no sticky bit",
			       folder, st.st_mode & 07777);
	}
	return 0;
}

static int new_socket(int type, GError **errp)
{
	const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	return fd < 0 ? lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot create a socket") : fd;
}

/* ---------------------------------------------------------------- connect */

static int set_send_timeout(int fd, guint deadline_ms, GError **errp)
{
	const struct timeval timeout = {.tv_sec = deadline_ms / 1000,
					.tv_usec = deadline_ms % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot set a time limit");
	return 0;
}

/* A full backlog makes connect() wait, at most as long as the socket may wait for a send. */
static int connect_socket(int fd, const char *path, guint deadline_ms, GError **errp)
{
	struct sockaddr_un address;
	int ret;

	ret = make_address(path, &address, errp);
	if (ret == 0)
		ret = set_send_timeout(fd, deadline_ms, errp);
	if (ret < 0)
		return ret;
	do {
		ret = connect(fd, (const struct sockaddr *)&address, sizeof(address));
	} while (ret < 0 && errno == EINTR);
	if (ret < 0 && errno == EAGAIN) {
		return lm_fail(errp, LM_ERROR_TIMEOUT, ETIMEDOUT,
			       "timed out after %u ms waiting to connect to %s", deadline_ms, path);
	}
	if (ret < 0) {
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "cannot connect to %s", path);
	}
	return set_send_timeout(fd, 0, errp);
}

int lm_connect(const char *path, guint deadline_ms, GError **errp)
{
	g_auto(ScopedFd) fd = -1;
	struct sockaddr_un address;
	struct stat before, after;
	int ret;

	ret = make_address(path, &address, errp);
	if (ret == 0)
		ret = check_folder(path, errp);
	if (ret == 0)
		ret = stat_socket(path, geteuid(), 0, &before, errp);
	if (ret == 0)
		ret = fd = new_socket(SOCK_STREAM, errp);
	if (ret < 0)
		return ret;
	ret = connect_socket(fd, path, deadline_ms ? deadline_ms : LM_DEADLINE_MS_DEFAULT, errp);
	if (ret == 0)
		ret = lm_channel_peer_pid(fd, errp);
	if (ret < 0)
		return ret;
	ret = stat_socket(path, geteuid(), 0, &after, errp);
	if (ret < 0)
		return ret;
	if (before.st_dev != after.st_dev || before.st_ino != after.st_ino) {
		return lm_fail(errp, LM_ERROR_REFUSED, ESTALE,
			       "socket %s was replaced while connecting: inode %llu, now %llu",
			       path, (unsigned long long)before.st_ino,
			       (unsigned long long)after.st_ino);
	}
	return steal_fd(&fd);
}

/* ----------------------------------------------------------------- listen */

/* Whether any process has @address bound: 0 if none. */
static int check_unused(const struct sockaddr_un *address, GError **errp)
{
	g_auto(ScopedFd) fd = new_socket(SOCK_DGRAM, errp);

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno == EPROTOTYPE) {
		return lm_fail(errp, LM_ERROR_REFUSED, EADDRINUSE,
			       "socket %s is in use by another process", address->sun_path);
	}
	if (errno == ECONNREFUSED)
		return 0;
	return lm_fail_errno(errp, LM_ERROR_REFUSED, errno,
			     "cannot tell whether socket %s is in use", address->sun_path);
}

/* Removes a socket that a dead process of this user left at the path. */
static int make_way(const struct sockaddr_un *address, GError **errp)
{
	const char *path = address->sun_path;
	struct stat st;
	int ret;

	if (lstat(path, &st) < 0 && errno == ENOENT)
		return 0;
	ret = stat_socket(path, geteuid(), geteuid(), &st, errp);
	if (ret == 0)
		ret = check_unused(address, errp);
	if (ret < 0)
		return ret;
	if (unlink(path) < 0 && errno != ENOENT) {
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "cannot remove old socket %s",
				     path);
	}
	return 0;
}

static char *make_absolute(const char *path)
{
	g_autofree char *here = NULL;

	if (g_path_is_absolute(path))
		return g_strdup(path);
	here = g_get_current_dir();
	return g_build_filename(here, path, NULL);
}

/* Binds and says which file that made, whatever else was tried by others. */
static int bind_socket(LmListener *listener, const struct sockaddr_un *address, GError **errp)
{
	const char *path = address->sun_path;
	struct stat st;
	int ret;

	if (fchmod(listener->fd, 0600) < 0) {
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot set the mode of socket %s", path);
	}
	if (bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno, "cannot bind socket %s", path);
	ret = stat_socket(path, geteuid(), geteuid(), &st, errp);
	if (ret < 0)
		return ret;
	listener->path = make_absolute(path);
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	if (st.st_mode & 07777 & ~0600) {
		return lm_fail(errp, LM_ERROR_REFUSED, EPERM,
			       "socket %s has mode %04o, and must not have more than 0600", path,
			       st.st_mode & 07777);
	}
	return 0;
}

static LmListener *new_listener(GError **errp)
{
	g_autoptr(LmListener) listener = g_new0(LmListener, 1);

	listener->interrupt_fd = -1;
	listener->fd = new_socket(SOCK_STREAM | SOCK_NONBLOCK, errp);
	if (listener->fd < 0)
		return NULL;
	listener->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (listener->interrupt_fd < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot create an eventfd");
		return NULL;
	}
	return g_steal_pointer(&listener);
}

LmListener *lm_listen(const char *path, GError **errp)
{
	g_autoptr(LmListener) listener = NULL;
	struct sockaddr_un address;

	if (make_address(path, &address, errp) < 0 || check_folder(path, errp) < 0 ||
	    make_way(&address, errp) < 0)
		return NULL;
	listener = new_listener(errp);
	if (!listener || bind_socket(listener, &address, errp) < 0)
		return NULL;
	if (listen(listener->fd, LISTEN_BACKLOG) < 0) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot listen at %s", path);
		return NULL;
	}
	return g_steal_pointer(&listener);
}

/* ----------------------------------------------------------------- accept */

static gboolean is_transient(int err)
{
	return err == EAGAIN || err == EINTR || err == ECONNABORTED;
}

/* A peer's descriptor, -EAGAIN without *errp if it was nobody to talk to, or -errno. */
static int accept_one(LmListener *listener, GError **errp)
{
	g_auto(ScopedFd) fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		/* Out of descriptors or memory is for the caller: trying again would spin. */
		return is_transient(errno)
			       ? -EAGAIN
			       : lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					       "cannot accept a connection at %s", listener->path);
	}
	if (lm_channel_peer_pid(fd, NULL) < 0) {
		__atomic_add_fetch(&listener->turned_away, 1, __ATOMIC_RELAXED);
		return -EAGAIN;
	}
	return steal_fd(&fd);
}

int lm_accept(LmListener *listener, GError **errp)
{
	struct pollfd fds[2] = {
		{.fd = listener->interrupt_fd, .events = POLLIN},
		{.fd = listener->fd, .events = POLLIN},
	};
	int ret = -EAGAIN;

	while (ret == -EAGAIN) {
		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
					     "cannot wait for a connection at %s", listener->path);
		}
		if (fds[0].revents) {
			return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED,
				       "cancelled while waiting for a connection at %s",
				       listener->path);
		}
		ret = accept_one(listener, errp);
	}
	return ret;
}

guint lm_listener_turned_away(const LmListener *listener)
{
	return __atomic_load_n(&listener->turned_away, __ATOMIC_RELAXED);
}

void lm_listener_interrupt(LmListener *listener)
{
	const guint64 one = 1;

	/* Fails only when the counter is full, which is as readable as can be. */
	if (write(listener->interrupt_fd, &one, sizeof(one)) < 0)
		return;
}

void lm_listener_free(LmListener *listener)
{
	struct stat st;

	if (!listener)
		return;
	/* While it is still bound, so that nobody takes the path over in between. */
	if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
	    st.st_ino == listener->ino)
		unlink(listener->path);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->interrupt_fd >= 0)
		close(listener->interrupt_fd);
	g_free(listener->path);
	g_free(listener);
}
