// SPDX-License-Identifier: GPL-2.0-or-later
#include "descriptor.h"
#include "error.h"
#include "handle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

static char *link_of(const LuProcess *process, int fd)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", (int)process->pid, fd);

	return g_file_read_link(path, NULL);
}

int lu_descriptor_get(const LuProcess *process, int fd, GError **errp)
{
	int copy = (int)syscall(SYS_pidfd_getfd, process->pidfd, fd, 0);

	if (copy < 0)
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "descriptor %d of process %d", fd,
			      (int)process->pid);
	return copy;
}

gboolean lu_descriptor_exists(const LuProcess *process, int fd)
{
	g_autofree char *target = link_of(process, fd);

	return target != NULL;
}

gboolean lu_descriptor_is_terminal(const LuProcess *process, int fd)
{
	g_autofree char *target = link_of(process, fd);

	return target && (g_str_has_prefix(target, "/dev/pts/") ||
			  g_str_has_prefix(target, "/dev/tty") || !strcmp(target, "/dev/console"));
}

static gboolean is_listening(int fd)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) && value;
}

/* "PATH", "@NAME" for the abstract ones, "HOST:PORT"; the caller's. */
static char *address_of(int fd)
{
	struct sockaddr_storage storage = {0};
	socklen_t size = sizeof(storage);
	char host[INET6_ADDRSTRLEN] = "";

	if (!is_listening(fd) || getsockname(fd, (struct sockaddr *)&storage, &size) < 0)
		return NULL;
	if (storage.ss_family == AF_UNIX) {
		const struct sockaddr_un *address = (void *)&storage;
		gsize length = size - offsetof(struct sockaddr_un, sun_path);

		if (size <= offsetof(struct sockaddr_un, sun_path))
			return NULL;
		if (!*address->sun_path)
			return g_strdup_printf("@%.*s", (int)length - 1, address->sun_path + 1);
		return g_strndup(address->sun_path, length);
	}
	if (storage.ss_family == AF_INET) {
		const struct sockaddr_in *address = (void *)&storage;

		inet_ntop(AF_INET, &address->sin_addr, host, sizeof(host));
		return g_strdup_printf("%s:%d", host, ntohs(address->sin_port));
	}
	if (storage.ss_family == AF_INET6) {
		const struct sockaddr_in6 *address = (void *)&storage;

		inet_ntop(AF_INET6, &address->sin6_addr, host, sizeof(host));
		return g_strdup_printf("[%s]:%d", host, ntohs(address->sin6_port));
	}
	return NULL;
}

gboolean lu_descriptor_is_connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

char *lu_descriptor_listening_path(int fd)
{
	g_autofree char *address = address_of(fd);

	return address && *address == '/' ? g_steal_pointer(&address) : NULL;
}

int lu_descriptor_find_listener(const LuProcess *process, const char *wanted)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fd", (int)process->pid);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		int number = (int)g_ascii_strtoll(name, NULL, 10);
		g_autofree char *target = link_of(process, number), *address = NULL;
		g_auto(LuFd) fd = -1;

		if (!target || !g_str_has_prefix(target, "socket:"))
			continue;
		fd = lu_descriptor_get(process, number, NULL);
		address = fd < 0 ? NULL : address_of(fd);
		if (!g_strcmp0(address, wanted))
			return number;
	}
	return -1;
}

char *lu_descriptor_peer_path(const LuProcess *process, int fd)
{
	g_auto(LuFd) copy = lu_descriptor_get(process, fd, NULL);
	struct sockaddr_un address = {0};
	socklen_t size = sizeof(address);

	if (copy < 0 || getpeername(copy, (struct sockaddr *)&address, &size) < 0 ||
	    address.sun_family != AF_UNIX || size <= offsetof(struct sockaddr_un, sun_path) ||
	    !*address.sun_path)
		return NULL;
	return g_strndup(address.sun_path, size - offsetof(struct sockaddr_un, sun_path));
}

int lu_descriptor_find_connection(const LuProcess *process, const char *path)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fd", (int)process->pid);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;
	int found = -1;

	while (dir && (name = g_dir_read_name(dir))) {
		int number = (int)g_ascii_strtoll(name, NULL, 10);
		g_autofree char *target = link_of(process, number), *peer = NULL;

		if (!target || !g_str_has_prefix(target, "socket:"))
			continue;
		peer = lu_descriptor_peer_path(process, number);
		if (g_strcmp0(peer, path))
			continue;
		if (found >= 0)
			return -1;
		found = number;
	}
	return found;
}
