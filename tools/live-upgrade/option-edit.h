/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members of the value of an option that takes JSON or "a=b,c.d=e": both are read and changed by
 * the same dotted names, and stay what they are.
 */
#ifndef LIVE_UPGRADE_OPTION_EDIT_H
#define LIVE_UPGRADE_OPTION_EDIT_H

#include "command-line.h"

#include <json-glib/json-glib.h>

/* A string, a number, or "on" and "off"; the caller's. NULL if there is none, or it is a tree. */
char *lu_option_get(const LuOption *option, const char *dotted, const char *implied);
gboolean lu_option_get_bool(const LuOption *option, const char *dotted);
/* Whether members are below @dotted. */
gboolean lu_option_has_tree(const LuOption *option, const char *dotted);
void lu_option_put_string(LuOption *option, const char *dotted, const char *implied,
			  const char *value);
void lu_option_put_bool(LuOption *option, const char *dotted, const char *implied, gboolean value);
void lu_option_put_number(LuOption *option, const char *dotted, const char *implied, gint64 value);
/* The member and what is below it. */
void lu_option_remove(LuOption *option, const char *dotted, const char *implied);

/* @value, which it takes, at a dotted name of an object. */
void lu_json_put_dotted(JsonObject *object, const char *dotted, JsonNode *value);
/* The text of an object, which it takes; the caller's. */
char *lu_json_object_text(JsonObject *object);

#endif
