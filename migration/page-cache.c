// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When a QEMU activates an image after a migration, it drops what the host has cached of it
 * (block/file-posix.c, raw_co_invalidate_cache), for another host may have written to it. Here the
 * writer was on this host, and wrote through this cache. Dropping it takes time while the guest is
 * stopped, the more the more is cached, and makes the guest's reads slow afterwards. The option
 * drop-cache of the protocol drivers turns it off; the destination's own nodes get it by a reopen.
 */
#include <string.h>

#include "page-cache.h"
#include "qemu.h"
#include "query.h"

/*
 * Up to 8.2 an iothread's context has a lock, which bdrv_reopen wants held: it releases it for a
 * while. NULL: there is none.
 */
static AioContext *enter_context(BlockDriverState *node)
{
	AioContext *context;

	if (!qemu.bdrv_get_aio_context || !qemu.aio_context_acquire || !qemu.aio_context_release)
		return NULL;
	context = qemu.bdrv_get_aio_context(node);
	qemu.aio_context_acquire(context);
	return context;
}

static GPtrArray *kept; /* names of nodes with drop-cache=off; NULL: none */

static void reopen(const char *node_name, bool drop_cache)
{
	BlockDriverState *node = qemu.bdrv_find_node(node_name);
	AioContext *context;
	Error *error = NULL;
	QDict *options;

	if (!node)
		return;
	options = qemu.qdict_new();
	qemu.qdict_put_obj(options, "drop-cache", (QObject *)qemu.qbool_from_bool(drop_cache));
	context = enter_context(node);
	qemu.bdrv_reopen(node, options, true, &error); /* it takes the options */
	if (context)
		qemu.aio_context_release(context);
	if (error)
		qemu.error_free(error);
}

static void keep(const char *node_name)
{
	reopen(node_name, false);
	g_ptr_array_add(kept, g_strdup(node_name));
}

void lm_page_cache_restore(void)
{
	for (guint i = 0; kept && i < kept->len; i++)
		reopen(g_ptr_array_index(kept, i), true);
	g_clear_pointer(&kept, g_ptr_array_unref);
}

static gboolean has_cache(const QDict *node)
{
	const char *driver = qemu.qdict_get_try_str(node, "drv");

	return driver && (!strcmp(driver, "file") || !strcmp(driver, "host_device"));
}

void lm_page_cache_keep(void)
{
	QDict *answer, *node;
	QList *nodes;

	if (!qemu.bdrv_reopen || !qemu.bdrv_find_node)
		return;
	answer = lm_query("{\"execute\": \"query-named-block-nodes\","
			  " \"arguments\": {\"flat\": true}}",
			  NULL);
	if (!answer)
		return;
	lm_page_cache_restore();
	kept = g_ptr_array_new_with_free_func(g_free);
	nodes = qemu.qdict_get_qlist(answer, "return");
	while ((node = (QDict *)qemu.qlist_pop(nodes))) {
		if (has_cache(node))
			keep(qemu.qdict_get_try_str(node, "node-name"));
		lm_qobject_free(node);
	}
	lm_qobject_free(answer);
}
