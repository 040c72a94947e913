/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The new program, before it is trusted with a guest: it is started without a machine and asked. */
#ifndef LIVE_UPGRADE_PROBE_H
#define LIVE_UPGRADE_PROBE_H

#include "running.h"

typedef struct LuProbe {
	LuVersion version;
	char *cpu_append; /* for -cpu host and max: what the running CPU has not; NULL: nothing */
} LuProbe;

void lu_probe_clear(LuProbe *probe);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LuProbe, lu_probe_clear)

/* Refuses what is no QEMU, is older than @running (unless allowed), or lacks its machine type. */
gboolean lu_probe_run(const LuRunning *running, const char *program, gboolean allow_downgrade,
		      LuProbe *probe, GError **errp);

#endif
