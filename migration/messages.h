/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What QEMU says on its standard error while it does something that only answers with a number. */
#ifndef LM_MESSAGES_H
#define LM_MESSAGES_H

typedef struct LmMessages LmMessages;

/* From here on the standard error is kept aside. Main loop only; not nested. */
LmMessages *lm_messages_begin(void);
/*
 * Writes what was kept to the standard error, and returns the lines without the program's name,
 * separated by "; ", at most 1 KiB; "" if there were none. The caller frees it.
 */
char *lm_messages_end(LmMessages *messages);

#endif
