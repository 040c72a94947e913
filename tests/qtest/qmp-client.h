/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP over a unix socket, one thread, no main loop: every call has a deadline. */
#ifndef LM_QTEST_QMP_CLIENT_H
#define LM_QTEST_QMP_CLIENT_H

#include <glib.h>
#include <json-glib/json-glib.h>

/* A reply {"error": {"class": ..., "desc": ...}} is a GError: message = desc, code = class. */
#define QMP_ERROR (qmp_error_quark())
GQuark qmp_error_quark(void);
typedef enum QmpErrorCode {
	QMP_ERROR_GENERIC,
	QMP_ERROR_COMMAND_NOT_FOUND,
	QMP_ERROR_OTHER_CLASS,
	QMP_ERROR_CLOSED, /* QEMU closed the socket */
	QMP_ERROR_TIMEOUT,
	QMP_ERROR_SYSTEM,
} QmpErrorCode;

typedef struct QmpEvent {
	char *name;
	JsonNode *data;	    /* NULL: none */
	gint64 received_us; /* g_get_monotonic_time() when it was read */
	gboolean waited;    /* qmp_wait_event has returned it */
} QmpEvent;

typedef struct QmpClient QmpClient;

/*
 * Connects, again and again until @timeout_ms is over or @pidfd (-1: none) says that the process
 * has ended; takes the greeting and negotiates.
 */
QmpClient *qmp_connect(const char *path, int pidfd, guint timeout_ms, GError **errp);
void qmp_free(QmpClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpClient, qmp_free)

/*
 * @arguments is NULL or a template of a JSON object, with ' for ": "{'uri': %s, 'channels': %d}".
 * %s is a string, which is quoted; %d an int, %ld a long. Returns the value of "return".
 */
JsonNode *qmp_command(QmpClient *client, GError **errp, const char *name, const char *arguments,
		      ...) G_GNUC_PRINTF(4, 5);
JsonNode *qmp_command_va(QmpClient *client, GError **errp, const char *name, const char *arguments,
			 va_list args) G_GNUC_PRINTF(4, 0);
/* A descriptor, for the command that is sent next ("getfd"). It stays the caller's. */
gboolean qmp_pass_fd(QmpClient *client, int fd, GError **errp);
/* Waits longer or shorter than LM_WAIT_MS for replies from now on. */
void qmp_set_timeout(QmpClient *client, guint timeout_ms);
/* human-monitor-command; the text is the caller's. */
char *qmp_hmp(QmpClient *client, const char *line, GError **errp);

typedef gboolean (*QmpPredicate)(const QmpEvent *event, const void *opaque);
/*
 * The first event of this name (and for which @predicate holds, if it is not NULL) that was not
 * returned before, whether it has come already or comes yet. The client's.
 */
const QmpEvent *qmp_wait_event(QmpClient *client, const char *name, QmpPredicate predicate,
			       const void *opaque, guint timeout_ms, GError **errp);
/* Reads what has come; FALSE if the socket is closed. */
gboolean qmp_poll(QmpClient *client);
/* All events since the connection, of QmpEvent; the client's. */
const GPtrArray *qmp_events(const QmpClient *client);
guint qmp_count_events(const QmpClient *client, const char *name);

/* A member of an object: NULL, -1 or FALSE if it is not there. */
const char *qmp_str(const JsonNode *node, const char *member);
gint64 qmp_int(const JsonNode *node, const char *member);
gboolean qmp_bool(const JsonNode *node, const char *member);

#endif
