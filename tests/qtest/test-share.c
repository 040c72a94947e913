/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private memory becomes shared, while the guest runs or while it is stopped, and goes by
 * descriptor. Whatever fails, the guest is in one place, and never lost.
 */
#include "cgroup.h"
#include "migrate.h"
#include "process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#define MIB (1024 * 1024)

#define SHARE	    ", 'ram': 'share'"
#define LIVE	    SHARE ", 'live': true"
#define STOPPED	    SHARE ", 'live': false"
#define SLOW	    LIVE ", 'bandwidth': 33554432" /* 32 MiB/s: a second for every 32 MiB */
#define SHORT_WAITS ", 'deadline-ms': 1000"

static const VmOptions plain = {.append = "rate=64", .memory_mib = 128};

static JsonObject *member(JsonNode *info, const char *name)
{
	JsonObject *object = json_node_get_object(info);

	if (!json_object_has_member(object, name))
		fail_msg("the status has no %s", name);
	return json_object_get_object_member(object, name);
}

static gint64 share_int(JsonNode *info, const char *name)
{
	return json_object_get_int_member(member(info, "share"), name);
}

static gboolean is_live(JsonNode *info)
{
	return json_object_get_boolean_member(member(info, "share"), "live");
}

static void assert_all_blocks(JsonNode *info, const char *way)
{
	JsonArray *blocks = json_object_get_array_member(json_node_get_object(info), "blocks");

	assert_true(json_array_get_length(blocks) > 0);
	for (guint i = 0; i < json_array_get_length(blocks); i++) {
		JsonNode *block = json_array_get_element(blocks, i);

		if (strcmp(qmp_str(block, "way"), way))
			fail_msg("%s went by %s, not %s", qmp_str(block, "name"),
				 qmp_str(block, "way"), way);
	}
}

static void end(Vm *vm)
{
	vm_kill(vm, SIGKILL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
}

/* -------------------------------------------------------------------- the way */

/* Which takes UFFDIO_MOVE, of Linux 6.8; without, the guest is stopped for it. */
static gboolean kernel_can_share_live(void)
{
	struct utsname name;
	guint major = 0, minor = 0;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);
	return major > 6 || (major == 6 && minor >= 8);
}

/* The second time there is nothing to be shared any more. */
static void test_twice(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a, *b, *c;

	options.smp = 2;
	a = migrate_source(test, &options);
	b = migrate_destination(test, &options, a);
	first = migrate_ok(a, b, arg);
	assert_all_blocks(first, "share");
	assert_int_equal(qmp_int(first, "flipped"), 0);
	assert_int_equal(is_live(first), strcmp(arg, STOPPED) && kernel_can_share_live());
	assert_true(share_int(first, "shared") > 100 * MIB);
	end(a);
	vm_assert_intact(b);
	c = migrate_destination(test, &options, b);
	second = migrate_ok(b, c, arg);
	assert_all_blocks(second, "pass");
	assert_false(json_object_has_member(json_node_get_object(second), "share"));
	end(b);
	vm_assert_intact(c);
}

/* Without a word about it, what is shared is passed. */
static void test_shared_is_never_flipped(LmTest *test, const void *arg)
{
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a = migrate_source(test, &plain);
	Vm *b = migrate_destination(test, &plain, a);
	Vm *c;

	first = migrate_ok(a, b, LIVE);
	c = migrate_destination(test, &plain, b);
	second = migrate_ok(b, c, "");
	assert_all_blocks(second, "pass");
	end(b);
	vm_assert_intact(c);
}

typedef struct Pair {
	const char *name, *source, *destination;
	const char *more;
} Pair;

static const Pair pairs[] = {
	{"ram", "memory-backend-ram", "memory-backend-ram", LIVE},
	{"ram to memfd", "memory-backend-ram", "memory-backend-memfd,share=on", LIVE},
	{"ram to memfd, stopped", "memory-backend-ram", "memory-backend-memfd,share=on", STOPPED},
	{"private memfd", "memory-backend-memfd,share=off", "memory-backend-memfd,share=off", LIVE},
	{"merge, no dump", "memory-backend-ram,merge=on,dump=off",
	 "memory-backend-ram,merge=on,dump=off", LIVE},
	{"prealloc", "memory-backend-ram,prealloc=on", "memory-backend-ram", LIVE},
};

static void test_backends(LmTest *test, const void *arg)
{
	const Pair *pair = arg;
	VmOptions options = plain;
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a, *b, *c;

	options.backend = pair->source;
	a = migrate_source(test, &options);
	options.backend = pair->destination;
	b = migrate_destination(test, &options, a);
	first = migrate_ok(a, b, pair->more);
	assert_all_blocks(first, "share");
	end(a);
	c = migrate_destination(test, &options, b);
	second = migrate_ok(b, c, LIVE);
	assert_all_blocks(second, "pass");
	end(b);
	vm_assert_intact(c);
}

static void test_locked(LmTest *test, const void *arg)
{
	static const char *const lock[] = {"-overcommit", "mem-lock=on", NULL};
	VmOptions options = plain;
	g_autoptr(JsonNode) info = NULL;
	Vm *a, *b;

	options.extra = lock;
	a = migrate_source(test, &options);
	options.extra = NULL;
	b = migrate_destination(test, &options, a);
	info = migrate_ok(a, b, LIVE);
	assert_all_blocks(info, "share");
	end(a);
	vm_assert_intact(b);
}

/* ------------------------------------------------------------------ its price */

static void test_holes_stay(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8 touch=64", .memory_mib = 4096};
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);

	info = migrate_ok(source, destination, arg);
	assert_in_range(share_int(info, "shared"), 64 * MIB, 128 * MIB);
	assert_true(share_int(info, "holes") > 3900ll * MIB);
	assert_true(process_smaps_bytes(source->pid, "Rss") < 400 * MIB);
	assert_true(process_smaps_bytes(destination->pid, "Rss") < 400 * MIB);
}

typedef struct HugePages {
	pid_t pid;
	guint64 bytes;
} HugePages;

static gboolean has_huge_pages(void *opaque)
{
	const HugePages *wanted = opaque;

	return process_smaps_bytes(wanted->pid, "ShmemPmdMapped") > wanted->bytes;
}

static void test_huge_pages_stay(LmTest *test, const void *arg)
{
	const VmOptions options = {.append = "rate=8", .memory_mib = 256};
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);
	guint64 before = process_smaps_bytes(source->pid, "AnonHugePages");
	HugePages wanted;

	if (before < 200 * MIB) {
		lm_test_note("not tested: the source has %d MiB in huge pages",
			     (int)(before / MIB));
		return;
	}
	info = migrate_ok(source, destination, LIVE);
	assert_true(share_int(info, "huge") >= (gint64)(before / 100 * 95));
	/* They are mapped as the guest touches them. */
	wanted = (HugePages){destination->pid, before / 10 * 9};
	assert_true(lm_wait_until(has_huge_pages, &wanted, LM_WAIT_MS));
}

static void test_memory_is_held_once(LmTest *test, const void *arg)
{
	VmOptions options = {.append = "rate=8", .memory_mib = 1024};
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
	info = migrate_ok(source, destination, arg);
	peak = cgroup_peak_bytes(cgroup);
	lm_test_note("%d MiB before, peak %d MiB", (int)(before / MIB), (int)(peak / MIB));
	assert_true(before > 1000ull * MIB);
	assert_true(peak < before + 32 * MIB);
}

/* It lasts for longer than anybody waits for a sign of life. */
static void test_longer_than_the_deadline(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	g_autoptr(JsonNode) info = NULL;
	Vm *source = migrate_source(test, &options);
	Vm *destination;

	options.plugin_args = "deadline-ms=1000";
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, SLOW SHORT_WAITS);
	assert_true(share_int(info, "shared") > 100 * MIB);
}

/* ------------------------------------------------------------------- failures */

static void begin_slowly(Vm *source, Vm *destination)
{
	g_autofree char *uri = migrate_uri(destination);

	migrate_listen(destination);
	migrate_begin(source, uri, SLOW SHORT_WAITS);
	migrate_wait_stage(source, "share", LM_WAIT_MS);
	poll(NULL, 0, 300); /* somewhere in the middle */
}

/* After a conversion that came half way, a next one begins where it was. */
static void finish_with(LmTest *test, Vm *source, const char *more)
{
	Vm *next = migrate_destination(test, &plain, source);
	g_autoptr(JsonNode) info = migrate_ok(source, next, more);

	assert_int_equal(qmp_int(info, "flipped"), 0);
	end(source);
	vm_assert_intact(next);
}

static void test_cancel(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autoptr(JsonNode) info = NULL;
	gint64 shared;

	begin_slowly(source, destination);
	vm_do(source, "localhost-migrate-cancel", NULL);
	info = migrate_wait(source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "cancelled");
	shared = share_int(info, "shared");
	assert_in_range(shared, 1, 120 * MIB);
	vm_assert_never_stopped(source);
	migrate_assert_kept(source, info);
	finish_with(test, source, arg);
}

static void test_destination_is_killed(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autoptr(JsonNode) info = NULL;

	begin_slowly(source, destination);
	end(destination);
	info = migrate_wait(source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	vm_assert_never_stopped(source);
	migrate_assert_kept(source, info);
	finish_with(test, source, arg);
}

/* Of a destination that hangs nothing is needed while the source shares; but at the stop it is. */
static void test_destination_hangs(LmTest *test, const void *arg)
{
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, LIVE SHORT_WAITS);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	finish_with(test, source, LIVE);
}

static void test_source_is_killed(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);

	begin_slowly(source, destination);
	end(source);
	/* It has the source's memory in part, and no state: it waits for another. */
	poll(NULL, 0, 200);
	assert_true(vm_alive(destination));
	assert_true(vm_has_status(destination, "inmigrate"));
}

/* What of a shared VM fails after the stop is undone by resuming it; nothing has left. */
static void test_comes_back(LmTest *test, const void *arg)
{
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, LIVE SHORT_WAITS);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	lm_test_note("%s", qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_int_equal(qmp_int(info, "lost"), 0);
	migrate_assert_kept(source, info);
	finish_with(test, source, "");
}

/* ---------------------------------------------------------------------- KVM */

static void test_kvm(LmTest *test, const void *arg)
{
	VmOptions options = {.accel = "kvm", .bios = lm_test_env("LM_ROM"), .memory_mib = 64};
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a, *b, *c;

	if (!g_file_test("/dev/kvm", G_FILE_TEST_EXISTS)) {
		lm_test_note("not tested: there is no /dev/kvm");
		return;
	}
	a = migrate_source(test, &options);
	b = migrate_destination(test, &options, a);
	first = migrate_ok(a, b, arg);
	assert_all_blocks(first, "share");
	end(a);
	c = migrate_destination(test, &options, b);
	second = migrate_ok(b, c, arg);
	assert_all_blocks(second, "pass");
	end(b);
	vm_assert_intact(c);
}

int main(int argc, char **argv)
{
	static const LmCase others[] = {
		LM_CASE_ARG(test_twice, LIVE),
		LM_CASE_ARG(test_twice, STOPPED),
		LM_CASE_ARG(test_twice, SHARE),
		LM_CASE(test_shared_is_never_flipped),
		LM_CASE(test_locked),
		LM_CASE_ARG(test_holes_stay, LIVE),
		LM_CASE_ARG(test_holes_stay, STOPPED),
		LM_CASE(test_huge_pages_stay),
		LM_CASE_ARG(test_memory_is_held_once, LIVE),
		LM_CASE_ARG(test_memory_is_held_once, STOPPED),
		LM_CASE(test_longer_than_the_deadline),
		LM_CASE_ARG(test_cancel, LIVE),
		LM_CASE_ARG(test_cancel, STOPPED),
		LM_CASE_ARG(test_cancel, ""),
		LM_CASE_ARG(test_destination_is_killed, LIVE),
		LM_CASE_ARG(test_destination_hangs, "share:stop"),
		LM_CASE_ARG(test_destination_hangs, "flip:stop"),
		LM_CASE_ARG(test_destination_hangs, "commit:stop"),
		LM_CASE(test_source_is_killed),
		LM_CASE_ARG(test_comes_back, "share:kill"),
		LM_CASE_ARG(test_comes_back, "stop:kill"),
		LM_CASE_ARG(test_comes_back, "flip:kill"),
		LM_CASE_ARG(test_comes_back, "devices:fail"),
		LM_CASE_ARG(test_comes_back, "load:fail"),
		LM_CASE_ARG(test_comes_back, "load:kill"),
		LM_CASE_ARG(test_comes_back, "commit:fail"),
		LM_CASE_ARG(test_comes_back, "commit:kill"),
		LM_CASE_ARG(test_kvm, LIVE),
		LM_CASE_ARG(test_kvm, STOPPED),
	};
	LmCase cases[G_N_ELEMENTS(pairs) + G_N_ELEMENTS(others)];
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < G_N_ELEMENTS(pairs); i++) {
		g_ptr_array_add(names, g_strdup_printf("test_backends %s", pairs[i].name));
		cases[i] = (LmCase){names->pdata[i], test_backends, &pairs[i]};
	}
	memcpy(cases + G_N_ELEMENTS(pairs), others, sizeof(others));
	return LM_TEST_MAIN(argc, argv, cases);
}
