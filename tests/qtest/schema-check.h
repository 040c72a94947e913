/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a reply is what the schema says it is. */
#ifndef LM_QTEST_SCHEMA_CHECK_H
#define LM_QTEST_SCHEMA_CHECK_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include "qapi-localhost-migrate.h"

/* FALSE, with the path of what is wrong: "LocalhostMigrateInfo.blocks[1].way: ..." */
gboolean schema_check(const LmQapiStruct *structure, JsonNode *node, GError **errp);

#endif
