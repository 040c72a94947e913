/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LIVE_UPGRADE_CHANGES_CARRY_H
#define LIVE_UPGRADE_CHANGES_CARRY_H

#include <json-glib/json-glib.h>

/* The throttling of a drive of query-block; the caller's. NULL: it has no medium. */
JsonNode *lu_carry_limits(JsonNode *drive);

#endif
