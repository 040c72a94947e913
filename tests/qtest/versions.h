/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QEMU versions that there are here: the installed one, and those in roots. */
#ifndef LM_QTEST_VERSIONS_H
#define LM_QTEST_VERSIONS_H

#include "harness.h"

/*
 * A version is in the root that LM_ROOT_<version> names, or is the installed one if
 * LM_QEMU_<version> is set; scripts/prepare sets one of them.
 */
#define VERSION_INSTALLED NULL
#define VERSION_7_2	  "7_2"
#define VERSION_10_0	  "10_0"
#define VERSION_11_1	  "11_1"

/* The root for VmOptions; NULL for the installed one. */
const char *version_root(const char *version);
/* Whether this version is here. */
gboolean version_is_here(const char *version);

#endif
