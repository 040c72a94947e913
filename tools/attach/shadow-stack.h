/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shadow stack of x86-64 (CET; Linux 6.6 on): a second stack, of return addresses only, with
 * which the processor compares each return, and which ordinary instructions cannot write. A thread
 * has one if its program asked for it; the register set NT_X86_SHSTK has its pointer.
 *
 * A call that is made from outside ends with a return to the trampoline, and the trampoline with
 * rt_sigreturn, in which the kernel restores the pointer. Each wants its word, the same two that
 * the kernel pushes for a signal handler (setup_signal_shadow_stack in arch/x86/kernel/shstk.c):
 *
 *     pointer when it was stopped ────────────┐
 *     ┌──────────────────┬────────────────────┼──────────────
 *     │ trampoline       │ pointer | bit 63   │ poll's caller ...
 *     └──────────────────┴────────────────────┴──────────────
 *     pointer at the call  pointer at rt_sigreturn
 *
 * A handler that runs during the call has its two words below these, and takes them away again.
 * Unlike a stack it has no red zone: what is below the pointer is nobody's, and stays there as it
 * does after a handler. Only a debugger's write reaches these pages: not process_vm_writev.
 *
 * The pointer and the general registers are set by two calls. A tracer that is killed by SIGKILL
 * between the two, a matter of microseconds, leaves a thread whose pointer is 8 or 16 bytes off:
 * the kernel ends it at its next return.
 */
#ifndef TOOLS_ATTACH_SHADOW_STACK_H
#define TOOLS_ATTACH_SHADOW_STACK_H

#include "arch.h"

#define ATTACH_SHADOW_WORDS 2

typedef struct AttachShadowFrame {
	guint64 pointer;		    /* to be set */
	guint64 words[ATTACH_SHADOW_WORDS]; /* to be written to the 16 bytes below the old pointer
					     */
} AttachShadowFrame;

/* For a thread that had @pointer. */
AttachShadowFrame attach_shadow_frame(guint64 pointer, guint64 trampoline, AttachPlace place);

#endif
