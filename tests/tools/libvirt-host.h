/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real libvirt for tests: its daemons, and domains from plain XML whose guests verify themselves.
 */
#ifndef LM_LIBVIRT_HOST_H
#define LM_LIBVIRT_HOST_H

#include "tool.h"

/*
 * Begins virtlogd and the daemon for the whole program; FALSE: why tests of libvirt cannot run
 * here (there is none, or one serves already). @daemon: "libvirtd". Where systemd runs they are its
 * services.
 */
gboolean libvirt_host_begin(const char *daemon, char **why);
void libvirt_host_end(void);

/* The daemon's process; 0: none serves. */
pid_t libvirt_daemon_pid(void);
/* Begins it again if it is away. */
void libvirt_daemon_begin(void);
void libvirt_daemon_end(void);
/* The file that it is configured with, in the hands of the tests; and empty again. */
void libvirt_daemon_spoil(gboolean spoilt);

typedef struct Domain {
	LmTest *test;
	char *name, *serial_path;
	char *plugin; /* a copy that QEMU's user may read */
	const char *emulator;
} Domain;

/* Defines and starts it; undone at the end of the case. @devices (may be NULL): more XML. */
Domain *domain_start(LmTest *test, const char *name, const char *devices);
/* The same with a whole <os> and memory of its own. */
Domain *domain_start_os(LmTest *test, const char *name, guint memory_mib, const char *os,
			const char *devices);
/* The Linux guest with these further options; its first serial port is a terminal with a log. */
Domain *domain_start_linux(LmTest *test, const char *name, const char *options,
			   const char *devices);
/* Its disk is the file of a virtiofs, which @emulator and who listens at @socket share. */
Domain *domain_start_fs(LmTest *test, const char *name, const char *emulator, const char *socket);
pid_t domain_pid(const Domain *domain);
gboolean domain_has_ended(pid_t pid);
/* The same domain, alive, as @pid, and libvirt knows it in every respect. */
void domain_assert_runs_in(const Domain *domain, pid_t pid);
/* One process of it there is, and nothing is left of an upgrade. */
void domain_assert_clean(const Domain *domain);
void domain_assert_upgraded(const Domain *domain, const Run *run, pid_t old_pid);

/* virsh, which must succeed; what it printed, the caller's. */
char *virsh(LmTest *test, const char *first, ...) G_GNUC_NULL_TERMINATED;
/* The same without a use for that. */
void virsh_do(LmTest *test, const char *first, ...) G_GNUC_NULL_TERMINATED;
/* The text between two others; the caller's, NULL if it is not there. */
char *text_between(const char *text, const char *before, const char *after);

/* The tool with --libvirt @name and what a domain needs. */
void domain_upgrade(const Domain *domain, Run *run, const char *fault, ...) G_GNUC_NULL_TERMINATED;

#endif
