/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A domain of libvirt, for programs that use libvirt: close to the call that was proposed there as
 * virDomainHypervisorLiveUpgrade(dom, emulator, flags). Link with libvirt and libqemu-live-upgrade.
 */
#ifndef QEMU_LIVE_UPGRADE_LIBVIRT_H
#define QEMU_LIVE_UPGRADE_LIBVIRT_H

#include <libvirt/libvirt.h>
#include <qemu-live-upgrade.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Replaces the QEMU under the running @dom, which stays what it is: name, UUID and id. @emulator:
 * the new QEMU, or NULL for the one that is installed. @flags: of QluFlags. @error (may be NULL)
 * gets at most @error_bytes of one line if it is not QLU_DONE. Blocks for seconds.
 *
 * The daemon is away for a part of a second, so the connection of @dom, and all others of this
 * process to it, are broken when this returns: open them anew. Of qemu:///system only, and as root.
 */
static inline QluOutcome qluDomainHypervisorLiveUpgrade(virDomainPtr dom, const char *emulator,
							unsigned int flags, char *error,
							size_t error_bytes)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	char *uri = virConnectGetURI(virDomainGetConnect(dom));
	const char *why = "only domains of qemu:///system can be upgraded";
	QluOutcome outcome = QLU_USAGE;
	QluUpgrade *upgrade = qlu_new();

	if (uri && !strcmp(uri, "qemu:///system") && virDomainGetUUIDString(dom, uuid) == 0) {
		qlu_set_libvirt(upgrade, uuid);
		qlu_set_binary(upgrade, emulator);
		qlu_set_flags(upgrade, flags);
		outcome = qlu_run(upgrade);
		why = qlu_error(upgrade);
	}
	if (outcome != QLU_DONE && error)
		snprintf(error, error_bytes, "%s", why);
	qlu_free(upgrade);
	free(uri);
	return outcome;
}

#endif
