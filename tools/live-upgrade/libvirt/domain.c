// SPDX-License-Identifier: GPL-2.0-or-later
#include "domain.h"
#include "copy-disk.h"
#include "error.h"
#include "lu-libvirt.h"
#include "plan.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libvirt/libvirt.h>

#define TITLE "libvirt domain "
/* What domains are started from. */
#define CONFIG "/etc/libvirt/qemu"

const char *lu_domain_name_of(const char *title)
{
	return g_str_has_prefix(title, TITLE) ? title + strlen(TITLE) : title;
}

static const char *state_name(int state)
{
	static const char *const names[] = {
		[VIR_DOMAIN_NOSTATE] = "in no state",
		[VIR_DOMAIN_RUNNING] = "running",
		[VIR_DOMAIN_BLOCKED] = "blocked",
		[VIR_DOMAIN_PAUSED] = "paused",
		[VIR_DOMAIN_SHUTDOWN] = "being shut down",
		[VIR_DOMAIN_SHUTOFF] = "shut off",
		[VIR_DOMAIN_CRASHED] = "crashed",
		[VIR_DOMAIN_PMSUSPENDED] = "suspended by its guest",
	};

	return state >= 0 && state < (int)G_N_ELEMENTS(names) ? names[state] : "in a state unknown";
}

/* NULL: a pause that outlasts another process. */
static const char *pause_refusal(int reason)
{
	static const char *const reasons[] = {
		[VIR_DOMAIN_PAUSED_MIGRATION] = "for a migration",
		[VIR_DOMAIN_PAUSED_SAVE] = "to be saved",
		[VIR_DOMAIN_PAUSED_DUMP] = "to be dumped",
		[VIR_DOMAIN_PAUSED_IOERROR] = "for an I/O error of a disk",
		[VIR_DOMAIN_PAUSED_WATCHDOG] = "by its watchdog",
		[VIR_DOMAIN_PAUSED_SHUTTING_DOWN] = "to be shut down",
		[VIR_DOMAIN_PAUSED_SNAPSHOT] = "for a snapshot",
		[VIR_DOMAIN_PAUSED_CRASHED] = "because its guest crashed",
		[VIR_DOMAIN_PAUSED_STARTING_UP] = "while it starts",
		[VIR_DOMAIN_PAUSED_POSTCOPY] = "for a post-copy migration",
		[VIR_DOMAIN_PAUSED_POSTCOPY_FAILED] = "by a post-copy migration that failed",
	};

	return reason >= 0 && reason < (int)G_N_ELEMENTS(reasons) ? reasons[reason] : NULL;
}

static gboolean check_state(const char *name, JsonNode *facts, GError **errp)
{
	int state = (int)lu_json_int(facts, "state"), job = (int)lu_json_int(facts, "job");
	const char *refusal = pause_refusal((int)lu_json_int(facts, "reason"));

	if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED)
		return lu_fail(errp, LU_ERROR_REFUSED, "libvirt domain %s is %s, not running", name,
			       state_name(state));
	if (state == VIR_DOMAIN_PAUSED && refusal)
		return lu_fail(errp, LU_ERROR_REFUSED, "libvirt domain %s is paused %s", name,
			       refusal);
	if (job != VIR_DOMAIN_JOB_NONE)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "libvirt domain %s has an active job (virsh domjobinfo)", name);
	return TRUE;
}

static gboolean read_status(LuDomain *domain, GError **errp)
{
	g_autoptr(LuStatus) status = lu_status_load(domain->status_file, errp);
	g_autofree char *uuid = NULL;

	if (!status)
		return FALSE;
	uuid = lu_status_uuid(status);
	if (g_strcmp0(uuid, domain->uuid))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s is of UUID %s, and domain %s is %s",
			       domain->status_file, uuid, domain->name, domain->uuid);
	domain->pid = lu_status_pid(status);
	domain->monitor = lu_status_monitor(status);
	domain->last_node = lu_status_last_node(status);
	return lu_status_check(status, domain->name, errp);
}

/* --------------------------------------------------------------------- records */

/* The file of the process id is libvirt's own; QEMU was not told to write it. */
static gboolean write_pid(const char *path, pid_t pid, GError **errp)
{
	g_autofree char *text = g_strdup_printf("%d", (int)pid);
	g_autoptr(GError) error = NULL;

	if (!g_file_set_contents_full(path, text, -1,
				      G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
				      0644, &error))
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", error->message);
	return TRUE;
}

enum { FIRST_STATUS, FIRST_PID, LAST_STATUS, FIRST_CONFIG };

static GPtrArray *make_records(const LuDomain *domain)
{
	GPtrArray *records = lu_paths_new();
	g_autofree char *pid_file = g_strdup_printf(LU_LIBVIRT_STATE "/%s.pid", domain->name);
	g_autofree char *first = g_strconcat(domain->status_file, ".lu1", NULL);
	g_autofree char *last = g_strconcat(domain->status_file, ".lu2", NULL);
	g_autofree char *pid = g_strconcat(pid_file, ".lu1", NULL);

	lu_paths_add(records, "first", domain->status_file, first);
	lu_paths_add(records, "first", pid_file, pid);
	lu_paths_add(records, "last", domain->status_file, last);
	return records;
}

/* It may have none: a transient domain is not started again. */
static void add_config(LuDomain *domain)
{
	g_autofree char *path = g_strdup_printf(CONFIG "/%s.xml", domain->name);
	g_autofree char *first = g_strconcat(path, ".lu1", NULL);

	if (!access(path, F_OK))
		lu_paths_add(domain->manager.records, "first", path, first);
}

static const char *temporary(const LuDomain *domain, guint i)
{
	return ((const LuPath *)domain->manager.records->pdata[i])->temporary;
}

static gboolean move_disks(LuDomain *domain, LuStatus *status, GPtrArray *disks, GError **errp)
{
	const LuPath *config = domain->manager.records->len > FIRST_CONFIG
				       ? domain->manager.records->pdata[FIRST_CONFIG]
				       : NULL;

	if (!disks)
		return TRUE;
	if (config && !lu_status_move_config(status, disks, config->path, config->temporary, errp))
		return FALSE;
	return lu_status_move_disks(status, disks, errp);
}

static gboolean stage(void *opaque, const LuSuccession *succession, GError **errp)
{
	LuDomain *domain = opaque;
	g_autoptr(LuStatus) status = lu_status_load(domain->status_file, errp);
	g_autofree char *monitor = status ? lu_status_monitor(status) : NULL;

	if (!status)
		return FALSE;
	if (lu_status_pid(status) != domain->pid)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "libvirt domain %s was process %d and is %d now", domain->name,
			       (int)domain->pid, (int)lu_status_pid(status));
	if (g_strcmp0(monitor, succession->qmp_path))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "libvirt's monitor of domain %s is at %s, QEMU's is at %s",
			       domain->name, monitor, succession->qmp_path);
	if (!lu_status_check(status, domain->name, errp) ||
	    !lu_status_succeed(status, succession, domain->capabilities, errp) ||
	    !move_disks(domain, status, succession->disks, errp) ||
	    !lu_status_write(status, temporary(domain, LAST_STATUS), errp))
		return FALSE;
	lu_status_set_monitor(status, succession->qmp_temporary);
	return lu_status_write(status, temporary(domain, FIRST_STATUS), errp) &&
	       write_pid(temporary(domain, FIRST_PID), succession->new->pid, errp);
}

void lu_domain_refresh_records(GPtrArray *records)
{
	const LuPath *first = records->len > LAST_STATUS ? records->pdata[FIRST_STATUS] : NULL;
	const LuPath *last = first ? records->pdata[LAST_STATUS] : NULL;
	g_autoptr(LuStatus) now = NULL, staged = NULL;
	g_autofree char *monitor = NULL;

	if (!first || !access(first->temporary, F_OK))
		return; /* not renamed: what is there is of the old process */
	staged = lu_status_load(last->temporary, NULL);
	now = lu_status_load(last->path, NULL);
	monitor = staged ? lu_status_monitor(staged) : NULL;
	if (!now || !monitor || lu_status_pid(now) != lu_status_pid(staged))
		return;
	lu_status_set_monitor(now, monitor);
	lu_status_write(now, last->temporary, NULL);
}

/* ------------------------------------------------------------------------ life */

static JsonNode *select_domain(LuRelay *relay, const char *name, GError **errp)
{
	JsonNode *facts =
		lu_qmp_call(lu_relay_qmp(relay), errp, "libvirt-select", "{'domain': %s}", name);

	if (!facts && errp && *errp) {
		g_autoptr(GError) error = g_steal_pointer(errp);
		const char *text = error->message;

		if (g_str_has_prefix(text, "libvirt-select: "))
			text += strlen("libvirt-select: ");
		lu_fail(errp, LU_ERROR_REFUSED, "%s", text);
	}
	return facts;
}

LuDomain *lu_domain_open(const char *uri, const char *name, GError **errp)
{
	g_autoptr(LuDomain) domain = g_new0(LuDomain, 1);
	g_autoptr(JsonNode) facts = NULL;

	domain->relay = lu_relay_open(uri, errp);
	facts = domain->relay ? select_domain(domain->relay, name, errp) : NULL;
	if (!facts)
		return NULL;
	domain->name = g_strdup(lu_json_str(facts, "name"));
	domain->uuid = g_strdup(lu_json_str(facts, "uuid"));
	domain->title = g_strconcat(TITLE, domain->name, NULL);
	domain->id = (int)lu_json_int(facts, "id");
	domain->status_file = g_strdup_printf(LU_LIBVIRT_STATE "/%s.xml", domain->name);
	if (!check_state(domain->name, facts, errp) || !read_status(domain, errp))
		return NULL;
	domain->manager = (LuManager){.name = domain->title,
				      .id = domain->uuid,
				      .qmp = lu_relay_qmp(domain->relay),
				      .qmp_path = domain->monitor,
				      .records = make_records(domain),
				      .stage = stage,
				      .opaque = domain};
	return g_steal_pointer(&domain);
}

void lu_domain_free(LuDomain *domain)
{
	if (!domain)
		return;
	lu_relay_free(domain->relay);
	g_clear_pointer(&domain->manager.records, g_ptr_array_unref);
	g_clear_pointer(&domain->capabilities, g_hash_table_unref);
	g_free(domain->name);
	g_free(domain->uuid);
	g_free(domain->title);
	g_free(domain->status_file);
	g_free(domain->monitor);
	g_free(domain);
}

/* A disk may be called as libvirt calls it, by its target. */
GPtrArray *lu_domain_disk_moves(LuDomain *domain, GPtrArray *asked, GError **errp)
{
	g_autoptr(LuStatus) status = lu_status_load(domain->status_file, errp);
	g_autoptr(GPtrArray) moves = lu_disk_moves_new();

	if (!status)
		return NULL;
	for (guint i = 0; i < asked->len; i++) {
		const LuDiskMove *move = asked->pdata[i];
		g_autofree char *alias = lu_status_disk_alias(status, move->disk);

		if (!lu_copy_is_libvirts(move))
			lu_disk_moves_add(moves, alias ? alias : move->disk, move);
		else if (!lu_copy_check(domain->manager.qmp, move, domain->name, alias, errp))
			return NULL;
	}
	domain->manager.next_node = domain->last_node + 1;
	if (moves->len)
		add_config(domain);
	return g_steal_pointer(&moves);
}

/* A daemon that cannot tell leaves the capabilities as they were. */
void lu_domain_probe(LuDomain *domain, const char *program)
{
	if (lu_qmp_do(lu_relay_qmp(domain->relay), NULL, "libvirt-probe", "{'emulator': %s}",
		      program))
		domain->capabilities = lu_status_capabilities_of(program);
}

void lu_domain_end_loan(LuDomain *domain)
{
	g_clear_pointer(&domain->relay, lu_relay_free);
	domain->manager.qmp = NULL;
}

gboolean lu_domain_verify(const LuDomain *domain, LuRelay *relay, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) before = select_domain(relay, domain->uuid, &error), facts = NULL;
	g_autoptr(JsonNode) status = NULL;
	int state, wanted;

	if (!before)
		return lu_fail(errp, LU_ERROR_MANAGER, "libvirt came back without domain %s: %s",
			       domain->name, error->message);
	/* Also waits until libvirt has its monitor again, and has looked at the domain. */
	status = lu_qmp_call(lu_relay_qmp(relay), &error, "query-status", NULL);
	facts = status ? select_domain(relay, domain->uuid, &error) : NULL;
	if (!facts)
		return lu_fail(errp, LU_ERROR_MANAGER,
			       "libvirt came back and does not reach domain %s: %s", domain->name,
			       error->message);
	state = (int)lu_json_int(facts, "state");
	wanted = lu_json_bool(status, "running") ? VIR_DOMAIN_RUNNING : VIR_DOMAIN_PAUSED;
	if (lu_json_int(facts, "id") != domain->id || state != wanted)
		return lu_fail(errp, LU_ERROR_MANAGER,
			       "libvirt came back with domain %s as id %d, %s; it is %d, %s",
			       domain->name, (int)lu_json_int(facts, "id"), state_name(state),
			       domain->id, state_name(wanted));
	return TRUE;
}
