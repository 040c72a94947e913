// SPDX-License-Identifier: GPL-2.0-or-later
#include "stock-migration.h"

#include <errno.h>
#include <string.h>

#include "local/error.h"
#include "query.h"
#include "vm.h"

static Error *blocker; /* while it is in QEMU's list */

static int refuse_blocked(GError **errp)
{
	Error *why = NULL;

	if (!qemu.migration_is_blocked(&why))
		return 0;
	lm_fail(errp, LM_ERROR_REFUSED, EBUSY, "migration is blocked: %s",
		why ? qemu.error_get_pretty(why) : "QEMU does not say why");
	if (why)
		qemu.error_free(why);
	return -EBUSY;
}

static int refuse_active(GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-migrate\"}", errp);
	const char *status;
	int rc = 0;

	if (!answer)
		return -EIO;
	status = qemu.qdict_get_try_str(qemu.qdict_get_qdict(answer, "return"), "status");
	if (status && strcmp(status, "completed") && strcmp(status, "failed") &&
	    strcmp(status, "cancelled") && strcmp(status, "none"))
		rc = lm_fail(errp, LM_ERROR_REFUSED, EBUSY,
			     "a migration of QEMU's own is under way (%s)", status);
	lm_qobject_free(answer);
	return rc;
}

int lm_stock_migration_check(GError **errp)
{
	int rc = refuse_blocked(errp);

	return rc < 0 ? rc : refuse_active(errp);
}

/* From 8.2 on the blocker is passed by reference, and QEMU frees it. */
static bool by_reference(void)
{
	return qemu.version_major > 8 || (qemu.version_major == 8 && qemu.version_minor >= 2);
}

int lm_stock_migration_block(GError **errp)
{
	Error *error = NULL;

	if (blocker)
		return 0;
	lm_error_setg(&blocker, "localhost-migrate hands the VM over to another process");
	if (qemu.migrate_add_blocker_internal(by_reference() ? (void *)&blocker : blocker,
					      &error) == 0)
		return 0;
	if (!by_reference())
		qemu.error_free(blocker);
	blocker = NULL;
	return lm_vm_fail(errp, error, EBUSY, "keeping QEMU's own migration away");
}

void lm_stock_migration_unblock(void)
{
	if (!blocker)
		return;
	if (by_reference()) {
		qemu.migrate_del_blocker(&blocker);
	} else {
		qemu.migrate_del_blocker(blocker);
		qemu.error_free(blocker);
	}
	blocker = NULL;
}
