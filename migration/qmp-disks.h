/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The argument and the report "disks". Main loop only. */
#ifndef LM_QMP_DISKS_H
#define LM_QMP_DISKS_H

#include <glib.h>
#include "qemu.h"

/* *@disks: of LmDisk, each device as the user names it; NULL where there are none. */
bool lm_qmp_get_disks(const QDict *arguments, GPtrArray **disks, Error **errp);
void lm_qmp_put_disks(QDict *info);

#endif
