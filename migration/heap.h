/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for what loading a device state allocates, got from the kernel before the VM stops. */
#ifndef LM_HEAP_H
#define LM_HEAP_H

/* All in the thread that will allocate: the C library keeps memory for each. */

void lm_heap_reserve(void);
/* What is allocated from now on takes what was reserved. */
void lm_heap_use(void);
/* As if it had never been reserved. */
void lm_heap_release(void);

#endif
