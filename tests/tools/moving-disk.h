/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A domain of libvirt with a Linux guest at work on a disk, which ends up in another image. */
#ifndef LM_MOVING_DISK_H
#define LM_MOVING_DISK_H

#include "libvirt-domain.h"

#define MOVING_MIB 96

typedef struct MovingDisk {
	char *old, *new, *option;
	Domain *domain;
} MovingDisk;

/* @more: of the option; @beneath: an element that says of the definition's disk what is beneath it,
 * or "". */
MovingDisk *moving_start(LmTest *test, const char *name, const char *more, const char *beneath);
/* libvirt's view, now and at the next start. */
void moving_assert_is(const MovingDisk *moving, const char *is, const char *is_not);
void moving_assert_next_is(const MovingDisk *moving, const char *is, const char *is_not);
guint64 moving_copied_bytes(const MovingDisk *moving);
void moving_wait_beats(const Domain *domain, guint beats);
/* After its end. */
void moving_start_again(const Domain *domain);

#endif
