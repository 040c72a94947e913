/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QMP commands of qapi/localhost-migrate.json. */
#ifndef LM_QMP_H
#define LM_QMP_H

/* Main loop only. */
void lm_qmp_register(void);
/* The plugin was loaded into a QEMU that ran already, and query-localhost-migrate says so. */
void lm_qmp_set_attached(void);

#endif
