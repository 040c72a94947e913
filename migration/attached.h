/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the plugin and who loads it into a running QEMU (tools/attach) tell each other: one
 * variable of the plugin's, "lm_attached", which the loader finds with dlsym. The loader writes
 * allow_untested while the main thread is held; the plugin's source in the main loop comes later.
 */
#ifndef LM_ATTACHED_H
#define LM_ATTACHED_H

#include <glib.h>

#define LM_ATTACHED_SYMBOL "lm_attached"
#define LM_ATTACHED_MAGIC  0x4c4d4131 /* its last digit is the layout's number */

typedef enum LmAttachedState {
	LM_ATTACHED_WAITS, /* for the main loop */
	LM_ATTACHED_REGISTERED,
	LM_ATTACHED_REFUSED, /* see text; nothing was registered, the plugin may be unloaded */
} LmAttachedState;

typedef struct LmAttached {
	guint32 magic;
	guint32 allow_untested;
	guint32 state; /* written last */
	char text[500];
} LmAttached;

#endif
