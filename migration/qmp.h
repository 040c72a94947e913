/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QMP commands of qapi/localhost-migrate.json. */
#ifndef LM_QMP_H
#define LM_QMP_H

/* Main loop only. */
void lm_qmp_register(void);

#endif
