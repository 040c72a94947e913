/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that can be passed to another process and sealed. */
#ifndef LM_LOCAL_MEMFD_H
#define LM_LOCAL_MEMFD_H

/*
 * A new memfd, empty, close-on-exec, that takes seals and is never to be executed; or -1 and errno.
 * A name of more than 240 bytes is cut. @fault: of the test of its failure (fault.h).
 */
int lm_memfd_new(const char *name, const char *fault);

#endif
