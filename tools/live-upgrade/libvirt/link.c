// SPDX-License-Identifier: GPL-2.0-or-later
#include "link.h"
#include "handle.h"

#include <poll.h>

#define AGAIN_MS  500
#define SILENT_MS 60000

struct LuLink {
	char *domain, *name;
	LuRelay *relay; /* with the domain selected; NULL: to be opened */
	gint64 end_us;	/* of the patience; 0: the last question was answered */
};

LuLink *lu_link_new(const char *domain)
{
	LuLink *link = g_new0(LuLink, 1);

	link->domain = g_strdup(domain);
	return link;
}

void lu_link_free(LuLink *link)
{
	if (!link)
		return;
	lu_relay_free(link->relay);
	g_free(link->domain);
	g_free(link->name);
	g_free(link);
}

LuQmp *lu_link_qmp(LuLink *link, GError **errp)
{
	g_autoptr(LuRelay) relay = NULL;
	g_autoptr(JsonNode) facts = NULL;

	if (link->relay)
		return lu_relay_qmp(link->relay);
	relay = lu_relay_open(LU_LIBVIRT_URI, errp);
	facts = relay ? lu_qmp_call(lu_relay_qmp(relay), errp, "libvirt-select", "{'domain': %s}",
				    link->domain)
		      : NULL;
	if (!facts)
		return NULL;
	g_free(link->name);
	link->name = g_strdup(lu_json_str(facts, "name"));
	link->relay = g_steal_pointer(&relay);
	return lu_relay_qmp(link->relay);
}

const char *lu_link_name(const LuLink *link)
{
	return link->name ? link->name : link->domain;
}

void lu_link_answered(LuLink *link)
{
	link->end_us = 0;
}

gboolean lu_link_failed(LuLink *link)
{
	if (!link->end_us)
		link->end_us = lu_end_us(SILENT_MS);
	g_clear_pointer(&link->relay, lu_relay_free);
	if (!lu_left_ms(link->end_us))
		return FALSE;
	poll(NULL, 0, AGAIN_MS);
	return TRUE;
}
