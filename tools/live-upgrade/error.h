/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors are GErrors of one line; their codes are the tool's exit codes. */
#ifndef LIVE_UPGRADE_ERROR_H
#define LIVE_UPGRADE_ERROR_H

#include <glib.h>

#define LU_ERROR (lu_error_quark())
GQuark lu_error_quark(void);

typedef enum LuErrorCode {
	LU_ERROR_USAGE = 1,
	LU_ERROR_REFUSED, /* nothing was touched: the guest was never stopped */
	LU_ERROR_FAILED,  /* what was done is undone, the guest runs in the old process */
	LU_ERROR_LOST,	  /* the guest is in neither process */
	LU_ERROR_MANAGER, /* the guest runs; who manages it did not come back */
} LuErrorCode;

/* Always FALSE, to be returned. */
gboolean lu_fail(GError **errp, LuErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* The same with the text of @err, an errno, at its end. */
gboolean lu_fail_errno(GError **errp, LuErrorCode code, int err, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

#endif
