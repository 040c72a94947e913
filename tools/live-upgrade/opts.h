/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's "a=b,c=d" in an argument: a comma in a value is written twice, a name without a value is
 * a switch (nowait is wait=off), and the first may be a value without a name.
 */
#ifndef LIVE_UPGRADE_OPTS_H
#define LIVE_UPGRADE_OPTS_H

#include <glib.h>

typedef struct LuOpts LuOpts;

/* @implied: the name of a first value without one; NULL: it is a switch then. */
LuOpts *lu_opts_parse(const char *text, const char *implied);
void lu_opts_free(LuOpts *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuOpts, lu_opts_free)
char *lu_opts_text(const LuOpts *opts);

/* The last one counts. NULL if there is none; the opts'. */
const char *lu_opts_get(const LuOpts *opts, const char *name);
gboolean lu_opts_bool(const LuOpts *opts, const char *name, gboolean otherwise);
/* All but the last of that name go; it is set in place, or appended. */
void lu_opts_set(LuOpts *opts, const char *name, const char *value);
void lu_opts_remove(LuOpts *opts, const char *name);
guint lu_opts_length(const LuOpts *opts);
const char *lu_opts_name(const LuOpts *opts, guint i);
const char *lu_opts_value(const LuOpts *opts, guint i);

#endif
