/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is looked at before a process is touched. */
#ifndef TOOLS_ATTACH_CHECK_H
#define TOOLS_ATTACH_CHECK_H

#include "error.h"
#include "proc.h"

/* Addresses in the process. */
typedef struct AttachTarget {
	char identity[100]; /* of the process that was looked at: proc.h */
	guint64 entry;	    /* of the program; its code there is not run any more */
	guint64 dlopen, dlsym, dlclose, dlerror, errno_location, memfd_create, close;
	guint copies; /* of the plugin that are loaded */
} AttachTarget;

/* attach_check with what attach_load needs beyond it. */
int attach_examine(pid_t pid, const char *plugin_path, AttachFlags flags, AttachFacts *facts,
		   AttachTarget *target, GError **errp);

/* access.c: -errno if this user may not trace the process, and why not. */
int attach_check_access(pid_t pid, GError **errp);
gboolean attach_selinux_is_on(void);
/* What lets a process with this label map @file, for the end of an error; the caller's. */
char *attach_confinement_advice(const char *label, gboolean selinux, const char *file);
/* program.c: whether it is a QEMU, and which one; fills what it learns of @facts. */
int attach_check_program(pid_t pid, const GPtrArray *maps, AttachFlags flags, AttachFacts *facts,
			 AttachTarget *target, GError **errp);
int attach_check_libc(pid_t pid, const GPtrArray *maps, AttachTarget *target, GError **errp);

#endif
