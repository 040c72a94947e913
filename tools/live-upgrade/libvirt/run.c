// SPDX-License-Identifier: GPL-2.0-or-later
/* Several domains in one go, and the daemon away once. */
#include "lu-libvirt.h"
#include "copy-disk.h"
#include "domain.h"
#include "error.h"
#include "link.h"
#include "running.h"
#include "steps.h"

#include <string.h>

#define DAEMON_S 30

void lu_libvirt_outcome_free(LuLibvirtOutcome *outcome)
{
	g_free(outcome->name);
	g_free(outcome->title);
	lu_result_clear(&outcome->result);
	g_clear_error(&outcome->error);
	g_free(outcome);
}

static LuLibvirtOutcome *new_outcome(const char *name, const LuRequest *request)
{
	LuLibvirtOutcome *outcome = g_new0(LuLibvirtOutcome, 1);

	outcome->name = g_strdup(name);
	outcome->request = *request;
	return outcome;
}

/* The same error for all that have none. */
static void fail_all(GPtrArray *outcomes, const GError *error)
{
	for (guint i = 0; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (!outcome->error)
			outcome->error = g_error_copy(error);
	}
}

/* What a run before this one left of the domain @i; TRUE: that was its upgrade. */
static gboolean adopt(GPtrArray *recovered, LuLibvirtOutcome *outcome)
{
	for (guint i = 0; i < recovered->len; i++) {
		LuLibvirtOutcome *other = recovered->pdata[i];

		if (strcmp(other->name, outcome->name) && g_strcmp0(other->title, outcome->name))
			continue;
		lu_result_clear(&outcome->result);
		outcome->result = other->result;
		memset(&other->result, 0, sizeof(other->result));
		outcome->error = g_steal_pointer(&other->error);
		outcome->is_done = TRUE;
		return TRUE;
	}
	return FALSE;
}

/* A guest that is lost is told of, though nobody named it; what was adopted has no error left. */
static void add_failed(GPtrArray *outcomes, GPtrArray *recovered)
{
	for (guint i = recovered->len; i-- > 0;) {
		LuLibvirtOutcome *outcome = recovered->pdata[i];

		if (!outcome->error)
			continue;
		outcome = g_ptr_array_steal_index(recovered, i);
		outcome->is_done = TRUE;
		if (outcome->title) {
			g_free(outcome->name);
			outcome->name = g_steal_pointer(&outcome->title);
		}
		g_ptr_array_add(outcomes, outcome);
	}
}

static gboolean recover(GPtrArray *outcomes, const LuRequest *request, GError **errp)
{
	g_autoptr(GPtrArray) recovered =
		g_ptr_array_new_with_free_func((GDestroyNotify)lu_libvirt_outcome_free);
	gboolean ok;

	if (!lu_libvirt_is_interrupted())
		return TRUE;
	if (request->dry_run)
		return lu_fail(
			errp, LU_ERROR_REFUSED,
			"a run under libvirt was interrupted; one without --dry-run finishes "
			"it or takes it back");
	ok = lu_libvirt_recover(request, recovered, errp);
	for (guint i = 0; i < outcomes->len; i++)
		adopt(recovered, outcomes->pdata[i]);
	add_failed(outcomes, recovered);
	return ok;
}

/* How many wait for their guests now. */
static guint begin_all(LuLibvirt *libvirt, GPtrArray *outcomes, LuUpgrade **ups,
		       void (*begin)(void *opaque, const char *domain), void *opaque)
{
	guint count = 0;

	for (guint i = 0; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (outcome->is_done)
			continue;
		if (begin)
			begin(opaque, outcome->name);
		ups[i] = lu_libvirt_begin(libvirt, outcome->name, &outcome->request,
					  &outcome->result, &outcome->error);
		count += ups[i] != NULL;
	}
	return count;
}

static void abandon_all(GPtrArray *outcomes, LuUpgrade **ups, guint from, const char *why)
{
	for (guint i = from; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (!ups[i])
			continue;
		lu_upgrade_abandon(g_steal_pointer(&ups[i]));
		lu_fail(&outcome->error, LU_ERROR_REFUSED, "%s", why);
	}
}

/* One that failed may tell of what would befall the others. */
static void end_all(GPtrArray *outcomes, LuUpgrade **ups,
		    void (*begin)(void *opaque, const char *domain), void *opaque)
{
	for (guint i = 0; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];
		g_autofree char *why = NULL;

		if (!ups[i])
			continue;
		if (begin && outcomes->len > 1)
			begin(opaque, outcome->name);
		if (lu_upgrade_end(g_steal_pointer(&ups[i]), &outcome->error) ||
		    outcome->error->code == LU_ERROR_REFUSED)
			continue;
		why = g_strdup_printf("not begun, for the upgrade of %s failed", outcome->name);
		abandon_all(outcomes, ups, i + 1, why);
	}
}

static void move_all(LuLibvirt *libvirt, GPtrArray *outcomes, LuUpgrade **ups,
		     void (*begin)(void *opaque, const char *domain), void *opaque)
{
	const LuLibvirtOutcome *first = outcomes->pdata[0];
	guint deadline_s = first->request.deadline_s;
	g_autoptr(GError) error = NULL;

	deadline_s = deadline_s ? MIN(deadline_s, DAEMON_S) : DAEMON_S;
	if (lu_libvirt_away(libvirt, deadline_s * 1000, &error))
		end_all(outcomes, ups, begin, opaque);
	else
		abandon_all(outcomes, ups, 0, error->message);
	g_clear_error(&error);
	if (!lu_libvirt_back(libvirt, &error))
		fail_all(outcomes, error);
	else if (!first->error)
		lu_libvirt_copy(libvirt);
	for (guint i = 0; i < outcomes->len; i++)
		((LuLibvirtOutcome *)outcomes->pdata[i])->result.away_ms =
			lu_libvirt_away_ms(libvirt);
}

/* ----------------------------------------------------------- disks that move */

/* Of what is_done of a domain nothing was checked by this run. */
static gboolean check_disks(const LuLibvirtOutcome *outcome, GError **errp)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(LuDomain) domain = NULL;
	g_autoptr(GPtrArray) moves = NULL;

	if (!outcome->is_done)
		return TRUE;
	domain = lu_domain_open(LU_LIBVIRT_URI, outcome->name, &error);
	moves = domain ? lu_domain_disk_moves(domain, outcome->request.moves, &error) : NULL;
	return moves || lu_fail(errp, LU_ERROR_MANAGER, "%s", error->message);
}

/* Also of those that an interrupted run had upgraded: that was before it came to their disks. */
static void copy_disks(GPtrArray *outcomes, const LuRequest *request)
{
	if (request->rehearse || request->dry_run)
		return;
	for (guint i = 0; i < outcomes->len; i++) {
		LuLibvirtOutcome *outcome = outcomes->pdata[i];

		if (outcome->error)
			continue;
		if (outcome->is_done)
			lu_follow_disks(outcome->name, request->moves, &request->observer,
					&outcome->result);
		if (request->moves && check_disks(outcome, &outcome->error))
			lu_copy_disks(outcome->name, &outcome->request, &outcome->result,
				      &outcome->error);
	}
}

/* What a domain's QEMU says of the disks that came with the guest. */
typedef struct Came {
	gboolean all;	  /* that were asked for and go with the guest */
	gboolean any;	  /* was asked for that goes with the guest */
	gboolean copying; /* some disk */
	LuVersion version;
	pid_t pid;
} Came;

static void look_at_domain(const char *domain, GPtrArray *asked, Came *came)
{
	g_autoptr(LuLink) link = lu_link_new(domain);
	g_autoptr(GPtrArray) moves = lu_disk_moves_new();
	g_auto(LuDiskProgress) progress = {0};
	g_autoptr(JsonNode) info = NULL;
	LuQmp *qmp = lu_link_qmp(link, NULL);

	for (guint i = 0; i < asked->len; i++) {
		const LuDiskMove *move = asked->pdata[i];

		if (!lu_copy_is_libvirts(move))
			lu_disk_moves_add(moves, move->disk, move);
	}
	info = qmp ? lu_qmp_call(qmp, NULL, "query-localhost-migrate", NULL) : NULL;
	lu_disk_progress_read(info, &progress);
	came->any = moves->len > 0;
	came->all = lu_disk_moves_are_in(info, moves);
	came->copying = progress.copying;
	came->pid = info ? lu_libvirt_pid(lu_link_name(link)) : 0;
	if (info)
		lu_version_read(qmp, &came->version, NULL);
}

/* The tool was killed while they were copied: what is left to do is to follow that. */
static void adopt_copying(LuLibvirtOutcome *outcome, const Came *came)
{
	LuResult *result = &outcome->result;

	outcome->is_done = TRUE;
	result->recovered = TRUE;
	result->old_pid = result->new_pid = came->pid;
	result->from = g_strdup(came->version.text);
	result->to = g_strdup(came->version.text);
	result->refusals = g_ptr_array_new_with_free_func(g_free);
	result->notes = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(result->notes,
			g_strdup("the guest had moved with these disks before, and is left in its "
				 "process"));
}

/* A run that was killed need not have been asked for these disks: then another upgrade takes them.
 */
static void look_at_disks(LuLibvirtOutcome *outcome)
{
	const LuRequest *request = &outcome->request;
	Came came = {0};

	if (!request->moves || request->dry_run || request->rehearse || outcome->error)
		return;
	look_at_domain(outcome->name, request->moves, &came);
	if (!outcome->is_done && came.any && came.all && came.copying)
		adopt_copying(outcome, &came);
	if (outcome->is_done && !came.all) {
		lu_follow_disks(outcome->name, NULL, &request->observer, &outcome->result);
		lu_result_clear(&outcome->result);
		outcome->is_done = FALSE;
	}
	g_free(came.version.text);
}

GPtrArray *lu_libvirt_run(char *const *domains, const LuRequest *request,
			  void (*begin)(void *opaque, const char *domain), void *opaque)
{
	GPtrArray *outcomes =
		g_ptr_array_new_with_free_func((GDestroyNotify)lu_libvirt_outcome_free);
	g_autofree LuUpgrade **ups = NULL;
	g_autoptr(LuLibvirt) libvirt = NULL;
	g_autoptr(GError) error = NULL;
	guint left = 0;

	for (guint i = 0; domains[i]; i++)
		g_ptr_array_add(outcomes, new_outcome(domains[i], request));
	if (!recover(outcomes, request, &error)) {
		fail_all(outcomes, error);
		return outcomes;
	}
	ups = g_new0(LuUpgrade *, outcomes->len + 1);
	for (guint i = 0; i < outcomes->len; i++)
		look_at_disks(outcomes->pdata[i]);
	for (guint i = 0; i < outcomes->len; i++)
		left += !((LuLibvirtOutcome *)outcomes->pdata[i])->is_done;
	libvirt = left ? lu_libvirt_open(NULL, &error) : NULL;
	if (error)
		fail_all(outcomes, error);
	if (libvirt && begin_all(libvirt, outcomes, ups, begin, opaque) && !request->dry_run)
		move_all(libvirt, outcomes, ups, begin, opaque);
	copy_disks(outcomes, request);
	for (guint i = 0; i < outcomes->len; i++)
		lu_upgrade_abandon(ups[i]); /* of a dry run: nothing is left to take back */
	return outcomes;
}

gboolean lu_libvirt_upgrade(const char *domain, const LuRequest *request, LuResult *result,
			    GError **errp)
{
	char *domains[] = {(char *)domain, NULL};
	g_autoptr(GPtrArray) outcomes = lu_libvirt_run(domains, request, NULL, NULL);
	LuLibvirtOutcome *outcome = outcomes->pdata[0];

	*result = outcome->result;
	memset(&outcome->result, 0, sizeof(outcome->result));
	if (!outcome->error)
		return TRUE;
	g_propagate_error(errp, g_steal_pointer(&outcome->error));
	return FALSE;
}
