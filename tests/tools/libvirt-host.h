/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real libvirt for tests: its daemons, and virsh. */
#ifndef LM_LIBVIRT_HOST_H
#define LM_LIBVIRT_HOST_H

#include "tool.h"

/* Where it keeps what it knows of the domains that run. */
#define LIBVIRT_STATE "/run/libvirt/qemu"

/*
 * Runs the cases with virtlogd and the daemon there, main's exit status; skips where tests of
 * libvirt cannot run (there is none, or one serves already). Where systemd runs they are its
 * services.
 */
int libvirt_test_main(int argc, char **argv, const LmCase *cases, size_t count);
#define LIBVIRT_TEST_MAIN(argc, argv, cases)                                                       \
	libvirt_test_main(argc, argv, cases, G_N_ELEMENTS(cases))

/* The daemon's process; 0: none serves. */
pid_t libvirt_daemon_pid(void);
/* Begins it again if it is away. */
void libvirt_daemon_begin(void);
void libvirt_daemon_end(void);
/* The file that it is configured with, in the hands of the tests; and empty again. */
void libvirt_daemon_spoil(gboolean spoilt);

/* virsh, which must succeed; what it printed, the caller's. */
char *virsh(LmTest *test, const char *first, ...) G_GNUC_NULL_TERMINATED;
/* The same without a use for that. */
void virsh_do(LmTest *test, const char *first, ...) G_GNUC_NULL_TERMINATED;
/* Ends and undefines a domain, if there is one; begins the daemon for that if it is away. */
void libvirt_host_undefine(const char *name);
/* The text between two others; the caller's, NULL if it is not there. */
char *text_between(const char *text, const char *before, const char *after);

#endif
