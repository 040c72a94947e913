// SPDX-License-Identifier: GPL-2.0-or-later
#include "own-usr.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

char *own_usr_program(LmTest *test)
{
	const char *qemu = g_getenv("LM_QEMU") ? g_getenv("LM_QEMU") : "qemu-system-x86_64";
	g_autofree char *text = g_strdup_printf(
		"#!/bin/sh\nexec unshare --mount --propagation private -- %s \"$@\"\n", qemu);
	char *path = lm_test_path(test, "with-own-usr");

	if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL))
		g_error("cannot write %s", path);
	return path;
}

/* A process of its own enters the namespace, and changes nothing of this one. */
static int replace(const char *namespace, const char *usr)
{
	int fd = open(namespace, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		return errno;
	return mount(usr, "/usr", NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

int own_usr_replace(pid_t pid, const char *root)
{
	g_autofree char *namespace = g_strdup_printf("/proc/%d/ns/mnt", (int)pid);
	g_autofree char *usr = g_build_filename(root, "usr", NULL);
	pid_t child = fork();
	int status;

	if (!child)
		_exit(replace(namespace, usr));
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (child < 0 || !WIFEXITED(status))
		return -ECHILD;
	return -WEXITSTATUS(status);
}
