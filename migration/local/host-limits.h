/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits that would end a migration when the VM is stopped already, or that would end QEMU: held
 * against what is needed beforehand. Each function refuses (LM_ERROR_REFUSED) in a line that names
 * the limit, its value and what is needed.
 */
#ifndef LM_LOCAL_HOST_LIMITS_H
#define LM_LOCAL_HOST_LIMITS_H

#include <migration/localhost.h>
#include <sys/types.h>

/*
 * host-limits.c: of this process. Before anything is begun, for QEMU aborts when it gets no memory;
 * and when the RAM blocks' ways are known: @regions is of LmRegion.
 */
int lm_limits_check_memory(GError **errp);
int lm_limits_check(const GPtrArray *regions, guint channels, GError **errp);

/*
 * memory-group.c: of the control groups of memory (versions 1 and 2) that this process, the source,
 * and the destination @peer_pid are in, up to the root. What cannot be read is taken for no limit.
 */
int lm_memory_groups_check(pid_t peer_pid, const GPtrArray *regions, GError **errp);

#endif
