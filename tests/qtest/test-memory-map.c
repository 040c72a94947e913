/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the guest has its PCI devices: the same after each upgrade, whether the destination could
 * put them there before the stop (migration/memory-map.c) or not.
 */
#include "migrate.h"
#include "versions.h"

#define BEHIND_A_PORT(n)                                                                           \
	"-device", "pcie-root-port,id=port" #n ",chassis=" #n ",slot=" #n, "-device",              \
		"virtio-rng-pci,bus=port" #n

static const char *const many_devices[] = {BEHIND_A_PORT(1),
					   BEHIND_A_PORT(2),
					   BEHIND_A_PORT(3),
					   BEHIND_A_PORT(4),
					   BEHIND_A_PORT(5),
					   BEHIND_A_PORT(6),
					   BEHIND_A_PORT(7),
					   BEHIND_A_PORT(8),
					   "-device",
					   "virtio-scsi-pci",
					   NULL};
static const char *const old_bridge[] = {"-device", "pci-bridge,id=bridge,chassis_nr=1",
					 "-device", "virtio-rng-pci,bus=bridge,addr=1",
					 "-device", "e1000,romfile=",
					 NULL};
static const char *const iommu[] = {"-device", "intel-iommu", "-device", "virtio-rng-pci", NULL};
static const char *const ivshmem[] = {"-object", "memory-backend-memfd,id=shm,size=1M,share=on",
				      "-device", "ivshmem-plain,memdev=shm,master=on", NULL};

typedef struct Setup {
	const char *name, *machine;
	const char *const *extra;
} Setup;

static const Setup setups[] = {
	{"many devices", NULL, many_devices},
	{"a bridge on i440fx", "pc-i440fx-7.2", old_bridge},
	{"an IOMMU", NULL, iommu},
	{"memory in a BAR", NULL, ivshmem},
};

/* Of what query-pci tells, where things are. */
static void append_places(GString *text, JsonNode *node)
{
	static const char *const members[] = {"bus",	  "slot",	  "function",
					      "bar",	  "address",	  "size",
					      "devices",  "regions",	  "pci_bridge",
					      "io_range", "memory_range", "prefetchable_range",
					      "base",	  "limit"};

	if (JSON_NODE_HOLDS_ARRAY(node)) {
		JsonArray *array = json_node_get_array(node);

		for (guint i = 0; i < json_array_get_length(array); i++)
			append_places(text, json_array_get_element(array, i));
	} else if (JSON_NODE_HOLDS_OBJECT(node)) {
		JsonObject *object = json_node_get_object(node);

		for (guint i = 0; i < G_N_ELEMENTS(members); i++) {
			if (!json_object_has_member(object, members[i]))
				continue;
			g_string_append_printf(text, " %s", members[i]);
			append_places(text, json_object_get_member(object, members[i]));
		}
		g_string_append_c(text, ';');
	} else if (json_node_get_value_type(node) == G_TYPE_INT64) {
		g_string_append_printf(text, " %" G_GINT64_MODIFIER "x", json_node_get_int(node));
	}
}

static char *places(Vm *vm)
{
	g_autoptr(JsonNode) answer = vm_command(vm, "query-pci", NULL);
	GString *text = g_string_new(NULL);

	append_places(text, answer);
	return g_string_free(text, FALSE);
}

static void walk(LmTest *test, const Setup *setup, const char *more)
{
	static const char *const path[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};
	VmOptions options = {.append = "rate=8",
			     .memory_mib = 128,
			     .root = version_root(path[0]),
			     .machine = setup->machine,
			     .extra = setup->extra};
	Vm *source = migrate_source(test, &options);
	g_autofree char *before = places(source);

	assert_contains(before, "address");
	for (guint i = 1; i < G_N_ELEMENTS(path); i++) {
		g_autoptr(JsonNode) info = NULL;
		g_autofree char *after = NULL;
		Vm *destination;

		options.root = version_root(path[i]);
		destination = migrate_destination(test, &options, source);
		info = migrate_ok(source, destination, more);
		after = places(destination);
		assert_string_equal(after, before);
		vm_assert_intact(destination);
		vm_do(source, "quit", NULL);
		source = destination;
	}
}

static void test_places(LmTest *test, const void *arg)
{
	for (guint i = 0; i < G_N_ELEMENTS(setups); i++) {
		lm_test_note("%s", setups[i].name);
		walk(test, &setups[i], arg);
	}
}

/* The destination has put its devices in place, and the source goes on after all. */
static void test_stop_fails(LmTest *test, const void *arg)
{
	VmOptions options = {.append = "rate=8",
			     .memory_mib = 128,
			     .root = version_root(VERSION_7_2),
			     .extra = many_devices,
			     .plugin_args = "fault=stop:fail"};
	Vm *source = migrate_source(test, &options), *destination;
	g_autofree char *before = places(source), *after = NULL;
	g_autoptr(JsonNode) failed = NULL;

	options.plugin_args = NULL;
	destination = migrate_destination(test, &options, source);
	failed = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(failed, "status"), "failed");
	assert_contains(qmp_str(failed, "error-desc"), "fault injected at stop");
	migrate_assert_kept(source, failed);
	after = places(source);
	assert_string_equal(after, before);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_places, ""),
	LM_CASE_ARG(test_places, ", 'ram': 'share'"),
	LM_CASE(test_stop_fails),
};

int main(int argc, char **argv)
{
	static const char *const needed[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!version_is_here(needed[i]))
			return lm_test_skip("no QEMU %s", needed[i]);
	return LM_TEST_MAIN(argc, argv, cases);
}
