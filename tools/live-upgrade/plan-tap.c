// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tap devices. The running process's descriptors are handed on, however it came by them, so that
 * the interface stays what it is: its name, its bridge, its rules. Until the guest is there the
 * new process has stand-ins (stand-in.c).
 */
#include "descriptor.h"
#include "error.h"
#include "plan.h"
#include "stand-in.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DOWNSCRIPT "/etc/qemu-ifdown"

static char *member(const LuOption *option, const char *name)
{
	return lu_option_member(option, name, "type");
}

/* ------------------------------------------------------------------ descriptors */

/* Descriptors under these numbers there, or (NULL) under ones that are free, which are returned. */
static GArray *pass_on(LuPlan *plan, const GArray *fds, const GArray *numbers)
{
	GArray *given = g_array_new(FALSE, FALSE, sizeof(int));

	for (guint i = 0; i < fds->len; i++) {
		int number = numbers ? g_array_index(numbers, int, i) : lu_plan_number(plan);

		lu_descriptors_add(plan->descriptors, g_array_index(fds, int, i), number);
		g_array_append_val(given, number);
	}
	return given;
}

static void close_all(GArray *fds)
{
	for (guint i = 0; i < fds->len; i++)
		close(g_array_index(fds, int, i));
	g_array_set_size(fds, 0);
}

/* Copies of the running process's, here; NULL with an error. */
static GArray *copies_of(LuPlan *plan, const GArray *numbers, GError **errp)
{
	GArray *copies = g_array_new(FALSE, FALSE, sizeof(int));

	for (guint i = 0; i < numbers->len; i++) {
		int fd = lu_descriptor_get(plan->running->process, g_array_index(numbers, int, i),
					   errp);

		if (fd < 0) {
			close_all(copies);
			g_array_unref(copies);
			return NULL;
		}
		g_array_append_val(copies, fd);
	}
	return copies;
}

/* Several queues: the plugin puts off those that the guest's state will put on again. */
static void remember_queues(LuPlan *plan, const GArray *numbers, const GArray *copies)
{
	for (guint i = 0; copies->len > 1 && i < copies->len; i++)
		if (lu_queue_is_attached(g_array_index(copies, int, i)))
			g_array_append_val(plan->queues, g_array_index(numbers, int, i));
}

/* "5" or "5:6" */
static char *list_text(const GArray *numbers)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < numbers->len; i++)
		g_string_append_printf(text, "%s%d", i ? ":" : "", g_array_index(numbers, int, i));
	return g_string_free(text, FALSE);
}

static void stand_in(LuPlan *plan, const GArray *stand_ins, const GArray *real)
{
	for (guint i = 0; i < real->len; i++)
		g_ptr_array_add(plan->stand_ins,
				g_strdup_printf("%d:%d", g_array_index(stand_ins, int, i),
						g_array_index(real, int, i)));
}

/* By the running one's command line, or by its id if it was added since the start. */
static GArray *numbers_of(LuPlan *plan, const LuOption *option, GError **errp)
{
	g_autofree char *id = member(option, "id");

	if (option->place < plan->running->line->options->len)
		return lu_tap_find_option(plan->running, option->place, errp);
	if (plan->running->qmp && id)
		return lu_tap_find(plan->running, id, errp);
	lu_fail(errp, LU_ERROR_REFUSED, "it was added since the start and has no id");
	return NULL;
}

/*
 * What the netdev is given in the new process, as fd= or fds= says it; NULL if it is refused. If
 * it is used by no NIC, nothing is to be kept from the real device, which is given at once.
 */
static char *hand_on(LuPlan *plan, const LuOption *option, gboolean keep_numbers, GError **errp)
{
	g_autoptr(GArray) numbers = numbers_of(plan, option, errp);
	g_autoptr(GArray) copies = numbers ? copies_of(plan, numbers, errp) : NULL;
	g_autoptr(GArray) fds = NULL, given = NULL, real = NULL;

	if (!copies)
		return NULL;
	if (!lu_tap_has_nic(plan->running, option)) {
		given = pass_on(plan, copies, keep_numbers ? numbers : NULL);
		return list_text(given);
	}
	fds = lu_stand_in_open(copies, errp);
	if (!fds) {
		close_all(copies);
		return NULL;
	}
	remember_queues(plan, numbers, copies);
	given = pass_on(plan, fds, keep_numbers ? numbers : NULL);
	real = pass_on(plan, copies, NULL);
	stand_in(plan, given, real);
	return list_text(given);
}

/* ------------------------------------------------------------------------ vhost */

/* A descriptor of vhost serves the process that claimed it: the new one needs its own. */
static void open_vhost(LuPlan *plan, const char *list, const char *what)
{
	g_auto(GStrv) numbers = g_strsplit(list, ":", -1);

	for (guint i = 0; numbers[i]; i++) {
		int fd;

		if (!g_ascii_isdigit(*numbers[i])) {
			lu_plan_refuse(plan, "%s: descriptor %s is known by a name only", what,
				       numbers[i]);
			return;
		}
		fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
		if (fd < 0) {
			lu_plan_refuse(plan, "%s: /dev/vhost-net: %s", what, g_strerror(errno));
			return;
		}
		lu_descriptors_add(plan->descriptors, fd,
				   (int)g_ascii_strtoll(numbers[i], NULL, 10));
	}
}

static void plan_vhost(LuPlan *plan, const LuOption *option, const char *what)
{
	static const char *const names[] = {"vhostfd", "vhostfds"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *list = member(option, names[i]);

		if (list)
			open_vhost(plan, list, what);
	}
}

/* ---------------------------------------------------------------------- scripts */

/* What QEMU runs when it ends, to take the interface down: the guest goes on using it. */
static void prevent_downscript(LuPlan *plan, const LuOption *option, const char *what)
{
	g_autofree char *type = member(option, "type"), *helper = member(option, "helper");
	g_autofree char *said = member(option, "downscript"), *here = NULL;
	const char *script = said ? said : DOWNSCRIPT;

	if (!strcmp(type, "bridge") || helper || !*script || !strcmp(script, "no"))
		return;
	here = lu_process_path(plan->running->process, script);
	if (!g_file_test(here, G_FILE_TEST_EXISTS))
		return;
	plan->kill_old = TRUE;
	lu_plan_note(plan,
		     "%s: %s is not run, now or when the guest ends; the old process is killed, "
		     "for it would run it",
		     what, script);
}

/* ----------------------------------------------------------------------- netdev */

void lu_plan_tap(LuPlan *plan, LuOption *option, const char *what)
{
	/* How the running process opened it. */
	static const char *const how[] = {"ifname", "script", "downscript", "vnet_hdr",
					  "queues", "helper", "br"};
	g_autofree char *fd = member(option, "fd"), *fds = member(option, "fds"), *list = NULL;
	gboolean was_given = fd || fds;
	g_autoptr(GError) error = NULL;

	list = hand_on(plan, option, was_given, &error);
	if (!list) {
		lu_plan_refuse(plan, "%s: %s", what, error->message);
		return;
	}
	plan_vhost(plan, option, what);
	if (was_given)
		return;
	prevent_downscript(plan, option, what);
	for (guint i = 0; i < G_N_ELEMENTS(how); i++)
		lu_option_set_member(option, how[i], NULL, "type");
	lu_option_set_member(option, "type", "tap", "type");
	lu_option_set_member(option, strchr(list, ':') ? "fds" : "fd", list, "type");
}
