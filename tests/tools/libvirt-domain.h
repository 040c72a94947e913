/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains from plain XML, whose guests verify themselves. */
#ifndef LM_LIBVIRT_DOMAIN_H
#define LM_LIBVIRT_DOMAIN_H

#include "libvirt-host.h"

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

/* The tool with --libvirt @name and what a domain needs. */
void domain_upgrade(const Domain *domain, Run *run, const char *fault, ...) G_GNUC_NULL_TERMINATED;

#endif
