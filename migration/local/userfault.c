/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"

/* linux/userfaultfd.h, since Linux 6.8; named apart, for newer headers have them. */
typedef struct MoveArgument {
	guint64 dst, src, len, mode;
	gint64 move;
} MoveArgument;
#define MOVE_IOCTL	     _IOWR(UFFDIO, 0x05, MoveArgument)
#define MOVE_ALLOW_SRC_HOLES (1ull << 1)
#define FEATURE_MOVE	     (1ull << 16)
G_STATIC_ASSERT(sizeof(MoveArgument) == 40);

/* Since Linux 6.1. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#define DEVICE "/dev/userfaultfd"

static int lent_fd = -1; /* of the device */

int lm_userfault_lend(int device_fd, GError **errp)
{
	int fd = ioctl(device_fd, USERFAULTFD_IOC_NEW, O_CLOEXEC), err = errno;

	if (fd < 0) {
		close(device_fd);
		return lm_fail_errno(errp, LM_ERROR_REFUSED, err,
				     "the descriptor that was lent is not of " DEVICE);
	}
	close(fd);
	if (lent_fd >= 0)
		close(lent_fd);
	lent_fd = device_fd;
	return 0;
}

static int open_by_device(void)
{
	const int device_fd = lent_fd >= 0 ? lent_fd : open(DEVICE, O_RDWR | O_CLOEXEC);
	int fd, err;

	if (device_fd < 0)
		return -1;
	fd = ioctl(device_fd, USERFAULTFD_IOC_NEW, O_CLOEXEC);
	err = errno;
	if (device_fd != lent_fd)
		close(device_fd);
	errno = err;
	return fd;
}

/* The system call is for the privileged; the device is for whoever may open it, or was lent it. */
static int open_any(GError **errp)
{
	const gboolean fault = lm_fault_fails("userfaultfd");
	int fd = fault ? -1 : (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	int err;

	if (fd < 0 && !fault)
		fd = open_by_device();
	if (fd >= 0)
		return fd;
	err = errno;
	if (err == ENOSYS)
		return lm_fail(errp, LM_ERROR_REFUSED, err,
			       "no userfaultfd: this kernel lacks it, or a filter forbids it");
	return lm_fail_errno(errp, LM_ERROR_REFUSED, err,
			     "no userfaultfd for faults of the kernel too (needs CAP_SYS_PTRACE, "
			     "vm.unprivileged_userfaultfd=1 or access to " DEVICE ")");
}

int lm_userfault_open(GError **errp)
{
	struct uffdio_api api = {.api = UFFD_API, .features = FEATURE_MOVE};
	int fd = open_any(errp);
	int err;

	if (fd < 0)
		return fd;
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	err = errno;
	close(fd);
	if (err == EINVAL)
		return lm_fail(errp, LM_ERROR_REFUSED, EOPNOTSUPP,
			       "this kernel has no UFFDIO_MOVE (Linux 6.8)");
	return lm_fail_errno(errp, LM_ERROR_REFUSED, err, "cannot set up a userfaultfd");
}

static struct uffdio_range range_of(const void *start, gsize bytes)
{
	return (struct uffdio_range){.start = (guint64)(guintptr)start, .len = bytes};
}

int lm_userfault_watch(int fd, void *start, gsize bytes)
{
	struct uffdio_register argument = {
		.range = range_of(start, bytes),
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(fd, UFFDIO_REGISTER, &argument) < 0 ? -errno : 0;
}

int lm_userfault_unwatch(int fd, void *start, gsize bytes)
{
	struct uffdio_range range = range_of(start, bytes);

	return ioctl(fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

int lm_userfault_wake(int fd, void *start, gsize bytes)
{
	struct uffdio_range range = range_of(start, bytes);

	return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}

gssize lm_userfault_move(int fd, void *to, const void *from, gsize bytes)
{
	MoveArgument argument = {
		.dst = (guint64)(guintptr)to,
		.src = (guint64)(guintptr)from,
		.len = bytes,
		.mode = MOVE_ALLOW_SRC_HOLES,
	};

	if (ioctl(fd, MOVE_IOCTL, &argument) == 0)
		return bytes;
	/* It fails too when it got on by a part, and says by how much. */
	return argument.move > 0 ? argument.move : -errno;
}

int lm_userfault_copy(int fd, void *to, const void *from, gsize bytes)
{
	struct uffdio_copy argument = {
		.dst = (guint64)(guintptr)to,
		.src = (guint64)(guintptr)from,
		.len = bytes,
	};

	return ioctl(fd, UFFDIO_COPY, &argument) < 0 ? -errno : 0;
}
