/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What depends on the processor: registers, the frame from which a thread restores itself, and
 * the few instructions that make it do so. arch-x86-64.c is tested; arch-aarch64.c was compiled
 * and never run.
 */
#ifndef TOOLS_ATTACH_ARCH_H
#define TOOLS_ATTACH_ARCH_H

#include "error.h"

#include <sys/user.h>

/* The general registers, as PTRACE_GETREGSET gives them with NT_PRSTATUS. */
typedef struct user_regs_struct AttachRegisters;

/* All that a thread is, but for its memory. */
typedef struct AttachState {
	AttachRegisters registers;
	guint64 signal_mask;
	guint8 *vector; /* the floating point and vector registers, as the kernel gave them */
	gsize vector_bytes;
	gboolean extended;    /* vector is NT_X86_XSTATE, not only NT_PRFPREG */
	guint64 shadow_stack; /* its pointer; 0: the kernel keeps none for this thread */
} AttachState;
void attach_state_clear(AttachState *state);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AttachState, attach_state_clear)

#define ATTACH_ARGUMENTS 3
/* Bytes of the trampoline; a multiple of a word, and not more than a program's entry has. */
#ifdef __x86_64__
#define ATTACH_TRAMPOLINE 32
#else
#define ATTACH_TRAMPOLINE 40
#endif

/* Fills state->vector of a thread that is stopped. Generic, or the architecture's own. */
int attach_arch_read_vector(pid_t pid, AttachState *state, GError **errp);
/* Fills state->shadow_stack of a thread that is stopped; refuses one that cannot be served. */
int attach_arch_read_shadow_stack(pid_t pid, AttachState *state, GError **errp);
typedef enum AttachPlace {
	ATTACH_AT_POLL,	      /* where it was stopped */
	ATTACH_AT_FUNCTION,   /* at the begin of one, which returns to the trampoline */
	ATTACH_AT_TRAMPOLINE, /* anywhere in it */
} AttachPlace;
/*
 * What a thread at that place needs on its shadow stack, if it has one. The registers are to be
 * set at once after it.
 */
int attach_arch_set_shadow_stack(pid_t pid, const AttachState *state, guint64 trampoline,
				 AttachPlace place, GError **errp);

/* Whether system call @number waits for descriptors. */
gboolean attach_arch_is_poll(int number);
/* Whether a thread that is stopped with these registers sleeps in one, or is just at its end. */
gboolean attach_arch_in_poll(pid_t pid, const AttachRegisters *registers);

/* Bytes of the frame, and how its address must be aligned. */
gsize attach_arch_frame_bytes(const AttachState *state);
/* The address for a frame of @bytes below the stack that @registers describes. */
guint64 attach_arch_frame_place(const AttachRegisters *registers, gsize bytes);
/* The frame, to be written to @address; the kernel restores @state from it. */
void attach_arch_frame_build(const AttachState *state, guint64 address, guint64 trampoline,
			     guint8 *frame);
/* Where in the frame the trampoline puts a function's result. */
gsize attach_arch_result_offset(void);

/*
 * Stores a function's result in the frame, sends @signal to the main thread (whose number it
 * knows as @tid), and has the kernel restore the thread from the frame.
 */
void attach_arch_trampoline(guint8 code[ATTACH_TRAMPOLINE], guint32 tid, int signal);
/*
 * Registers for a call of @function on the frame at @address, for a thread that had @registers
 * when it was stopped; with function 0: for the trampoline itself, as if NULL was returned.
 */
AttachRegisters attach_arch_call(const AttachRegisters *registers, guint64 address,
				 guint64 trampoline, guint64 function,
				 const guint64 arguments[ATTACH_ARGUMENTS]);
/* Whether a thread that is stopped has just sent itself that signal. */
gboolean attach_arch_has_returned(const AttachRegisters *registers, guint64 address,
				  guint64 trampoline);
/* Whether a thread stopped at a system call is about to restore itself from this frame. */
gboolean attach_arch_at_end(const AttachRegisters *registers, guint64 address);
/* Sets the registers of a thread that is stopped, so that no system call is run or restarted. */
int attach_arch_set(pid_t pid, const AttachRegisters *registers, GError **errp);

/* For the files above: a register set of a stopped thread; bytes, or -errno. */
gssize attach_regset_get(pid_t pid, int set, void *buffer, gsize bytes);
gssize attach_regset_set(pid_t pid, int set, const void *buffer, gsize bytes);
/* A word of its memory, also where it may not write itself; 0, or -errno. */
int attach_poke(pid_t pid, guint64 address, guint64 word);

#endif
