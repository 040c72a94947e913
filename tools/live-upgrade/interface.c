// SPDX-License-Identifier: GPL-2.0-or-later
#include "interface.h"
#include "handle.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int open_namespace(const char *of)
{
	g_autofree char *path = g_strdup_printf("/proc/%s/ns/net", of);

	return open(path, O_RDONLY | O_CLOEXEC);
}

static gboolean is_same(int a, int b)
{
	struct stat here, there;

	return !fstat(a, &here) && !fstat(b, &there) && here.st_ino == there.st_ino;
}

/* A socket is of the network namespace in which it is made; it is this thread alone that goes. */
static int open_socket(const LuProcess *process)
{
	g_autofree char *pid = g_strdup_printf("%d", (int)process->pid);
	g_auto(LuFd) here = open_namespace("thread-self"), there = open_namespace(pid);
	int fd;

	if (is_same(here, there))
		return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (here < 0 || setns(there, CLONE_NEWNET) < 0)
		return -1;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (setns(here, CLONE_NEWNET) < 0)
		g_error("no way back into the own network namespace");
	return fd;
}

/* The index behind IFLA_MASTER of the kernel's answer; 0: none. */
static int master_in(const struct nlmsghdr *header, gsize bytes)
{
	const struct rtattr *attribute;
	int length, master = 0;

	if (!NLMSG_OK(header, bytes) || header->nlmsg_type != RTM_NEWLINK)
		return 0;
	attribute = IFLA_RTA((const struct ifinfomsg *)NLMSG_DATA(header));
	length = (int)IFLA_PAYLOAD(header);
	for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length))
		if (attribute->rta_type == IFLA_MASTER)
			memcpy(&master, RTA_DATA(attribute), sizeof(master));
	return master;
}

static int ask_master(int fd, int index)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} request = {.header = {.nlmsg_len = sizeof(request),
				.nlmsg_type = RTM_GETLINK,
				.nlmsg_flags = NLM_F_REQUEST},
		     .info = {.ifi_index = index}};
	_Alignas(struct nlmsghdr) char answer[32 << 10];
	ssize_t got;

	if (send(fd, &request, sizeof(request), 0) != sizeof(request))
		return 0;
	got = recv(fd, answer, sizeof(answer), 0);
	return got > 0 ? master_in((const struct nlmsghdr *)answer, (gsize)got) : 0;
}

char *lu_interface_master(const LuProcess *process, const char *interface)
{
	g_auto(LuFd) fd = open_socket(process);
	struct ifreq request = {0}, master = {0};

	g_strlcpy(request.ifr_name, interface, sizeof(request.ifr_name));
	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &request) < 0)
		return NULL;
	master.ifr_ifindex = ask_master(fd, request.ifr_ifindex);
	if (!master.ifr_ifindex || ioctl(fd, SIOCGIFNAME, &master) < 0)
		return NULL;
	return g_strdup(master.ifr_name);
}
