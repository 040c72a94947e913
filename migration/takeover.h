/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another build of this plugin in the same QEMU. */
#ifndef LM_TAKEOVER_H
#define LM_TAKEOVER_H

/*
 * Before the commands are registered: takes the names from a build that has them. NULL, or one
 * line that says why that must not be; the caller frees it. Main loop only.
 */
char *lm_takeover(void);

#endif
