// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread is stopped with PTRACE_SEIZE and PTRACE_INTERRUPT, which leave no signal behind and
 * stop no other thread. Before that, /proc/PID/syscall is asked where the thread sleeps, so that
 * one which works is not disturbed; that it is still there is certain only when it is stopped.
 *
 * Nothing waits in the kernel: ptrace looks, and what follows is a moment of yielding, then short
 * sleeps. So every wait ends at the deadline, with no signal and no other thread to help.
 */
#include "thread.h"
#include "proc.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define EVENT_STOP   128 /* PTRACE_EVENT_STOP */
#define YIELD_US     1000
#define NAP_US	     100
#define TRY_AGAIN_US 500
#define LAST_WORD_US 200000 /* for a thread that is to be let go */

static int gone(const AttachThread *thread, GError **errp)
{
	return attach_fail(errp, ATTACH_ERROR_NO_PROCESS, ESRCH, "process %d has ended",
			   (int)thread->pid);
}

/* A child that ended is reaped by who started it; a tracee of another parent must be by us. */
static void reap(const AttachThread *thread)
{
	if (attach_proc_status_number(thread->pid, "PPid") != getpid())
		waitpid(thread->pid, NULL, WNOHANG | __WALL);
}

/* Lets a thread that is stopped run, with @signal delivered. */
static long resume(AttachThread *thread, enum __ptrace_request request, int signal)
{
	thread->stopped = FALSE;
	return ptrace(request, thread->pid, NULL, (gsize)signal);
}

/* Whether it is stopped; *@signal and *@event say how. */
static gboolean is_stopped(const AttachThread *thread, int *signal, int *event)
{
	siginfo_t info = {0};

	if (ptrace(PTRACE_GETSIGINFO, thread->pid, NULL, &info) < 0)
		return FALSE;
	*event = info.si_code >> 8 == EVENT_STOP ? EVENT_STOP : 0;
	*signal = info.si_signo;
	if (info.si_signo == SIGTRAP && info.si_code == (SIGTRAP | 0x80))
		*signal |= 0x80;
	return TRUE;
}

/*
 * 1: it has stopped, *@signal and *@event say how; 0: the deadline passed. ptrace is asked, not
 * waitid: another thread that waits for all children may have taken that news, and the kernel
 * forgets the signal of a stop that was reaped if the tracer ends before it passes the signal on.
 */
static int wait_stop(AttachThread *thread, gint64 end_us, int *signal, int *event, GError **errp)
{
	gint64 yield_until_us = g_get_monotonic_time() + YIELD_US;
	siginfo_t info = {0};

	while (!is_stopped(thread, signal, event)) {
		if (waitid(P_PID, (id_t)thread->pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) <
		    0)
			return gone(thread, errp);
		if (info.si_pid && info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED) {
			reap(thread);
			return gone(thread, errp);
		}
		if (attach_is_over(end_us))
			return 0;
		if (g_get_monotonic_time() < yield_until_us)
			sched_yield();
		else
			g_usleep(NAP_US);
	}
	thread->stopped = TRUE;
	return 1;
}

int attach_thread_registers(AttachThread *thread, AttachRegisters *registers, GError **errp)
{
	AttachRegisters read = {0};
	gssize rc = attach_regset_get(thread->pid, NT_PRSTATUS, &read, sizeof(read));

	if (rc != (gssize)sizeof(read))
		return attach_fail_errno(errp, ATTACH_ERROR_FAILED, rc < 0 ? (int)-rc : EINVAL,
					 "cannot read the registers of process %d",
					 (int)thread->pid);
	*registers = read;
	return 0;
}

int attach_thread_write(const AttachThread *thread, guint64 address, const void *buffer,
			gsize bytes, GError **errp)
{
	ssize_t done = pwrite(thread->memory, buffer, bytes, (off_t)address);

	if (done == (ssize_t)bytes)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, done < 0 ? errno : EFAULT,
				 "cannot write %" G_GSIZE_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
				 "x of process %d",
				 bytes, address, (int)thread->pid);
}

/* ------------------------------------------------------------------ to hold */

static gboolean may_be_in_poll(const AttachThread *thread)
{
	int number = attach_proc_syscall(thread->pid);

	return number == -2 || attach_arch_is_poll(number);
}

static int seize(AttachThread *thread, GError **errp)
{
	if (ptrace(PTRACE_SEIZE, thread->pid, NULL, PTRACE_O_TRACESYSGOOD) < 0)
		return attach_fail_errno(errp, ATTACH_ERROR_NO_RIGHT, errno,
					 "cannot trace process %d", (int)thread->pid);
	thread->seized = TRUE;
	return 0;
}

/* Signals that come first are delivered as if nobody was there. 0: not in time. */
static int interrupt(AttachThread *thread, gint64 end_us, GError **errp)
{
	int signal = 0, event = 0, rc;

	if (ptrace(PTRACE_INTERRUPT, thread->pid, NULL, NULL) < 0)
		return gone(thread, errp);
	for (;;) {
		rc = wait_stop(thread, end_us, &signal, &event, errp);
		if (rc <= 0)
			return rc;
		if (event == EVENT_STOP)
			break;
		if (signal & 0x80)
			signal = 0;
		resume(thread, PTRACE_CONT, signal);
	}
	if (signal == SIGTRAP)
		return 1;
	return attach_fail(errp, ATTACH_ERROR_STATE, EBUSY,
			   "process %d is stopped by a signal (%s)", (int)thread->pid,
			   g_strsignal(signal));
}

/* Of a thread that is stopped: 1 if it is in a poll, and its state was read; 0 if it is not. */
static int look(AttachThread *thread, GError **errp)
{
	AttachState *state = &thread->state;
	int rc = attach_thread_registers(thread, &state->registers, errp);

	if (rc < 0)
		return rc;
	if (!attach_arch_in_poll(thread->pid, &state->registers))
		return 0;
	rc = attach_arch_read_shadow_stack(thread->pid, state, errp);
	if (rc < 0)
		return rc;
	if (ptrace(PTRACE_GETSIGMASK, thread->pid, sizeof(state->signal_mask),
		   &state->signal_mask) < 0)
		return attach_fail_errno(errp, ATTACH_ERROR_FAILED, errno,
					 "cannot read the signal mask of process %d",
					 (int)thread->pid);
	attach_state_clear(state);
	rc = attach_arch_read_vector(thread->pid, state, errp);
	return rc < 0 ? rc : 1;
}

static int open_memory(AttachThread *thread, GError **errp)
{
	g_autofree char *path = attach_proc_path(thread->pid, "mem");
	int signal, event;

	thread->memory = open(path, O_WRONLY | O_CLOEXEC);
	if (thread->memory < 0)
		return attach_fail_errno(errp, ATTACH_ERROR_NO_RIGHT, errno, "cannot open %s",
					 path);
	/* It is this thread's if that is there yet. */
	return is_stopped(thread, &signal, &event) ? 1 : gone(thread, errp);
}

/* 1: held; 0: it was elsewhere. */
static int try_once(AttachThread *thread, GError **errp)
{
	int rc;

	if (!may_be_in_poll(thread))
		return 0;
	thread->tries++;
	rc = seize(thread, errp);
	if (rc < 0)
		return rc;
	rc = interrupt(thread, thread->end_us, errp);
	if (rc <= 0)
		return rc;
	thread->held_us = g_get_monotonic_time();
	rc = look(thread, errp);
	return rc == 1 ? open_memory(thread, errp) : rc;
}

static int not_in_time(const AttachThread *thread, GError **errp)
{
	g_autofree char *text = attach_proc_read(thread->pid, "syscall");

	return attach_fail(errp, ATTACH_ERROR_TIMEOUT, ETIMEDOUT,
			   "the main thread of process %d did not come to its main loop's poll in "
			   "time, and nothing was done to it (it is busy; /proc/%d/syscall: %s)",
			   (int)thread->pid, (int)thread->pid,
			   text ? g_strchomp(text) : "not readable");
}

/* Between two tries it is not traced: a signal would stop it, and nobody would look. */
int attach_thread_hold(AttachThread *thread, GError **errp)
{
	int rc;

	thread->memory = -1;
	while ((rc = try_once(thread, errp)) != 1) {
		attach_thread_release(thread);
		if (rc < 0)
			return rc;
		if (attach_is_over(thread->end_us))
			return not_in_time(thread, errp);
		g_usleep(TRY_AGAIN_US);
	}
	return 0;
}

/*
 * Detaching takes a stop. A thread that does not stop (the kernel has it in a wait that cannot be
 * interrupted) is let go when the thread of this process that traces it ends; see attach.c.
 */
void attach_thread_release(AttachThread *thread)
{
	gint64 end_us = g_get_monotonic_time() + LAST_WORD_US;
	int signal = 0, event = 0;

	if (!thread->seized)
		return;
	thread->seized = FALSE;
	attach_fd_clear(&thread->memory);
	if (!thread->stopped) {
		ptrace(PTRACE_INTERRUPT, thread->pid, NULL, NULL);
		wait_stop(thread, end_us, &signal, &event, NULL);
	}
	if (event || signal & 0x80)
		signal = 0;
	resume(thread, PTRACE_DETACH, signal);
}

/* --------------------------------------------------------------- step by step */

int attach_thread_step(AttachThread *thread, gboolean to_syscall, int *signal, AttachStop *stop,
		       GError **errp)
{
	int event = 0, rc;

	if (resume(thread, to_syscall ? PTRACE_SYSCALL : PTRACE_CONT, *signal) < 0)
		return gone(thread, errp);
	rc = wait_stop(thread, thread->end_us, signal, &event, errp);
	if (rc < 0)
		return rc;
	if (!rc)
		return attach_fail(errp, ATTACH_ERROR_TIMEOUT, ETIMEDOUT,
				   "a call in process %d did not return in time; it goes on, and "
				   "the thread restores itself when it has",
				   (int)thread->pid);
	if (event)
		*stop = ATTACH_STOP_EVENT;
	else if (*signal == (SIGTRAP | 0x80))
		*stop = ATTACH_STOP_SYSCALL;
	else
		*stop = ATTACH_STOP_SIGNAL;
	return 0;
}
