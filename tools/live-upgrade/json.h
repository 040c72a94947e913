/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as text. */
#ifndef LIVE_UPGRADE_JSON_H
#define LIVE_UPGRADE_JSON_H

#include <glib.h>

/* A quoted string; the caller's. */
char *lu_json_quote(const char *text);
/* See lu_qmp_call. */
char *lu_json_expand(const char *format, va_list *args);
/* The same with arguments of its own. */
char *lu_json_format(const char *format, ...) G_GNUC_PRINTF(1, 2);

#endif
