// SPDX-License-Identifier: GPL-2.0-or-later
/* QMP: the commands of the schema; commands without a row in its table do not exist. */
#include <string.h>

#include "local/userfault.h"
#include "operation.h"
#include "qmp-check.h"
#include "qmp-disks.h"
#include "qmp.h"
#include "vhost-user.h"

static bool attached;

static const LmQapiCommand *find_command(const char *name)
{
	for (size_t i = 0; i < lm_qapi_n_commands; i++)
		if (!strcmp(lm_qapi_commands[i].name, name))
			return &lm_qapi_commands[i];
	g_assert_not_reached();
}

static bool check_arguments(const char *name, const QDict *arguments, Error **errp)
{
	const LmQapiCommand *command = find_command(name);

	return lm_qmp_check(command->args, command->n_args, arguments, "", errp);
}

/* An optional number in its range; *@value is left alone where it is absent. */
static bool get_size(const QDict *arguments, const char *name, gint64 max, guint64 *value,
		     Error **errp)
{
	gint64 number;

	if (!qemu.qdict_haskey(arguments, name))
		return true;
	number = qemu.qdict_get_try_int(arguments, name, 0);
	if (number < 1 || number > max) {
		lm_error_setg(errp,
			      "Parameter '%s' is %" G_GINT64_FORMAT
			      ", expects 1 to %" G_GINT64_FORMAT,
			      name, number, max);
		return false;
	}
	*value = number;
	return true;
}

static bool get_number(const QDict *arguments, const char *name, gint64 max, guint *value,
		       Error **errp)
{
	guint64 number = *value;

	if (!get_size(arguments, name, max, &number, errp))
		return false;
	*value = number;
	return true;
}

/* It stays with this process, whatever comes of the command. */
static bool take_userfaultfd(const char *name, Error **errp)
{
	g_autoptr(GError) error = NULL;
	int fd;

	if (!name)
		return true;
	fd = qemu.monitor_get_fd(qemu.monitor_cur(), name, errp);
	if (fd < 0)
		return false;
	if (lm_userfault_lend(fd, &error) == 0)
		return true;
	lm_error_setg(errp, "Parameter 'userfaultfd': %s: %s", name, error->message);
	return false;
}

static void qmp_localhost_migrate(QDict *arguments, QObject **ret, Error **errp)
{
	LmOptions options = lm_default_options;
	g_autoptr(GPtrArray) disks = NULL;
	const char *ram;

	if (!check_arguments("localhost-migrate", arguments, errp) ||
	    !get_number(arguments, "channels", LM_CHANNELS_MAX, &options.channels, errp) ||
	    !get_number(arguments, "deadline-ms", LM_DEADLINE_MS_MAX, &options.deadline_ms, errp) ||
	    !get_number(arguments, "max-stall-us", LM_STALL_US_MAX, &options.max_stall_us, errp) ||
	    !get_size(arguments, "bandwidth", G_MAXINT64, &options.bandwidth, errp))
		return;
	ram = qemu.qdict_get_try_str(arguments, "ram");
	options.ram = ram && !strcmp(ram, "share") ? LM_WAY_SHARE : LM_WAY_FLIP;
	options.live = qemu.qdict_get_try_bool(arguments, "live", true);
	options.rehearse = qemu.qdict_get_try_bool(arguments, "rehearse", false);
	if (!take_userfaultfd(qemu.qdict_get_try_str(arguments, "userfaultfd"), errp))
		return;
	if (!lm_qmp_get_disks(arguments, &disks, errp))
		return;
	lm_outgoing_start(qemu.qdict_get_try_str(arguments, "uri"), &options, disks, errp);
}

static void qmp_localhost_migrate_incoming(QDict *arguments, QObject **ret, Error **errp)
{
	if (check_arguments("localhost-migrate-incoming", arguments, errp))
		lm_incoming_start(qemu.qdict_get_try_str(arguments, "uri"), errp);
}

static void qmp_localhost_migrate_cancel(QDict *arguments, QObject **ret, Error **errp)
{
	if (check_arguments("localhost-migrate-cancel", arguments, errp))
		lm_operation_cancel();
}

static void qmp_lend_vhost_user(QDict *arguments, QObject **ret, Error **errp)
{
	g_autoptr(GError) error = NULL;
	gint64 fd;

	if (!check_arguments("x-localhost-migrate-lend-vhost-user", arguments, errp))
		return;
	fd = qemu.qdict_get_try_int(arguments, "fd", -1);
	if (fd < 0 || fd > G_MAXINT)
		lm_error_setg(errp, "Parameter 'fd' is %" G_GINT64_FORMAT, fd);
	else if (lm_vhost_user_lend((int)fd, qemu.qdict_get_try_str(arguments, "path"), &error) < 0)
		lm_error_setg(errp, "%s", error->message);
}

/* ------------------------------------------------------------------- report */

static void put_size(QDict *dict, const char *key, guint64 bytes)
{
	qemu.qdict_put_int(dict, key, bytes);
}

static void put_ms(QDict *dict, const char *key, gint64 us)
{
	qemu.qdict_put_obj(dict, key, (QObject *)qemu.qnum_from_double(us / 1000.0));
}

static QList *stage_list(const LmStatus *status)
{
	QList *list = qemu.qlist_new();

	for (guint i = 0; i < LM_STAGE__MAX; i++) {
		QDict *stage;

		if (status->stage_us[i] < 0)
			continue;
		stage = qemu.qdict_new();
		qemu.qdict_put_str(stage, "name", lm_stage_name(i));
		put_ms(stage, "milliseconds", status->stage_us[i]);
		qemu.qlist_append_obj(list, (QObject *)stage);
	}
	return list;
}

static QList *pause_list(const LmStatus *status)
{
	QList *list = qemu.qlist_new();

	for (guint i = 0; i < LM_PAUSE__MAX; i++) {
		QDict *part;

		if (status->pause_us[i] < 0)
			continue;
		part = qemu.qdict_new();
		qemu.qdict_put_str(part, "name", lm_pause_name(i));
		put_ms(part, "milliseconds", status->pause_us[i]);
		qemu.qlist_append_obj(list, (QObject *)part);
	}
	return list;
}

static void put_bool(QDict *dict, const char *key, bool value)
{
	qemu.qdict_put_obj(dict, key, (QObject *)qemu.qbool_from_bool(value));
}

static QDict *share_dict(const LmShareStatus *share)
{
	QDict *dict = qemu.qdict_new();

	put_bool(dict, "live", share->live);
	if (share->why_not_live)
		qemu.qdict_put_str(dict, "why-not-live", share->why_not_live);
	put_size(dict, "shared", share->shared_bytes);
	put_size(dict, "holes", share->hole_bytes);
	put_size(dict, "huge", share->huge_bytes);
	put_size(dict, "left", share->private_bytes);
	put_size(dict, "chunks", share->chunks);
	put_size(dict, "median-us", share->median_us);
	put_size(dict, "p99-us", share->p99_us);
	put_size(dict, "max-us", share->max_us);
	return dict;
}

static QList *block_list(const LmStatus *status)
{
	QList *list = qemu.qlist_new();

	for (guint i = 0; i < status->regions->len; i++) {
		const LmRegionStatus *region = g_ptr_array_index(status->regions, i);
		QDict *block = qemu.qdict_new();

		qemu.qdict_put_str(block, "name", region->name);
		qemu.qdict_put_str(block, "way", lm_way_name(region->way));
		put_size(block, "size", region->used_bytes);
		put_size(block, "flipped", region->moved_bytes);
		put_size(block, "skipped", region->skipped_bytes);
		qemu.qlist_append_obj(list, (QObject *)block);
	}
	return list;
}

static void put_transport(QDict *info, const LmStatus *status)
{
	if (status->channels) {
		qemu.qdict_put_int(info, "channels", status->channels);
		qemu.qdict_put_str(info, "engine", lm_engine_name(status->engine));
		put_bool(info, "io-uring", status->io_uring);
	}
	if (status->peer_pid)
		qemu.qdict_put_int(info, "peer-pid", status->peer_pid);
	if (status->peer_version)
		qemu.qdict_put_str(info, "peer-version", status->peer_version);
}

static void put_status(QDict *info, const LmReport *report)
{
	const LmStatus *status = &report->status;

	qemu.qdict_put_str(info, "role", status->role == LM_ROLE_SOURCE ? "source" : "destination");
	qemu.qdict_put_str(info, "owner", report->owner);
	put_bool(info, "rehearsal", status->rehearsal);
	qemu.qdict_put_obj(info, "stages", (QObject *)stage_list(status));
	if (status->downtime_us >= 0)
		qemu.qdict_put_obj(info, "pause", (QObject *)pause_list(status));
	if (status->share.asked)
		qemu.qdict_put_obj(info, "share", (QObject *)share_dict(&status->share));
	if (status->regions->len)
		qemu.qdict_put_obj(info, "blocks", (QObject *)block_list(status));
	put_size(info, "populated", status->populated_bytes);
	put_size(info, "flipped", status->flipped_bytes);
	put_size(info, "returned", status->returned_bytes);
	put_size(info, "skipped", status->skipped_bytes);
	put_size(info, "lost", status->lost_bytes);
	put_size(info, "device-state", status->device_state_bytes);
	put_transport(info, status);
	if (status->downtime_us >= 0)
		put_ms(info, "downtime", status->downtime_us);
	put_ms(info, "total-time", status->total_us);
	lm_qmp_put_disks(info);
	if (status->error)
		qemu.qdict_put_str(info, "error-desc", status->error);
}

static void qmp_query_localhost_migrate(QDict *arguments, QObject **ret, Error **errp)
{
	LmReport report = {0};
	gboolean any;
	QDict *info;

	if (!check_arguments("query-localhost-migrate", arguments, errp))
		return;
	any = lm_operation_report(&report);
	info = qemu.qdict_new();
	qemu.qdict_put_str(info, "status",
			   lm_state_name(any ? report.status.state : LM_STATE_NONE));
	if (attached)
		put_bool(info, "attached", true);
	if (any) {
		put_status(info, &report);
		lm_status_clear(&report.status);
	}
	*ret = (QObject *)info;
}

void lm_qmp_set_attached(void)
{
	attached = true;
}

void lm_qmp_register(void)
{
	static const struct {
		const char *name;
		QmpHandler *handler;
	} handlers[] = {
		{"localhost-migrate", qmp_localhost_migrate},
		{"localhost-migrate-incoming", qmp_localhost_migrate_incoming},
		{"query-localhost-migrate", qmp_query_localhost_migrate},
		{"localhost-migrate-cancel", qmp_localhost_migrate_cancel},
		{"x-localhost-migrate-lend-vhost-user", qmp_lend_vhost_user},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(handlers); i++) {
		find_command(handlers[i].name); /* it is in the schema */
		qemu.qmp_register_command(qemu.qmp_commands, handlers[i].name, handlers[i].handler,
					  0, 0);
	}
}
