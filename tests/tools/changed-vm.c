/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "changed-vm.h"

#include <string.h>

/* Places for everything that is plugged. */
#define PLACES                                                                                     \
	"-m", "64,slots=4,maxmem=1G", "-smp", "1,maxcpus=3", "-device",                            \
		"pcie-root-port,id=rp0,slot=10,chassis=10", "-device",                             \
		"{\"driver\": \"pcie-root-port\", \"id\": \"rp1\", \"slot\": 11, \"chassis\": "    \
		"11}",                                                                             \
		"-device", "pcie-root-port,id=rp2,slot=12,chassis=12", "-device",                  \
		"virtio-scsi-pci,id=scsi", "-device", "virtio-serial-pci,id=vs", "-device",        \
		"qemu-xhci,id=xhci"

Vm *changed_vm_of(LmTest *test, const char *binary, const char *const *more)
{
	static const char *const places[] = {PLACES};
	g_autoptr(GPtrArray) extra = g_ptr_array_new();
	VmOptions options = {.append = "rate=8", .memory_mib = 64, .binary = binary};

	for (guint i = 0; i < G_N_ELEMENTS(places); i++)
		g_ptr_array_add(extra, (char *)places[i]);
	for (; more && *more; more++)
		g_ptr_array_add(extra, (char *)*more);
	g_ptr_array_add(extra, NULL);
	options.extra = (const char *const *)extra->pdata;
	return tool_vm(test, &options);
}

Vm *changed_vm(LmTest *test, const char *const *more)
{
	return changed_vm_of(test, NULL, more);
}

char *changed_image(LmTest *test, const char *name, const char *format, const char *backing)
{
	char *path = lm_test_path(test, name);
	g_autofree char *command =
		backing ? g_strdup_printf("qemu-img create -q -f %s -F raw -b %s %s", format,
					  backing, path)
			: g_strdup_printf("qemu-img create -q -f %s %s 8M", format, path);

	assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
	return path;
}

/* A command with '%s' for the words that follow. */
void change(Vm *vm, const char *name, const char *format, ...)
{
	g_autofree char *arguments = NULL;
	va_list args;

	va_start(args, format);
	arguments = g_strdup_vprintf(format, args);
	va_end(args);
	json_node_unref(tool_command(vm, name, arguments));
}

char *changed_human(Vm *vm, const char *line)
{
	g_autofree char *arguments = g_strdup_printf("{'command-line': '%s'}", line);
	g_autoptr(JsonNode) reply = tool_command(vm, "human-monitor-command", arguments);

	return g_strdup(json_node_get_string(reply));
}

/* Blocks that a disk's device writes, or reads and finds written; QEMU says so on stderr. */
void changed_pattern(Vm *vm, const char *device, const char *what, int number, int at_kib)
{
	g_autofree char *line = g_strdup_printf("qemu-io -d %s \\\"%s -P %d %dk 64k\\\"", device,
						what, number, at_kib);
	g_autofree char *before = vm_stderr(vm), *said = NULL, *after = NULL;

	said = changed_human(vm, line);
	assert_string_equal(said, "");
	after = vm_stderr(vm);
	assert_null(strstr(after + strlen(before), "failed"));
	assert_contains(after + strlen(before), "65536/65536 bytes at offset");
}

/* -------------------------------------------------------- what a QEMU answers */

static void scrub(JsonNode *node);

static void scrub_object(JsonObject *object)
{
	static const char *const volatile_members[] = {"thread-id", "actual-size", "hotplugged",
						       "format-specific", "frontend-open"};
	g_autoptr(GList) members = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(volatile_members); i++)
		json_object_remove_member(object, volatile_members[i]);
	members = json_object_get_members(object);
	for (GList *m = members; m; m = m->next) {
		JsonNode *value = json_object_get_member(object, m->data);

		if (JSON_NODE_HOLDS_VALUE(value) &&
		    json_node_get_value_type(value) == G_TYPE_STRING &&
		    (*json_node_get_string(value) == '#' ||
		     g_str_has_prefix(json_node_get_string(value), "lu-medium")))
			json_object_set_string_member(object, m->data, "#");
		else
			scrub(value);
	}
}

static void scrub(JsonNode *node)
{
	if (JSON_NODE_HOLDS_OBJECT(node))
		scrub_object(json_node_get_object(node));
	for (guint i = 0;
	     JSON_NODE_HOLDS_ARRAY(node) && i < json_array_get_length(json_node_get_array(node));
	     i++)
		scrub(json_array_get_element(json_node_get_array(node), i));
}

static int by_text(gconstpointer a, gconstpointer b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A list's elements in an order of their own, without what is a process's own. */
static void append_list(GString *text, Vm *vm, const char *command, const char *arguments)
{
	g_autoptr(JsonNode) reply = tool_command(vm, command, arguments);
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

	scrub(reply);
	for (guint i = 0; i < json_array_get_length(json_node_get_array(reply)); i++)
		g_ptr_array_add(
			lines, json_to_string(json_array_get_element(json_node_get_array(reply), i),
					      FALSE));
	g_ptr_array_sort(lines, by_text);
	g_string_append_printf(text, "%s\n", command);
	for (guint i = 0; i < lines->len; i++)
		if (!strstr(lines->pdata[i], ".lu1") && !strstr(lines->pdata[i], ".lu2") &&
		    !strstr(lines->pdata[i], "server=on") &&
		    !strstr(lines->pdata[i], "\"node-name\":\"#\"")) /* of an unnamed node */
			g_string_append_printf(text, "%s\n", (char *)lines->pdata[i]);
}

static char *answers(Vm *vm)
{
	static const struct {
		const char *command, *arguments;
	} questions[] = {
		{"qom-list", "{'path': '/machine/peripheral'}"},
		{"qom-list", "{'path': '/machine/peripheral-anon'}"},
		{"qom-list", "{'path': '/objects'}"},
		{"query-memory-devices", NULL},
		{"query-hotpluggable-cpus", NULL},
		{"query-iothreads", NULL},
		{"query-named-block-nodes", "{'flat': true}"},
		{"query-block", NULL},
		{"query-chardev", NULL},
		{"query-migrate-capabilities", NULL},
	};
	g_autoptr(JsonNode) parameters = tool_command(vm, "query-migrate-parameters", NULL);
	g_autofree char *network = changed_human(vm, "info network"), *more = NULL;
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < G_N_ELEMENTS(questions); i++)
		append_list(text, vm, questions[i].command, questions[i].arguments);
	more = json_to_string(parameters, FALSE);
	g_string_append_printf(text, "%s\n%s", more, network);
	return g_string_free(text, FALSE);
}

static void assert_same_answers(const char *before, const char *after)
{
	g_auto(GStrv) old = g_strsplit(before, "\n", -1), new = g_strsplit(after, "\n", -1);

	for (guint i = 0; old[i] || new[i]; i++)
		if (!old[i] || !new[i] || strcmp(old[i], new[i]))
			fail_msg("before: %s\nafter:  %s", old[i] ? old[i] : "nothing",
				 new[i] ? new[i] : "nothing");
}

/* The command line is that of the last. */
void changed_upgrade(LmTest *test, Vm *vm, Run *run)
{
	g_autofree char *before = answers(vm), *after = NULL;

	run_clear(run);
	tool_run(test, run, NULL, "--qmp", vm->qmp_path, "--binary", tool_qemu(), NULL);
	tool_assert_upgraded(vm, run);
	after = answers(vm);
	assert_same_answers(before, after);
}

void changed_upgrade_twice(LmTest *test, Vm *vm, Run *run)
{
	changed_upgrade(test, vm, run);
	changed_upgrade(test, vm, run);
}

void changed_assert_refused(LmTest *test, Vm *vm, const char *binary, const char *text)
{
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--qmp", vm->qmp_path, "--binary", binary, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), text);
	assert_null(strchr(qmp_str(run.report, "error"), '\n'));
	tool_assert_untouched(vm);
}

void changed_plug(LmTest *test, Vm *vm)
{
	g_autofree char *socket = lm_test_path(test, "port");

	change(vm, "netdev_add", "{'type': 'user', 'id': 'net1', 'restrict': true}");
	change(vm, "device_add",
	       "{'driver': 'virtio-net-pci', 'id': 'nic1', 'netdev': 'net1', 'bus': 'rp1', "
	       "'romfile': '', "
	       "'mac': '52:54:00:01:02:03'}");
	change(vm, "object-add",
	       "{'qom-type': 'memory-backend-ram', 'id': 'mem1', 'size': 134217728}");
	change(vm, "device_add", "{'driver': 'pc-dimm', 'id': 'dimm1', 'memdev': 'mem1'}");
	change(vm, "device_add",
	       "{'driver': 'qemu64-x86_64-cpu', 'id': 'cpu1', 'socket-id': 0, 'core-id': 1, "
	       "'thread-id': 0}");
	change(vm, "chardev-add",
	       "{'id': 'char1', 'backend': {'type': 'socket', 'data': {'addr': {'type': "
	       "'unix', 'data': {'path': '%s'}}, 'server': true, 'wait': false}}}",
	       socket);
	change(vm, "device_add",
	       "{'driver': 'virtserialport', 'id': 'port1', 'bus': 'vs.0', 'chardev': "
	       "'char1', 'name': 'org.example.1'}");
	change(vm, "device_add", "{'driver': 'virtio-rng-pci', 'id': 'rng1', 'bus': 'rp2'}");
	change(vm, "device_add", "{'driver': 'usb-hub', 'id': 'hub1', 'bus': 'xhci.0'}");
	change(vm, "device_add", "{'driver': 'usb-tablet', 'id': 'tab1', 'bus': 'xhci.0'}");
	change(vm, "device_add", "{'driver': 'virtio-scsi-pci', 'id': 'ctl1', 'bus': 'rp0'}");
	change(vm, "blockdev-add", "{'driver': 'null-co', 'node-name': 'null1', 'size': 65536}");
	change(vm, "device_add",
	       "{'driver': 'scsi-hd', 'id': 'behind', 'bus': 'ctl1.0', 'drive': 'null1'}");
}
