/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the command line does not say any more, one mechanism a file; and the proof that the new
 * process has all of it.
 */
#ifndef LIVE_UPGRADE_CHANGES_H
#define LIVE_UPGRADE_CHANGES_H

#include "plan.h"
#include "nodes.h"

/* Each takes from the plan's line what is gone, changes what changed and adds what was added. */
void lu_changes_netdevs(LuPlan *plan);
void lu_changes_objects(LuPlan *plan);
void lu_changes_chardevs(LuPlan *plan);
void lu_changes_drives(LuPlan *plan, LuNodes *nodes);
void lu_changes_blockdevs(LuPlan *plan, LuNodes *nodes);
void lu_changes_devices(LuPlan *plan, const LuNodes *nodes);

/* How the names begin that nodes without one get in the new process. */
#define LU_GIVEN_NAME "lu-medium"

/* The -name of @line with this id; NULL if there is none. */
LuOption *lu_changes_find(const LuCommandLine *line, const char *name, const char *id);
/* Takes the options -name out whose id is @id. */
void lu_changes_drop(LuPlan *plan, const char *name, const char *id);
/* Ids of the options -name, in their order. */
GPtrArray *lu_changes_ids(const LuCommandLine *line, const char *name);

/* Properties that make an object of this type what it is; NULL: the type is not known. */
const char *const *lu_object_properties(const char *type);
/* Whether QEMU takes the property while the object is in use. */
gboolean lu_object_is_settable(const char *property);

/*
 * The properties of a device that say what it is: with a default that it differs from, or texts
 * and links without one. Of JsonNode by name; @type's list is asked for once a table of lists.
 */
GHashTable *lu_device_properties(LuQmp *qmp, GHashTable *lists, const char *path, const char *type);

#endif
