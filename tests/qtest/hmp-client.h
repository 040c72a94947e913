/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's monitor for people, over a unix socket (-monitor unix:PATH,server=on,wait=off). */
#ifndef LM_QTEST_HMP_CLIENT_H
#define LM_QTEST_HMP_CLIENT_H

#include <glib.h>

typedef struct HmpClient HmpClient;

/* Connects and waits for the prompt. */
HmpClient *hmp_connect(const char *path, guint timeout_ms, GError **errp);
void hmp_free(HmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HmpClient, hmp_free)
/*
 * What the monitor says to @line until the next prompt, without the echo, the prompt and
 * terminal sequences. The caller's.
 */
char *hmp_command(HmpClient *client, const char *line, guint timeout_ms, GError **errp);

#endif
