// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Between fork and exec. The program that forked may have had other threads: what is called here
 * takes no lock but malloc's, which glibc sets free in the child. The order: what needs root's
 * rights comes before they are given up; the security label counts from exec on.
 */
#include "context.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	return err;
}

static gboolean file_says(const char *path, const char *text)
{
	char now[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, now, sizeof(now) - 1);

	if (fd >= 0)
		close(fd);
	if (got < 0)
		return FALSE;
	now[got] = '\0';
	return !strcmp(g_strchomp(now), text);
}

static gboolean shares_root(const LuContext *context)
{
	struct stat st;

	return !stat("/", &st) && st.st_dev == context->root_dev && st.st_ino == context->root_ino;
}

/* setns wants rights even where it would change nothing. */
static int different_namespaces(const LuContext *context)
{
	int flags = 0;

	for (guint i = 0; i < LU_NAMESPACES; i++) {
		g_autofree char *path = g_strdup_printf("/proc/self/ns/%s", lu_namespaces[i].name);
		struct stat st;

		if (context->namespaces[i] && !stat(path, &st) &&
		    st.st_ino != context->namespaces[i])
			flags |= lu_namespaces[i].flag;
	}
	return flags;
}

static int enter(const LuContext *context, int old_fd, int root_fd, const char **what)
{
	int flags = different_namespaces(context);

	*what = "namespaces";
	if (flags && setns(old_fd, flags) < 0)
		return errno;
	*what = "root folder";
	if (!shares_root(context) && (fchdir(root_fd) < 0 || chroot(".") < 0))
		return errno;
	return 0;
}

static int limits(const LuContext *context, const char **what)
{
	*what = "limits";
	for (guint i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit now;

		if (!getrlimit(i, &now) && !memcmp(&now, &context->limits[i], sizeof(now)))
			continue;
		if (setrlimit(i, &context->limits[i]) < 0)
			return errno;
	}
	return 0;
}

static int scheduling(const LuContext *context, const char **what)
{
	struct sched_param param = {.sched_priority = context->priority};

	*what = "CPU affinity";
	if (syscall(SYS_sched_setaffinity, 0, sizeof(context->affinity), context->affinity) < 0)
		return errno;
	*what = "scheduling policy";
	if (sched_getscheduler(0) != context->policy &&
	    sched_setscheduler(0, context->policy, &param) < 0)
		return errno;
	*what = "nice value";
	if (getpriority(PRIO_PROCESS, 0) != context->nice &&
	    setpriority(PRIO_PROCESS, 0, context->nice) < 0)
		return errno;
	*what = "I/O priority";
	if (syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) != context->io_priority &&
	    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, context->io_priority) < 0)
		return errno;
	return 0;
}

static int files(const LuContext *context, const char **what)
{
	g_autofree char *oom = g_strdup_printf("%d", context->oom_score_adj);
	int err = 0;

	umask(context->umask);
	*what = "oom_score_adj";
	if (!file_says("/proc/self/oom_score_adj", oom))
		err = write_file("/proc/self/oom_score_adj", oom);
	if (!err && context->coredump_filter) {
		g_autofree char *filter = g_strconcat("0x", context->coredump_filter, NULL);

		*what = "coredump_filter";
		err = write_file("/proc/self/coredump_filter", filter);
	}
	return err;
}

static int label(const LuContext *context, const char **what)
{
	g_autofree char *text = NULL;
	int err;

	*what = "security label";
	if (!context->label)
		return 0;
	if (!context->apparmor)
		return write_file("/proc/self/attr/exec", context->label);
	text = g_strconcat("exec ", context->label, NULL);
	err = write_file("/proc/self/attr/apparmor/exec", text);
	return err == ENOENT ? write_file("/proc/self/attr/exec", text) : err;
}

static int bounding(const LuContext *context)
{
	for (int cap = 0; cap < 64; cap++) {
		if (context->cap_bounding & 1ull << cap || prctl(PR_CAPBSET_READ, cap) <= 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap) < 0)
			return errno;
	}
	return 0;
}

/* Of an ordinary program only the ambient ones outlive exec; root's come from the bounding set. */
static int capabilities(const LuContext *context)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	guint64 permitted = context->cap_permitted | context->cap_ambient;

	for (int i = 0; i < 2; i++) {
		data[i].effective = (guint32)(context->cap_effective >> 32 * i);
		data[i].permitted = (guint32)(permitted >> 32 * i);
		data[i].inheritable = (guint32)(context->cap_inheritable >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return errno;
	for (int cap = 0; cap < 64; cap++)
		if (context->cap_ambient & 1ull << cap &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return errno;
	return 0;
}

static int become(const LuContext *context, const char **what)
{
	int err;

	*what = "bounding capabilities";
	err = bounding(context);
	if (err)
		return err;
	*what = "user and groups";
	prctl(PR_SET_KEEPCAPS, context->cap_ambient ? 1 : 0);
	if (setgroups(context->groups->len, (const gid_t *)context->groups->data) < 0 ||
	    setresgid(context->gid[0], context->gid[1], context->gid[2]) < 0 ||
	    setresuid(context->uid[0], context->uid[1], context->uid[2]) < 0)
		return errno;
	*what = "capabilities";
	return context->cap_ambient || !context->uid[1] ? capabilities(context) : 0;
}

int lu_context_apply(const LuContext *context, int old_fd, int root_fd, gboolean sandboxed,
		     const char **what)
{
	int err = files(context, what);

	if (!err)
		err = scheduling(context, what);
	if (!err)
		err = enter(context, old_fd, root_fd, what);
	if (!err)
		err = limits(context, what);
	if (!err)
		err = label(context, what);
	/* A tool that is not root runs as the user of the running QEMU already. */
	if (!err && !geteuid())
		err = become(context, what);
	*what = err ? *what : "no_new_privs";
	if (!err && context->no_new_privs && !sandboxed &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = errno;
	return err;
}
