// SPDX-License-Identifier: GPL-2.0-or-later
#include "opts.h"

#include <string.h>

typedef struct LuOpt {
	char *name, *value;
	gboolean bare; /* written without a name */
} LuOpt;

struct LuOpts {
	GPtrArray *list;
};

static void opt_free(gpointer data)
{
	LuOpt *opt = data;

	g_free(opt->name);
	g_free(opt->value);
	g_free(opt);
}

void lu_opts_free(LuOpts *opts)
{
	if (!opts)
		return;
	g_ptr_array_free(opts->list, TRUE);
	g_free(opts);
}

static void add(LuOpts *opts, char *name, char *value, gboolean bare)
{
	LuOpt *opt = g_new0(LuOpt, 1);

	opt->name = name;
	opt->value = value;
	opt->bare = bare;
	g_ptr_array_add(opts->list, opt);
}

/* Up to the next single comma, with double ones made single; *@text goes behind it. */
static char *take_part(const char **text)
{
	GString *part = g_string_new(NULL);
	const char *at = *text;

	for (; *at; at++) {
		if (*at == ',' && at[1] != ',')
			break;
		if (*at == ',')
			at++;
		g_string_append_c(part, *at);
	}
	*text = *at ? at + 1 : at;
	return g_string_free(part, FALSE);
}

LuOpts *lu_opts_parse(const char *text, const char *implied)
{
	LuOpts *opts = g_new0(LuOpts, 1);

	opts->list = g_ptr_array_new_with_free_func(opt_free);
	while (*text) {
		gboolean first = !opts->list->len;
		gsize name_length = strcspn(text, "=,");
		g_autofree char *part = NULL;

		if (text[name_length] == '=') {
			char *name = g_strndup(text, name_length);

			text += name_length + 1;
			add(opts, name, take_part(&text), FALSE);
			continue;
		}
		if (first && implied) {
			add(opts, g_strdup(implied), take_part(&text), TRUE);
			continue;
		}
		/* In a name two commas are two commas. */
		part = g_strndup(text, name_length);
		text += name_length + (text[name_length] == ',');
		if (g_str_has_prefix(part, "no"))
			add(opts, g_strdup(part + 2), g_strdup("off"), FALSE);
		else
			add(opts, g_steal_pointer(&part), g_strdup("on"), FALSE);
	}
	return opts;
}

static void append_escaped(GString *text, const char *value)
{
	for (; *value; value++) {
		g_string_append_c(text, *value);
		if (*value == ',')
			g_string_append_c(text, ',');
	}
}

char *lu_opts_text(const LuOpts *opts)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < opts->list->len; i++) {
		const LuOpt *opt = opts->list->pdata[i];

		if (i)
			g_string_append_c(text, ',');
		/* Without its name a value with a "=" would be taken for something else, and an
		 * empty one for none. */
		if (!opt->bare || i || !*opt->value || strchr(opt->value, '='))
			g_string_append_printf(text, "%s=", opt->name);
		append_escaped(text, opt->value);
	}
	return g_string_free(text, FALSE);
}

static LuOpt *find(const LuOpts *opts, const char *name)
{
	for (guint i = opts->list->len; i-- > 0;) {
		LuOpt *opt = opts->list->pdata[i];

		if (!strcmp(opt->name, name))
			return opt;
	}
	return NULL;
}

const char *lu_opts_get(const LuOpts *opts, const char *name)
{
	const LuOpt *opt = find(opts, name);

	return opt ? opt->value : NULL;
}

gboolean lu_opts_bool(const LuOpts *opts, const char *name, gboolean otherwise)
{
	const char *value = lu_opts_get(opts, name);

	if (!value)
		return otherwise;
	return !strcmp(value, "on") || !strcmp(value, "yes") || !strcmp(value, "true") ||
	       !strcmp(value, "y");
}

void lu_opts_remove(LuOpts *opts, const char *name)
{
	for (guint i = opts->list->len; i-- > 0;) {
		const LuOpt *opt = opts->list->pdata[i];

		if (!strcmp(opt->name, name))
			g_ptr_array_remove_index(opts->list, i);
	}
}

void lu_opts_set(LuOpts *opts, const char *name, const char *value)
{
	LuOpt *opt = find(opts, name);

	if (!opt) {
		add(opts, g_strdup(name), g_strdup(value), FALSE);
		return;
	}
	for (guint i = opts->list->len; i-- > 0;) {
		LuOpt *other = opts->list->pdata[i];

		if (other != opt && !strcmp(other->name, name))
			g_ptr_array_remove_index(opts->list, i);
	}
	g_free(opt->value);
	opt->value = g_strdup(value);
}

guint lu_opts_length(const LuOpts *opts)
{
	return opts->list->len;
}

const char *lu_opts_name(const LuOpts *opts, guint i)
{
	return ((const LuOpt *)opts->list->pdata[i])->name;
}

const char *lu_opts_value(const LuOpts *opts, guint i)
{
	return ((const LuOpt *)opts->list->pdata[i])->value;
}
