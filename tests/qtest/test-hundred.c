/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest goes through upgrade after upgrade, from version to version, and way after way: its
 * memory is flipped at first, then shared, and passes from then on, whatever is asked for.
 * Nothing is lost, and what the process at the end has, it has not more of than the one near the
 * beginning that came there by the same way and in the same version.
 *
 * LM_LONG=1: a hundred upgrades in each case; else the Linux guest goes through a dozen.
 */
#include "cgroup.h"
#include "linux-guest.h"
#include "migrate.h"
#include "process.h"
#include "versions.h"

#include <string.h>

#define MIB	    (1024 * 1024)
#define HUNDRED	    100
#define DOZEN	    12
#define SETTLE_MS   3000
#define MEMORY_VARY (24ull * MIB)
/* Threads come and go with their stacks and malloc's arenas. */
#define MAPS_VARY 12
/* Disk I/O with coroutines' stacks, and a connection of the user network is a descriptor. */
#define MAPS_VARY_BUSY 150
#define FDS_VARY_BUSY  8

#define LIVE	", 'ram': 'share', 'live': true"
#define STOPPED ", 'ram': 'share', 'live': false"
#define FLIP	", 'ram': 'flip'"

/* ------------------------------------------------------------------ what a VM has */

typedef struct Account {
	int fds, maps;
	guint64 memory; /* of all VMs; 0: not known */
} Account;

static guint64 stat_value(const char *text, const char *name)
{
	g_autofree char *line = g_strconcat("\n", name, " ", NULL);
	const char *at = strstr(text, line);

	return at ? g_ascii_strtoull(at + strlen(line), NULL, 10) : 0;
}

/* What is mapped privately, and what is in memfds: no page cache, which grows with the log. */
static guint64 memory_of_all(LmCgroup *cgroup)
{
	g_autofree char *folder = NULL, *path = NULL, *content = NULL, *text = NULL;

	if (!cgroup)
		return 0;
	folder = g_path_get_dirname(cgroup_procs_path(cgroup));
	path = g_build_filename(folder, "memory.stat", NULL);
	if (!g_file_get_contents(path, &content, NULL, NULL))
		return 0;
	text = g_strconcat("\n", content, NULL);
	return stat_value(text, "anon") + stat_value(text, "rss") + stat_value(text, "shmem");
}

static int count_maps(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)pid);
	g_autofree char *text = NULL;
	int lines = 0;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	return lines;
}

static Account account_of(Vm *vm, LmCgroup *cgroup)
{
	return (Account){process_count_fds(vm->pid), count_maps(vm->pid), memory_of_all(cgroup)};
}

/* ----------------------------------------------------------------------- the journey */

typedef enum Way { WAY_FLIP, WAY_SHARE, WAY_PASS, WAYS } Way;

static const char *const way_names[] = {"flip", "share", "pass"};

/* Up, and down again. */
static const char *const versions[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1, VERSION_10_0};

typedef struct Journey {
	LmTest *test;
	VmOptions options;
	LmCgroup *cgroup;
	guint count, done;
	int maps_vary, fds_vary;
	const char *share;			   /* how it is shared, once */
	const char *stops[G_N_ELEMENTS(versions)]; /* the versions that there are */
	guint stop_count;
	gboolean has_disk;
	Vm *vm;
	Account first[WAYS][G_N_ELEMENTS(versions)];
	gboolean seen[WAYS][G_N_ELEMENTS(versions)];
} Journey;

static Way way_of(const Journey *journey, guint upgrade)
{
	guint third = journey->count / 3;

	if (upgrade < third)
		return WAY_FLIP;
	return upgrade == third ? WAY_SHARE : WAY_PASS;
}

/* What is asked for makes no difference once the memory is shared. */
static const char *arguments_of(const Journey *journey, guint upgrade)
{
	static const char *const all[] = {"", LIVE, STOPPED, FLIP};

	switch (way_of(journey, upgrade)) {
	case WAY_FLIP:
		return upgrade % 2 ? FLIP : "";
	case WAY_SHARE:
		return journey->share;
	default:
		return all[upgrade % G_N_ELEMENTS(all)];
	}
}

static void assert_all_went(JsonNode *info, Way way)
{
	JsonArray *blocks = json_object_get_array_member(json_node_get_object(info), "blocks");

	assert_true(json_array_get_length(blocks) > 0);
	for (guint i = 0; i < json_array_get_length(blocks); i++) {
		JsonNode *block = json_array_get_element(blocks, i);

		if (strcmp(qmp_str(block, "way"), way_names[way]))
			fail_msg("%s went by %s, not %s", qmp_str(block, "name"),
				 qmp_str(block, "way"), way_names[way]);
	}
}

typedef struct Growth {
	Journey *journey;
	const Account *first;
	Account now;
} Growth;

static gboolean has_grown_no_more(void *opaque)
{
	Growth *growth = opaque;
	const Account *first = growth->first, *now = &growth->now;
	const Journey *journey = growth->journey;

	growth->now = account_of(journey->vm, journey->cgroup);
	return now->fds <= first->fds + journey->fds_vary &&
	       now->maps <= first->maps + journey->maps_vary &&
	       now->memory <= first->memory + MEMORY_VARY;
}

/* The last upgrade's threads may be about to end: their descriptors count, too. */
static Account settled(Journey *journey)
{
	Account least = account_of(journey->vm, journey->cgroup);

	for (int i = 0; i < 5; i++) {
		Account now;

		g_usleep(20000);
		now = account_of(journey->vm, journey->cgroup);
		least.fds = MIN(least.fds, now.fds);
		least.maps = MIN(least.maps, now.maps);
		least.memory = MIN(least.memory, now.memory);
	}
	return least;
}

static void check_growth(Journey *journey, Way way, guint stop)
{
	Account *first = &journey->first[way][stop];
	Growth growth = {.journey = journey, .first = first};

	if (!journey->seen[way][stop]) {
		journey->seen[way][stop] = TRUE;
		*first = settled(journey);
		lm_test_note("upgrade %u, %s: %d descriptors, %d mappings, %d MiB", journey->done,
			     way_names[way], first->fds, first->maps, (int)(first->memory / MIB));
		return;
	}
	if (lm_wait_until(has_grown_no_more, &growth, SETTLE_MS))
		return;
	fail_msg("after upgrade %u: %d descriptors (%d at first), %d mappings (%d), "
		 "%d MiB (%d)",
		 journey->done, growth.now.fds, first->fds, growth.now.maps, first->maps,
		 (int)(growth.now.memory / MIB), (int)(first->memory / MIB));
}

static void upgrade(Journey *journey)
{
	Way way = way_of(journey, journey->done);
	guint stop = (journey->done + 1) % journey->stop_count;
	Vm *source = journey->vm, *destination;
	g_autoptr(JsonNode) info = NULL;

	journey->options.root = version_root(journey->stops[stop]);
	destination = migrate_destination(journey->test, &journey->options, source);
	info = migrate_ok(source, destination, arguments_of(journey, journey->done));
	lm_test_note("upgrade %u", journey->done + 1);
	assert_all_went(info, way);
	vm_do(source, "quit", NULL);
	assert_true(vm_wait_exit(source, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(source), 0);
	journey->vm = destination;
	journey->done++;
	if (journey->has_disk)
		linux_assert_disk_goes_on(journey->vm);
	check_growth(journey, way, stop);
}

static void find_stops(Journey *journey, gboolean all_versions)
{
	journey->stops[0] = VERSION_INSTALLED;
	journey->stop_count = 1;
	if (!all_versions)
		return;
	for (guint i = 0; i < G_N_ELEMENTS(versions); i++)
		if (!version_is_here(versions[i])) {
			lm_test_note("no QEMU %s: all upgrades are to the installed one",
				     versions[i]);
			return;
		}
	memcpy(journey->stops, versions, sizeof(versions));
	journey->stop_count = G_N_ELEMENTS(versions);
}

/* VMs first, for they are in it. */
static void begin(Journey *journey, gboolean all_versions)
{
	g_autoptr(GError) error = NULL;

	find_stops(journey, all_versions);
	journey->options.root = version_root(journey->stops[0]);
	journey->cgroup = cgroup_new(journey->test, &error);
	if (journey->cgroup)
		journey->options.cgroup_procs = cgroup_procs_path(journey->cgroup);
	else
		lm_test_note("memory is not looked at: %s", error->message);
}

static void go(Journey *journey)
{
	Account end;

	while (journey->done < journey->count)
		upgrade(journey);
	end = settled(journey);
	lm_test_note("%u upgrades: %d descriptors, %d mappings, %d MiB at the end", journey->done,
		     end.fds, end.maps, (int)(end.memory / MIB));
}

/* ----------------------------------------------------------------------------- cases */

static gboolean is_long(void)
{
	return !g_strcmp0(g_getenv("LM_LONG"), "1");
}

/* Two cores of one socket have a feature (HTT) that QEMU 10.0 keeps elsewhere than 7.2 does. */
static GPtrArray *two_sockets(const LinuxDisk *disk)
{
	GPtrArray *extra = g_ptr_array_new();

	g_ptr_array_add(extra, (gpointer) "-smp");
	g_ptr_array_add(extra, (gpointer) "sockets=2,cores=1,threads=1");
	for (guint i = 0; i < disk->args->len; i++)
		g_ptr_array_add(extra, disk->args->pdata[i]);
	return extra;
}

/*
 * The disk is served by the main loop: with an iothread QEMU 10.0 and 11.1, without the plugin too,
 * lose the disk's interrupt at a plain stop and cont, once in some hundred, and the guest waits for
 * ever (7.2: never in 800).
 */
static void test_linux(LmTest *test, const void *arg)
{
	LinuxDisk *disk;
	g_autoptr(GPtrArray) extra = NULL;
	Journey journey = {
		.test = test,
		.count = is_long() ? HUNDRED : DOZEN,
		.maps_vary = MAPS_VARY_BUSY,
		.fds_vary = FDS_VARY_BUSY,
		.has_disk = TRUE,
		.share = arg,
	};

	if (linux_missing()) {
		lm_test_note("not tested: %s is not set", linux_missing());
		return;
	}
	disk = linux_disk_new(test, "io_uring", FALSE);
	extra = two_sockets(disk);
	journey.options = linux_options(disk, LINUX_APPEND);
	journey.options.smp = 2;
	journey.options.extra = (const char *const *)extra->pdata;
	begin(&journey, TRUE);
	journey.vm = linux_boot(test, &journey.options);
	go(&journey);
	linux_power_off(journey.vm);
	linux_disk_assert_right(disk, journey.vm->serial_path);
}

static void test_payload(LmTest *test, const void *arg)
{
	Journey journey = {
		.test = test,
		.count = HUNDRED,
		.maps_vary = MAPS_VARY,
		.share = arg,
		.options = {.append = "rate=16", .memory_mib = 128, .smp = 2},
	};

	begin(&journey, FALSE);
	journey.vm = migrate_source(test, &journey.options);
	go(&journey);
	vm_assert_intact(journey.vm);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_payload, LIVE),
	LM_CASE_ARG(test_payload, STOPPED),
	LM_CASE_ARG(test_linux, LIVE),
	LM_CASE_ARG(test_linux, STOPPED),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
