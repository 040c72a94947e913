// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A QEMU that is given a tap device sets it up anew when it starts: the length of the header in
 * front of each frame, the offloads, which queues get frames. All of that belongs to the
 * interface, not to the descriptor, so the guest in the old process would lose its network the
 * moment the new one starts. So the new process starts with a stand-in: a tap device of the same
 * kind in a network namespace of its own, which ends with it. When the old process has stopped
 * the guest, the plugin in the new one puts the real descriptor in its place
 * (migration/stand-in.c) and loads the guest's state, which sets the interface up as it is.
 *
 * One frame waits in the stand-in. QEMU reads it when it starts, cannot deliver it, for the guest
 * does not run, and does not look at the device any more until it does. So it takes no frame of
 * the real one too early; and a poll that the kernel does for QEMU (io_uring), which is of the
 * file and not of its number, is not under way when the file changes. The frame is for an address
 * that nobody has, whichever length of header it is read with.
 */
#include "stand-in.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define KIND (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)

/* --------------------------------------------------------------------- queues */

gboolean lu_queue_is_attached(int fd)
{
	struct ifreq ifr = {0};

	return ioctl(fd, TUNGETIFF, &ifr) == 0 && !(ifr.ifr_flags & IFF_DETACH_QUEUE);
}

gboolean lu_queue_attach(int fd)
{
	struct ifreq ifr = {.ifr_flags = IFF_ATTACH_QUEUE};

	return lu_queue_is_attached(fd) || ioctl(fd, TUNSETQUEUE, &ifr) == 0;
}

/* ------------------------------------------------------------------ one device */

static int open_queue(struct ifreq *ifr)
{
	g_auto(LuFd) fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, TUNSETIFF, ifr) < 0)
		return -1;
	return lu_fd_steal(&fd);
}

/* No word of the kernel's own comes before the frame. */
static void be_silent(void)
{
	g_auto(LuFd) fd =
		open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1", 1) != 1)
		g_debug("no IPv6 to disable");
}

static gboolean send_frame(const struct ifreq *device)
{
	g_auto(LuFd) fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET};
	struct ifreq ifr = *device;
	char frame[60];

	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &ifr) < 0)
		return FALSE;
	to.sll_ifindex = ifr.ifr_ifindex;
	ifr.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return FALSE;
	memset(frame, 2, sizeof(frame)); /* 02:02:02:02:02:02, at any offset */
	return sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) ==
	       sizeof(frame);
}

static void close_all(GArray *fds)
{
	for (guint i = 0; i < fds->len; i++)
		close(g_array_index(fds, int, i));
	g_array_set_size(fds, 0);
}

/* The frame is sent while there is one queue, so it waits in the first. */
static gboolean make_device(short kind, guint queues, GArray *fds)
{
	struct ifreq ifr = {.ifr_flags = kind};

	be_silent();
	for (guint i = 0; i < queues; i++) {
		int fd = open_queue(&ifr);

		if (fd >= 0)
			g_array_append_val(fds, fd);
		if (fd < 0 || (i == 0 && !send_frame(&ifr)))
			return FALSE;
		ifr.ifr_flags = kind;
	}
	return TRUE;
}

/* In a network namespace that nothing else is in. */
static gboolean make_apart(short kind, guint queues, GArray *fds, GError **errp)
{
	g_auto(LuFd) home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	gboolean made;
	int err;

	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno,
				     "a network namespace for the stand-in of a tap device");
	made = make_device(kind, queues, fds);
	err = errno;
	if (setns(home, CLONE_NEWNET) < 0)
		g_error("the way back from a network namespace: %s", g_strerror(errno));
	if (!made)
		lu_fail_errno(errp, LU_ERROR_REFUSED, err, "a stand-in for a tap device");
	return made;
}

GArray *lu_stand_in_open(const GArray *like, GError **errp)
{
	g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
	struct ifreq ifr = {0};

	if (ioctl(g_array_index(like, int, 0), TUNGETIFF, &ifr) < 0) {
		lu_fail(errp, LU_ERROR_REFUSED, "this is no tap device");
		return NULL;
	}
	if (!make_apart((short)(ifr.ifr_flags & KIND), like->len, fds, errp)) {
		close_all(fds);
		return NULL;
	}
	return g_steal_pointer(&fds);
}
