/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transport's one way to fail: a negative errno value and a line of text. */
#ifndef LM_LOCAL_ERROR_H
#define LM_LOCAL_ERROR_H

#include <migration/localhost.h>

/* Sets *errp (which may be NULL) and returns -@err; @err is a positive errno value. */
int lm_fail(GError **errp, LmErrorCode code, int err, const char *format, ...) G_GNUC_PRINTF(4, 5);
/* The same with ": " and strerror(err) appended. */
int lm_fail_errno(GError **errp, LmErrorCode code, int err, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

#endif
