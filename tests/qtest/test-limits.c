/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of processes and control groups, on either side and for each way of the memory: there is
 * enough, and the VM moves; or there is not, and it is refused before the VM stops, in a line that
 * names the limit.
 */
#include "limit-group.h"
#include "migrate.h"
#include "process.h"

#include <string.h>
#include <sys/resource.h>

#define MIB		(1ull << 20)
#define DESCRIPTORS_MAX 400
/* Too few for one side, from this many free ones on for none. */
#define DESCRIPTOR_STEP 9

static const VmOptions private_memory = {.append = "rate=8 touch=48", .memory_mib = 128};
static const VmOptions shared_memory = {
	.append = "rate=8 touch=48", .memory_mib = 128, .backend = "memory-backend-memfd,share=on"};

typedef struct Way {
	const VmOptions *options;
	const char *more;
} Way;

static const Way ways[] = {
	{&private_memory, ""},
	{&private_memory, ", 'ram': 'share'"},
	{&private_memory, ", 'ram': 'share', 'live': false"},
	{&shared_memory, ""},
};

typedef struct Side {
	const Way *way;
	gboolean destination;
} Side;

typedef struct Pair {
	Vm *source, *destination, *limited;
	char *uri;
} Pair;

static void start(LmTest *test, const Side *side, Pair *pair)
{
	pair->source = migrate_source(test, side->way->options);
	pair->destination = migrate_destination(test, side->way->options, pair->source);
	pair->limited = side->destination ? pair->destination : pair->source;
	pair->uri = migrate_uri(pair->destination);
	migrate_listen(pair->destination);
}

static void set_limit(const Vm *vm, int resource, rlim_t value)
{
	struct rlimit limit;

	assert_int_equal(prlimit(vm->pid, resource, NULL, &limit), 0);
	limit.rlim_cur = MIN(value, limit.rlim_max);
	assert_int_equal(prlimit(vm->pid, resource, &limit, NULL), 0);
}

static void must_move(const Pair *pair, const Side *side)
{
	g_autoptr(JsonNode) info = NULL;

	migrate_begin(pair->source, pair->uri, side->way->more);
	info = migrate_wait(pair->source, LM_WAIT_MS);
	migrate_assert_completed(pair->source, pair->destination, info);
}

/* The case may be left by longjmp, as all may: one string each. */
static void must_refuse(const Pair *pair, const Side *side, const char *limit)
{
	g_autofree char *said = migrate_refused(pair->source, pair->uri, side->way->more);

	assert_contains(said, limit);
	vm_assert_never_stopped(pair->source);
}

/* From none on, some more each time, until there are enough: what is in between never stops it. */
static void test_descriptors(LmTest *test, const void *arg)
{
	const Side *side = arg;
	Pair pair;
	int refused = 0, open_fds;
	gboolean moved = FALSE;

	start(test, side, &pair);
	open_fds = process_count_fds(pair.limited->pid);
	for (int more = 2; !moved; more += DESCRIPTOR_STEP) {
		g_autoptr(JsonNode) info = NULL;

		assert_true(more < DESCRIPTORS_MAX);
		set_limit(pair.limited, RLIMIT_NOFILE, (rlim_t)(open_fds + more));
		migrate_begin(pair.source, pair.uri, side->way->more);
		info = migrate_wait(pair.source, LM_WAIT_MS);
		moved = !strcmp(qmp_str(info, "status"), "completed");
		if (moved) {
			migrate_assert_completed(pair.source, pair.destination, info);
		} else {
			migrate_assert_kept(pair.source, info);
			vm_assert_never_stopped(pair.source);
			refused++;
		}
	}
	lm_test_note("refused %d times", refused);
	assert_true(refused > 0);
	g_free(pair.uri);
}

/* The files of what is shared have the block's size, and the device state's is small. */
static void test_file_size(LmTest *test, const void *arg)
{
	const Side *side = arg;
	const gboolean shares = strstr(side->way->more, "share") && !side->destination;
	Pair pair;

	start(test, side, &pair);
	set_limit(pair.limited, RLIMIT_FSIZE, 4096);
	must_refuse(&pair, side, "RLIMIT_FSIZE");
	if (shares) {
		set_limit(pair.limited, RLIMIT_FSIZE, 100 * MIB);
		must_refuse(&pair, side, "134217728 bytes are needed, for pc.ram: RLIMIT_FSIZE");
	}
	set_limit(pair.limited, RLIMIT_FSIZE, 128 * MIB);
	must_move(&pair, side);
	g_free(pair.uri);
}

static void test_address_space(LmTest *test, const void *arg)
{
	const Side *side = arg;
	Pair pair;
	guint64 used;

	start(test, side, &pair);
	used = process_address_bytes(pair.limited->pid);
	set_limit(pair.limited, RLIMIT_AS, used + 64 * MIB);
	must_refuse(&pair, side, "RLIMIT_AS");
	set_limit(pair.limited, RLIMIT_AS, used + 1024 * MIB);
	must_move(&pair, side);
	g_free(pair.uri);
}

/* Both in one group within another from the start on, as a service's or a domain's are. */
static void test_memory_of_both(LmTest *test, const void *arg)
{
	Side side = *(const Side *)arg;
	Way way = *side.way;
	VmOptions options = *way.options;
	LimitGroup *group = limit_group_new(test, "memory", NULL);
	LimitGroup *inner = group ? limit_group_new(test, "memory", group) : NULL;
	Pair pair;

	if (!inner) {
		lm_test_note("not tested: no control group of memory within another");
		return;
	}
	options.cgroup_procs = limit_group_procs(inner);
	way.options = &options;
	side.way = &way;
	start(test, &side, &pair);
	limit_group_allow(group, 4 * MIB);
	must_refuse(&pair, &side, "bytes to spare are needed in control group /");
	limit_group_allow(group, 64 * MIB);
	must_move(&pair, &side);
	g_free(pair.uri);
}

/* What it had before it came into its group counts elsewhere, and will be allocated anew. */
static void test_memory_that_counts_elsewhere(LmTest *test, const void *arg)
{
	const Side *side = arg;
	LimitGroup *group = limit_group_new(test, "memory", NULL);
	Pair pair;

	start(test, side, &pair);
	limit_group_add(group, pair.source);
	limit_group_add(group, pair.destination);
	limit_group_allow(group, 40 * MIB);
	must_refuse(&pair, side, "bytes to spare are needed in control group /");
	limit_group_allow(group, 256 * MIB);
	must_move(&pair, side);
	g_free(pair.uri);
}

/* What flips is the destination's alone then; what is shared stays where it was. */
static void test_memory_of_the_destination(LmTest *test, const void *arg)
{
	const Side *side = arg;
	const gboolean flips = !*side->way->more && side->way->options == &private_memory;
	LimitGroup *group = limit_group_new(test, "memory", NULL);
	Pair pair;

	start(test, side, &pair);
	limit_group_add(group, pair.destination);
	limit_group_allow(group, 40 * MIB);
	if (flips) {
		must_refuse(&pair, side, "bytes to spare are needed in control group /");
		limit_group_allow(group, 1024 * MIB);
	}
	must_move(&pair, side);
	g_free(pair.uri);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(LmTest *test, const void *arg);
		gboolean both_sides, in_groups;
	} kinds[] = {
		{"descriptors", test_descriptors, TRUE, FALSE},
		{"file size", test_file_size, TRUE, FALSE},
		{"address space", test_address_space, TRUE, FALSE},
		{"memory of both", test_memory_of_both, FALSE, TRUE},
		{"memory that counts elsewhere", test_memory_that_counts_elsewhere, FALSE, TRUE},
		{"memory of the destination", test_memory_of_the_destination, FALSE, TRUE},
	};
	const gboolean groups = limit_group_is_there("memory");
	g_autoptr(GArray) cases = g_array_new(FALSE, FALSE, sizeof(LmCase));
	g_autoptr(GPtrArray) kept = g_ptr_array_new_with_free_func(g_free);

	for (guint k = 0; k < G_N_ELEMENTS(kinds); k++) {
		for (guint i = 0; i < 2 * G_N_ELEMENTS(ways); i++) {
			Side side = {&ways[i / 2], i % 2};
			char *name = g_strdup_printf(
				"%s, %s%s, %s", kinds[k].name,
				side.way->options->backend ? "shared" : "private", side.way->more,
				side.destination ? "destination" : "source");
			LmCase one = {name, kinds[k].run, g_memdup2(&side, sizeof(side))};

			g_ptr_array_add(kept, name);
			g_ptr_array_add(kept, (gpointer)one.arg);
			if ((kinds[k].both_sides || !side.destination) &&
			    (groups || !kinds[k].in_groups))
				g_array_append_val(cases, one);
		}
	}
	return lm_test_main(argc, argv, (const LmCase *)cases->data, cases->len);
}
