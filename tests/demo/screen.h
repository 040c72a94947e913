/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the demo shows: lines, one line that is written again in place, and tables. */
#ifndef LM_DEMO_SCREEN_H
#define LM_DEMO_SCREEN_H

#include <glib.h>

/* Colours and the line in place only where stdout is a terminal. */
void screen_init(void);
void screen_heading(const char *format, ...) G_GNUC_PRINTF(1, 2);
void screen_line(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Takes the place of the live line before. Not on a terminal: kept until screen_settle. */
void screen_live(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* The live line stays as it is; what comes next is below it. */
void screen_settle(void);
/* The live line goes. */
void screen_drop(void);

typedef struct Table Table;

Table *table_new(void);
void table_free(Table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)
/* Begins a row. The first column is flush left, the others flush right. */
void table_row(Table *table, const char *format, ...) G_GNUC_PRINTF(2, 3);
void table_cell(Table *table, const char *format, ...) G_GNUC_PRINTF(2, 3);
void table_print(const Table *table);

#endif
