// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * 64-bit ARM; compiled and never run. The frame is the one that the kernel makes for a signal
 * handler (arch/arm64/kernel/signal.c): rt_sigreturn restores everything from it, and wants a
 * record of the vector registers. Of SVE registers it restores the part that these share; the
 * rest does not survive a system call anyway.
 *
 * The kernel stops a thread with its registers rewound already: where a system call is to be run
 * again, pc is at the svc instruction.
 */
#include "arch.h"
#include "remote.h"

#include <asm/sigcontext.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#define RED_ZONE      128	 /* the ABI has none; it costs nothing */
#define GCS_SET	      0x410	 /* NT_ARM_GCS */
#define SVC	      0xd4000001 /* svc #0 */
#define NOT_A_SYSCALL (-1)
/* No such flag: the kernel leaves the alternate signal stack as it is, and says nothing. */
#define KEEP_ALTERNATE_STACK 0x40000000

typedef struct Context { /* the kernel's struct ucontext */
	guint64 flags, link;
	guint64 stack[3];
	guint64 signal_mask;
	guint8 unused[1024 / 8 - sizeof(guint64)];
	struct sigcontext machine;
} Context;

typedef struct Frame {
	guint64 result; /* in siginfo, which rt_sigreturn does not read */
	guint8 siginfo[120];
	Context context;
} Frame;

G_STATIC_ASSERT(offsetof(Frame, context) == 128);
G_STATIC_ASSERT(offsetof(Context, machine) % 16 == 0);

int attach_arch_read_vector(pid_t pid, AttachState *state, GError **errp)
{
	struct user_fpsimd_struct vector = {0};
	gssize bytes = attach_regset_get(pid, NT_PRFPREG, &vector, sizeof(vector));

	if (bytes < 0)
		return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-bytes,
					 "cannot read the vector registers of process %d",
					 (int)pid);
	state->extended = FALSE;
	state->vector = g_memdup2(&vector, sizeof(vector));
	state->vector_bytes = sizeof(vector);
	return 0;
}

int attach_arch_read_shadow_stack(pid_t pid, AttachState *state, GError **errp)
{
	guint64 gcs[3]; /* features enabled, features locked, pointer */

	state->shadow_stack = 0;
	if (attach_regset_get(pid, GCS_SET, gcs, sizeof(gcs)) <= 0 || !(gcs[0] & 1))
		return 0;
	return attach_fail(errp, ATTACH_ERROR_STATE, EOPNOTSUPP,
			   "process %d runs with a guarded control stack (GCS), on which no call "
			   "can be made",
			   (int)pid);
}

int attach_arch_set_shadow_stack(pid_t pid, const AttachState *state, guint64 trampoline,
				 AttachPlace place, GError **errp)
{
	return 0;
}

gboolean attach_arch_is_poll(int number)
{
	return number == SYS_ppoll || number == SYS_epoll_pwait || number == SYS_epoll_pwait2;
}

static gboolean is_svc(pid_t pid, guint64 address)
{
	guint32 code;

	return attach_remote_read(pid, address, &code, sizeof(code), NULL) == 0 && code == SVC;
}

gboolean attach_arch_in_poll(pid_t pid, const AttachRegisters *registers)
{
	if (!attach_arch_is_poll((int)registers->regs[8]))
		return FALSE;
	return is_svc(pid, registers->pc) || is_svc(pid, registers->pc - 4);
}

gsize attach_arch_frame_bytes(const AttachState *state)
{
	return sizeof(Frame);
}

guint64 attach_arch_frame_place(const AttachRegisters *registers, gsize bytes)
{
	return (registers->sp - RED_ZONE - bytes) / 16 * 16;
}

void attach_arch_frame_build(const AttachState *state, guint64 address, guint64 trampoline,
			     guint8 *frame)
{
	const struct user_fpsimd_struct *vector = (const void *)state->vector;
	struct fpsimd_context record = {.head = {FPSIMD_MAGIC, sizeof(record)}};
	g_autofree Frame *built = g_new0(Frame, 1);

	memcpy(built->context.machine.regs, state->registers.regs,
	       sizeof(built->context.machine.regs));
	built->context.machine.sp = state->registers.sp;
	built->context.machine.pc = state->registers.pc;
	built->context.machine.pstate = state->registers.pstate;
	built->context.stack[1] = KEEP_ALTERNATE_STACK;
	built->context.signal_mask = state->signal_mask;
	record.fpsr = vector->fpsr;
	record.fpcr = vector->fpcr;
	memcpy(record.vregs, vector->vregs, sizeof(record.vregs));
	memcpy(built->context.machine.__reserved, &record, sizeof(record));
	memcpy(frame, built, sizeof(*built));
}

gsize attach_arch_result_offset(void)
{
	return offsetof(Frame, result);
}

/*
 *     str x0, [sp]        the result
 *     mov x0, tid; movk   its low and its high half
 *     mov x1, x0
 *     mov x2, signal
 *     mov x8, #131        tgkill
 *     svc #0
 *     mov x8, #139        rt_sigreturn
 *     svc #0
 */
#define MOVZ(reg, value)    (0xd2800000 | (guint32)(value) << 5 | (reg))
#define MOVK_16(reg, value) (0xf2a00000 | (guint32)(value) << 5 | (reg))
#define AFTER_TGKILL	    28

void attach_arch_trampoline(guint8 code[ATTACH_TRAMPOLINE], guint32 tid, int signal)
{
	const guint32 instructions[] = {
		0xf90003e0, MOVZ(0, tid & 0xffff),     MOVK_16(0, tid >> 16),
		0xaa0003e1, MOVZ(2, signal),	       MOVZ(8, SYS_tgkill),
		SVC,	    MOVZ(8, SYS_rt_sigreturn), SVC,
		0xd4200000};

	G_STATIC_ASSERT(sizeof(instructions) == ATTACH_TRAMPOLINE);
	memcpy(code, instructions, sizeof(instructions));
}

gboolean attach_arch_has_returned(const AttachRegisters *registers, guint64 address,
				  guint64 trampoline)
{
	return registers->pc == trampoline + AFTER_TGKILL && registers->sp == address;
}

AttachRegisters attach_arch_call(const AttachRegisters *registers, guint64 address,
				 guint64 trampoline, guint64 function,
				 const guint64 arguments[ATTACH_ARGUMENTS])
{
	AttachRegisters call = *registers;

	call.pc = function ? function : trampoline;
	call.sp = address;
	call.regs[29] = 0;
	call.regs[30] = trampoline;
	for (guint i = 0; i < ATTACH_ARGUMENTS; i++)
		call.regs[i] = function ? arguments[i] : 0;
	return call;
}

gboolean attach_arch_at_end(const AttachRegisters *registers, guint64 address)
{
	/* x7 is 0 at the entry of a system call, for the tracer only. */
	return registers->regs[8] == SYS_rt_sigreturn && registers->sp == address &&
	       registers->regs[7] == 0;
}

int attach_arch_set(pid_t pid, const AttachRegisters *registers, GError **errp)
{
	const int none = NOT_A_SYSCALL;
	gssize rc = attach_regset_set(pid, NT_ARM_SYSTEM_CALL, &none, sizeof(none));

	if (rc >= 0)
		rc = attach_regset_set(pid, NT_PRSTATUS, registers, sizeof(*registers));
	if (rc >= 0)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-rc,
				 "cannot set the registers of process %d", (int)pid);
}
