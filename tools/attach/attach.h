/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loads the plugin into a QEMU process that was started without it, while its guest runs. How,
 * and what it does to the process, is at the top of attach.c.
 *
 * Conventions
 *   - A function that can fail returns 0 or a negative errno value and sets *errp (domain
 *     ATTACH_ERROR) to one line of text; on failure its outputs are untouched.
 *   - Times say their unit. Strings in a struct are the struct's; clear it with its function.
 *   - May be called from any thread. A deadline is for waits; letting go after one has passed may
 *     take two seconds more.
 */
#ifndef TOOLS_ATTACH_H
#define TOOLS_ATTACH_H

#include <glib.h>
#include <sys/types.h>

G_BEGIN_DECLS

#define ATTACH_ERROR (attach_error_quark())
GQuark attach_error_quark(void);

/* The ones up to ATTACH_ERROR_PLUGIN are known before anything is touched. */
typedef enum AttachErrorCode {
	ATTACH_ERROR_NO_PROCESS,   /* there is none, or it has ended */
	ATTACH_ERROR_NOT_QEMU,	   /* it does not export what the plugin needs */
	ATTACH_ERROR_ARCHITECTURE, /* 32 bit, or not built for this machine, or static */
	ATTACH_ERROR_VERSION,	   /* a QEMU that was not tested */
	ATTACH_ERROR_LIBC,	   /* a C library without dlopen (glibc before 2.34) */
	ATTACH_ERROR_TRACED,	   /* by a debugger or another attach */
	ATTACH_ERROR_NO_RIGHT,	   /* this user may not trace it */
	ATTACH_ERROR_STATE,	   /* stopped by a signal; 64-bit ARM: or with a GCS */
	ATTACH_ERROR_THERE,	   /* this build of the plugin is loaded already */
	ATTACH_ERROR_PLUGIN,	   /* the file is no plugin, or cannot be read */
	ATTACH_ERROR_TIMEOUT,	   /* a deadline passed; the text says what was done by then */
	ATTACH_ERROR_LOAD,	   /* dlopen said no; nothing is left in the process */
	ATTACH_ERROR_REFUSED,	   /* the plugin was loaded, and said no; it is unloaded again */
	ATTACH_ERROR_FAILED,	   /* a system call said no; the text has both */
} AttachErrorCode;

typedef enum AttachFlags {
	ATTACH_ALLOW_UNTESTED = 1 << 0, /* as the plugin's allow-untested=on */
} AttachFlags;

/* What can be known of a process without touching it. Zero and NULL where it is not known. */
typedef struct AttachFacts {
	char *executable;    /* as it was started */
	gboolean deleted;    /* its file was removed or replaced since */
	char *version;	     /* "7.2.22 (Debian ...)" */
	gboolean tested;     /* whether that is one of the tested versions */
	char *loaded;	     /* a plugin of ours that is there: its file, or NULL */
	gboolean same_build; /* and that it is the one that was asked about */
	gboolean by_path;    /* the process sees the plugin's file; otherwise it gets a copy */
	gboolean seccomp;    /* it runs under a filter, of which nothing is known */
	char *confined;	     /* the security module's label, or NULL */
	GError *refusal;     /* why attach_load would not try; NULL: it would */
} AttachFacts;
void attach_facts_clear(AttachFacts *facts);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(AttachFacts, attach_facts_clear)

/*
 * Reads only: the process is neither stopped nor changed. Succeeds for every process that there
 * is; whether it would work is said by facts->refusal. With @plugin_path NULL the process alone is
 * looked at.
 */
int attach_check(pid_t pid, const char *plugin_path, AttachFlags flags, AttachFacts *facts,
		 GError **errp);

typedef struct AttachReport {
	guint tries; /* how often the main thread was stopped until it was at the right place */
	guint64 stopped_us; /* for how long the last time */
	guint64 total_us;   /* until the plugin's commands were there */
	gboolean by_path;   /* the process opened the plugin's file; otherwise a copy in a memfd */
} AttachReport;

/*
 * Checks, loads @plugin_path, and waits until the plugin has registered its commands or said why
 * not. @report may be NULL.
 */
int attach_load(pid_t pid, const char *plugin_path, AttachFlags flags, guint deadline_ms,
		AttachReport *report, GError **errp);

G_END_DECLS

#endif
