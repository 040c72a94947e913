// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * x86-64. The frame is the one that the kernel makes for a signal handler (arch/x86/kernel/
 * signal_64.c): rt_sigreturn restores general, segment and vector registers, flags and the signal
 * mask from it in one step. What it wants on a shadow stack is in shadow-stack.c.
 *
 *     stack of the thread           rsp when it was stopped ─┐
 *     ┌────────────────┬────────┬──────────┬────────────┬────┴───────
 *     │ return address │ context│ result   │ vector     │ 128 bytes  │ poll's caller ...
 *     └────────────────┴────────┴──────────┴────────────┴────────────
 *     rsp at the call  rsp at rt_sigreturn               red zone
 */
#include "arch.h"
#include "remote.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define RED_ZONE   128
#define VECTOR_MAX 16384

/* Of the kernel; the values of errno that no program sees. */
#define ERESTARTSYS	      512
#define ERESTARTNOINTR	      513
#define ERESTARTNOHAND	      514
#define ERESTART_RESTARTBLOCK 516

/* No such flag: the kernel leaves the alternate signal stack as it is, and says nothing. */
#define KEEP_ALTERNATE_STACK 0x40000000

/* uc_flags */
#define UC_FP_XSTATE	     1
#define UC_SIGCONTEXT_SS     2
#define UC_STRICT_RESTORE_SS 4

typedef struct Frame {
	guint64 return_address;
	ucontext_t context; /* longer than the kernel's, and the same as far as that goes */
	guint64 result;
} Frame;

/* ---------------------------------------------------------- vector registers */

/* What the kernel looks for behind the first 464 bytes (struct _fpx_sw_bytes). */
typedef struct XstateTag {
	guint32 magic1, bytes_with_magic2;
	guint64 features;
	guint32 bytes;
	guint32 padding[7];
} XstateTag;
#define TAG_AT	   464
#define HEADER_AT  512 /* its first word: which components have content */
#define HEADER_END 576
#define TAG_MAGIC1 0x46505853
#define TAG_MAGIC2 0x46505845
#define AMX	   (G_GUINT64_CONSTANT(3) << 17) /* has no room unless the thread uses it */

int attach_arch_read_vector(pid_t pid, AttachState *state, GError **errp)
{
	g_autofree guint8 *vector = g_malloc0(VECTOR_MAX + sizeof(guint32));
	gssize bytes = attach_regset_get(pid, NT_X86_XSTATE, vector, VECTOR_MAX);

	state->extended = bytes >= HEADER_END;
	if (!state->extended)
		bytes = attach_regset_get(pid, NT_PRFPREG, vector, VECTOR_MAX);
	if (bytes < 0)
		return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-bytes,
					 "cannot read the vector registers of process %d",
					 (int)pid);
	state->vector = g_steal_pointer(&vector);
	state->vector_bytes = bytes;
	return 0;
}

/* Up to the end of the last component that counts. */
static gsize xstate_bytes(guint64 features)
{
	gsize bytes = HEADER_END;

	for (guint i = 2; i < 63; i++) {
		guint eax, ebx, ecx, edx;

		if (!(features >> i & 1))
			continue;
		__cpuid_count(0xd, i, eax, ebx, ecx, edx);
		bytes = MAX(bytes, (gsize)eax + ebx);
	}
	return bytes;
}

static void build_vector(const AttachState *state, guint8 *to)
{
	XstateTag tag = {.magic1 = TAG_MAGIC1};
	guint64 features, in_use;
	const guint32 magic2 = TAG_MAGIC2;

	memcpy(to, state->vector, state->vector_bytes);
	if (!state->extended) {
		memset(to + TAG_AT, 0, HEADER_AT - TAG_AT);
		return;
	}
	memcpy(&features, to + TAG_AT, sizeof(features));
	memcpy(&in_use, to + HEADER_AT, sizeof(in_use));
	tag.features = features & ~(AMX & ~in_use);
	tag.bytes = MIN(xstate_bytes(tag.features), state->vector_bytes);
	tag.bytes_with_magic2 = tag.bytes + sizeof(magic2);
	memcpy(to + TAG_AT, &tag, sizeof(tag));
	memcpy(to + tag.bytes, &magic2, sizeof(magic2));
}

/* ------------------------------------------------------------- system calls */

gboolean attach_arch_is_poll(int number)
{
	return number == SYS_ppoll || number == SYS_poll || number == SYS_epoll_wait ||
	       number == SYS_epoll_pwait || number == SYS_epoll_pwait2;
}

/* orig_rax is -1 wherever a thread was stopped but at the end of a system call. */
gboolean attach_arch_in_poll(pid_t pid, const AttachRegisters *registers)
{
	guint8 code[2];

	return attach_arch_is_poll((int)registers->orig_rax) &&
	       attach_remote_read(pid, registers->rip - 2, code, sizeof(code), NULL) == 0 &&
	       code[0] == 0x0f && code[1] == 0x05;
}

/*
 * As the kernel itself does when it goes back to a system call that was interrupted, with no
 * handler to run. A poll that would be restarted by its remaining time cannot be from here (the
 * kernel forgets that time at rt_sigreturn); it returns EINTR, as for a handler.
 */
static void rewind_system_call(AttachRegisters *registers)
{
	switch (-(gint64)registers->rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		registers->rax = registers->orig_rax;
		registers->rip -= 2;
		break;
	case ERESTART_RESTARTBLOCK:
		registers->rax = (guint64)-EINTR;
		break;
	}
}

/* ------------------------------------------------------------------- frame */

static gsize vector_offset(void)
{
	return (sizeof(Frame) + 63) / 64 * 64 + 56; /* the frame is at 8 modulo 64 */
}

gsize attach_arch_frame_bytes(const AttachState *state)
{
	return vector_offset() + state->vector_bytes + sizeof(guint32);
}

guint64 attach_arch_frame_place(const AttachRegisters *registers, gsize bytes)
{
	return (registers->rsp - RED_ZONE - bytes - 64) / 64 * 64 + 8;
}

static void build_general(const AttachRegisters *r, greg_t *to)
{
	to[REG_R8] = (greg_t)r->r8;
	to[REG_R9] = (greg_t)r->r9;
	to[REG_R10] = (greg_t)r->r10;
	to[REG_R11] = (greg_t)r->r11;
	to[REG_R12] = (greg_t)r->r12;
	to[REG_R13] = (greg_t)r->r13;
	to[REG_R14] = (greg_t)r->r14;
	to[REG_R15] = (greg_t)r->r15;
	to[REG_RDI] = (greg_t)r->rdi;
	to[REG_RSI] = (greg_t)r->rsi;
	to[REG_RBP] = (greg_t)r->rbp;
	to[REG_RBX] = (greg_t)r->rbx;
	to[REG_RDX] = (greg_t)r->rdx;
	to[REG_RAX] = (greg_t)r->rax;
	to[REG_RCX] = (greg_t)r->rcx;
	to[REG_RSP] = (greg_t)r->rsp;
	to[REG_RIP] = (greg_t)r->rip;
	to[REG_EFL] = (greg_t)r->eflags;
	to[REG_CSGSFS] = (greg_t)((r->cs & 0xffff) | (r->ss & 0xffff) << 48);
}

void attach_arch_frame_build(const AttachState *state, guint64 address, guint64 trampoline,
			     guint8 *frame)
{
	AttachRegisters registers = state->registers;
	Frame built = {.return_address = trampoline};

	rewind_system_call(&registers);
	build_general(&registers, built.context.uc_mcontext.gregs);
	built.context.uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	if (state->extended)
		built.context.uc_flags |= UC_FP_XSTATE;
	built.context.uc_mcontext.fpregs = (void *)(address + vector_offset());
	built.context.uc_stack.ss_flags = KEEP_ALTERNATE_STACK;
	memcpy(&built.context.uc_sigmask, &state->signal_mask, sizeof(state->signal_mask));
	memcpy(frame, &built, sizeof(built));
	build_vector(state, frame + vector_offset());
}

gsize attach_arch_result_offset(void)
{
	return offsetof(Frame, result);
}

/*
 *     mov %rax, (result - 8)(%rsp)
 *     mov tid, %edi
 *     mov %edi, %esi
 *     push signal; pop %rdx
 *     mov $234, %eax                  tgkill
 *     syscall
 *     push $15; pop %rax              rt_sigreturn
 *     syscall
 */
#define STORE_AT     4
#define TID_AT	     9
#define SIGNAL_AT    16
#define AFTER_TGKILL 25

void attach_arch_trampoline(guint8 code[ATTACH_TRAMPOLINE], guint32 tid, int signal)
{
	static const guint8 template[ATTACH_TRAMPOLINE] = {
		0x48, 0x89,	  0x84, 0x24, 0,    0,	  0,	0,    0xbf,
		0,    0,	  0,	0,    0x89, 0xfe, 0x6a, 0,    0x5a,
		0xb8, SYS_tgkill, 0,	0,    0,    0x0f, 0x05, 0x6a, SYS_rt_sigreturn,
		0x58, 0x0f,	  0x05, 0xcc, 0xcc};
	guint32 offset = offsetof(Frame, result) - offsetof(Frame, context);

	memcpy(code, template, sizeof(template));
	memcpy(code + STORE_AT, &offset, sizeof(offset));
	memcpy(code + TID_AT, &tid, sizeof(tid));
	code[SIGNAL_AT] = (guint8)signal;
}

gboolean attach_arch_has_returned(const AttachRegisters *registers, guint64 address,
				  guint64 trampoline)
{
	return registers->rip == trampoline + AFTER_TGKILL &&
	       registers->rsp == address + offsetof(Frame, context);
}

AttachRegisters attach_arch_call(const AttachRegisters *registers, guint64 address,
				 guint64 trampoline, guint64 function,
				 const guint64 arguments[ATTACH_ARGUMENTS])
{
	AttachRegisters call = *registers;

	call.rip = function ? function : trampoline;
	call.rsp = function ? address : address + offsetof(Frame, context);
	call.rbp = 0;
	call.rdi = arguments[0];
	call.rsi = arguments[1];
	call.rdx = arguments[2];
	call.rax = 0; /* no vector registers in a call of a variadic function */
	call.eflags &= ~(guint64)(1 << 10 | 1 << 8); /* direction and trap flags */
	return call;
}

gboolean attach_arch_at_end(const AttachRegisters *registers, guint64 address)
{
	return registers->orig_rax == SYS_rt_sigreturn && registers->rax == (guint64)-ENOSYS &&
	       registers->rsp == address + offsetof(Frame, context);
}

int attach_arch_set(pid_t pid, const AttachRegisters *registers, GError **errp)
{
	AttachRegisters set = *registers;
	gssize rc;

	set.orig_rax = (guint64)-1;
	rc = attach_regset_set(pid, NT_PRSTATUS, &set, sizeof(set));
	if (rc >= 0)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, (int)-rc,
				 "cannot set the registers of process %d", (int)pid);
}
