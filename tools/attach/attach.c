// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Theory of operation
 *
 * The plugin is a shared object, so a running QEMU needs one call of dlopen. It is made in QEMU's
 * main thread, where that sleeps in its main loop's poll: there it holds no lock of the C library,
 * and not QEMU's big lock. Only this thread is stopped; vCPUs and I/O threads go on.
 *
 *      main thread            poll ┊ dlopen(...)  ┊ trampoline     ┊ poll, again
 *     ─────────────────────────────┊──────────────┊────────────────┊─────────────▶
 *      of its stack                ┊ frame: all registers,         ┊ as it was
 *                                  ┊ flags, signal mask, result    ┊
 *      who attaches    stops it ──▶┊ sets its      ┊ reads the     ┊
 *                                  ┊ registers     ┊ result, lets go
 *
 * The call is made as the kernel makes a call of a signal handler. Below the thread's stack (and
 * below the 128 bytes that a function may use there) lies the frame that a handler would have. The
 * function returns to a few instructions, the trampoline, which store its result in the frame, send
 * the thread a signal, and call rt_sigreturn: the kernel restores from the frame, in one step, the
 * general and vector registers, the flags, the signal mask and the place in the program. A system
 * call that was interrupted is run again, as the kernel does it.
 *
 * The signal (SIGURG) has no effect on a process that does not ask for it, but stops a thread that
 * is traced. There the tracer reads the result and sends the thread to the next function; what was
 * errno is put back last.
 *
 * So the tracer may be killed at any moment. Before it has set the registers the thread is as it
 * was. After that the thread finishes the function that it was sent to and restores itself. What
 * can remain then: errno of the main thread (which nobody reads behind a poll that was restarted),
 * a descriptor of a memfd, the trampoline's 32 bytes. These stand at the program's entry point,
 * code that ran once, when the process was started; debuggers use the same place.
 *
 * Signals are blocked for the thread during a call, and delivered afterwards. A function that
 * crashes (a damaged object) is left, the thread restores itself, and the error says so. One that
 * does not return in time is left alone: the thread restores itself when it does.
 *
 * Where the kernel keeps a shadow stack for the thread, the call needs two words there, too:
 * shadow-stack.h.
 *
 * ptrace binds a tracee to a thread of the tracer. All of it happens in a thread of its own, whose
 * end detaches whatever is left: also from a main thread that the kernel does not let stop.
 *
 * What dlopen runs of the plugin is one function that asks the main loop to call it back
 * (migration/plugin.c). The plugin's commands are registered there, when QEMU is ready for it; how
 * that went is said by a variable of the plugin's (migration/attached.h), which is read from
 * outside. A plugin that refuses is unloaded.
 *
 * Where the process does not see the plugin's file (another root directory or mount namespace), or
 * sees another one there, it makes a memfd, which is filled from outside, and opens that.
 *
 * The files: check.c, access.c and program.c decide whether to try; proc.c, remote.c and
 * elf-image.c read; thread.c stops; call.c calls; arch-*.c know registers and frames; load.c says
 * what is called.
 */
#include "attach.h"
#include "load.h"
#include "migration/attached.h"
#include "remote.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define POLL_US		500
#define UNLOAD_GRACE_US 2000000

static int not_registered(const AttachJob *job, GError **errp)
{
	return attach_fail(
		errp, ATTACH_ERROR_TIMEOUT, ETIMEDOUT,
		"the plugin is loaded in process %d, but the main loop did not run it in "
		"time; it will when it goes on",
		(int)job->pid);
}

/* Waits for the main loop's answer; nothing is stopped. */
static int await_answer(AttachJob *job, GError **errp)
{
	LmAttached attached = {0};
	int rc;

	for (;;) {
		rc = attach_remote_read(job->pid, job->attached, &attached, sizeof(attached), errp);
		if (rc < 0)
			return rc;
		if (attached.state == LM_ATTACHED_REGISTERED)
			return 0;
		if (attached.state == LM_ATTACHED_REFUSED)
			break;
		if (attach_is_over(job->end_us))
			return not_registered(job, errp);
		g_usleep(POLL_US);
	}
	attached.text[sizeof(attached.text) - 1] = 0;
	job->end_us = MAX(job->end_us, g_get_monotonic_time() + UNLOAD_GRACE_US);
	attach_job_unload(job, NULL);
	return attach_fail(errp, ATTACH_ERROR_REFUSED, EOPNOTSUPP, "%s", attached.text);
}

typedef struct Task {
	AttachJob *job;
	GError *error;
	int rc;
} Task;

static gpointer work(gpointer data)
{
	Task *task = data;

	task->rc = attach_job_load(task->job, &task->error);
	if (task->rc == 0)
		task->rc = await_answer(task->job, &task->error);
	return NULL;
}

/* Ctrl-Z would stop this process while it holds QEMU's main thread: it waits until that is done. */
static GThread *run_unsuspended(Task *task, GError **errp)
{
	sigset_t stops, before;
	GThread *thread;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTSTP);
	sigaddset(&stops, SIGTTIN);
	sigaddset(&stops, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &stops, &before);
	thread = g_thread_try_new("attach", work, task, errp);
	if (thread)
		g_thread_join(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return thread;
}

static int run_job(AttachJob *job, GError **errp)
{
	Task task = {.job = job};

	if (!run_unsuspended(&task, errp))
		return -EAGAIN;
	if (task.error)
		g_propagate_error(errp, task.error);
	return task.rc;
}

int attach_load(pid_t pid, const char *plugin_path, AttachFlags flags, guint deadline_ms,
		AttachReport *report, GError **errp)
{
	gint64 start_us = g_get_monotonic_time();
	AttachJob job = {.pid = pid,
			 .plugin_path = plugin_path,
			 .flags = flags,
			 .end_us = start_us + (gint64)deadline_ms * 1000};
	int rc = attach_examine(pid, plugin_path, flags, &job.facts, &job.target, errp);

	if (rc < 0)
		return rc;
	if (job.facts.refusal) {
		rc = -EPERM;
		g_propagate_error(errp, g_steal_pointer(&job.facts.refusal));
	} else {
		rc = run_job(&job, errp);
	}
	job.report.total_us = g_get_monotonic_time() - start_us;
	attach_facts_clear(&job.facts);
	if (rc == 0 && report)
		*report = job.report;
	return rc;
}
