/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "screen.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static gboolean terminal, live_shown;
static char *live; /* not on a terminal: what screen_settle prints */

void screen_init(void)
{
	const char *term = g_getenv("TERM");

	terminal = isatty(STDOUT_FILENO) && g_strcmp0(term, "dumb");
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static int columns(void)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

static void print_va(const char *before, const char *format, va_list args, const char *after)
{
	screen_drop();
	fputs(terminal ? before : "", stdout);
	vprintf(format, args);
	fputs(terminal ? after : "", stdout);
	fputc('\n', stdout);
}

void screen_heading(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	screen_drop();
	fputc('\n', stdout);
	print_va("\033[1m", format, args, "\033[0m");
	va_end(args);
}

void screen_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_va("", format, args, "");
	va_end(args);
}

void screen_live(const char *format, ...)
{
	va_list args;

	g_free(live);
	va_start(args, format);
	live = g_strdup_vprintf(format, args);
	va_end(args);
	if (!terminal)
		return;
	/* A line that wraps cannot be taken back. */
	printf("\r%.*s\033[K", columns() - 1, live);
	fflush(stdout);
	live_shown = TRUE;
}

void screen_settle(void)
{
	if (!live)
		return;
	if (terminal)
		printf("\r%s\033[K\n", live);
	else
		printf("%s\n", live);
	live_shown = FALSE;
	g_clear_pointer(&live, g_free);
}

void screen_drop(void)
{
	if (live_shown)
		fputs("\r\033[K", stdout);
	live_shown = FALSE;
	g_clear_pointer(&live, g_free);
}

struct Table {
	GPtrArray *rows; /* of GPtrArray of char * */
};

Table *table_new(void)
{
	Table *table = g_new0(Table, 1);

	table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
	return table;
}

void table_free(Table *table)
{
	g_ptr_array_unref(table->rows);
	g_free(table);
}

static void add_cell(Table *table, const char *format, va_list args)
{
	GPtrArray *row = table->rows->pdata[table->rows->len - 1];

	g_ptr_array_add(row, g_strdup_vprintf(format, args));
}

void table_row(Table *table, const char *format, ...)
{
	va_list args;

	g_ptr_array_add(table->rows, g_ptr_array_new_with_free_func(g_free));
	va_start(args, format);
	add_cell(table, format, args);
	va_end(args);
}

void table_cell(Table *table, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_cell(table, format, args);
	va_end(args);
}

static int width_of(const Table *table, guint column)
{
	glong width = 0;

	for (guint i = 0; i < table->rows->len; i++) {
		const GPtrArray *row = table->rows->pdata[i];

		if (column < row->len)
			width = MAX(width, g_utf8_strlen(row->pdata[column], -1));
	}
	return (int)width;
}

static const char *colour_of(const char *cell)
{
	if (!terminal)
		return "";
	if (!strcmp(cell, "yes") || !strcmp(cell, "none"))
		return "\033[32m";
	return strcmp(cell, "no") ? "" : "\033[33m";
}

static void print_cell(const char *cell, int width, gboolean left)
{
	const char *colour = colour_of(cell);
	int room = width - (int)g_utf8_strlen(cell, -1);

	printf("%*s%s%s%s%*s", left ? 0 : room + 3, "", colour, cell, *colour ? "\033[0m" : "",
	       left ? room : 0, "");
}

void table_print(const Table *table)
{
	screen_drop();
	for (guint i = 0; i < table->rows->len; i++) {
		const GPtrArray *row = table->rows->pdata[i];

		fputs("  ", stdout);
		for (guint column = 0; column < row->len; column++)
			print_cell(row->pdata[column],
				   column + 1 < row->len || column ? width_of(table, column) : 0,
				   !column);
		fputc('\n', stdout);
	}
}
