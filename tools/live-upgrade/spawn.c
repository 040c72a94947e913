// SPDX-License-Identifier: GPL-2.0-or-later
#include "spawn.h"
#include "cgroup.h"
#include "error.h"
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define EXEC_MS 30000
#define KILL_MS 10000

typedef struct ChildError {
	int err;
	char what[60];
} ChildError;

static void close_descriptor(gpointer data)
{
	LuDescriptor *descriptor = data;

	if (descriptor->fd >= 0)
		close(descriptor->fd);
}

GArray *lu_descriptors_new(void)
{
	GArray *descriptors = g_array_new(FALSE, FALSE, sizeof(LuDescriptor));

	g_array_set_clear_func(descriptors, close_descriptor);
	return descriptors;
}

void lu_descriptors_add(GArray *descriptors, int fd, int number)
{
	LuDescriptor descriptor = {fd, number};

	g_array_append_val(descriptors, descriptor);
}

/* ------------------------------------------------------------- in the child */

static void give_up(int error_fd, int err, const char *what)
{
	ChildError error = {.err = err};

	g_strlcpy(error.what, what, sizeof(error.what));
	if (write(error_fd, &error, sizeof(error)) != sizeof(error))
		_exit(126);
	_exit(127);
}

/* None of the sources may be at a number that is yet to be filled. */
static int move_away(const GArray *descriptors, int *fds)
{
	int above = 3;

	for (guint i = 0; i < descriptors->len; i++)
		above = MAX(above, g_array_index(descriptors, LuDescriptor, i).number + 1);
	for (guint i = 0; i < descriptors->len; i++) {
		fds[i] = fcntl(g_array_index(descriptors, LuDescriptor, i).fd, F_DUPFD_CLOEXEC,
			       above);
		if (fds[i] < 0)
			return errno;
	}
	return 0;
}

/* What is still needed here, at numbers that nothing else gets. */
typedef struct Kept {
	int error_fd, old_fd, root_fd;
} Kept;

static int arrange(const GArray *descriptors, Kept *kept)
{
	g_autofree int *fds = g_new(int, descriptors->len + 1);
	int *own[] = {&kept->error_fd, &kept->old_fd, &kept->root_fd};
	int err = move_away(descriptors, fds), above = 3, null_fd;

	if (err)
		return err;
	for (guint i = 0; i < descriptors->len; i++)
		above = MAX(above, g_array_index(descriptors, LuDescriptor, i).number + 1);
	for (guint i = 0; i < G_N_ELEMENTS(own); i++) {
		*own[i] = fcntl(*own[i], F_DUPFD_CLOEXEC, above);
		if (*own[i] < 0)
			return errno;
	}
	syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (dup2(null_fd, i) < 0)
			return errno;
	for (guint i = 0; i < descriptors->len; i++)
		if (dup2(fds[i], g_array_index(descriptors, LuDescriptor, i).number) < 0)
			return errno;
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/*
 * While this one waits, nothing else is held open by it: another thread's run may have a lock, or
 * the pipes of a child of its own, which would wait for the end of this one.
 */
static void close_others(const LuSpawn *spawn, int go_fd, int error_fd, int root_fd)
{
	guint count = spawn->descriptors->len + 4;
	g_autofree int *needed = g_new(int, count);
	guint from = 3;

	needed[0] = go_fd;
	needed[1] = error_fd;
	needed[2] = root_fd;
	needed[3] = spawn->like->pidfd;
	for (guint i = 4; i < count; i++)
		needed[i] = g_array_index(spawn->descriptors, LuDescriptor, i - 4).fd;
	qsort(needed, count, sizeof(*needed), compare_numbers);
	for (guint i = 0; i < count; i++) {
		guint number = (guint)MAX(needed[i], 0);

		if (number > from)
			syscall(SYS_close_range, from, number - 1, 0);
		from = MAX(from, number + 1);
	}
	syscall(SYS_close_range, from, ~0u, 0);
}

static void reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < 65; number++)
		sigaction(number, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void G_GNUC_NORETURN run_child(const LuSpawn *spawn, int go_fd, int error_fd, int root_fd)
{
	Kept kept = {error_fd, spawn->like->pidfd, root_fd};
	const char *what = "descriptors";
	pid_t maker = getppid();
	int err;
	char go;

	setsid();
	reset_signals();
	close_others(spawn, go_fd, error_fd, root_fd);
	if (read(go_fd, &go, 1) != 1)
		_exit(125); /* its maker is gone */
	/* Numbers above the new limit may be needed, so the descriptors come first. */
	err = arrange(spawn->descriptors, &kept);
	if (err)
		give_up(kept.error_fd, err, what);
	err = lu_context_apply(spawn->context, kept.old_fd, kept.root_fd, spawn->sandboxed, &what);
	if (err)
		give_up(kept.error_fd, err, what);
	/* A change of user would clear it, so it comes last. */
	if (spawn->temporary && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != maker))
		_exit(125);
	if (chdir(spawn->cwd) < 0)
		give_up(kept.error_fd, errno, "working folder");
	execve(spawn->argv[0], spawn->argv, spawn->like->envp);
	give_up(kept.error_fd, errno, "exec");
	_exit(127);
}

/* ------------------------------------------------------------ in the parent */

static gboolean same_pid_namespace(const LuContext *context)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino == context->namespaces[2];
}

/*
 * A process never changes its own PID namespace, only that of its children: so one in between
 * enters it and makes the child, as a child of this one (CLONE_PARENT). An orphan is a child of
 * the one in between, which ends.
 */
static pid_t fork_into(const LuSpawn *spawn, GError **errp)
{
	unsigned long parent = spawn->orphan ? 0 : CLONE_PARENT;
	gboolean same = same_pid_namespace(spawn->context);
	pid_t middle, pid = -1;
	int status, ends[2];

	if (same && !spawn->orphan)
		return fork();
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	middle = fork();
	if (!middle) {
		if (!same && setns(spawn->like->pidfd, CLONE_NEWPID) < 0)
			_exit(1);
		pid = (pid_t)syscall(SYS_clone, parent | SIGCHLD, 0, 0, 0, 0);
		if (!pid)
			return 0;
		_exit(write(ends[1], &pid, sizeof(pid)) != sizeof(pid) || pid < 0);
	}
	close(ends[1]);
	if (middle < 0 || read(ends[0], &pid, sizeof(pid)) != sizeof(pid)) {
		lu_fail(errp, LU_ERROR_REFUSED, "the PID namespace of process %d cannot be entered",
			(int)spawn->like->pid);
		pid = -1;
	}
	close(ends[0]);
	if (middle > 0)
		waitpid(middle, &status, 0);
	return pid;
}

static gboolean adopt(const LuSpawn *spawn, LuChild *child, GError **errp)
{
	g_autofree char *text = lu_proc_read(child->pid, "stat", NULL);
	char state;

	child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pidfd < 0 || !lu_proc_parse_stat(text, &state, &child->start_time))
		return lu_fail_errno(errp, LU_ERROR_FAILED, errno, "a new process");
	return lu_cgroup_join(spawn->context->cgroups, child->pid, errp);
}

gboolean lu_spawn_fork(const LuSpawn *spawn, LuChild *child, GError **errp)
{
	g_autofree char *root = g_strdup_printf("/proc/%d/root", (int)spawn->like->pid);
	g_auto(LuFd) root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int go[2], error[2];

	*child = (LuChild){.pid = -1, .pidfd = -1, .go_fd = -1, .error_fd = -1};
	if (root_fd < 0 || pipe2(go, O_CLOEXEC) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "%s", root);
	if (pipe2(error, O_CLOEXEC) < 0)
		return lu_fail_errno(errp, LU_ERROR_FAILED, errno, "pipe");
	child->pid = fork_into(spawn, errp);
	if (!child->pid) {
		close(go[1]);
		close(error[0]);
		run_child(spawn, go[0], error[1], root_fd);
	}
	close(go[0]);
	close(error[1]);
	child->go_fd = go[1];
	child->error_fd = error[0];
	if (child->pid < 0) {
		if (errp && !*errp)
			lu_fail_errno(errp, LU_ERROR_FAILED, errno, "fork");
	} else if (adopt(spawn, child, errp)) {
		return TRUE;
	}
	lu_child_clear(child);
	return FALSE;
}

gboolean lu_spawn_exec(LuChild *child, const char *program, GError **errp)
{
	struct pollfd pollfd = {.fd = child->error_fd, .events = POLLIN};
	ChildError error;
	ssize_t got;

	if (write(child->go_fd, "g", 1) != 1 || poll(&pollfd, 1, EXEC_MS) <= 0)
		return lu_fail(errp, LU_ERROR_FAILED, "%s could not be started", program);
	got = read(child->error_fd, &error, sizeof(error));
	if (!got)
		return TRUE; /* closed by exec */
	if (got != sizeof(error))
		return lu_fail(errp, LU_ERROR_FAILED, "%s could not be started", program);
	return lu_fail_errno(errp, LU_ERROR_REFUSED, error.err,
			     "%s cannot be started as the running QEMU was: %s", program,
			     error.what);
}

static void close_pipes(LuChild *child)
{
	lu_fd_clear(&child->go_fd);
	lu_fd_clear(&child->error_fd);
}

void lu_child_clear(LuChild *child)
{
	struct pollfd pollfd = {.fd = child->pidfd, .events = POLLIN};
	int status;

	if (child->pid > 0) {
		kill(child->pid, SIGKILL);
		/* An orphan is reaped by who adopted it. */
		if (waitpid(child->pid, &status, 0) < 0 && child->pidfd >= 0)
			poll(&pollfd, 1, KILL_MS);
	}
	close_pipes(child);
	lu_fd_clear(&child->pidfd);
	child->pid = -1;
}

void lu_child_release(LuChild *child)
{
	close_pipes(child);
	lu_fd_clear(&child->pidfd);
	child->pid = -1;
}

char *lu_child_end(LuChild *child)
{
	int status;

	if (child->pid <= 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
		return NULL;
	child->pid = -1;
	return WIFEXITED(status) ? g_strdup_printf("exited with %d", WEXITSTATUS(status))
				 : g_strdup_printf("was ended by signal %d", WTERMSIG(status));
}
