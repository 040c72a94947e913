/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network under load: messages to an echo server, compared when they come back. The
 * server hangs on QEMU's user network, whose connections live in the QEMU process: one
 * that breaks is opened again and counted. Wrong bytes are an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "guest.h"

enum { MESSAGE_WORDS = 128, MESSAGE_BYTES = MESSAGE_WORDS * 8, PAUSE_US = 5000 };

static const char interface[] = "eth0", address[] = "10.0.2.15", netmask[] = "255.255.255.0",
		  server[] = "10.0.2.100";
static const uint16_t echo_port = 7;

static struct sockaddr_in socket_address(const char *text, uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, text, &in.sin_addr);
	return in;
}

static bool interface_set(int fd, unsigned long request, const char *text)
{
	struct ifreq ifr = {0};
	struct sockaddr_in in = socket_address(text, 0);

	memcpy(ifr.ifr_name, interface, sizeof(interface));
	memcpy(&ifr.ifr_addr, &in, sizeof(in));
	return ioctl(fd, request, &ifr) == 0;
}

static bool interface_up(int fd)
{
	struct ifreq ifr = {0};

	memcpy(ifr.ifr_name, interface, sizeof(interface));
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
}

bool net_init(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && interface_set(fd, SIOCSIFADDR, address) &&
		  interface_set(fd, SIOCSIFNETMASK, netmask) && interface_up(fd);

	if (!ok)
		guest_error("%s: %s", interface, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

/* A connected socket with time limits, or -1. */
static int server_connect(void)
{
	struct sockaddr_in in = socket_address(server, echo_port);
	struct timeval patience = {.tv_sec = (time_t)guest_options.net_s};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&in, sizeof(in)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool read_all(int fd, void *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t n = recv(fd, (char *)to + done, bytes - done, 0);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* False when the connection is of no more use. */
static bool round_trip(int fd, uint64_t number)
{
	uint64_t out[MESSAGE_WORDS], in[MESSAGE_WORDS];

	for (uint64_t i = 0; i < MESSAGE_WORDS; i++)
		out[i] = number * 0x9e3779b97f4a7c15ULL + i;
	if (send(fd, out, sizeof(out), MSG_NOSIGNAL) != sizeof(out) ||
	    !read_all(fd, in, sizeof(in)))
		return false;
	if (memcmp(in, out, sizeof(out))) {
		guest_error("net message %llu came back changed", (unsigned long long)number);
		return false;
	}
	atomic_fetch_add(&guest_counters.net_trips, 1);
	return true;
}

void *net_thread(void *unused)
{
	uint64_t number = 0;
	int fd = -1;

	while (!guest_stopping) {
		if (fd < 0)
			fd = server_connect();
		if (fd >= 0 && !round_trip(fd, ++number)) {
			atomic_fetch_add(&guest_counters.net_resets, 1);
			close(fd);
			fd = -1;
		}
		if (!guest_options.fast || fd < 0)
			usleep(PAUSE_US);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}
