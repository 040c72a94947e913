/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The versions of QEMU that were tested, with the version of the plugin interface that each
 * accepts (QEMU_PLUGIN_VERSION and QEMU_PLUGIN_MIN_VERSION of its include/qemu/qemu-plugin.h).
 */
#ifndef LM_TESTED_VERSIONS_H
#define LM_TESTED_VERSIONS_H

#define LM_TESTED_VERSIONS(VERSION)                                                                \
	VERSION(7, 2, 1)                                                                           \
	VERSION(10, 0, 4)                                                                          \
	VERSION(11, 1, 7)

#endif
