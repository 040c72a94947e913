/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plugin's argument stand-in=: descriptors that this QEMU gets to use with the guest only. */
#ifndef LM_STAND_IN_H
#define LM_STAND_IN_H

#include <glib.h>

/* "10:40/11:41": 10 is used as long as there is no guest, 40 is what takes its place. */
gboolean lm_stand_in_parse(const char *text);

/*
 * Destination: the guest has stopped in the source, and its state is loaded next. From then on
 * the numbers of the stand-ins are those of what they stood in for. Main loop only.
 */
int lm_stand_in_replace(GError **errp);

#endif
