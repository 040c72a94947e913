// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The step in which the guest moves. The plugin does it, and undoes it; here it is asked for,
 * followed, and what came of it is found out.
 */
#include "steps.h"
#include "cgroup.h"
#include "error.h"
#include "handle.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#define POLL_MS	   20
#define DEADLINE_S 300
#define SETTLE_MS  30000
/* What the old QEMU knows the device by. */
#define LENT_NAME "localhost-migrate-userfaultfd"

/* -------------------------------------------------------------------- asking */

/*
 * Sharing live takes a userfaultfd for the kernel's faults as well, to which a QEMU of another user
 * than root has no right by default. Who upgrades it may have it, and lends the device.
 */
static gboolean lend_userfaultfd(LuUpgrade *up)
{
	g_auto(LuFd) fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	return fd >= 0 && lu_qmp_pass_fd(up->old_qmp, fd, LENT_NAME, NULL);
}

static JsonArray *disk_array(GPtrArray *disks)
{
	JsonArray *array = json_array_new();

	for (guint i = 0; i < disks->len; i++) {
		const LuDisk *disk = disks->pdata[i];
		JsonObject *object = json_object_new();

		json_object_set_string_member(object, "node", disk->device);
		json_object_set_string_member(object, "file", disk->move->file);
		json_object_set_string_member(object, "format", disk->move->format);
		if (disk->node)
			json_object_set_string_member(object, "new-node", disk->node);
		if (disk->move->throttle)
			json_object_set_int_member(object, "throttle",
						   (gint64)disk->move->throttle);
		json_array_add_object_element(array, object);
	}
	return array;
}

static JsonObject *arguments(const LuUpgrade *up, gboolean share, gboolean lent)
{
	g_autofree char *uri = g_strconcat("unix:", up->journal->handover, NULL);
	JsonObject *object = json_object_new();

	json_object_set_string_member(object, "uri", uri);
	if (share) {
		json_object_set_string_member(object, "ram", "share");
		json_object_set_boolean_member(object, "live", TRUE);
	}
	if (lent)
		json_object_set_string_member(object, "userfaultfd", LENT_NAME);
	if (up->request->rehearse)
		json_object_set_boolean_member(object, "rehearse", TRUE);
	if (up->disks)
		json_object_set_array_member(object, "disks", disk_array(up->disks));
	return object;
}

static char *command(JsonObject *arguments)
{
	g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
	JsonObject *object = json_object_new();

	json_object_set_string_member(object, "execute", "localhost-migrate");
	json_object_set_object_member(object, "arguments", arguments);
	json_node_take_object(node, object);
	return json_to_string(node, FALSE);
}

static gboolean begin(LuUpgrade *up, gboolean share, gboolean lend, GError **errp)
{
	const gboolean lent = share && lend && lend_userfaultfd(up);
	g_autofree char *message = command(arguments(up, share, lent));
	g_autoptr(JsonNode) reply = lu_qmp_send(up->old_qmp, message, errp);

	return reply != NULL;
}

static gboolean is_unexpected(const GError *error)
{
	return error->domain == LU_QMP_ERROR && strstr(error->message, "unexpected");
}

static gboolean does_not_know(const GError *error, const char *parameter)
{
	return is_unexpected(error) && strstr(error->message, parameter);
}

/*
 * An older plugin says that a parameter is unexpected which it does not know. An error of another
 * domain than LU_QMP_ERROR: it may have been heard.
 */
static gboolean ask(LuUpgrade *up, GError **errp)
{
	const gboolean share = up->request->way != LU_WAY_FLIP;
	g_autoptr(GError) error = NULL;

	if (begin(up, share, TRUE, &error))
		return TRUE;
	if (does_not_know(error, "userfaultfd")) {
		g_clear_error(&error);
		if (begin(up, share, FALSE, &error))
			return TRUE;
	}
	if (up->request->way == LU_WAY_AUTO && is_unexpected(error) &&
	    !does_not_know(error, "rehearse") && !does_not_know(error, "disks")) {
		g_clear_error(&error);
		if (begin(up, FALSE, FALSE, &error))
			return TRUE;
	}
	g_propagate_error(errp, g_steal_pointer(&error));
	return FALSE;
}

/* ----------------------------------------------------------------- following */

static const char *last_stage(JsonNode *info)
{
	JsonNode *stages = lu_json_member(info, "stages");
	guint count = lu_json_length(stages);

	return count ? lu_json_str(lu_json_element(stages, count - 1), "name") : "hello";
}

static gboolean has_stage(JsonNode *info, const char *name)
{
	JsonNode *stages = lu_json_member(info, "stages");

	for (guint i = 0; i < lu_json_length(stages); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(stages, i), "name"), name))
			return TRUE;
	return FALSE;
}

static gboolean is_over(JsonNode *info)
{
	static const char *const ends[] = {"none", "completed", "failed", "cancelled", NULL};
	const char *status = lu_json_str(info, "status");

	return status && g_strv_contains(ends, status);
}

/*
 * The old process answers for the last handover that it knows, which may be the one that it came
 * by, or one with another process long ago. "peer-pid" is of its own PID namespace.
 */
gboolean lu_is_of_this(const LuUpgrade *up, JsonNode *info)
{
	const pid_t peer = (pid_t)lu_json_int(info, "peer-pid");
	const pid_t new = lu_proc_own_pid(up->journal->new_pid);

	return !g_strcmp0(lu_json_str(info, "role"), "source") &&
	       (peer <= 0 || new <= 0 || peer == new);
}

static void sample(LuUpgrade *up, JsonNode *info)
{
	const LuObserver *observer = &up->request->observer;
	guint64 resident = lu_proc_status_bytes(up->old->pid, "VmRSS");

	if (up->new)
		resident += lu_proc_status_bytes(up->new->pid, "VmRSS");
	up->resident_peak = MAX(up->resident_peak, resident);
	if (observer->progress)
		observer->progress(observer->opaque, last_stage(info),
				   (guint64)lu_json_int(info, "flipped"),
				   (guint64)lu_json_int(info, "populated"));
}

/* After the deadline it is cancelled, which the plugin does within its own. */
static JsonNode *follow(LuUpgrade *up, LuQmp *qmp, GError **errp)
{
	guint deadline_s = up->request->deadline_s ? up->request->deadline_s : DEADLINE_S;
	gint64 end_us = lu_end_us(deadline_s * 1000);
	gboolean cancelled = FALSE;

	for (;;) {
		g_autoptr(JsonNode) info = lu_qmp_call(qmp, errp, "query-localhost-migrate", NULL);

		if (!info || is_over(info))
			return g_steal_pointer(&info);
		if (up->old)
			sample(up, info);
		if (!lu_left_ms(end_us)) {
			if (cancelled || !lu_qmp_do(qmp, errp, "localhost-migrate-cancel", NULL)) {
				lu_fail(errp, LU_ERROR_FAILED, "the handover does not end");
				return NULL;
			}
			cancelled = TRUE;
			end_us = lu_end_us(SETTLE_MS);
		}
		poll(NULL, 0, POLL_MS);
	}
}

static void note_figures(LuUpgrade *up, JsonNode *info)
{
	JsonNode *blocks = lu_json_member(info, "blocks");
	guint64 largest = 0, peak;
	const char *why_not_live;

	up->result->downtime_ms = lu_json_double(info, "downtime");
	for (guint i = 0; i < lu_json_length(blocks); i++) {
		JsonNode *block = lu_json_element(blocks, i);

		if ((guint64)lu_json_int(block, "size") <= largest)
			continue;
		largest = (guint64)lu_json_int(block, "size");
		g_free(up->result->way);
		up->result->way = g_strdup(lu_json_str(block, "way"));
	}
	why_not_live = lu_json_str(lu_json_member(info, "share"), "why-not-live");
	if (why_not_live)
		lu_note(up, g_strdup_printf("memory was shared while the guest was stopped: %s",
					    why_not_live));
	peak = up->new ? lu_cgroup_peak_bytes(up->new->pid) : 0;
	up->result->peak_of = peak ? "control group" : "resident";
	up->result->peak_bytes = peak ? peak : up->resident_peak;
}

/* ------------------------------------------------------------------ outcomes */

static gboolean status_is(LuQmp *qmp, const char *wanted, gint64 end_us, char **is)
{
	for (;;) {
		g_autoptr(JsonNode) reply = lu_qmp_call(qmp, NULL, "query-status", NULL);
		const char *status = lu_json_str(reply, "status");

		g_free(*is);
		*is = g_strdup(status ? status : "unknown");
		if (!strcmp(*is, wanted) || !reply)
			return reply != NULL;
		if (!lu_left_ms(end_us))
			return FALSE;
		poll(NULL, 0, POLL_MS);
	}
}

gboolean lu_check_not_lost(JsonNode *info, GError **errp)
{
	const char *why = lu_json_str(info, "error-desc");

	return g_strcmp0(lu_json_str(info, "owner"), "lost") ||
	       lu_fail(errp, LU_ERROR_LOST, "the guest is lost: %s", why ? why : "");
}

/* The guest must be as it was, in the old process. */
static gboolean verify_kept(LuUpgrade *up, JsonNode *info, GError **errp)
{
	const char *why = lu_json_str(info, "error-desc");
	g_autofree char *status = NULL;

	if (!lu_check_not_lost(info, errp))
		return FALSE;
	if (!why)
		why = "the handover was cancelled (--deadline)";
	if (!status_is(up->old_qmp, up->journal->status, lu_end_us(SETTLE_MS), &status))
		return lu_fail(errp, LU_ERROR_FAILED, "%s; the guest was %s and is %s", why,
			       up->journal->status, status);
	return lu_fail(errp, has_stage(info, "stop") ? LU_ERROR_FAILED : LU_ERROR_REFUSED, "%s",
		       why);
}

/* @rehearsal: one that is completed is a success, too, and the guest is where it was. */
static gboolean follow_to_end(LuUpgrade *up, gboolean rehearsal, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = follow(up, up->old_qmp, &error);
	const char *owner = lu_json_str(info, "owner");
	g_autofree char *status = NULL;

	if (!info) {
		if (lu_process_wait_exit(up->old, lu_end_us(1000)))
			return lu_follow_new(up, errp);
		/* Nothing is killed that might hold the guest. */
		return lu_fail(errp, LU_ERROR_LOST,
			       "it cannot be told where the guest is: %s; run this again",
			       error->message);
	}
	if (!lu_is_of_this(up, info))
		return lu_fail(errp, LU_ERROR_REFUSED, "QEMU %d did not begin the handover",
			       (int)up->journal->old_pid);
	if (!g_strcmp0(owner, "destination")) {
		note_figures(up, info);
		return TRUE;
	}
	if (rehearsal && !g_strcmp0(lu_json_str(info, "status"), "completed")) {
		note_figures(up, info);
		return status_is(up->old_qmp, up->journal->status, lu_end_us(SETTLE_MS), &status) ||
		       lu_fail(errp, LU_ERROR_FAILED, "after the rehearsal the guest is %s",
			       status);
	}
	return verify_kept(up, info, errp);
}

gboolean lu_follow(LuUpgrade *up, GError **errp)
{
	return follow_to_end(up, FALSE, errp);
}

gboolean lu_follow_new(LuUpgrade *up, GError **errp)
{
	g_autoptr(JsonNode) info = NULL;
	gint64 end_us = lu_end_us(SETTLE_MS);

	while (up->new_qmp && lu_left_ms(end_us)) {
		g_clear_pointer(&info, json_node_unref);
		info = lu_qmp_call(up->new_qmp, NULL, "query-localhost-migrate", NULL);
		if (!info || is_over(info) || !g_strcmp0(lu_json_str(info, "status"), "setup"))
			break;
		poll(NULL, 0, POLL_MS);
	}
	if (!info && lu_process_alive(up->new))
		return lu_fail(errp, LU_ERROR_LOST,
			       "it cannot be told where the guest is: QEMU %d has ended and the "
			       "monitor of %d does not answer; run this again",
			       (int)up->journal->old_pid, (int)up->journal->new_pid);
	if (!g_strcmp0(lu_json_str(info, "status"), "completed") &&
	    !g_strcmp0(lu_json_str(info, "owner"), "destination")) {
		note_figures(up, info);
		return TRUE;
	}
	return lu_fail(errp, LU_ERROR_LOST,
		       "the guest is lost: QEMU %d ended before the new process had it",
		       (int)up->journal->old_pid);
}

gboolean lu_step_handover(LuUpgrade *up, GError **errp)
{
	g_autoptr(GError) error = NULL;

	lu_threads_copy(up);
	if (!ask(up, &error) && error->domain == LU_QMP_ERROR)
		return lu_fail(errp, LU_ERROR_REFUSED, "the plugin in process %d refuses: %s",
			       (int)up->old->pid, error->message);
	if (error) /* QEMU may do what it did not answer in time */
		lu_note(up, g_strdup(error->message));
	lu_fault("begun", NULL); /* it cannot fail here, only be killed */
	return follow_to_end(up, up->request->rehearse, errp);
}
