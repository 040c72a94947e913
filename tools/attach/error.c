// SPDX-License-Identifier: GPL-2.0-or-later
#include "error.h"

G_DEFINE_QUARK(attach - error - quark, attach_error)

/* A text may quote a file's name or what dlopen said, and still has to be one line. */
static void set_one_line(GError **errp, AttachErrorCode code, char *text)
{
	for (char *c = text; *c; c++)
		if (g_ascii_iscntrl(*c))
			*c = ' ';
	g_set_error_literal(errp, ATTACH_ERROR, code, text);
}

int attach_fail(GError **errp, AttachErrorCode code, int err, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	set_one_line(errp, code, text);
	return -err;
}

int attach_fail_errno(GError **errp, AttachErrorCode code, int err, const char *format, ...)
{
	g_autofree char *what = NULL, *text = NULL;
	va_list args;

	va_start(args, format);
	what = g_strdup_vprintf(format, args);
	va_end(args);
	text = g_strdup_printf("%s: %s", what, g_strerror(err));
	set_one_line(errp, code, text);
	return -err;
}
