/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's command line as a list of options, in its order. */
#ifndef LIVE_UPGRADE_COMMAND_LINE_H
#define LIVE_UPGRADE_COMMAND_LINE_H

#include <glib.h>

typedef struct LuOption {
	char *name;  /* without its dashes; NULL: a disk image, the argument alone */
	char *value; /* NULL: it takes none */
	guint place; /* in the line that this one is a copy of; G_MAXUINT: it is new */
} LuOption;

typedef struct LuCommandLine {
	char *program;
	GPtrArray *options; /* of LuOption, owned */
} LuCommandLine;

/* Refuses an option that this tool does not know: it might take an argument, or might not. */
LuCommandLine *lu_command_line_parse(char *const *argv, GError **errp);
void lu_command_line_free(LuCommandLine *line);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuCommandLine, lu_command_line_free)
LuCommandLine *lu_command_line_copy(const LuCommandLine *line);
GStrv lu_command_line_argv(const LuCommandLine *line);
/* For people and shells. */
char *lu_command_line_text(const LuCommandLine *line);

/* -machine for M and so on. */
const char *lu_option_canonical(const char *name);
gboolean lu_option_is(const LuOption *option, const char *name);
void lu_option_set(LuOption *option, const char *value);
/* The first, or NULL. */
LuOption *lu_command_line_find(const LuCommandLine *line, const char *name);
/* The value of the last, or NULL. */
const char *lu_command_line_value(const LuCommandLine *line, const char *name);
gboolean lu_command_line_has(const LuCommandLine *line, const char *name);
void lu_command_line_remove(LuCommandLine *line, const char *name);
void lu_command_line_append(LuCommandLine *line, const char *name, const char *value);
/* Before the option at @at. */
void lu_command_line_insert(LuCommandLine *line, guint at, const char *name, const char *value);

/*
 * A member of the value of -device, -netdev, -object, -blockdev, -drive or -chardev, which is
 * JSON or not; the caller's. "a.b" is b within a. @implied as for lu_opts_parse.
 */
char *lu_option_member(const LuOption *option, const char *member, const char *implied);
/* Sets it to a string, or (NULL) removes it. */
void lu_option_set_member(LuOption *option, const char *member, const char *value,
			  const char *implied);

#endif
