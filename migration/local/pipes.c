/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pipes of a session: opening, adopting received ones, closing. */
#include "pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define PIPE_BYTES_MIN 65536u
#define DEFAULT_MAX    4u

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_fds(int *fds, guint count)
{
	for (guint i = 0; i < count; i++)
		close_fd(&fds[i]);
}

void lm_pipes_close(LmPipes *pipes)
{
	for (guint i = 0; i < pipes->count; i++) {
		close_fd(&pipes->pair[i].tx);
		close_fd(&pipes->pair[i].rx);
		close_fd(&pipes->pair[i].tx_back);
	}
	pipes->count = 0;
}

/* As large as wanted, or as the kernel allows this user. */
static void enlarge(int pipe_fd)
{
	for (guint bytes = LM_PIPE_BYTES; bytes > PIPE_BYTES_MIN; bytes /= 2)
		if (fcntl(pipe_fd, F_SETPIPE_SZ, bytes) >= 0)
			return;
}

/* Opened anew, an end has file status flags of its own, which the peer cannot change. */
static int open_again(int fd, int access)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

	return open(path, access | O_NONBLOCK | O_CLOEXEC);
}

/* A second read end; without /proc, a duplicate must do. */
static int read_end_again(int read_fd)
{
	int fd = open_again(read_fd, O_RDONLY);

	return fd >= 0 ? fd : fcntl(read_fd, F_DUPFD_CLOEXEC, 0);
}

/* Opens one channel; @peer_fds gets two. On failure, what was opened is in @pair and @peer_fds. */
static int open_pair(LmPipePair *pair, int *peer_fds)
{
	int forth[2], back[2];

	if (pipe2(forth, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	peer_fds[0] = forth[0];
	pair->tx = forth[1];
	enlarge(pair->tx);
	if (pipe2(back, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pair->rx = back[0];
	peer_fds[1] = back[1];
	enlarge(pair->rx);
	pair->tx_back = read_end_again(peer_fds[0]);
	return pair->tx_back < 0 ? -errno : 0;
}

int lm_pipes_open(LmPipes *pipes, guint count, int *peer_fds, GError **errp)
{
	LmPipes opened = {.count = count};
	int fds[2 * LM_CHANNELS_MAX];

	if (count < 1 || count > LM_CHANNELS_MAX)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "%u channels: must be 1 to %u",
			       count, LM_CHANNELS_MAX);
	for (guint i = 0; i < count; i++) {
		opened.pair[i] = (LmPipePair){-1, -1, -1};
		fds[2 * i] = fds[2 * i + 1] = -1;
	}
	for (guint i = 0; i < count; i++) {
		int ret = open_pair(&opened.pair[i], &fds[2 * i]);

		if (ret < 0) {
			lm_pipes_close(&opened);
			close_fds(fds, 2 * count);
			return lm_fail_errno(errp, LM_ERROR_FAILED, -ret,
					     "cannot open the pipes of channel %u", i);
		}
	}
	memcpy(peer_fds, fds, 2 * count * sizeof(*fds));
	*pipes = opened;
	return 0;
}

/* Refuses what is no pipe, or not open for @access alone. */
static int check_pipe(int fd, int access, struct stat *st, GError **errp)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, st) < 0)
		return lm_fail_errno(errp, LM_ERROR_PROTOCOL, errno,
				     "cannot examine received descriptor %d", fd);
	if (!S_ISFIFO(st->st_mode))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EINVAL,
			       "received descriptor %d is no pipe (mode 0%o)", fd, st->st_mode);
	if ((flags & O_ACCMODE) != access)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EINVAL,
			       "received descriptor %d is not the pipe's %s end", fd,
			       access == O_RDONLY ? "read" : "write");
	return 0;
}

static int check_distinct(const struct stat *st, guint count, GError **errp)
{
	for (guint i = 0; i < count; i++)
		for (guint j = 0; j < i; j++)
			if (st[i].st_dev == st[j].st_dev && st[i].st_ino == st[j].st_ino)
				return lm_fail(errp, LM_ERROR_PROTOCOL, EINVAL,
					       "received descriptors %u and %u are one pipe", j, i);
	return 0;
}

static int set_flags(int fd, GError **errp)
{
	int status = fcntl(fd, F_GETFL), descriptor = fcntl(fd, F_GETFD);

	if (status < 0 || descriptor < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, descriptor | FD_CLOEXEC) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot set the flags of descriptor %d", fd);
	return 0;
}

/* Without /proc, or without the right to another user's pipe, the received one must do. */
static void open_own(const int *fds, int *own, guint count, gboolean keep_read_ends)
{
	for (guint i = 0; i < count; i++) {
		own[i] = -1;
		if (i % 2 || !keep_read_ends)
			own[i] = open_again(fds[i], i % 2 ? O_WRONLY : O_RDONLY);
		if (own[i] < 0)
			own[i] = fds[i];
		else
			close(fds[i]);
	}
}

int lm_pipes_adopt(LmPipes *pipes, guint count, const int *fds, gboolean keep_read_ends,
		   GError **errp)
{
	struct stat st[2 * LM_CHANNELS_MAX];
	int own[2 * LM_CHANNELS_MAX];
	int ret = 0;

	if (count < 1 || count > LM_CHANNELS_MAX)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EINVAL, "%u channels: must be 1 to %u",
			       count, LM_CHANNELS_MAX);
	for (guint i = 0; i < 2 * count && ret == 0; i++)
		ret = check_pipe(fds[i], i % 2 ? O_WRONLY : O_RDONLY, &st[i], errp);
	if (ret == 0)
		ret = check_distinct(st, 2 * count, errp);
	for (guint i = 0; i < 2 * count && ret == 0; i++)
		ret = set_flags(fds[i], errp);
	if (ret < 0)
		return ret;
	open_own(fds, own, 2 * count, keep_read_ends);
	pipes->count = count;
	for (guint i = 0; i < count; i++)
		pipes->pair[i] =
			(LmPipePair){.rx = own[2 * i], .tx = own[2 * i + 1], .tx_back = -1};
	return 0;
}

guint lm_pipes_default_count(void)
{
	cpu_set_t set;
	int count = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		count = CPU_COUNT(&set);
	return CLAMP((guint)MAX(count, 1), 1u, DEFAULT_MAX);
}
