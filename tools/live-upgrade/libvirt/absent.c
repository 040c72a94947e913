// SPDX-License-Identifier: GPL-2.0-or-later
/* The calls of lu-libvirt.h in a build without libvirt: each refuses. */
#include "lu-libvirt.h"
#include "error.h"

static gboolean refuse(GError **errp)
{
	return lu_fail(errp, LU_ERROR_REFUSED, "this was built without libvirt");
}

LuLibvirt *lu_libvirt_open(const char *uri, GError **errp)
{
	refuse(errp);
	return NULL;
}

void lu_libvirt_close(LuLibvirt *libvirt)
{
}

GPtrArray *lu_libvirt_list(LuLibvirt *libvirt, GError **errp)
{
	refuse(errp);
	return NULL;
}

LuUpgrade *lu_libvirt_begin(LuLibvirt *libvirt, const char *domain, const LuRequest *request,
			    LuResult *result, GError **errp)
{
	refuse(errp);
	return NULL;
}

void lu_libvirt_copy(LuLibvirt *libvirt)
{
}

gboolean lu_libvirt_away(LuLibvirt *libvirt, guint deadline_ms, GError **errp)
{
	return refuse(errp);
}

gboolean lu_libvirt_back(LuLibvirt *libvirt, GError **errp)
{
	return refuse(errp);
}

double lu_libvirt_away_ms(const LuLibvirt *libvirt)
{
	return 0;
}

gboolean lu_libvirt_is_interrupted(void)
{
	return FALSE;
}

char *lu_libvirt_away_daemon(void)
{
	return NULL;
}

gboolean lu_libvirt_recover(const LuRequest *request, GPtrArray *results, GError **errp)
{
	return refuse(errp);
}

void lu_libvirt_outcome_free(LuLibvirtOutcome *outcome)
{
	g_free(outcome->name);
	g_clear_error(&outcome->error);
	g_free(outcome);
}

GPtrArray *lu_libvirt_run(char *const *domains, const LuRequest *request,
			  void (*begin)(void *opaque, const char *domain), void *opaque)
{
	GPtrArray *outcomes =
		g_ptr_array_new_with_free_func((GDestroyNotify)lu_libvirt_outcome_free);

	for (guint i = 0; domains[i]; i++) {
		LuLibvirtOutcome *outcome = g_new0(LuLibvirtOutcome, 1);

		outcome->name = g_strdup(domains[i]);
		outcome->request = *request;
		refuse(&outcome->error);
		g_ptr_array_add(outcomes, outcome);
	}
	return outcomes;
}

gboolean lu_libvirt_upgrade(const char *domain, const LuRequest *request, LuResult *result,
			    GError **errp)
{
	return refuse(errp);
}
