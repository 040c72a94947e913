/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done with files in a QEMU's name is done with the rights of its user and groups in the
 * file system, whoever runs the tool: a QEMU's command line may name any path. It is this thread
 * alone that has them, and without effect for one who is not root.
 */
#ifndef LIVE_UPGRADE_AS_USER_H
#define LIVE_UPGRADE_AS_USER_H

#include "process.h"

typedef GArray LuAsUser; /* the groups that this thread had */

LuAsUser *lu_as_user(const LuProcess *process);
void lu_as_self(LuAsUser *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuAsUser, lu_as_self)

#endif
