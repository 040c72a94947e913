/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP to one domain by way of libvirt, for as long as a disk takes to be copied: the daemon may be
 * begun anew meanwhile. After an error the relay is not used again, since a late answer would be
 * taken for that to the next question; another one is opened, until there was no answer for long.
 */
#ifndef LIVE_UPGRADE_LIBVIRT_LINK_H
#define LIVE_UPGRADE_LIBVIRT_LINK_H

#include "relay.h"

typedef struct LuLink LuLink;

/* @domain: a name or a UUID. */
LuLink *lu_link_new(const char *domain);
void lu_link_free(LuLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuLink, lu_link_free)

/* With the domain selected; NULL: not now. */
LuQmp *lu_link_qmp(LuLink *link, GError **errp);
/* Of the domain, as libvirt says, once there was QMP. */
const char *lu_link_name(const LuLink *link);
/* There was an answer. */
void lu_link_answered(LuLink *link);
/* There was an error: waits a moment. FALSE: it is too long ago that there was none. */
gboolean lu_link_failed(LuLink *link);

#endif
