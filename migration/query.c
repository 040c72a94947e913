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

/* Frees @request; @what begins an error's text. */
static QDict *dispatch(QObject *request, const char *what, GError **errp)
{
	QDict *answer, *error;

	answer = qemu.qmp_dispatch(qemu.qmp_commands, request, false, NULL);
	lm_qobject_free(request);
	if (answer && !qemu.qdict_haskey(answer, "error"))
		return answer;
	error = answer ? qemu.qdict_get_qdict(answer, "error") : NULL;
	lm_fail(errp, LM_ERROR_FAILED, EIO, "%s: %s", what,
		error ? qemu.qdict_get_try_str(error, "desc") : "no answer");
	lm_qobject_free(answer);
	return NULL;
}

QDict *lm_query(const char *command, GError **errp)
{
	QObject *request = qemu.qobject_from_json(command, NULL);

	if (request)
		return dispatch(request, command, errp);
	lm_fail(errp, LM_ERROR_FAILED, EINVAL, "QMP request is no JSON: %s", command);
	return NULL;
}

QDict *lm_command(const char *execute, QDict *arguments, GError **errp)
{
	QDict *request = qemu.qdict_new();

	qemu.qdict_put_str(request, "execute", execute);
	if (arguments)
		qemu.qdict_put_obj(request, "arguments", (QObject *)arguments);
	return dispatch((QObject *)request, execute, errp);
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
