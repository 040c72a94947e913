/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tap devices of this QEMU whose guest has stopped. */
#ifndef LM_TAPS_H
#define LM_TAPS_H

/*
 * Source, right after the stop: from here on this QEMU leaves what comes by its tap devices where
 * it is, until the guest runs again. Main loop only.
 */
void lm_taps_hush(void);

#endif
