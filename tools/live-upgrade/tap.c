// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel says of each descriptor of a tap device which interface it is of ("iff:" in its
 * fdinfo). Which netdev that is follows from the command line: it names the descriptor (fd=), or
 * the interface (ifname=); or QEMU says it. What is left are the devices that a helper opened, and
 * without a monitor those that the kernel named. QEMU opens these one after the other, -netdev
 * before -nic before -net, so their descriptors are in the same order; if there are more or fewer
 * than expected, nothing is guessed. A netdev that was removed and added again may be out of order:
 * where there are several, what QEMU's own helper opened must be on the bridge that it was to.
 */
#include "tap.h"
#include "error.h"
#include "interface.h"

#include <stdlib.h>
#include <string.h>

static const char *const classes[] = {"netdev", "nic", "net"};

static char *member(const LuOption *option, const char *name)
{
	return lu_option_member(option, name, "type");
}

gboolean lu_tap_is(const LuOption *option)
{
	g_autofree char *type = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(classes); i++)
		if (lu_option_is(option, classes[i]))
			type = member(option, "type");
	return !g_strcmp0(type, "tap") || !g_strcmp0(type, "bridge");
}

/* ------------------------------------------------------------- what the kernel says */

static int ascending(gconstpointer a, gconstpointer b)
{
	return *(const int *)a - *(const int *)b;
}

/* "iff:\ttap0" of a descriptor; NULL: it is no tap device, or its interface is gone. */
static char *interface_of(const LuProcess *process, const char *number)
{
	g_autofree char *name = g_strdup_printf("fdinfo/%s", number);
	g_autofree char *text = lu_proc_read(process->pid, name, NULL);
	g_autofree char *interface = text ? lu_proc_status_field(text, "iff") : NULL;

	return interface && *interface ? g_steal_pointer(&interface) : NULL;
}

/* All descriptors of tap devices, or those of interface @wanted. */
static GArray *descriptors_of(const LuProcess *process, const char *wanted)
{
	g_autofree char *folder = g_strdup_printf("/proc/%d/fdinfo", (int)process->pid);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	GArray *numbers = g_array_new(FALSE, FALSE, sizeof(int));
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *interface = interface_of(process, name);
		int number = atoi(name);

		if (interface && (!wanted || !strcmp(interface, wanted)))
			g_array_append_val(numbers, number);
	}
	g_array_sort(numbers, ascending);
	return numbers;
}

static GArray *by_interface(const LuRunning *running, const char *interface, guint queues,
			    GError **errp)
{
	g_autoptr(GArray) numbers = descriptors_of(running->process, interface);

	if (numbers->len == queues)
		return g_steal_pointer(&numbers);
	lu_fail(errp, LU_ERROR_REFUSED,
		"process %d has %u descriptors of interface %s, and the netdev %u queues",
		(int)running->process->pid, numbers->len, interface, queues);
	return NULL;
}

/* ------------------------------------------------------- what the command line says */

/* "5", or "5:6:7" */
static GArray *by_numbers(const char *list, GError **errp)
{
	g_auto(GStrv) words = g_strsplit(list, ":", -1);
	g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(int));

	for (guint i = 0; words[i]; i++) {
		int number = atoi(words[i]);

		if (!g_ascii_isdigit(*words[i])) {
			lu_fail(errp, LU_ERROR_REFUSED, "descriptor %s is known by a name only",
				words[i]);
			return NULL;
		}
		g_array_append_val(numbers, number);
	}
	return g_steal_pointer(&numbers);
}

static char *given(const LuOption *option)
{
	char *fd = member(option, "fd");

	return fd ? fd : member(option, "fds");
}

static guint queues_of(const LuOption *option)
{
	g_autofree char *queues = member(option, "queues");

	return queues ? (guint)MAX(atoi(queues), 1) : 1;
}

static void take_out(GArray *from, const GArray *numbers)
{
	for (guint i = 0; numbers && i < numbers->len; i++)
		for (guint j = from->len; j-- > 0;)
			if (g_array_index(from, int, j) == g_array_index(numbers, int, i))
				g_array_remove_index(from, j);
}

/* As QEMU says; NULL: it does not. */
static GArray *by_monitor(const LuRunning *running, const LuOption *option)
{
	g_autofree char *id = member(option, "id");

	return running->qmp && id ? lu_tap_find(running, id, NULL) : NULL;
}

/* The descriptors that no option names, and in @at where those of option @wanted begin. */
static GArray *unnamed(const LuRunning *running, const LuOption *wanted, guint *at, guint *expected)
{
	GArray *left = descriptors_of(running->process, NULL);

	*at = *expected = 0;
	for (guint class = 0; class < G_N_ELEMENTS(classes); class ++) {
		for (guint i = 0; i < running->line->options->len; i++) {
			const LuOption *option = running->line->options->pdata[i];
			g_autofree char *fd = NULL, *interface = NULL;
			g_autoptr(GArray) named = NULL;

			if (!lu_option_is(option, classes[class]) || !lu_tap_is(option))
				continue;
			if (option == wanted)
				*at = *expected;
			fd = given(option);
			interface = member(option, "ifname");
			if (fd)
				named = by_numbers(fd, NULL);
			else if (interface)
				named = descriptors_of(running->process, interface);
			else if (!(named = by_monitor(running, option)))
				*expected += queues_of(option);
			take_out(left, named);
		}
	}
	return left;
}

/* The bridge on which QEMU's own helper put it; NULL: it was none, or another one. */
static char *bridge_of(const LuOption *option)
{
	g_autofree char *type = member(option, "type"), *helper = member(option, "helper");
	g_autofree char *program = helper ? g_path_get_basename(helper) : NULL;
	char *bridge;

	if (program ? strcmp(program, "qemu-bridge-helper") : g_strcmp0(type, "bridge"))
		return NULL;
	bridge = member(option, "br");
	return bridge ? bridge : g_strdup("br0");
}

static gboolean fits(const LuRunning *running, const LuOption *option, int number, GError **errp)
{
	g_autofree char *bridge = bridge_of(option), *text = g_strdup_printf("%d", number);
	g_autofree char *interface = interface_of(running->process, text), *is = NULL;

	is = bridge && interface ? lu_interface_master(running->process, interface) : NULL;
	return !bridge || !g_strcmp0(is, bridge) ||
	       lu_fail(errp, LU_ERROR_REFUSED,
		       "its interface cannot be told: by the order of descriptors it is %s, which "
		       "is on bridge %s, and the netdev on %s",
		       interface ? interface : "none", is ? is : "none", bridge);
}

static GArray *by_order(const LuRunning *running, const LuOption *option, GError **errp)
{
	g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(int));
	const guint queues = queues_of(option);
	guint at, expected;
	g_autoptr(GArray) left = unnamed(running, option, &at, &expected);

	if (left->len != expected) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"its interface cannot be told: process %d has %u descriptors of tap "
			"devices that the command line does not name, and should have %u",
			(int)running->process->pid, left->len, expected);
		return NULL;
	}
	g_array_append_vals(numbers, &g_array_index(left, int, at), queues);
	for (guint i = 0; left->len > queues && i < queues; i++)
		if (!fits(running, option, g_array_index(numbers, int, i), errp))
			return NULL;
	return g_steal_pointer(&numbers);
}

GArray *lu_tap_find_option(const LuRunning *running, guint at, GError **errp)
{
	const LuOption *option = running->line->options->pdata[at];
	g_autofree char *fd = given(option), *interface = member(option, "ifname");
	GArray *numbers;

	if (fd)
		return by_numbers(fd, errp);
	if (interface)
		return by_interface(running, interface, queues_of(option), errp);
	numbers = by_monitor(running, option);
	return numbers ? numbers : by_order(running, option, errp);
}

/* -------------------------------------------------------------------- what QEMU says */

/* Of "ifname=tap0,script=no,downscript=no" or "fd=27". */
static void take_line(const char *info, GArray *numbers, GPtrArray *interfaces)
{
	g_auto(GStrv) words = g_strsplit(info, ",", 2);
	int number;

	if (words[0] && g_str_has_prefix(words[0], "fd=")) {
		number = atoi(words[0] + strlen("fd="));
		g_array_append_val(numbers, number);
	} else if (words[0] && g_str_has_prefix(words[0], "ifname=")) {
		g_ptr_array_add(interfaces, g_strdup(words[0] + strlen("ifname=")));
	}
}

/* " \ net0: index=0,type=tap,fd=27", a line for each queue; without the " \ " if no NIC has it. */
gboolean lu_tap_has_nic(const LuRunning *running, const LuOption *option)
{
	g_autofree char *id = member(option, "id"), *text = NULL, *begin = NULL;

	if (!running->qmp || !id)
		return TRUE;
	text = lu_qmp_hmp(running->qmp, "info network", NULL);
	begin = g_strconcat("\n", id, ": index=", NULL);
	return !text || (!g_str_has_prefix(text, begin + 1) && !strstr(text, begin));
}

GArray *lu_tap_find(const LuRunning *running, const char *id, GError **errp)
{
	g_autofree char *text = lu_qmp_hmp(running->qmp, "info network", errp);
	g_auto(GStrv) lines = text ? g_strsplit_set(text, "\r\n", -1) : NULL;
	g_autofree char *begin = g_strconcat(id, ": index=", NULL);
	g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(int));
	g_autoptr(GPtrArray) interfaces = g_ptr_array_new_with_free_func(g_free);

	if (!text)
		return NULL;
	for (guint i = 0; lines[i]; i++) {
		const char *line = g_str_has_prefix(lines[i], " \\ ") ? lines[i] + 3 : lines[i];
		const char *info = strstr(line, ",type=tap,");

		if (g_str_has_prefix(line, begin) && info)
			take_line(info + strlen(",type=tap,"), numbers, interfaces);
	}
	if (interfaces->len)
		return by_interface(running, interfaces->pdata[0], interfaces->len, errp);
	if (numbers->len)
		return g_steal_pointer(&numbers);
	lu_fail(errp, LU_ERROR_REFUSED, "the descriptors of netdev %s cannot be told", id);
	return NULL;
}
