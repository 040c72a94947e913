/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments of QMP commands against the tables that qapi/gen.py makes from the schema, with QEMU's
 * own error texts. Main loop only.
 */
#ifndef LM_QMP_CHECK_H
#define LM_QMP_CHECK_H

#include "qapi-localhost-migrate.h"
#include "qemu.h"

/* @prefix comes before each name in an error's text: "", or "disks[0].". */
bool lm_qmp_check(const LmQapiMember *members, size_t n_members, const QDict *arguments,
		  const char *prefix, Error **errp);

#endif
