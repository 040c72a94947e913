/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The human monitor's commands. Main loop only. */
#ifndef LM_HMP_H
#define LM_HMP_H

/* Adds localhost_migrate and info localhost_migrate, or says once why it cannot. */
void lm_hmp_register(void);
/* cont prints @why instead of continuing. */
void lm_hmp_disable_cont(const char *why);
/* The operation that localhost_migrate waits for has ended. */
void lm_hmp_operation_ended(void);

#endif
