// SPDX-License-Identifier: GPL-2.0-or-later
#include "local/error.h"
#include "query.h"
#include <errno.h>

void lm_qobject_free(void *object)
{
	static QDict *holder;

	if (!object)
		return;
	if (!holder)
		holder = qemu.qdict_new();
	qemu.qdict_put_obj(holder, "x", object);
	qemu.qdict_del(holder, "x");
}

QDict *lm_query(const char *command, GError **errp)
{
	QObject *request = qemu.qobject_from_json(command, NULL);
	QDict *answer, *error;

	if (!request) {
		lm_fail(errp, LM_ERROR_FAILED, EINVAL, "QMP request is no JSON: %s", command);
		return NULL;
	}
	answer = qemu.qmp_dispatch(qemu.qmp_commands, request, false, NULL);
	lm_qobject_free(request);
	if (answer && !qemu.qdict_haskey(answer, "error"))
		return answer;
	error = answer ? qemu.qdict_get_qdict(answer, "error") : NULL;
	lm_fail(errp, LM_ERROR_FAILED, EIO, "%s: %s", command,
		error ? qemu.qdict_get_try_str(error, "desc") : "no answer");
	lm_qobject_free(answer);
	return NULL;
}

char *lm_query_run_state(GError **errp)
{
	QDict *answer = lm_query("{\"execute\": \"query-status\"}", errp);
	char *state;

	if (!answer)
		return NULL;
	state = g_strdup(qemu.qdict_get_try_str(qemu.qdict_get_qdict(answer, "return"), "status"));
	lm_qobject_free(answer);
	return state;
}
