// SPDX-License-Identifier: GPL-2.0-or-later
#include "error.h"

G_DEFINE_QUARK(live - upgrade - error - quark, lu_error)

static gboolean fail(GError **errp, LuErrorCode code, const char *suffix, const char *format,
		     va_list args)
{
	g_autofree char *text = g_strdup_vprintf(format, args);

	g_set_error(errp, LU_ERROR, code, "%s%s%s", text, suffix ? ": " : "", suffix ? suffix : "");
	return FALSE;
}

gboolean lu_fail(GError **errp, LuErrorCode code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(errp, code, NULL, format, args);
	va_end(args);
	return FALSE;
}

gboolean lu_fail_errno(GError **errp, LuErrorCode code, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(errp, code, g_strerror(err), format, args);
	va_end(args);
	return FALSE;
}
