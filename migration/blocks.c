// SPDX-License-Identifier: GPL-2.0-or-later
/* The RAM blocks of this QEMU as regions of the transport. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "local/error.h"
#include "machine.h"
#include "qemu.h"

/*
 * Blocks that QEMU made resizable (RAM_RESIZEABLE; there is no accessor): ROM files and ACPI
 * tables, whose sizes differ between versions.
 */
static bool is_resizable(const LmRegion *region)
{
	return region->max_bytes != region->used_bytes || g_str_has_prefix(region->name, "/rom@");
}

static void describe_file(LmRegion *region, RAMBlock *block)
{
	struct stat st;

	if (region->fd < 0 || fstat(region->fd, &st) < 0)
		return;
	region->dev = st.st_dev;
	region->ino = st.st_ino;
	if (qemu.qemu_ram_get_fd_offset)
		region->fd_offset_bytes = qemu.qemu_ram_get_fd_offset(block);
	/* An unlinked file, or a memfd, is this QEMU's own and was zeros before it was private. */
	if (!(region->flags & LM_REGION_SHARED) && st.st_nlink > 0)
		region->flags |= LM_REGION_NAMED_FILE;
}

static int add_block(RAMBlock *block, void *opaque)
{
	LmInventory *inventory = opaque;
	LmRegion *region;

	if (!qemu.qemu_ram_is_migratable(block))
		return 0;
	region = lm_region_new(qemu.qemu_ram_get_idstr(block));
	region->host = qemu.qemu_ram_get_host_addr(block);
	region->used_bytes = qemu.qemu_ram_get_used_length(block);
	region->max_bytes = qemu.qemu_ram_get_max_length(block);
	region->page_bytes = qemu.qemu_ram_pagesize(block);
	region->fd = qemu.qemu_ram_get_fd(block);
	region->opaque = block;
	if (qemu.qemu_ram_is_shared(block))
		region->flags |= LM_REGION_SHARED;
	if (qemu.qemu_ram_is_noreserve(block))
		region->flags |= LM_REGION_NORESERVE;
	if (is_resizable(region))
		region->flags |= LM_REGION_RESIZABLE;
	describe_file(region, block);
	g_ptr_array_add(inventory->regions, region);
	return 0;
}

int lm_blocks_describe(LmInventory *inventory, GError **errp)
{
	qemu.qemu_ram_foreach_block(add_block, inventory);
	if (!inventory->regions->len)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "this machine has no RAM");
	return 0;
}
