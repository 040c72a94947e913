/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running code in QEMU's main loop, where the big lock is held.
 *
 * QEMU's main loop dispatches the sources of GLib's default context, and it does so at its top
 * level only. That is why these are GLib sources and not bottom halves of QEMU's: a bottom half
 * may also run in the middle of another command that polls (a disk that is opened or drained).
 */
#ifndef LM_MAIN_LOOP_H
#define LM_MAIN_LOOP_H

/* From any thread but the main loop's: runs @function(@opaque) there and waits for its end. */
void lm_main_loop_call(void (*function)(void *opaque), void *opaque);
/* From any thread: the same without waiting. */
void lm_main_loop_post(void (*function)(void *opaque), void *opaque);

/*
 * Within such a function: when it has returned, the main loop stays where it is, with the big lock
 * held, and waits for the next call, until lm_main_loop_leave or for as long as 50 ms. So nothing
 * comes between the calls that are made while a VM is stopped: neither the main loop's own work,
 * nor QEMU's RCU thread, which takes the big lock whenever it is free and trims the heap.
 */
void lm_main_loop_stay(void);
/* From any thread: it goes on. Does nothing where it does not stay. */
void lm_main_loop_leave(void);

#endif
