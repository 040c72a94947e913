/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqemu-live-upgrade: what qemu-live-upgrade(8) does, as calls. Replaces the QEMU process under
 * a running guest by a new one on the same host.
 *
 * One upgrade is a handle: made, told which QEMU and how, run, asked what became of it.
 *
 *     QluUpgrade *upgrade = qlu_new();
 *
 *     qlu_set_qmp(upgrade, "/run/vm1.qmp");
 *     if (qlu_run(upgrade) != QLU_DONE)
 *             fprintf(stderr, "%s\n", qlu_error(upgrade));
 *     qlu_free(upgrade);
 *
 * Conventions
 *   - The handle is opaque, and all that can be said or asked is a function of its own: a new
 *     option or figure is a new symbol. None is ever taken away under this soname; the version
 *     of the node that it is exported in says since when it is there.
 *   - Setters cannot fail: they note what they are given, and qlu_run refuses what makes no
 *     sense (QLU_USAGE), before it touches anything. NULL and 0 mean the default. Strings are
 *     copied. What was set stays set from one run to the next.
 *   - What a getter returns is the handle's: valid until its next qlu_run or qlu_attach, or
 *     qlu_free. Where nothing is known it is NULL, 0, or a list of nothing. All getters may be
 *     called after any outcome; before a first run they say that nothing is known.
 *   - Sizes are in bytes; times are in seconds or milliseconds and say so. Strings are UTF-8,
 *     paths are as the kernel takes them. Errors are one line without a line feed.
 *   - No argument may be NULL unless it is said that it may; qlu_free(NULL) does nothing.
 *
 * Threads and processes
 *   - A handle is used by one thread at a time. Different handles may be used at the same time,
 *     also for the same guest: the second run for it is refused.
 *   - qlu_run blocks, for seconds, and cannot be interrupted; qlu_set_deadline_s limits the
 *     handover, which is the only part that depends on the guest. If the program ends in the
 *     middle, the next run for that guest, of this library or of the tool, finds out what is
 *     true, and finishes or rolls back.
 *   - The new QEMU is a child of the calling process until that ends, in a session of its own,
 *     with the user, groups, namespaces, control groups and limits of the old one. Who wants to
 *     know of its end waits for qlu_new_pid. While qlu_run is at work nobody else in the program
 *     may take the exit status of children that it does not know (waitpid for -1).
 *   - The library changes nothing in the process that calls: no signal handler, folder, mask,
 *     locale or environment. SIGPIPE never comes from it. Like the GLib that it stands on, it
 *     aborts when there is no memory at all.
 *   - The right to do it is that of the calling process: root's, or that of the QEMU's user.
 */
#ifndef QEMU_LIVE_UPGRADE_H
#define QEMU_LIVE_UPGRADE_H

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs: "0.1.0". */
const char *qlu_version(void);

/* ----------------------------------------------------------------- outcomes */

/* As the exit codes of the tool. A value that a program does not know is as bad as QLU_LOST. */
typedef enum QluOutcome {
	QLU_DONE = 0,	     /* upgraded; or what QLU_DRY_RUN or QLU_REHEARSE asked for */
	QLU_USAGE = 1,	     /* what was set makes no sense; nothing was touched */
	QLU_REFUSED = 2,     /* the guest was never stopped; nothing is left of the attempt */
	QLU_ROLLED_BACK = 3, /* failed; the guest runs in the old process */
	QLU_LOST = 4,	     /* the guest is lost, or it cannot be told where it is; both
			      * processes are left as they are */
	QLU_MANAGER = 5,     /* the guest runs; what manages it (libvirt) did not come back */
} QluOutcome;

/* ------------------------------------------------------------- the upgrade */

typedef struct QluUpgrade QluUpgrade;

QluUpgrade *qlu_new(void);
/* Not while it runs. Does nothing to the guest or to any process. */
void qlu_free(QluUpgrade *upgrade);

/* Which QEMU: one of these three, the last one that was called. */
void qlu_set_pid(QluUpgrade *upgrade, pid_t pid);
/* The one behind this QMP socket, as this process sees it in the file system. */
void qlu_set_qmp(QluUpgrade *upgrade, const char *path);
/* The one of this running domain of libvirt's qemu:///system, by its name or UUID, for which this
 * process must be root. libvirt's daemon is away for a part of a second: connections to it break.
 * A build without libvirt refuses it. */
void qlu_set_libvirt(QluUpgrade *upgrade, const char *domain);

/* The new QEMU, as the running one sees it. NULL: the program that is installed where the running
 * one was started from; if that is the very file that runs, it is refused. */
void qlu_set_binary(QluUpgrade *upgrade, const char *path);
/* The plugin of the new QEMU, "FILE[,ARGUMENT=VALUE]...", which is loaded into a running one
 * without it, too. NULL: what the running one was started with, or the installed one. */
void qlu_set_plugin(QluUpgrade *upgrade, const char *plugin);

/* How the guest's memory goes. */
typedef enum QluWay {
	QLU_WAY_AUTO = 0,  /* share if the plugin can, else flip */
	QLU_WAY_FLIP = 1,  /* its pages move while it is stopped */
	QLU_WAY_SHARE = 2, /* it becomes shared memory while the guest runs, which is passed on */
} QluWay;
void qlu_set_way(QluUpgrade *upgrade, QluWay way);

/* When the handover takes longer, it is cancelled and rolled back. 0: 300. */
void qlu_set_deadline_s(QluUpgrade *upgrade, unsigned int seconds);

/* Others are refused. QLU_DRY_RUN and QLU_REHEARSE exclude each other. */
typedef enum QluFlags {
	QLU_DRY_RUN = 1 << 0,	      /* find out what would be done, and what prevents it */
	QLU_REHEARSE = 1 << 1,	      /* go through everything, and leave the guest where it is */
	QLU_ALLOW_DOWNGRADE = 1 << 2, /* accept a QEMU that is older than the running one */
	QLU_NO_ATTACH = 1 << 3,	      /* refuse a QEMU that was started without the plugin */
} QluFlags;
/* Flags of QluFlags, or'ed; they replace what was set before. */
void qlu_set_flags(QluUpgrade *upgrade, unsigned int flags);

/*
 * What is told on the way, from the thread of qlu_run; NULL: nothing. Strings are valid during
 * the call. A callback must not use the handle, and should return soon: during the handover the
 * guest may be stopped.
 */
/* A step begins: "start", "starting the new process". */
typedef void (*QluOnStep)(void *opaque, const char *step, const char *what);
/* In a stage of the handover, done_bytes of total_bytes of the guest's memory have gone. */
typedef void (*QluOnProgress)(void *opaque, const char *stage, uint64_t done_bytes,
			      uint64_t total_bytes);
/* One of qlu_notes, as soon as it is known. */
typedef void (*QluOnNote)(void *opaque, const char *text);
void qlu_on_step(QluUpgrade *upgrade, QluOnStep callback, void *opaque);
void qlu_on_progress(QluUpgrade *upgrade, QluOnProgress callback, void *opaque);
void qlu_on_note(QluUpgrade *upgrade, QluOnNote callback, void *opaque);

/* Does it. May be called again with the same handle; the results are those of the last run. */
QluOutcome qlu_run(QluUpgrade *upgrade);

/* Only loads the plugin into a QEMU that was started without it: QLU_DONE, QLU_USAGE or
 * QLU_REFUSED. The guest goes on where it is; of the settings it uses which QEMU, and the plugin.
 */
QluOutcome qlu_attach(QluUpgrade *upgrade);

/* ------------------------------------------------------------- the results */

QluOutcome qlu_outcome(const QluUpgrade *upgrade); /* QLU_USAGE before a first run */
const char *qlu_error(const QluUpgrade *upgrade);  /* NULL after QLU_DONE */
/* What a plan refuses, all of it: qlu_error is the first. The list ends with NULL. */
const char *const *qlu_refusals(const QluUpgrade *upgrade);
/* What clients lose, and what could not be done after the guest had moved. Ends with NULL. */
const char *const *qlu_notes(const QluUpgrade *upgrade);

pid_t qlu_old_pid(const QluUpgrade *upgrade);
pid_t qlu_new_pid(const QluUpgrade *upgrade);
const char *qlu_from(const QluUpgrade *upgrade); /* versions: "7.2.22 (Debian ...)" */
const char *qlu_to(const QluUpgrade *upgrade);
/* The new process's, quoted for a shell. */
const char *qlu_command_line(const QluUpgrade *upgrade);
/* "flip", "share" or "pass": how the guest's memory went. */
const char *qlu_way(const QluUpgrade *upgrade);
double qlu_stopped_ms(const QluUpgrade *upgrade); /* for how long the guest was stopped */
double qlu_total_ms(const QluUpgrade *upgrade);	  /* of the whole run */
/* The most memory that was held on the way, of what qlu_peak_of says: "control group" or
 * "resident" (of both processes). */
uint64_t qlu_peak_bytes(const QluUpgrade *upgrade);
const char *qlu_peak_of(const QluUpgrade *upgrade);
/* 1: a run that had been interrupted was finished; else 0. */
int qlu_recovered(const QluUpgrade *upgrade);

#ifdef __cplusplus
}
#endif

#endif
