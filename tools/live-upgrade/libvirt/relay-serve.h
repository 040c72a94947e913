/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LIVE_UPGRADE_LIBVIRT_RELAY_SERVE_H
#define LIVE_UPGRADE_LIBVIRT_RELAY_SERVE_H

/* The child's part: answers on @fd until that is closed. */
void lu_relay_serve(const char *uri, int fd);

#endif
