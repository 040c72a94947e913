/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's tree of objects, as QMP shows it. */
#ifndef LIVE_UPGRADE_CHANGES_QOM_H
#define LIVE_UPGRADE_CHANGES_QOM_H

#include "qmp.h"

/* A property; NULL if it has none of that name, or it cannot be read. The caller's. */
JsonNode *lu_qom_get(LuQmp *qmp, const char *path, const char *property);
/* One that is a string; NULL if it is none. The caller's. */
char *lu_qom_string(LuQmp *qmp, const char *path, const char *property);
gboolean lu_qom_bool(LuQmp *qmp, const char *path, const char *property);
/* The names of an object's children, in the order of their numbers. */
GPtrArray *lu_qom_children(LuQmp *qmp, const char *path);

/* What "info network" has of a back end: "type=tap,fd=5" of each of its queues. */
typedef struct LuBackend {
	char *id;
	GPtrArray *queues; /* of char * */
} LuBackend;
/* Of LuBackend by id, without the devices. */
GHashTable *lu_backends(LuQmp *qmp);
/* A member of the first queue's line; the caller's. */
char *lu_backend_get(const LuBackend *backend, const char *member);

/* Equal as JSON: 1 and 1, or two objects with the same members. */
gboolean lu_json_equal(JsonNode *a, JsonNode *b);

#endif
