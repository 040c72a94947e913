// SPDX-License-Identifier: GPL-2.0-or-later
#include "plan.h"
#include "descriptor.h"
#include "opts.h"

#include <string.h>

static void path_free(gpointer data)
{
	LuPath *path = data;

	g_free(path->what);
	g_free(path->path);
	g_free(path->temporary);
	g_free(path);
}

GPtrArray *lu_paths_new(void)
{
	return g_ptr_array_new_with_free_func(path_free);
}

void lu_paths_add(GPtrArray *paths, const char *what, const char *path, const char *temporary)
{
	LuPath *entry = g_new0(LuPath, 1);

	entry->what = g_strdup(what);
	entry->path = g_strdup(path);
	entry->temporary = g_strdup(temporary);
	g_ptr_array_add(paths, entry);
}

static void add_line(GPtrArray *lines, const char *format, va_list args)
{
	g_ptr_array_add(lines, g_strdup_vprintf(format, args));
}

void lu_plan_refuse(LuPlan *plan, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_line(plan->refusals, format, args);
	va_end(args);
}

void lu_plan_note(LuPlan *plan, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_line(plan->notes, format, args);
	va_end(args);
}

/* ------------------------------------------------------------ common pieces */

char *lu_plan_path(LuPlan *plan, const char *what, const char *path)
{
	g_autofree char *name = lu_public_name(path), *temporary = lu_private_name(path);
	g_autofree char *absolute = g_canonicalize_filename(name, plan->running->cwd);
	g_autofree char *absolute_temporary =
		g_canonicalize_filename(temporary, plan->running->cwd);

	/* QEMU's limit is the address's, 107 bytes and a 0. */
	if (strlen(temporary) > 107)
		lu_plan_refuse(plan, "%s: the name %s is longer than 107 bytes", what, temporary);
	lu_paths_add(plan->paths, what, absolute, absolute_temporary);
	if (!g_strcmp0(absolute, plan->running->qmp_path)) {
		g_free(plan->qmp_temporary);
		plan->qmp_temporary = g_strdup(absolute_temporary);
	}
	return g_steal_pointer(&temporary);
}

/* Of "fd=5", "fds=5:6", "addr.str=5", the same in JSON, and "/dev/fd/5". */
static int highest_number(const char *value)
{
	g_autoptr(GRegex) regex =
		g_regex_new("(?:fds?|str)[\"\\s=:/]+([0-9]+(?::[0-9]+)*)", 0, 0, NULL);
	g_autoptr(GMatchInfo) match = NULL;
	int highest = 0;

	g_regex_match(regex, value, 0, &match);
	for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
		g_autofree char *list = g_match_info_fetch(match, 1);
		g_auto(GStrv) numbers = g_strsplit(list, ":", -1);

		for (guint i = 0; numbers[i]; i++)
			highest = MAX(highest, (int)MIN(strtol(numbers[i], NULL, 10), 4096));
	}
	return highest;
}

/* Numbers that the command line mentions are theirs; new ones come above. */
int lu_plan_number(LuPlan *plan)
{
	int highest = 9;

	for (guint i = 0; !plan->next_number && i < plan->line->options->len; i++) {
		const LuOption *option = plan->line->options->pdata[i];

		if (option->value)
			highest = MAX(highest, highest_number(option->value));
	}
	if (!plan->next_number)
		plan->next_number = highest + 1;
	return plan->next_number++;
}

int lu_plan_descriptor(LuPlan *plan, int fd, int number, const char *what)
{
	g_autoptr(GError) error = NULL;
	int copy = lu_descriptor_get(plan->running->process, fd, &error);

	if (copy < 0) {
		lu_plan_refuse(plan, "%s: %s", what, error->message);
		return -1;
	}
	if (number < 0)
		number = lu_plan_number(plan);
	lu_descriptors_add(plan->descriptors, copy, number);
	return number;
}

/* ------------------------------------------------------------- the handlers */

static void set_machine(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autoptr(LuOpts) opts = lu_opts_parse(option->value, "type");
	g_autofree char *text = NULL;
	const char *type = lu_opts_get(opts, "type");

	if (!type || !strcmp(type, plan->running->machine))
		return;
	lu_opts_set(opts, "type", plan->running->machine);
	text = lu_opts_text(opts);
	lu_option_set(option, text);
}

static void drop(LuPlan *plan, guint *at)
{
	g_ptr_array_remove_index(plan->line->options, *at);
	(*at)--;
}

static void set_pidfile(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *temporary = lu_plan_path(plan, "-pidfile", option->value);

	lu_option_set(option, temporary);
}

static void refuse_drive(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autoptr(LuOpts) opts = lu_opts_parse(option->value, NULL);

	if (lu_opts_bool(opts, "snapshot", FALSE))
		lu_plan_refuse(plan,
			       "-drive %s: its temporary image belongs to the running "
			       "process",
			       option->value);
}

/* What has state outside of QEMU that serves one process at a time. */
static const struct {
	const char *prefix, *why;
} foreign_devices[] = {
	{"vfio-", "the device serves one QEMU at a time"},
	{"vhost-user-",
	 "its back end serves one QEMU at a time: unplug it (device_del) and plug it "
	 "again afterwards, with a new back end"},
	{"vhost-vsock", "the guest's address belongs to the running process"},
	{"vhost-vdpa", "the device serves one QEMU at a time"},
	{"vhost-scsi", "its target serves one QEMU at a time"},
	{"virtio-mem", "the plugin does not carry its state"},
	{"usb-host", "the device serves one QEMU at a time"},
	{"ivshmem-", "its peers know the running process only"},
	{"tpm-", "its state is in another process, which serves one QEMU at a time"},
};

static void refuse_device(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autofree char *driver = lu_option_member(option, "driver", "driver");

	if (lu_plan_fs(plan, option, driver))
		return;
	for (guint i = 0; driver && i < G_N_ELEMENTS(foreign_devices); i++)
		if (g_str_has_prefix(driver, foreign_devices[i].prefix))
			lu_plan_refuse(plan, "-device %s cannot be handed over: %s", option->value,
				       foreign_devices[i].why);
}

static void refuse_option(LuPlan *plan, guint *at)
{
	const LuOption *option = plan->line->options->pdata[*at];

	lu_plan_refuse(plan, "-%s%s%s cannot be handed over yet", option->name,
		       option->value ? " " : "", option->value ? option->value : "");
}

static void refuse_run_with(LuPlan *plan, guint *at)
{
	LuOption *option = plan->line->options->pdata[*at];
	g_autoptr(LuOpts) opts = lu_opts_parse(option->value, NULL);

	if (lu_opts_get(opts, "user") || lu_opts_get(opts, "chroot") ||
	    lu_opts_get(opts, "exit-with-parent"))
		refuse_option(plan, at);
}

static void check_terminal(LuPlan *plan, guint *at)
{
	const LuOption *option = plan->line->options->pdata[*at];

	if (lu_descriptor_is_terminal(plan->running->process, 0))
		lu_plan_refuse(plan,
			       "-%s: the terminal belongs to the session of the running "
			       "process",
			       option->name);
}

static void note_log(LuPlan *plan, guint *at)
{
	const LuOption *option = plan->line->options->pdata[*at];

	lu_plan_note(plan, "-%s %s: QEMU begins the file anew", option->name, option->value);
}

static const struct {
	const char *name;
	void (*handle)(LuPlan *plan, guint *at);
} handlers[] = {
	{"machine", set_machine},
	{"pidfile", set_pidfile},
	{"incoming", drop},
	{"S", drop},
	{"loadvm", drop},
	{"daemonize", drop},
	{"add-fd", drop},
	{"plugin", NULL},
	{"chardev", lu_plan_chardev},
	{"serial", lu_plan_legacy_chardev},
	{"parallel", lu_plan_legacy_chardev},
	{"monitor", lu_plan_legacy_chardev},
	{"qmp", lu_plan_legacy_chardev},
	{"qmp-pretty", lu_plan_legacy_chardev},
	{"debugcon", lu_plan_legacy_chardev},
	{"netdev", lu_plan_netdev},
	{"nic", lu_plan_netdev},
	{"net", lu_plan_netdev},
	{"vnc", lu_plan_vnc},
	{"display", lu_plan_display},
	{"device", refuse_device},
	{"drive", refuse_drive},
	{"nographic", check_terminal},
	{"curses", check_terminal},
	{"D", note_log},
	{"run-with", refuse_run_with},
	{"runas", refuse_option},
	{"chroot", refuse_option},
	{"snapshot", refuse_option},
	{"readconfig", refuse_option},
	{"preconfig", refuse_option},
	{"tpmdev", refuse_option},
	{"spice", refuse_option},
	{"gdb", refuse_option},
	{"s", refuse_option},
	{"xen-attach", refuse_option},
	{"qtest", refuse_option},
	{"usbdevice", refuse_option},
};

static void handle_options(LuPlan *plan)
{
	/* at may become -1 for a moment when the first one is dropped. */
	for (guint at = 0; at < plan->line->options->len; at++) {
		const LuOption *option = plan->line->options->pdata[at];
		const char *name = lu_option_canonical(option->name);

		for (guint i = 0; i < G_N_ELEMENTS(handlers); i++) {
			if (g_strcmp0(name, handlers[i].name))
				continue;
			if (handlers[i].handle)
				handlers[i].handle(plan, &at);
			break;
		}
	}
}

/* -------------------------------------------------------------- what is new */

static gboolean is_our_plugin(const LuOption *option)
{
	g_autofree char *file = NULL, *name = NULL;

	if (!lu_option_is(option, "plugin"))
		return FALSE;
	file = lu_option_member(option, "file", "file");
	name = g_path_get_basename(file ? file : "");
	return strstr(name, "localhost-migrate") != NULL;
}

static void set_list(LuOpts *opts, const char *name, GPtrArray *list)
{
	g_autofree char *text = NULL;

	if (!list->len)
		return;
	g_ptr_array_add(list, NULL);
	text = g_strjoinv("/", (char **)list->pdata);
	lu_opts_set(opts, name, text);
}

/* The running one's arguments stay, but those of its own start. */
static void set_plugin(LuPlan *plan, const LuPlanOptions *options)
{
	g_autofree char *value = g_strdup(options->plugin), *text = NULL;
	g_autoptr(LuOpts) opts = NULL;

	for (guint at = plan->line->options->len; at-- > 0;) {
		const LuOption *option = plan->line->options->pdata[at];

		if (!is_our_plugin(option))
			continue;
		if (!value)
			value = g_strdup(option->value);
		g_ptr_array_remove_index(plan->line->options, at);
	}
	if (!value)
		value = g_strdup(options->installed);
	if (!value) {
		lu_plan_refuse(plan, "the command line names no plugin localhost-migrate.so; say "
				     "which with --plugin");
		return;
	}
	opts = lu_opts_parse(value, "file");
	lu_opts_remove(opts, "incoming");
	lu_opts_remove(opts, "stand-in");
	lu_opts_remove(opts, "vhost-user");
	if (!options->plugin)
		lu_opts_remove(opts, "fault");
	text = g_strconcat("unix:", options->incoming, NULL);
	lu_opts_set(opts, "incoming", text);
	g_free(text);
	set_list(opts, "stand-in", plan->stand_ins);
	set_list(opts, "vhost-user", plan->vhost_users);
	text = lu_opts_text(opts);
	lu_command_line_append(plan->line, "plugin", text);
}

static void set_cpu(LuPlan *plan, const LuPlanOptions *options)
{
	g_autofree char *model = lu_cpu_model(plan->running->cpu_type), *value = NULL;
	LuOption *option = NULL;

	for (guint i = 0; i < plan->line->options->len; i++)
		if (lu_option_is(plan->line->options->pdata[i], "cpu"))
			option = plan->line->options->pdata[i]; /* the last one counts */
	if (!option) {
		value = g_strconcat(model, options->cpu_append, NULL);
		lu_command_line_append(plan->line, "cpu", value);
	} else if (options->cpu_append) {
		value = g_strconcat(option->value, options->cpu_append, NULL);
		lu_option_set(option, value);
	}
}

static gboolean names_machine(const LuCommandLine *line)
{
	for (guint i = 0; i < line->options->len; i++) {
		g_autofree char *type = NULL;

		if (!lu_option_is(line->options->pdata[i], "machine"))
			continue;
		type = lu_option_member(line->options->pdata[i], "type", "type");
		if (type)
			return TRUE;
	}
	return FALSE;
}

static void hand_on_stdio(LuPlan *plan)
{
	for (int fd = 0; fd < 3; fd++)
		if (lu_descriptor_exists(plan->running->process, fd))
			lu_plan_descriptor(plan, fd, fd, "standard input and output");
}

LuPlan *lu_plan_make(const LuRunning *running, const LuPlanOptions *options)
{
	LuPlan *plan = g_new0(LuPlan, 1);

	plan->running = running;
	plan->line = lu_command_line_copy(running->line);
	g_free(plan->line->program);
	plan->line->program = g_strdup(options->program);
	plan->descriptors = lu_descriptors_new();
	plan->paths = lu_paths_new();
	plan->refusals = g_ptr_array_new_with_free_func(g_free);
	plan->notes = g_ptr_array_new_with_free_func(g_free);
	plan->afterwards = g_ptr_array_new_with_free_func(g_free);
	plan->stand_ins = g_ptr_array_new_with_free_func(g_free);
	plan->vhost_users = g_ptr_array_new_with_free_func(g_free);
	plan->lents = lu_lents_new();
	plan->queues = g_array_new(FALSE, FALSE, sizeof(int));
	plan->connections = lu_connections_new();
	hand_on_stdio(plan);
	if (running->qmp) {
		lu_plan_default_vnc(plan);
		lu_plan_changes(plan);
	}
	handle_options(plan);
	if (running->qmp) {
		lu_plan_fdsets(plan);
		lu_plan_forwards(plan);
	}
	if (!names_machine(plan->line))
		lu_command_line_append(plan->line, "machine", running->machine);
	set_cpu(plan, options);
	lu_command_line_append(plan->line, "incoming", "defer");
	set_plugin(plan, options);
	if (!plan->qmp_temporary)
		lu_plan_refuse(plan, "QMP socket %s is not on the command line", running->qmp_path);
	return plan;
}

void lu_plan_free(LuPlan *plan)
{
	if (!plan)
		return;
	lu_command_line_free(plan->line);
	g_array_unref(plan->descriptors);
	g_ptr_array_unref(plan->paths);
	g_ptr_array_unref(plan->refusals);
	g_ptr_array_unref(plan->notes);
	g_ptr_array_unref(plan->afterwards);
	g_ptr_array_unref(plan->stand_ins);
	g_ptr_array_unref(plan->vhost_users);
	g_array_unref(plan->lents);
	g_array_unref(plan->queues);
	g_ptr_array_unref(plan->connections);
	g_free(plan->qmp_temporary);
	g_free(plan);
}
