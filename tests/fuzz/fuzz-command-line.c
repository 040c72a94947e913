/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line of another process, as the tool reads it from /proc/PID/cmdline: what is
 * understood is written again, and must be understood as the same then. Otherwise the new QEMU
 * would be another machine.
 */
#include "command-line.h"
#include "fuzz.h"
#include "opts.h"
#include "process.h"

static void check_same_opts(const LuOpts *a, const LuOpts *b)
{
	g_assert(lu_opts_length(a) == lu_opts_length(b));
	for (guint i = 0; i < lu_opts_length(a); i++) {
		g_assert(!strcmp(lu_opts_name(a, i), lu_opts_name(b, i)));
		g_assert(!strcmp(lu_opts_value(a, i), lu_opts_value(b, i)));
	}
}

static void fuzz_opts(const char *value, const char *implied)
{
	g_autoptr(LuOpts) opts = lu_opts_parse(value, implied);
	g_autofree char *text = lu_opts_text(opts);
	g_autoptr(LuOpts) again = lu_opts_parse(text, implied);

	check_same_opts(opts, again);
	lu_opts_bool(opts, "server", TRUE);
	lu_opts_set(opts, "path", value);
	g_assert(!strcmp(lu_opts_get(opts, "path"), value));
	lu_opts_remove(opts, "path");
	g_assert(!lu_opts_get(opts, "path"));
}

static void fuzz_option(const LuOption *option)
{
	g_free(lu_option_member(option, "id", "driver"));
	if (!option->value)
		return;
	fuzz_opts(option->value, NULL);
	fuzz_opts(option->value, "driver");
}

static void check_same_lines(const LuCommandLine *a, const LuCommandLine *b)
{
	g_assert(!strcmp(a->program, b->program) && a->options->len == b->options->len);
	for (guint i = 0; i < a->options->len; i++) {
		const LuOption *one = a->options->pdata[i], *other = b->options->pdata[i];

		g_assert(!g_strcmp0(one->name, other->name));
		g_assert(!g_strcmp0(one->value, other->value));
	}
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	g_auto(GStrv) argv = lu_proc_split((const char *)data, size), written = NULL, parsed = NULL;
	g_autoptr(GError) error = NULL;
	g_autoptr(LuCommandLine) line = lu_command_line_parse(argv, &error);
	g_autoptr(LuCommandLine) again = NULL;
	g_autofree char *text = NULL;

	g_assert(line ? !error : error && error->message[0]);
	if (!line)
		return 0;
	for (guint i = 0; i < line->options->len; i++)
		fuzz_option(line->options->pdata[i]);
	written = lu_command_line_argv(line);
	again = lu_command_line_parse(written, NULL);
	g_assert(again);
	check_same_lines(line, again);
	/* What a shell makes of the text is the same again. */
	text = lu_command_line_text(line);
	g_assert(g_shell_parse_argv(text, NULL, &parsed, NULL));
	g_assert(g_strv_equal((const char *const *)parsed, (const char *const *)written));
	return 0;
}
