/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All kinds of memory that QEMU can give a guest, and what moving it costs. */
#include "cgroup.h"
#include "migrate.h"
#include "process.h"

#include <stdio.h>
#include <string.h>

#define OVERCOMMIT "/proc/sys/vm/nr_overcommit_hugepages"
#define MIB	   (1 << 20)
#define HIGH_BEATS 140 /* in which the payload verifies 32 MiB above 4 GiB, and some */

/* Whether all bytes of @block went @way. */
static void assert_block(JsonNode *info, const char *name, const char *way)
{
	JsonObject *object = json_node_get_object(info);
	JsonArray *blocks = json_object_get_array_member(object, "blocks");
	g_autofree char *text = json_to_string(info, FALSE);

	for (guint i = 0; i < json_array_get_length(blocks); i++) {
		JsonNode *block = json_array_get_element(blocks, i);

		if (!g_str_has_suffix(qmp_str(block, "name"), name))
			continue;
		assert_string_equal(qmp_str(block, "way"), way);
		assert_int_equal(qmp_int(block, "flipped") > 0, strcmp(way, "flip") == 0);
		return;
	}
	fail_msg("no block %s: %s", name, text);
}

typedef struct Backend {
	const char *name;
	const char *source, *destination; /* @1@ and @2@ are files of the case in /dev/shm */
	const char *way;
	gboolean hugetlb;
} Backend;

static const Backend backends[] = {
	{"ram", "memory-backend-ram", "memory-backend-ram", "flip", FALSE},
	{"ram, prealloc", "memory-backend-ram,prealloc=on", "memory-backend-ram,prealloc=on",
	 "flip", FALSE},
	{"ram, merge off dump off", "memory-backend-ram,merge=off,dump=off",
	 "memory-backend-ram,merge=off,dump=off", "flip", FALSE},
	{"memfd, shared", "memory-backend-memfd,share=on", "memory-backend-memfd,share=on", "pass",
	 FALSE},
	{"memfd, private", "memory-backend-memfd,share=off", "memory-backend-memfd,share=off",
	 "flip", FALSE},
	{"file, shared, the same", "memory-backend-file,share=on,mem-path=@1@",
	 "memory-backend-file,share=on,mem-path=@1@", "pass", FALSE},
	{"file, shared, another", "memory-backend-file,share=on,mem-path=@1@",
	 "memory-backend-file,share=on,mem-path=@2@", "pass", FALSE},
	{"file, private, the same", "memory-backend-file,share=off,mem-path=@1@",
	 "memory-backend-file,share=off,mem-path=@1@", "flip", FALSE},
	{"file, private, another", "memory-backend-file,share=off,mem-path=@1@",
	 "memory-backend-file,share=off,mem-path=@2@", "flip", FALSE},
	{"file to memfd, shared", "memory-backend-file,share=on,mem-path=@1@",
	 "memory-backend-memfd,share=on", "pass", FALSE},
	{"memfd to private", "memory-backend-memfd,share=on", "memory-backend-ram", "pass", FALSE},
	{"hugetlb, private", "memory-backend-memfd,hugetlb=on,share=off,reserve=off",
	 "memory-backend-memfd,hugetlb=on,share=off,reserve=off", "flip", TRUE},
	{"hugetlb, shared", "memory-backend-memfd,hugetlb=on,share=on,reserve=off",
	 "memory-backend-memfd,hugetlb=on,share=on,reserve=off", "pass", TRUE},
};

static void restore_overcommit(gpointer before)
{
	g_file_set_contents_full(OVERCOMMIT, before, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL);
	g_free(before);
}

/* Huge pages come into being on demand for the time of the case. FALSE if this user may not. */
static gboolean allow_huge_pages(LmTest *test)
{
	char *before = NULL;

	if (!g_file_get_contents(OVERCOMMIT, &before, NULL, NULL) ||
	    !g_file_set_contents_full(OVERCOMMIT, "400", -1, G_FILE_SET_CONTENTS_NONE, 0644,
				      NULL)) {
		g_free(before);
		return FALSE;
	}
	lm_test_cleanup_later(test, restore_overcommit, before);
	return TRUE;
}

static char *with_files(LmTest *test, const char *backend)
{
	g_autofree char *base = g_path_get_basename(test->dir);
	g_autofree char *first = g_strdup_printf("/dev/shm/%s-1", base);
	g_autofree char *second = g_strdup_printf("/dev/shm/%s-2", base);
	g_autoptr(GString) text = g_string_new(backend);

	g_string_replace(text, "@1@", first, 0);
	g_string_replace(text, "@2@", second, 0);
	lm_test_remove_later(test, g_steal_pointer(&first));
	lm_test_remove_later(test, g_steal_pointer(&second));
	return g_strdup(text->str);
}

static void test_backend(LmTest *test, const void *arg)
{
	const Backend *backend = arg;
	g_autofree char *mine = with_files(test, backend->source);
	g_autofree char *theirs = with_files(test, backend->destination);
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = {.append = "rate=8", .memory_mib = 128, .backend = mine};
	Vm *source, *destination;

	if (backend->hugetlb && !allow_huge_pages(test)) {
		lm_test_note("not tested: this user may not have huge pages");
		return;
	}
	source = migrate_source(test, &options);
	options.backend = theirs;
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, "");
	assert_block(info, "mem", backend->way);
}

static void test_numa(LmTest *test, const void *arg)
{
	static const char *const numa[] = {
		"-object", "memory-backend-ram,id=near,size=64M",
		"-object", "memory-backend-memfd,id=far,size=64M,share=on",
		"-numa",   "node,memdev=near,cpus=0",
		"-numa",   "node,memdev=far",
		NULL};
	const VmOptions options = {.append = "rate=8", .memory_mib = 128, .extra = numa};
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);

	info = migrate_ok(source, destination, "");
	assert_block(info, "near", "flip");
	assert_block(info, "far", "pass");
}

/* @arg: the backend of those that come after the first; of some QEMU has no descriptor. */
static void test_chain_of_shared(LmTest *test, const void *arg)
{
	VmOptions options = {
		.append = "rate=8", .memory_mib = 128, .backend = "memory-backend-memfd,share=on"};
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a = migrate_source(test, &options), *b, *c;

	if (arg)
		options.backend = arg;
	b = migrate_destination(test, &options, a);
	first = migrate_ok(a, b, "");
	vm_kill(a, 9);
	assert_true(vm_wait_exit(a, LM_WAIT_MS));
	vm_assert_intact(b);
	c = migrate_destination(test, &options, b);
	second = migrate_ok(b, c, "");
	assert_block(second, "mem", "pass");
}

static void test_sparse(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8 touch=64", .memory_mib = 4096};
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);

	info = migrate_ok(source, destination, "");
	assert_true(qmp_int(info, "flipped") >= 64 * MIB);
	assert_true(qmp_int(info, "flipped") < 128 * MIB);
	assert_true(qmp_int(info, "skipped") > 3900ll * MIB);
	assert_true(process_smaps_bytes(destination->pid, "Rss") < 400 * MIB);
}

/* q35 puts what is beyond 2 GiB above 4 GiB; all of it that is filled is verified there. */
static void test_above_4_gib(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8 touch=32 high=32 beat=10", .memory_mib = 3072};
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);
	Beat beat;

	info = migrate_ok(source, destination, arg);
	if (!serial_wait_beats(destination->serial_path, HIGH_BEATS, LM_WAIT_MS, &beat, &error))
		fail_msg("%s", error->message);
	vm_assert_intact(destination);
}

static void test_huge_pages_stay(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8", .memory_mib = 256};
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);
	guint64 before = process_smaps_bytes(source->pid, "AnonHugePages"), after;

	if (before < 200 * MIB) {
		lm_test_note("not tested: the source has %d MiB in huge pages",
			     (int)(before / MIB));
		return;
	}
	info = migrate_ok(source, destination, "");
	after = process_smaps_bytes(destination->pid, "AnonHugePages");
	lm_test_note("huge pages: %d MiB before, %d MiB after", (int)(before / MIB),
		     (int)(after / MIB));
	assert_true(after > before / 10 * 9);
}

/* Both processes together never take much more than they did before, with 1 GiB in use. */
static void test_memory_is_held_once(LmTest *test, const void *arg)
{
	g_autofree char *args = g_strdup_printf("engine=%s", (const char *)arg);
	VmOptions options = {.append = "rate=8", .memory_mib = 1024, .plugin_args = args};
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;
	LmCgroup *cgroup = cgroup_new(test, &error);
	Vm *source, *destination;
	guint64 before, peak;

	if (!cgroup) {
		lm_test_note("not tested: %s", error->message);
		return;
	}
	options.cgroup_procs = cgroup_procs_path(cgroup);
	source = migrate_source(test, &options);
	destination = migrate_destination(test, &options, source);
	if (!cgroup_reset_peak(cgroup, &error)) {
		lm_test_note("not tested: %s", error->message);
		return;
	}
	before = cgroup_usage_bytes(cgroup);
	info = migrate_ok(source, destination, ", 'channels': 2");
	peak = cgroup_peak_bytes(cgroup);
	lm_test_note("%s: %d MiB before, peak %d MiB", (const char *)arg, (int)(before / MIB),
		     (int)(peak / MIB));
	assert_true(before > 1000ull * MIB);
	assert_true(peak < before + 64 * MIB);
}

/* The backends' names are made here: a case's name has its argument in it. */
int main(int argc, char **argv)
{
	static const LmCase others[] = {
		LM_CASE(test_numa),
		LM_CASE(test_chain_of_shared),
		LM_CASE_ARG(test_chain_of_shared, "memory-backend-ram,share=on"),
		LM_CASE(test_sparse),
		LM_CASE_ARG(test_above_4_gib, ""),
		LM_CASE_ARG(test_above_4_gib, ", 'ram': 'share'"),
		LM_CASE_ARG(test_above_4_gib, ", 'ram': 'share', 'live': false"),
		LM_CASE(test_huge_pages_stay),
		LM_CASE_ARG(test_memory_is_held_once, "vmsplice"),
		LM_CASE_ARG(test_memory_is_held_once, "process-vm-readv"),
	};
	LmCase cases[G_N_ELEMENTS(backends) + G_N_ELEMENTS(others)];
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < G_N_ELEMENTS(backends); i++) {
		g_ptr_array_add(names, g_strdup_printf("test_backend %s", backends[i].name));
		cases[i] = (LmCase){names->pdata[i], test_backend, &backends[i]};
	}
	memcpy(cases + G_N_ELEMENTS(backends), others, sizeof(others));
	return LM_TEST_MAIN(argc, argv, cases);
}
