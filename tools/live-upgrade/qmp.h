/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP over a unix socket: one thread, no main loop, every call has a deadline. After a call that
 * missed it the command may still be carried out; a later call gets its own reply.
 */
#ifndef LIVE_UPGRADE_QMP_H
#define LIVE_UPGRADE_QMP_H

#include <json-glib/json-glib.h>
#include <sys/types.h>

/* QEMU's own errors: message is "desc". Everything else is an LU_ERROR. */
#define LU_QMP_ERROR (lu_qmp_error_quark())
GQuark lu_qmp_error_quark(void);

typedef struct LuQmp LuQmp;

/*
 * Connects to @path and negotiates. Tries again until @end_us while nobody listens there, if
 * @pidfd (else -1) names a process that is being started.
 */
LuQmp *lu_qmp_open(const char *path, int pidfd, gint64 end_us, GError **errp);
/* The same on a connected socket, which it owns from now on, on failure too. */
LuQmp *lu_qmp_new(int fd, gint64 end_us, GError **errp);
void lu_qmp_free(LuQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuQmp, lu_qmp_free)

/* The process behind the socket, as the kernel says. */
pid_t lu_qmp_peer(const LuQmp *qmp);

/*
 * @arguments is NULL or a template of a JSON object, with ' for ": "{'uri': %s, 'n': %d}". %s is
 * a string, which is quoted; %d an int. Returns the value of "return"; the caller's.
 */
JsonNode *lu_qmp_call(LuQmp *qmp, GError **errp, const char *command, const char *arguments, ...)
	G_GNUC_PRINTF(4, 5);
/* The same without a use for the reply. */
gboolean lu_qmp_do(LuQmp *qmp, GError **errp, const char *command, const char *arguments, ...)
	G_GNUC_PRINTF(4, 5);
/* A whole message, {"execute": ...}, without an id. */
JsonNode *lu_qmp_send(LuQmp *qmp, const char *message, GError **errp);
/* A descriptor under a name of the monitor's; it stays the caller's. */
gboolean lu_qmp_pass_fd(LuQmp *qmp, int fd, const char *name, GError **errp);
/* A line of the human monitor; its text, the caller's. */
char *lu_qmp_hmp(LuQmp *qmp, const char *line, GError **errp);

/* A unix socket's connection, for paths of any length; -1 with errno. */
int lu_unix_connect(const char *path);
/* The same for a socket that is there; 0, or -1. */
int lu_unix_connect_socket(int fd, const char *path);

/* Members of an object; NULL, 0 or FALSE where there is none of that type. */
const char *lu_json_str(JsonNode *node, const char *member);
gint64 lu_json_int(JsonNode *node, const char *member);
double lu_json_double(JsonNode *node, const char *member);
gboolean lu_json_bool(JsonNode *node, const char *member);
JsonNode *lu_json_member(JsonNode *node, const char *member);
/* The length and an element of an array; 0 if @node is none. */
guint lu_json_length(JsonNode *node);
JsonNode *lu_json_element(JsonNode *node, guint i);

#endif
