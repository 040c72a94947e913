// SPDX-License-Identifier: GPL-2.0-or-later
#include "call.h"
#include "proc.h"
#include "remote.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>

static guint64 bit(int signal)
{
	return G_GUINT64_CONSTANT(1) << (signal - 1);
}

static int poke(AttachCall *call, const glong *words, GError **errp)
{
	for (guint i = 0; i < G_N_ELEMENTS(call->original); i++) {
		int rc = attach_poke(call->thread->pid, call->trampoline + i * sizeof(glong),
				     (guint64)words[i]);

		if (rc < 0)
			return attach_fail_errno(errp, ATTACH_ERROR_FAILED, -rc,
						 "cannot write to the code of process %d",
						 (int)call->thread->pid);
	}
	return 0;
}

static guint32 tid_in_its_namespace(pid_t pid)
{
	g_autofree char *ids = attach_proc_status(pid, "NSpid");
	const char *last = ids ? strrchr(ids, '\t') : NULL;

	return last ? (guint32)g_ascii_strtoull(last + 1, NULL, 10) : (guint32)pid;
}

/*
 * The kernel shows a tracer also signals that have no effect. Without one, these two have none;
 * unless somebody wants them.
 */
static int choose_signal(pid_t pid)
{
	g_autofree char *caught = attach_proc_status(pid, "SigCgt");
	guint64 mask = caught ? g_ascii_strtoull(caught, NULL, 16) : 0;

	return mask & bit(SIGURG) ? SIGWINCH : SIGURG;
}

static int lay_trampoline(AttachCall *call, GError **errp)
{
	glong words[G_N_ELEMENTS(call->original)];
	guint8 code[ATTACH_TRAMPOLINE];
	int rc = attach_remote_read(call->thread->pid, call->trampoline, call->original,
				    sizeof(call->original), errp);

	if (rc < 0)
		return rc;
	attach_arch_trampoline(code, tid_in_its_namespace(call->thread->pid), call->signal);
	memcpy(words, code, sizeof(words));
	call->laid = TRUE;
	return poke(call, words, errp);
}

static int lay_frame(AttachCall *call, GError **errp)
{
	const AttachState *state = &call->thread->state;
	gsize bytes = attach_arch_frame_bytes(state);
	g_autofree guint8 *frame = g_malloc0(bytes);

	call->frame = attach_arch_frame_place(&state->registers, bytes + ATTACH_DATA_BYTES);
	call->data = call->frame + bytes;
	attach_arch_frame_build(state, call->frame, call->trampoline, frame);
	return attach_thread_write(call->thread, call->frame, frame, bytes, errp);
}

int attach_call_begin(AttachCall *call, AttachThread *thread, guint64 entry, GError **errp)
{
	int rc;

	*call = (AttachCall){
		.thread = thread, .trampoline = entry, .signal = choose_signal(thread->pid)};
	rc = lay_frame(call, errp);
	if (rc == 0)
		rc = lay_trampoline(call, errp);
	return rc;
}

/* ----------------------------------------------------------------- one call */

/* What the call itself raises must not be blocked: the kernel would change its action first. */
static gboolean is_crash(int signal)
{
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE ||
	       signal == SIGABRT || signal == SIGSYS || signal == SIGTRAP;
}

static guint64 mask_for_calls(const AttachCall *call)
{
	guint64 mask = ~bit(call->signal);

	for (int signal = 1; signal < 32; signal++)
		if (is_crash(signal))
			mask &= ~bit(signal);
	return mask;
}

/*
 * In this order: from the moment when the registers are set, the thread restores all of its state
 * by itself, whatever becomes of the tracer; the mask is part of that state. A shadow stack's
 * pointer is set right before by a call of its own; shadow-stack.h says what remains.
 */
static int enter(AttachCall *call, guint64 function, const guint64 *arguments, GError **errp)
{
	const AttachState *state = &call->thread->state;
	pid_t pid = call->thread->pid;
	guint64 mask = mask_for_calls(call);
	AttachRegisters registers = attach_arch_call(&state->registers, call->frame,
						     call->trampoline, function, arguments);
	int rc = attach_thread_write(call->thread, call->frame, &call->trampoline,
				     function ? sizeof(call->trampoline) : 0, errp);

	if (rc == 0)
		rc = attach_arch_set_shadow_stack(
			pid, state, call->trampoline,
			function ? ATTACH_AT_FUNCTION : ATTACH_AT_TRAMPOLINE, errp);
	if (rc < 0)
		return rc;
	rc = attach_arch_set(pid, &registers, errp);
	if (rc < 0) {
		attach_arch_set_shadow_stack(pid, state, call->trampoline,
					     call->entered ? ATTACH_AT_TRAMPOLINE : ATTACH_AT_POLL,
					     NULL);
		return rc;
	}
	call->entered = TRUE;
	ptrace(PTRACE_SETSIGMASK, pid, sizeof(mask), &mask);
	return 0;
}

/* Whether the call itself raised the signal at which it is stopped: a fault, or abort. */
static gboolean is_its_own(const AttachCall *call)
{
	siginfo_t info = {0};

	return ptrace(PTRACE_GETSIGINFO, call->thread->pid, NULL, &info) == 0 &&
	       (info.si_code > 0 || info.si_code == SI_TKILL);
}

/* A call that crashed is left behind, and the thread goes on with what restores it. */
static int leave_crash(AttachCall *call, int crash, GError **errp)
{
	static const guint64 none[ATTACH_ARGUMENTS];
	int rc = enter(call, 0, none, errp);

	if (rc < 0)
		return rc;
	return attach_fail(errp, ATTACH_ERROR_FAILED, EFAULT,
			   "a call in process %d ended with a signal (%s); the thread was put "
			   "back, but locks of the C library may be held for good",
			   (int)call->thread->pid, g_strsignal(crash));
}

/* Lets it run until a function has returned. */
static int run(AttachCall *call, GError **errp)
{
	AttachStop stop = ATTACH_STOP_EVENT;
	AttachRegisters registers;
	int signal = 0, rc;

	for (;;) {
		rc = attach_thread_step(call->thread, FALSE, &signal, &stop, errp);
		if (rc == 0)
			rc = attach_thread_registers(call->thread, &registers, errp);
		if (rc < 0)
			return rc;
		if (stop != ATTACH_STOP_SIGNAL)
			signal = 0;
		else if (signal == call->signal &&
			 attach_arch_has_returned(&registers, call->frame, call->trampoline))
			return 0;
		else if (is_crash(signal) && is_its_own(call))
			return leave_crash(call, signal, errp);
	}
}

/* Lets it run until it is about to restore itself: the trampoline is not needed any more. */
static int run_to_end(AttachCall *call)
{
	AttachStop stop = ATTACH_STOP_EVENT;
	AttachRegisters registers;
	int signal = 0, rc;

	do {
		rc = attach_thread_step(call->thread, TRUE, &signal, &stop, NULL);
		if (rc == 0)
			rc = attach_thread_registers(call->thread, &registers, NULL);
		if (rc < 0)
			return rc;
		if (stop != ATTACH_STOP_SIGNAL)
			signal = 0;
	} while (stop != ATTACH_STOP_SYSCALL || !attach_arch_at_end(&registers, call->frame));
	return 0;
}

int attach_call(AttachCall *call, guint64 function, guint64 first, guint64 second, guint64 third,
		guint64 *result, GError **errp)
{
	const guint64 arguments[ATTACH_ARGUMENTS] = {first, second, third};
	guint64 value;
	int rc;

	if (call->lost)
		return attach_fail(errp, ATTACH_ERROR_FAILED, EBUSY, "an earlier call failed");
	rc = enter(call, function, arguments, errp);
	if (rc == 0)
		rc = run(call, errp);
	if (rc < 0) {
		call->lost = TRUE;
		return rc;
	}
	rc = attach_remote_read(call->thread->pid, call->frame + attach_arch_result_offset(),
				&value, sizeof(value), errp);
	if (rc == 0)
		*result = value;
	return rc;
}

/* After a call that was lost the trampoline is needed yet, and stays. */
void attach_call_end(AttachCall *call)
{
	if (call->laid && !call->lost && (!call->entered || run_to_end(call) == 0))
		poke(call, call->original, NULL);
	attach_thread_release(call->thread);
}

int attach_call_set_data(AttachCall *call, const char *text, GError **errp)
{
	gsize bytes = strlen(text) + 1;

	if (bytes > ATTACH_DATA_BYTES)
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENAMETOOLONG, "%s: too long a name",
				   text);
	return attach_thread_write(call->thread, call->data, text, bytes, errp);
}
