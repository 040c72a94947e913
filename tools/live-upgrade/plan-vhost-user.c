// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vhost-user devices: a file system of virtiofsd. The new device gets a pair of sockets, of which
 * the plugin has the other end, and the running one's connection goes along as a descriptor, to
 * take the pair's place with the guest (migration/vhost-user.h).
 */
#include "descriptor.h"
#include "option-edit.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_SIZE_DEFAULT 128
#define QUEUE_SIZE_MAX	   1024

/* QEMU saves a vhost-user-fs since then, and makes queues of the size that was asked for. */
static const LuVersion first = {.major = 8, .minor = 2}, exact = {.major = 11, .minor = 1};

static void lent_clear(gpointer data)
{
	close(((LuLent *)data)->listener);
}

GArray *lu_lents_new(void)
{
	GArray *lents = g_array_new(FALSE, FALSE, sizeof(LuLent));

	g_array_set_clear_func(lents, lent_clear);
	return lents;
}

static gboolean is_fs(const char *driver)
{
	return driver && g_str_has_prefix(driver, "vhost-user-fs");
}

gboolean lu_plan_has_fs(const LuPlan *plan, const char *label)
{
	for (guint i = 0; label && i < plan->line->options->len; i++) {
		const LuOption *option = plan->line->options->pdata[i];
		g_autofree char *driver = NULL, *chardev = NULL;

		if (!lu_option_is(option, "device"))
			continue;
		driver = lu_option_member(option, "driver", "driver");
		chardev = lu_option_member(option, "chardev", "driver");
		if (is_fs(driver) && !g_strcmp0(chardev, label))
			return TRUE;
	}
	return FALSE;
}

/* -------------------------------------------------------------------- the device */

static gboolean is_this_fs(JsonNode *device, const char *id)
{
	g_autofree char *part = id ? g_strdup_printf("/peripheral/%s/", id) : NULL;
	const char *path = lu_json_str(device, "path");

	return !g_strcmp0(lu_json_str(device, "name"), "virtio-user-fs") && path &&
	       (!part || strstr(path, part));
}

/*
 * How long the running device's queues are, as its guest uses them; 0: it does not. Of the commands
 * that tell, this is the one that leaves the back end alone: x-query-virtio-queue-status stops a
 * queue there.
 */
static gint64 used_size(const LuPlan *plan, const char *id)
{
	g_autoptr(JsonNode) devices = lu_qmp_call(plan->running->qmp, NULL, "x-query-virtio", NULL);

	for (guint i = 0; i < lu_json_length(devices); i++) {
		JsonNode *device = lu_json_element(devices, i);
		g_autoptr(JsonNode) queue = NULL;

		if (!is_this_fs(device, id))
			continue;
		queue = lu_qmp_call(plan->running->qmp, NULL, "x-query-virtio-vhost-queue-status",
				    "{'path': %s, 'queue': 0}", lu_json_str(device, "path"));
		return queue ? lu_json_int(queue, "num") : 0;
	}
	return 0;
}

/*
 * Some QEMUs before 11.1 (10.0.13) make queues of 1024 entries whatever they are told; 11.1 makes
 * what it is told, and takes no guest whose queues are longer. One that does not use them yet gets
 * what may be.
 */
static void keep_queue_size(const LuPlan *plan, LuOption *option)
{
	g_autofree char *id = lu_option_get(option, "id", "driver");
	g_autofree char *said = lu_option_get(option, "queue-size", "driver");
	const gint64 told = said ? g_ascii_strtoll(said, NULL, 10) : QUEUE_SIZE_DEFAULT;
	gint64 is = plan->running->qmp ? used_size(plan, id) : told;

	if (!is)
		is = lu_version_compare(&plan->running->version, &exact) < 0 ? QUEUE_SIZE_MAX
									     : told;
	if (is > told)
		lu_option_put_number(option, "queue-size", "driver", is);
}

gboolean lu_plan_fs(LuPlan *plan, LuOption *option, const char *driver)
{
	if (!is_fs(driver))
		return FALSE;
	if (lu_version_compare(&plan->running->version, &first) < 0)
		lu_plan_refuse(plan,
			       "-device %s cannot be handed over: QEMU %s does not save its state, "
			       "%d.%d and later do",
			       option->value, plan->running->version.text, first.major,
			       first.minor);
	else
		keep_queue_size(plan, option);
	return TRUE;
}

/* ------------------------------------------------------------------- the chardev */

/* The running process's connection; -1: it has none, or several. */
static int find_connection(const LuPlan *plan, const LuOpts *opts)
{
	const LuProcess *process = plan->running->process;
	const char *fd = lu_opts_get(opts, "fd"), *path = lu_opts_get(opts, "path");
	g_autofree char *absolute = NULL;
	int found;

	if (fd && g_ascii_isdigit(*fd))
		return (int)g_ascii_strtoll(fd, NULL, 10);
	if (!path)
		return -1;
	found = lu_descriptor_find_connection(process, path);
	if (found >= 0)
		return found;
	absolute = g_canonicalize_filename(path, plan->running->cwd);
	return lu_descriptor_find_connection(process, absolute);
}

/* @fd becomes a descriptor of the new process; its number there. */
static int give(LuPlan *plan, int fd)
{
	const int number = lu_plan_number(plan);

	lu_descriptors_add(plan->descriptors, fd, number);
	return number;
}

/* The number that the new device's chardev gets; -1: refused. */
static int stand_in(LuPlan *plan, int old, const char *what)
{
	const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ends[2], real, number, peer;
	LuLent lent = {.fd = old, .listener = listener};

	if (listener < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		lu_plan_refuse(plan, "%s: a socket: %s", what, g_strerror(errno));
		if (listener >= 0)
			close(listener);
		return -1;
	}
	number = give(plan, ends[0]);
	peer = give(plan, ends[1]);
	real = lu_plan_descriptor(plan, old, -1, what);
	g_ptr_array_add(plan->vhost_users,
			g_strdup_printf("%d:%d:%d:%d", number, peer, real,
					give(plan, fcntl(listener, F_DUPFD_CLOEXEC, 3))));
	g_array_append_val(plan->lents, lent);
	return number;
}

static void set_chardev(LuOpts *opts, int number)
{
	static const char *const names[] = {"path",	 "server",	 "wait",     "nowait",
					    "reconnect", "reconnect-ms", "abstract", "tight"};
	g_autofree char *text = g_strdup_printf("%d", number);

	for (guint i = 0; i < G_N_ELEMENTS(names); i++)
		lu_opts_remove(opts, names[i]);
	lu_opts_set(opts, "fd", text);
}

void lu_plan_fs_chardev(LuPlan *plan, LuOpts *opts, const char *what)
{
	int old, number;

	if (lu_opts_bool(opts, "server", FALSE)) {
		lu_plan_refuse(plan,
			       "%s: a vhost-user back end that connects to QEMU cannot be "
			       "handed over",
			       what);
		return;
	}
	old = find_connection(plan, opts);
	if (old < 0) {
		lu_plan_refuse(plan,
			       "%s: the one connection of the vhost-user device to its back end is "
			       "not found in process %d",
			       what, (int)plan->running->process->pid);
		return;
	}
	number = stand_in(plan, old, what);
	if (number < 0)
		return;
	if (lu_opts_get(opts, "reconnect") || lu_opts_get(opts, "reconnect-ms"))
		lu_plan_note(plan,
			     "%s: the back end keeps its connection; if that ends, the new process "
			     "does not connect again by itself",
			     what);
	set_chardev(opts, number);
	/* It is to tell the back end nothing any more: the connection is the new one's then. */
	plan->kill_old = TRUE;
}
