/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph of block nodes, as the running process has it now.
 *
 * A node has a driver, options and children (file, backing, data-file), which are nodes. Those
 * that -blockdev and blockdev-add make have names; the others have numbers that no command line
 * can say ("#block123").
 */
#ifndef LIVE_UPGRADE_CHANGES_NODES_H
#define LIVE_UPGRADE_CHANGES_NODES_H

#include "qmp.h"

typedef struct LuNode LuNode;

typedef struct LuEdge {
	char *name; /* "file" */
	LuNode *child;
} LuEdge;

struct LuNode {
	const char *name, *driver, *file; /* info's */
	JsonNode *info;			  /* BlockDeviceInfo */
	GArray *children;		  /* of LuEdge */
	guint parents;			  /* nodes whose child it is */
	gboolean is_root;		  /* a device or a -drive has it */
	gboolean is_drives;		  /* it is below a -drive, which says it */
	gboolean is_said;		  /* another option of the new line says it */
	char *given_name;		  /* for a root without a name; NULL: none */
};

typedef struct LuNodes {
	JsonNode *list, *drives; /* query-named-block-nodes, query-block */
	GPtrArray *all;		 /* of LuNode, by name */
} LuNodes;

LuNodes *lu_nodes_read(LuQmp *qmp, GError **errp);
void lu_nodes_free(LuNodes *nodes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuNodes, lu_nodes_free)

LuNode *lu_nodes_find(const LuNodes *nodes, const char *name);
/* What the new process calls the node or drive @name: mostly so. */
const char *lu_nodes_name(const LuNodes *nodes, const char *name);
/* NULL if it has none. */
LuNode *lu_node_child(const LuNode *node, const char *edge);
gboolean lu_node_has_name(const LuNode *node);

/* What names a drive: its own id, or its device's id or path. */
const char *lu_drive_key(JsonNode *drive);
/* The node that a drive of query-block has; NULL: no medium. */
LuNode *lu_drive_root(const LuNodes *nodes, JsonNode *drive);

#endif
