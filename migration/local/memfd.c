// SPDX-License-Identifier: GPL-2.0-or-later
#include "memfd.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>

#include "fault.h"

#define NAME_BYTES_MAX 240 /* memfd_create takes 249 */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int lm_memfd_new(const char *name, const char *fault)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	g_autofree char *short_name = g_strndup(name, NAME_BYTES_MAX);
	int fd = -1;

	if (!lm_fault_fails(fault))
		fd = memfd_create(short_name, flags | MFD_NOEXEC_SEAL);
	/* Before Linux 6.3 there is no such flag; after it, a sysctl may insist on it. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(short_name, flags);
	return fd;
}
