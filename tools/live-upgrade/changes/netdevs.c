// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Network back ends that were added or removed since the start. What QEMU tells of them is the line
 * of "info network": of a tap device its descriptors, under the numbers that they have in the
 * running process, or its name; of user networking its net. They are written as options would be,
 * and handed on as those of the start are.
 */
#include "changes.h"
#include "opts.h"
#include "option-edit.h"
#include "qom.h"

#include <string.h>

static void add_value(LuOpts *opts, const LuBackend *backend, const char *name)
{
	g_autofree char *value = lu_backend_get(backend, name);

	if (value && *value)
		lu_opts_set(opts, name, value);
}

/* ---------------------------------------------------------------------- tap */

/* Whether a -netdev gives this descriptor of vhost. */
static gboolean is_said(const LuPlan *plan, const char *number)
{
	static const char *const names[] = {"vhostfd", "vhostfds"};

	for (guint i = 0; i < plan->line->options->len; i++)
		for (guint j = 0; j < G_N_ELEMENTS(names); j++) {
			const LuOption *option = plan->line->options->pdata[i];
			g_autofree char *list = lu_option_is(option, "netdev")
							? lu_option_get(option, names[j], "type")
							: NULL;
			g_auto(GStrv) numbers = g_strsplit(list ? list : "", ":", -1);

			if (g_strv_contains((const char *const *)numbers, number))
				return TRUE;
		}
	return FALSE;
}

/* Descriptors of /dev/vhost-net in the running process. */
static GPtrArray *vhost_numbers(const LuProcess *process)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fd", (int)process->pid);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	GPtrArray *numbers = g_ptr_array_new_with_free_func(g_free);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		g_autofree char *target = g_file_read_link(path, NULL);

		if (!g_strcmp0(target, "/dev/vhost-net"))
			g_ptr_array_add(numbers, g_strdup(name));
	}
	return numbers;
}

static guint count_tap_queues(GHashTable *backends)
{
	GHashTableIter iter;
	gpointer value;
	guint count = 0;

	g_hash_table_iter_init(&iter, backends);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const LuBackend *backend = value;

		if (g_str_has_prefix(backend->queues->pdata[0], "type=tap"))
			count += backend->queues->len;
	}
	return count;
}

/* "fd=5", or "fds=5:6:7" */
static gboolean add_descriptors(LuOpts *opts, const LuBackend *backend)
{
	g_autoptr(GString) list = g_string_new(NULL);

	for (guint i = 0; i < backend->queues->len; i++) {
		g_autoptr(LuOpts) queue = lu_opts_parse(backend->queues->pdata[i], NULL);
		const char *fd = lu_opts_get(queue, "fd");

		if (!fd)
			return FALSE;
		g_string_append_printf(list, i ? ":%s" : "%s", fd);
	}
	lu_opts_set(opts, backend->queues->len > 1 ? "fds" : "fd", list->str);
	return TRUE;
}

/* As many as it has queues, of those that no -netdev gives. */
static void add_vhost_numbers(const LuPlan *plan, LuOpts *opts, const LuBackend *backend,
			      const GPtrArray *numbers)
{
	g_autoptr(GString) list = g_string_new(NULL);
	guint count = 0;

	for (guint i = 0; i < numbers->len && count < backend->queues->len; i++)
		if (!is_said(plan, numbers->pdata[i]))
			g_string_append_printf(list, count++ ? ":%s" : "%s",
					       (char *)numbers->pdata[i]);
	lu_opts_set(opts, "vhost", "on");
	lu_opts_set(opts, backend->queues->len > 1 ? "vhostfds" : "vhostfd", list->str);
}

/*
 * Whether a back end has vhost is not told; but all or none of the taps' queues have it. Which
 * descriptor is whose does not matter: each gets a new one under that number.
 */
static void add_vhost(LuPlan *plan, LuOpts *opts, const LuBackend *backend, GHashTable *backends)
{
	g_autoptr(GPtrArray) numbers = vhost_numbers(plan->running->process);
	guint queues = count_tap_queues(backends);

	if (numbers->len == queues)
		add_vhost_numbers(plan, opts, backend, numbers);
	else if (numbers->len)
		lu_plan_refuse(plan,
			       "netdev %s was added after the start, and it cannot be told whether "
			       "it uses vhost: %u of %u queues do",
			       backend->id, numbers->len, queues);
}

/* "type=tap,helper=(null),br=br0" */
static void add_bridge(LuOpts *opts, const LuBackend *backend)
{
	g_autofree char *helper = lu_backend_get(backend, "helper");

	lu_opts_set(opts, "type", "bridge");
	add_value(opts, backend, "br");
	if (helper && strcmp(helper, "(null)"))
		lu_opts_set(opts, "helper", helper);
}

static void add_tap(LuPlan *plan, LuOpts *opts, const LuBackend *backend, GHashTable *backends)
{
	static const char *const names[] = {"ifname", "script", "downscript", "helper"};
	g_autofree char *bridge = lu_backend_get(backend, "br");

	if (bridge) {
		add_bridge(opts, backend);
		return;
	}
	if (!add_descriptors(opts, backend))
		for (guint i = 0; i < G_N_ELEMENTS(names); i++)
			add_value(opts, backend, names[i]);
	add_vhost(plan, opts, backend, backends);
}

/* ------------------------------------------------------------------- others */

/* Its mask is not told, but that of the default net. */
static void add_user(LuPlan *plan, LuOpts *opts, const LuBackend *backend)
{
	g_autofree char *net = lu_backend_get(backend, "net");

	if (net && strcmp(net, "10.0.2.0"))
		lu_plan_refuse(
			plan,
			"netdev %s was added after the start, and QEMU does not tell the mask "
			"of its net %s",
			backend->id, net);
	add_value(opts, backend, "restrict");
	lu_plan_note(plan,
		     "netdev %s was added after the start: of its options QEMU tells net, restrict "
		     "and hostfwd, the others begin as they are by default",
		     backend->id);
}

/* "type=vhost-user,vhost-user0 to LABEL" */
static gboolean add_vhost_user(LuOpts *opts, const LuBackend *backend)
{
	const char *label = strstr(backend->queues->pdata[0], " to ");
	g_autofree char *queues = g_strdup_printf("%u", backend->queues->len);

	if (!label)
		return FALSE;
	lu_opts_set(opts, "chardev", label + strlen(" to "));
	if (backend->queues->len > 1)
		lu_opts_set(opts, "queues", queues);
	return TRUE;
}

static void add(LuPlan *plan, const LuBackend *backend, GHashTable *backends)
{
	g_autofree char *type = lu_backend_get(backend, "type"), *text = NULL;
	g_autoptr(LuOpts) opts = lu_opts_parse(type, "type");
	gboolean ok = TRUE;

	lu_opts_set(opts, "id", backend->id);
	if (!strcmp(type, "user"))
		add_user(plan, opts, backend);
	else if (!strcmp(type, "tap"))
		add_tap(plan, opts, backend, backends);
	else if (!strcmp(type, "vhost-user"))
		ok = add_vhost_user(opts, backend);
	else
		ok = FALSE;
	if (!ok) {
		lu_plan_refuse(plan,
			       "netdev %s was added after the start, and QEMU does not tell how to "
			       "make one like it: %s",
			       backend->id, (char *)backend->queues->pdata[0]);
		return;
	}
	text = lu_opts_text(opts);
	lu_command_line_append(plan->line, "netdev", text);
}

/* Unless both say it, and say another thing. A name with % is a template for the kernel. */
static gboolean is_said_so(const LuOption *option, const LuBackend *backend, const char *name,
			   const char *otherwise)
{
	g_autofree char *value = lu_option_get(option, name, "type");
	g_autofree char *is = lu_backend_get(backend, name);
	const char *said = value ? value : otherwise;

	return !said || !is || strchr(said, '%') || !strcmp(said, is);
}

/* An id may have been removed and used again. */
static gboolean holds(const LuOption *option, const LuBackend *backend)
{
	g_autofree char *said = lu_option_get(option, "type", "type");
	g_autofree char *is = lu_backend_get(backend, "type");
	g_autofree char *said_fd = lu_option_get(option, "fd", "type");
	g_autofree char *fd = lu_backend_get(backend, "fd");

	/* A bridge is a tap to "info network", and passt a stream or a vhost-user. */
	if (!g_strcmp0(said, "bridge"))
		return !g_strcmp0(is, "tap") && is_said_so(option, backend, "br", "br0");
	if (!g_strcmp0(said, "tap") || !g_strcmp0(said, "user"))
		return !g_strcmp0(said, is) && is_said_so(option, backend, "ifname", NULL) &&
		       (!said_fd || !fd || !g_ascii_isdigit(*said_fd) || !strcmp(said_fd, fd));
	return g_strcmp0(is, "tap") && g_strcmp0(is, "user");
}

/* -net and -nic make back ends without -netdev: "#net012", or an id of theirs. */
static gboolean is_of_another(const LuPlan *plan, const char *id)
{
	return *id == '#' || lu_changes_find(plan->line, "nic", id) ||
	       lu_changes_find(plan->line, "net", id);
}

void lu_changes_netdevs(LuPlan *plan)
{
	g_autoptr(GHashTable) backends = lu_backends(plan->running->qmp);
	g_autoptr(GPtrArray) said = lu_changes_ids(plan->line, "netdev");
	g_autofree gpointer *ids = g_hash_table_get_keys_as_array(backends, NULL);

	for (guint i = 0; i < said->len; i++) {
		const LuBackend *backend = g_hash_table_lookup(backends, said->pdata[i]);

		if (!backend ||
		    !holds(lu_changes_find(plan->line, "netdev", said->pdata[i]), backend))
			lu_changes_drop(plan, "netdev", said->pdata[i]);
	}
	for (guint i = 0; ids[i]; i++)
		if (!lu_changes_find(plan->line, "netdev", ids[i]) && !is_of_another(plan, ids[i]))
			add(plan, g_hash_table_lookup(backends, ids[i]), backends);
}
