/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back end of a vhost-user device (virtiofsd), through the exchange of the process in front.
 *
 * Such a device talks to its back end on one connection, from the moment in which it is made. In a
 * destination that is long before the guest is there, while the back end is at work for the
 * source; and virtiofsd ends with its first connection. So the destination's device is connected
 * to a stand-in (vhost-user.c), by a pair of sockets.
 *
 *     device ── stand-in ── relay ── the source ── back end
 *
 * - What the device asks (features, number of queues), the stand-in passes on, and the source asks
 *   the back end between two of its own messages, on its connection (vhost-user-lend.c).
 * - What the device tells (features, descriptors), the stand-in keeps.
 * - What is for a new back end (an owner, a reset) nobody hears.
 * - A back end's own state (the guest's open files) would be saved by the source and loaded by the
 *   destination. The back end stays, and has it; so both are told that there is none.
 *
 * When the guest is the destination's, and before it runs, what was kept is told to the back end,
 * on the connection that it has had all along, and that takes the number of the stand-in's. To the
 * back end a front end has stopped its rings, changed its mind about some features, and told it of
 * other memory and started the rings again. If the guest does not come, it has noticed nothing.
 */
#ifndef LM_VHOST_USER_H
#define LM_VHOST_USER_H

#include <glib.h>

/* ------------------------------------------------------------- the destination */

/*
 * "NUMBER:PEER:REAL:RELAY[/...]", all descriptors: what the device's chardev has, the other end of
 * that, the connection to the back end, and a listening socket to which the source has connected.
 * FALSE if it is no such list, or there can be no thread. Before there are devices.
 */
gboolean lm_vhost_user_parse(const char *text);
/* Whether all devices are there and have nothing amiss. Main loop. */
int lm_vhost_user_check(GError **errp);
/* The guest is here, and starts next. It cannot fail; what goes wrong is reported. Main loop. */
void lm_vhost_user_connect(void);

/* ------------------------------------------------------------------ the source */

/*
 * Main loop: from now on what comes by the socket at @path is asked on connection @fd, until its
 * other side ends.
 */
int lm_vhost_user_lend(int fd, const char *path, GError **errp);
/* Main loop, around the saving of devices. */
void lm_vhost_user_hide(void);
void lm_vhost_user_show(void);

#endif
