/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for what loading a device state allocates, got from the kernel before the VM stops. */
#ifndef LM_HEAP_H
#define LM_HEAP_H

/* Both in the thread that will allocate: the C library keeps memory for each. */
void lm_heap_reserve(void);
/* It is for whoever allocates next. */
void lm_heap_release(void);

#endif
