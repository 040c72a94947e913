// SPDX-License-Identifier: GPL-2.0-or-later
#include "relay.h"
#include "error.h"
#include "handle.h"
#include "relay-serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CONNECT_MS 20000

struct LuRelay {
	pid_t pid;
	LuQmp *qmp;
};

/* Locks and pipes of the process that it was made from are not to live on in it. */
static void G_GNUC_NORETURN run_child(const char *uri, int fd, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	if (dup2(fd, 3) < 0)
		_exit(1);
	syscall(SYS_close_range, 4, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	lu_relay_serve(uri, 3);
	_exit(0);
}

LuRelay *lu_relay_open(const char *uri, GError **errp)
{
	g_autoptr(LuRelay) relay = g_new0(LuRelay, 1);
	g_autoptr(GError) error = NULL;
	pid_t parent = getpid();
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "socketpair");
		return NULL;
	}
	relay->pid = fork();
	if (!relay->pid)
		run_child(uri, ends[1], parent);
	close(ends[1]);
	if (relay->pid < 0) {
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "fork");
		close(ends[0]);
		return NULL;
	}
	relay->qmp = lu_qmp_new(ends[0], lu_end_us(CONNECT_MS), &error);
	if (!relay->qmp) {
		lu_fail(errp, LU_ERROR_REFUSED, "libvirt (%s) does not answer: %s", uri,
			error->message);
		return NULL;
	}
	return g_steal_pointer(&relay);
}

void lu_relay_free(LuRelay *relay)
{
	if (!relay)
		return;
	lu_qmp_free(relay->qmp);
	if (relay->pid > 0) {
		kill(relay->pid, SIGKILL);
		waitpid(relay->pid, NULL, 0);
	}
	g_free(relay);
}

LuQmp *lu_relay_qmp(LuRelay *relay)
{
	return relay->qmp;
}
