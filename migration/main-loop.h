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

#endif
