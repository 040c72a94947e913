// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When its guest has stopped, QEMU still reads one frame of each tap device before it notices that
 * it cannot deliver it; the frame waits in this process then, and is lost if the guest goes on in
 * another. So it is given a frame that nobody misses. For a moment the device's number is that of
 * a socket in which such a frame waits (dup3); QEMU's handlers are called once; then the number is
 * the device's again. Nothing but these handlers runs in between, for this is the main loop.
 *
 * If the guest runs on here, it gets that frame first, which is for an address that nobody has.
 * Where the kernel polls for QEMU (io_uring), the socket is not noticed, and a frame may be lost
 * as before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>

#include "qemu.h"
#include "taps.h"

enum { FRAME_BYTES = 60, HEADER_MAX = 20 };

/* A header in front of it is all zeros: no offloads. */
static int socket_with_frame(int header_bytes)
{
	char frame[HEADER_MAX + FRAME_BYTES] = {0};
	int ends[2];

	memset(frame + header_bytes, 2, FRAME_BYTES); /* 02:02:02:02:02:02 */
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return -1;
	if (send(ends[1], frame, (size_t)header_bytes + FRAME_BYTES, 0) < 0) {
		close(ends[0]);
		ends[0] = -1;
	}
	close(ends[1]);
	return ends[0];
}

static void hush(int tap, int header_bytes)
{
	int own = fcntl(tap, F_DUPFD_CLOEXEC, 3), flags = fcntl(tap, F_GETFD), decoy;

	if (own < 0)
		return;
	decoy = socket_with_frame(header_bytes);
	if (decoy >= 0 && dup3(decoy, tap, O_CLOEXEC) == tap) {
		qemu.aio_poll(qemu.iohandler_get_aio_context(), false);
		/* It cannot fail: both numbers are there. */
		dup3(own, tap, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
	}
	if (decoy >= 0)
		close(decoy);
	close(own);
}

void lm_taps_hush(void)
{
	g_autoptr(GDir) dir = NULL;
	const char *name;

	if (!qemu.aio_poll || !qemu.iohandler_get_aio_context)
		return;
	dir = g_dir_open("/proc/self/fd", 0, NULL);
	while (dir && (name = g_dir_read_name(dir))) {
		int fd = (int)g_ascii_strtoll(name, NULL, 10), header_bytes = 0;
		struct ifreq ifr = {0};

		if (ioctl(fd, TUNGETIFF, &ifr) < 0)
			continue;
		if (ifr.ifr_flags & IFF_VNET_HDR)
			ioctl(fd, TUNGETVNETHDRSZ, &header_bytes);
		hush(fd, CLAMP(header_bytes, 0, HEADER_MAX));
	}
}
