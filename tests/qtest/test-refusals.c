/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Machines that differ, and a state that cannot go: refused while the guest runs, which runs on
 * and never stopped. The error says what differs, with both values. What is wrong with the
 * command itself is in test-commands.c.
 */
#include "migrate.h"

#include <string.h>

#define GUEST .append = "rate=8 touch=48"

typedef struct Refusal {
	const char *name;
	VmOptions source, destination;
	const char *says[5];
} Refusal;

static const char *const with_rng[] = {"-device", "virtio-rng-pci,id=dice", NULL};
static const char *const with_iommu[] = {"-device", "amd-iommu", NULL};
static const char *const with_virtio_mem[] = {
	"-m",	   "maxmem=1G",
	"-object", "memory-backend-ram,id=plug,size=128M",
	"-device", "virtio-mem-pci,memdev=plug,requested-size=0",
	NULL};
static const char *const with_more_ram[] = {"-m", "slots=2,maxmem=1G", "-object",
					    "memory-backend-ram,id=dimm,size=128M", NULL};
static const char *const with_dimm[] = {
	"-m",	   "slots=2,maxmem=1G",	  "-object", "memory-backend-ram,id=dimm,size=128M",
	"-device", "pc-dimm,memdev=dimm", NULL};
static const char *const two_cpus_of_eight[] = {"-smp", "cpus=2,maxcpus=8", NULL};

static const Refusal refusals[] = {
	{"machine type",
	 {GUEST},
	 {GUEST, .machine = "pc-q35-6.2"},
	 {"machine type", "pc-q35-7.2", "pc-q35-6.2"}},
	{"smaller RAM", {GUEST}, {GUEST, .memory_mib = 64}, {"pc.ram", "268435456", "67108864"}},
	{"larger RAM", {GUEST}, {GUEST, .memory_mib = 512}, {"pc.ram", "268435456", "536870912"}},
	{"another block's name",
	 {GUEST},
	 {GUEST, .backend = "memory-backend-ram"},
	 {"pc.ram", "only", "source"}},
	{"private here, shared there",
	 {GUEST, .backend = "memory-backend-ram"},
	 {GUEST, .backend = "memory-backend-memfd,share=on"},
	 {"mem", "private", "shared"}},
	{"a block more there",
	 {GUEST, .extra = with_more_ram},
	 {GUEST, .extra = with_dimm},
	 {"dimm", "only", "destination"}},
	{"a device more here",
	 {GUEST, .extra = with_rng},
	 {GUEST},
	 {"virtio-rng", "only", "source"}},
	{"a device more there",
	 {GUEST},
	 {GUEST, .extra = with_rng},
	 {"virtio-rng", "only", "destination"}},
	{"CPU model", {GUEST, .cpu = "qemu64"}, {GUEST, .cpu = "Westmere"}, {"qemu64", "Westmere"}},
	{"vcpus fewer", {GUEST, .smp = 2}, {GUEST, .smp = 1}, {"CPUs", "2", "1"}},
	{"vcpus more", {GUEST, .smp = 1}, {GUEST, .smp = 2}, {"CPUs", "1", "2"}},
	{"most vcpus",
	 {GUEST, .smp = 2},
	 {GUEST, .smp = 2, .extra = two_cpus_of_eight},
	 {"2", "8"}},
	{"migration blocker",
	 {GUEST, .extra = with_iommu},
	 {GUEST, .extra = with_iommu},
	 {"non-migratable", "amd-iommu"}},
	{"virtio-mem",
	 {GUEST, .extra = with_virtio_mem},
	 {GUEST, .extra = with_virtio_mem},
	 {"virtio-mem"}},
};

static void assert_says(const char *text, const char *const *parts)
{
	lm_test_note("%s", text);
	for (guint i = 0; parts[i]; i++)
		assert_contains(text, parts[i]);
}

/* Whatever was refused, this destination is as good as before: it says so, and takes a guest. */
static void assert_destination_waits(Vm *destination)
{
	assert_true(vm_alive(destination));
	assert_true(vm_has_status(destination, "inmigrate"));
}

static void test_refusal(LmTest *test, const void *arg)
{
	const Refusal *refusal = arg;
	Vm *source = migrate_source(test, &refusal->source);
	Vm *destination = migrate_destination(test, &refusal->destination, source);
	g_autofree char *uri = migrate_uri(destination), *text = NULL;

	migrate_listen(destination);
	text = migrate_refused(source, uri, "");
	assert_says(text, refusal->says);
	assert_destination_waits(destination);
}

/* A raw image of 1 MiB in the case's folder, and the arguments of a disk on it. */
static GPtrArray *disk(LmTest *test, const char *name)
{
	g_autofree char *path = lm_test_path(test, name);
	g_autofree char *content = g_malloc0(1 << 20);
	GPtrArray *args = g_ptr_array_new_with_free_func(g_free);

	if (!g_file_test(path, G_FILE_TEST_EXISTS))
		assert_true(g_file_set_contents(path, content, 1 << 20, NULL));
	g_ptr_array_add(args, g_strdup("-blockdev"));
	g_ptr_array_add(args, g_strdup_printf("driver=file,filename=%s,node-name=file0", path));
	g_ptr_array_add(args, g_strdup("-blockdev"));
	g_ptr_array_add(args, g_strdup("driver=raw,file=file0,node-name=disk0"));
	g_ptr_array_add(args, g_strdup("-device"));
	g_ptr_array_add(args, g_strdup("virtio-blk-pci,drive=disk0,id=blk0"));
	g_ptr_array_add(args, NULL);
	return args;
}

static void test_another_image(LmTest *test, const void *arg)
{
	g_autoptr(GPtrArray) mine = disk(test, "one.img"), theirs = disk(test, "two.img");
	VmOptions options = {GUEST, .extra = (const char *const *)mine->pdata};
	Vm *source = migrate_source(test, &options), *destination;
	static const char *const says[] = {"one.img", "two.img", NULL};
	g_autofree char *uri = NULL, *text = NULL;

	options.extra = (const char *const *)theirs->pdata;
	destination = migrate_destination(test, &options, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	text = migrate_refused(source, uri, "");
	assert_says(text, says);
	assert_destination_waits(destination);
}

/*
 * The destination's command line names an image that is not the one in use any more, because of a
 * snapshot before the command, or between the comparison and the stop.
 */
static void test_snapshot(LmTest *test, const void *arg)
{
	const gboolean meanwhile = !strcmp(arg, "meanwhile");
	g_autoptr(GPtrArray) extra = disk(test, "one.img");
	VmOptions options = {GUEST, .extra = (const char *const *)extra->pdata};
	static const char *const says[] = {"one.img", "overlay.qcow2", NULL};
	g_autofree char *uri = NULL, *overlay = lm_test_path(test, "overlay.qcow2");
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	options.plugin_args = meanwhile ? "fault=stop:hold" : NULL;
	source = migrate_source(test, &options);
	options.plugin_args = NULL;
	destination = migrate_destination(test, &options, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	if (meanwhile) {
		migrate_begin(source, uri, ", 'deadline-ms': 200"); /* holds for two seconds */
		migrate_wait_stage(source, "stop", LM_WAIT_MS);
	}
	vm_do(source, "blockdev-snapshot-sync",
	      "{'node-name': 'disk0', 'snapshot-file': %s, 'format': 'qcow2',"
	      " 'snapshot-node-name': 'snap0'}",
	      overlay);
	if (!meanwhile)
		migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_says(qmp_str(info, "error-desc"), says);
	migrate_assert_kept(source, info);
	vm_assert_never_stopped(source);
	assert_destination_waits(destination);
}

static void test_bitmap_in_memory(LmTest *test, const void *arg)
{
	g_autoptr(GPtrArray) extra = disk(test, "one.img");
	const VmOptions options = {GUEST, .extra = (const char *const *)extra->pdata};
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);
	static const char *const says[] = {"bitmap", "backup7", NULL};
	g_autofree char *uri = migrate_uri(destination), *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	vm_do(source, "block-dirty-bitmap-add",
	      "{'node': 'disk0', 'name': 'backup7', 'persistent': false}");
	migrate_listen(destination);
	text = migrate_refused(source, uri, "");
	assert_says(text, says);
	assert_destination_waits(destination);

	vm_do(source, "block-dirty-bitmap-remove", "{'node': 'disk0', 'name': 'backup7'}");
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

/* Refused once, the same two processes can do it when what was wrong has been put right. */
static void test_refused_then_done(LmTest *test, const void *arg)
{
	const VmOptions options = {GUEST};
	const VmOptions other = {GUEST, .cpu = "Westmere"};
	Vm *source = migrate_source(test, &options);
	Vm *wrong = migrate_destination(test, &other, source);
	Vm *right = migrate_destination(test, &options, source);
	g_autofree char *uri = migrate_uri(wrong), *text = NULL;
	g_autoptr(JsonNode) info = NULL;

	migrate_listen(wrong);
	text = migrate_refused(source, uri, "");
	info = migrate_ok(source, right, "");
	assert_destination_waits(wrong);
}

int main(int argc, char **argv)
{
	static const LmCase others[] = {
		LM_CASE(test_another_image),
		LM_CASE_ARG(test_snapshot, "before"),
		LM_CASE_ARG(test_snapshot, "meanwhile"),
		LM_CASE(test_bitmap_in_memory),
		LM_CASE(test_refused_then_done),
	};
	LmCase cases[G_N_ELEMENTS(refusals) + G_N_ELEMENTS(others)];
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
		g_ptr_array_add(names, g_strdup_printf("test_refusal %s", refusals[i].name));
		cases[i] = (LmCase){names->pdata[i], test_refusal, &refusals[i]};
	}
	memcpy(cases + G_N_ELEMENTS(refusals), others, sizeof(others));
	return LM_TEST_MAIN(argc, argv, cases);
}
