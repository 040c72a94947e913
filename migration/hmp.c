// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The human monitor: localhost_migrate and info localhost_migrate.
 *
 * QEMU's table of commands cannot grow. The row of an experimental command that nobody can use
 * without COLO is taken over; the row "info" points to a table of its own, which is replaced by a
 * longer copy. Both are changes of data, no code is patched. What is found is checked first: the
 * row, its neighbours and the table's end must look as they do in the tested versions.
 */
#include <dlfcn.h>
#include <string.h>

#include "hmp.h"
#include "disks.h"
#include "operation.h"
#include "qemu.h"

/*
 * HMPCommand of monitor/monitor-internal.h, of one size in all versions. Its tail is
 *   up to 10.2  coroutine, sub_table, command_completion
 *   11.1        sub_table, command_completion, a mask of architectures (0: all)
 */
typedef struct HMPCommand {
	const char *name;
	const char *args_type;
	const char *params;
	const char *help;
	const char *flags;
	void (*cmd)(Monitor *mon, const QDict *qdict);
	void *cmd_info_hrt;
	void *tail[3];
} HMPCommand;

#define ROWS_MAX 1000

static HMPCommand *table;
static const char *cont_refusal;
static struct {
	Monitor *monitor; /* waits for the operation's end */
	guint timer;
} waiting;

/* ------------------------------------------------------------------- output */

static double mib(guint64 bytes)
{
	return bytes / 1048576.0;
}

static void print_blocks(Monitor *mon, const LmStatus *status)
{
	for (guint i = 0; i < status->regions->len; i++) {
		const LmRegionStatus *region = g_ptr_array_index(status->regions, i);

		qemu.monitor_printf(mon, "block %s: %s, %.1f MiB, flipped %.1f, skipped %.1f\n",
				    region->name, lm_way_name(region->way), mib(region->used_bytes),
				    mib(region->moved_bytes), mib(region->skipped_bytes));
	}
}

static void print_share(Monitor *mon, const LmShareStatus *share)
{
	qemu.monitor_printf(mon, "shared %s: %.1f MiB, %.1f in huge pages, %.1f never touched\n",
			    share->live ? "live" : "while stopped", mib(share->shared_bytes),
			    mib(share->huge_bytes), mib(share->hole_bytes));
	if (share->why_not_live)
		qemu.monitor_printf(mon, "not live: %s\n", share->why_not_live);
	if (share->private_bytes)
		qemu.monitor_printf(mon, "left for the stop: %.1f MiB\n",
				    mib(share->private_bytes));
	if (share->chunks)
		qemu.monitor_printf(mon,
				    "chunks: %" G_GUINT64_FORMAT
				    ", out of reach for %.1f ms (median), %.1f ms (99 in 100), "
				    "%.1f ms (longest)\n",
				    share->chunks, share->median_us / 1000.0,
				    share->p99_us / 1000.0, share->max_us / 1000.0);
}

static void print_downtime(Monitor *mon, const LmStatus *status)
{
	qemu.monitor_printf(mon, "downtime: %.1f ms", status->downtime_us / 1000.0);
	for (guint i = 0; i < LM_PAUSE__MAX; i++)
		if (status->pause_us[i] >= 0)
			qemu.monitor_printf(mon, ", %s %.1f", lm_pause_name(i),
					    status->pause_us[i] / 1000.0);
	qemu.monitor_printf(mon, "\n");
}

static void print_disks(Monitor *mon)
{
	for (guint i = 0; i < lm_disks_count(); i++) {
		const LmMoveStatus *disk = lm_disks_status(i);

		qemu.monitor_printf(mon, "disk %s to %s: %s, %.1f of %.1f MiB%s%s\n", disk->device,
				    disk->file, lm_move_state_name(disk->state),
				    mib(disk->done_bytes), mib(disk->total_bytes),
				    disk->error ? ": " : "", disk->error ? disk->error : "");
	}
}

static void print_report(Monitor *mon, const LmReport *report)
{
	const LmStatus *status = &report->status;

	qemu.monitor_printf(
		mon, "status: %s\nrole: %s\nthe VM is in: %s\n", lm_state_name(status->state),
		status->role == LM_ROLE_SOURCE ? "source" : "destination", report->owner);
	if (status->error)
		qemu.monitor_printf(mon, "error: %s\n", status->error);
	if (status->peer_version)
		qemu.monitor_printf(mon, "peer: process %d, QEMU %s\n", status->peer_pid,
				    status->peer_version);
	if (status->channels)
		qemu.monitor_printf(mon, "transport: %u channels, %s%s\n", status->channels,
				    lm_engine_name(status->engine),
				    status->io_uring ? ", io_uring" : "");
	for (guint i = 0; i < LM_STAGE__MAX; i++)
		if (status->stage_us[i] >= 0)
			qemu.monitor_printf(mon, "stage %s: %.1f ms\n", lm_stage_name(i),
					    status->stage_us[i] / 1000.0);
	if (status->share.asked)
		print_share(mon, &status->share);
	print_blocks(mon, status);
	qemu.monitor_printf(mon, "flipped: %.1f MiB\nskipped: %.1f MiB\n",
			    mib(status->flipped_bytes), mib(status->skipped_bytes));
	if (status->downtime_us >= 0)
		print_downtime(mon, status);
	print_disks(mon);
	qemu.monitor_printf(mon, "total time: %.1f ms\n", status->total_us / 1000.0);
}

static void hmp_info_localhost_migrate(Monitor *mon, const QDict *qdict)
{
	LmReport report = {0};

	if (!lm_operation_report(&report)) {
		qemu.monitor_printf(mon, "status: none\n");
		return;
	}
	print_report(mon, &report);
	lm_status_clear(&report.status);
}

/* ------------------------------------------------------------------ waiting */

static gboolean print_progress(gpointer data)
{
	LmReport report = {0};
	const LmStatus *status = &report.status;

	lm_operation_report(&report);
	qemu.monitor_printf(waiting.monitor, "localhost_migrate: %s, %s, ",
			    lm_state_name(status->state), lm_stage_name(status->stage));
	if (status->share.asked)
		qemu.monitor_printf(waiting.monitor, "%.0f MiB shared\r",
				    mib(status->share.shared_bytes));
	else
		qemu.monitor_printf(waiting.monitor, "%.0f of %.0f MiB\r",
				    mib(status->flipped_bytes), mib(status->populated_bytes));
	lm_status_clear(&report.status);
	return G_SOURCE_CONTINUE;
}

void lm_hmp_operation_ended(void)
{
	Monitor *mon = waiting.monitor;
	LmReport report = {0};

	if (!mon)
		return;
	print_progress(NULL);
	g_source_remove(waiting.timer);
	waiting.monitor = NULL;
	lm_operation_report(&report);
	if (report.status.state == LM_STATE_COMPLETED)
		qemu.monitor_printf(mon, "\n%s: stopped for %.1f ms\n",
				    report.status.rehearsal ? "rehearsed" : "completed",
				    report.status.downtime_us / 1000.0);
	else
		qemu.monitor_printf(mon, "\n%s%s%s\n", lm_state_name(report.status.state),
				    report.status.error ? ": " : "",
				    report.status.error ? report.status.error : "");
	lm_status_clear(&report.status);
	qemu.monitor_resume(mon);
}

static void hmp_localhost_migrate(Monitor *mon, const QDict *qdict)
{
	LmOptions options = lm_default_options;
	Error *error = NULL;

	options.rehearse = qemu.qdict_get_try_bool(qdict, "rehearse", false);
	options.live = qemu.qdict_get_try_bool(qdict, "live", false) || options.rehearse;
	options.ram = options.live ? LM_WAY_SHARE : LM_WAY_FLIP;
	if (!lm_outgoing_start(qemu.qdict_get_try_str(qdict, "uri"), &options, NULL, &error)) {
		qemu.monitor_printf(mon, "Error: %s\n", qemu.error_get_pretty(error));
		qemu.error_free(error);
		return;
	}
	if (qemu.qdict_get_try_bool(qdict, "detach", false))
		return;
	if (waiting.monitor || qemu.monitor_suspend(mon) < 0) {
		qemu.monitor_printf(mon, "terminal does not allow synchronous migration, "
					 "continuing detached\n");
		return;
	}
	waiting.monitor = mon;
	waiting.timer = g_timeout_add(200, print_progress, NULL);
}

/* ------------------------------------------------------------------- tables */

static size_t count_rows(const HMPCommand *rows)
{
	size_t n = 0;

	while (n < ROWS_MAX && rows[n].name)
		n++;
	return n;
}

static HMPCommand *find_row(HMPCommand *rows, const char *name)
{
	for (; rows->name; rows++)
		if (!strcmp(rows->name, name))
			return rows;
	return NULL;
}

/* From 11.1 on: the table of commands, or that of what "info" takes. */
static HMPCommand *table_for_target(bool info)
{
	HMPCommand *(*for_target)(bool) = dlsym(RTLD_DEFAULT, "hmp_cmds_for_target");

	return for_target ? for_target(info) : NULL;
}

static HMPCommand *find_table(void)
{
	HMPCommand *rows = table_for_target(false);

	return rows ? rows : dlsym(RTLD_DEFAULT, "hmp_cmds");
}

static HMPCommand **sub_table(HMPCommand *row)
{
	return (HMPCommand **)&row->tail[table_for_target(true) ? 0 : 1];
}

/* A row is one if its strings read as such; a table of another layout would not get this far. */
static bool looks_right(const HMPCommand *row)
{
	return row && row->args_type && row->params && row->help && row->cmd;
}

/* The row that is taken over, or that an older build of this plugin has taken over. */
static HMPCommand *find_victim(HMPCommand *rows)
{
	HMPCommand *ours = find_row(rows, "localhost_migrate");
	HMPCommand *victim = find_row(rows, "x_colo_lost_heartbeat");

	if (ours)
		return looks_right(ours) ? ours : NULL;
	if (!looks_right(victim) || *victim->args_type || !strstr(victim->help, "COLO"))
		return NULL;
	return victim;
}

static HMPCommand *check_table(HMPCommand *rows)
{
	HMPCommand *victim, *info;
	size_t n = rows ? count_rows(rows) : 0;

	if (n < 50 || n == ROWS_MAX)
		return NULL;
	victim = find_victim(rows);
	info = find_row(rows, "info");
	if (!victim || *sub_table(victim))
		return NULL;
	if ((victim > rows && !looks_right(victim - 1)) || !looks_right(find_row(rows, "quit|q")))
		return NULL;
	if (!info || !*sub_table(info) || !looks_right(find_row(rows, "cont|c")))
		return NULL;
	if (table_for_target(true) && table_for_target(true) != *sub_table(info))
		return NULL;
	if (count_rows(*sub_table(info)) < 20)
		return NULL;
	return victim;
}

static void extend_info(HMPCommand *info)
{
	HMPCommand *row = find_row(*sub_table(info), "localhost_migrate");

	if (!row) { /* not even an older build's */
		size_t n = count_rows(*sub_table(info));
		HMPCommand *longer = g_new0(HMPCommand, n + 2);

		memcpy(longer, *sub_table(info), n * sizeof(*longer));
		row = &longer[n];
		*sub_table(info) = longer;
	}
	row->name = "localhost_migrate";
	row->args_type = row->params = "";
	row->help = "show the last migration to another QEMU on this host";
	row->cmd = hmp_info_localhost_migrate;
}

void lm_hmp_register(void)
{
	HMPCommand *rows = find_table();
	HMPCommand *row = check_table(rows);

	if (!row) {
		qemu.warn_report("localhost-migrate: the human monitor's table is not as "
				 "expected; localhost_migrate is there in QMP only");
		return;
	}
	table = rows;
	row->name = "localhost_migrate";
	row->args_type = "detach:-d,live:-l,rehearse:-r,uri:s";
	row->params = "[-d] [-l] [-r] uri";
	row->help = "migrate to another QEMU on this host, unix:PATH"
		    "\n\t\t\t -d to not wait for completion"
		    "\n\t\t\t -l to share the RAM first, while the guest runs"
		    "\n\t\t\t -r to rehearse: the guest stays, the other QEMU exits";
	row->cmd = hmp_localhost_migrate;
	extend_info(find_row(rows, "info"));
}

static void hmp_cont_refused(Monitor *mon, const QDict *qdict)
{
	qemu.monitor_printf(mon, "Error: %s\n", cont_refusal);
}

void lm_hmp_disable_cont(const char *why)
{
	HMPCommand *row = table ? find_row(table, "cont|c") : NULL;

	if (!row)
		return;
	cont_refusal = g_strdup(why);
	row->cmd = hmp_cont_refused;
}
