// SPDX-License-Identifier: GPL-2.0-or-later
#include "arch.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

gssize attach_regset_get(pid_t pid, int set, void *buffer, gsize bytes)
{
	struct iovec iov = {buffer, bytes};

	return ptrace(PTRACE_GETREGSET, pid, (gsize)set, &iov) < 0 ? -errno : (gssize)iov.iov_len;
}

gssize attach_regset_set(pid_t pid, int set, const void *buffer, gsize bytes)
{
	struct iovec iov = {(void *)buffer, bytes};

	return ptrace(PTRACE_SETREGSET, pid, (gsize)set, &iov) < 0 ? -errno : (gssize)iov.iov_len;
}

int attach_poke(pid_t pid, guint64 address, guint64 word)
{
	return ptrace(PTRACE_POKEDATA, pid, address, word) < 0 ? -errno : 0;
}

void attach_state_clear(AttachState *state)
{
	g_free(state->vector);
	state->vector = NULL;
}
