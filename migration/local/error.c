/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "error.h"

G_DEFINE_QUARK(lm - error - quark, lm_error)

/* A text may quote what a peer sent, and still has to be one line. */
static char *one_line(char *text)
{
	for (char *c = text; *c; c++) {
		if (g_ascii_iscntrl(*c))
			*c = ' ';
	}
	return text;
}

int lm_fail(GError **errp, LmErrorCode code, int err, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = one_line(g_strdup_vprintf(format, args));
	va_end(args);
	g_set_error_literal(errp, LM_ERROR, code, text);
	return -err;
}

int lm_fail_errno(GError **errp, LmErrorCode code, int err, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = one_line(g_strdup_vprintf(format, args));
	va_end(args);
	g_set_error(errp, LM_ERROR, code, "%s: %s", text, g_strerror(err));
	return -err;
}
