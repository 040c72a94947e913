/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest is migrated again and again, and each time one of the two processes is killed at some
 * microsecond. It is in one place afterwards, whole, and goes on from there; or it died with the
 * process that had it, and nobody runs it: then the next guest takes its place, and its disk.
 *
 * LM_LONG=1: 500 rounds instead of 40. LM_SEED=N: as a run with that seed did.
 */
#include "aftermath.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS	    40
#define ROUNDS_LONG 500
#define SHARES_MAX  16	  /* memfds that a guest's RAM blocks become, and stay */
#define LATEST_US   50000 /* longer than most take */

static const struct {
	const char *name, *more;
	gboolean flips; /* if the memory is private */
} ways[] = {
	{"flip", "", TRUE},
	{"share stopped", ", 'ram': 'share', 'live': false", FALSE},
	{"share live", ", 'ram': 'share', 'live': true", FALSE},
	{"rehearse", ", 'ram': 'share', 'rehearse': true", FALSE},
};

typedef struct Soak {
	Scene *scene;
	GRand *random;
	Vm *guest; /* NULL: none is alive */
	guint counts[PLACE_DEAD + 1];
} Soak;

typedef struct Round {
	guint way;
	gboolean kills_source;
	gulong after_us;
} Round;

static void soak_free(gpointer opaque)
{
	Soak *soak = opaque;

	g_rand_free(soak->random);
	g_free(soak);
}

static guint32 choose_seed(void)
{
	const char *given = g_getenv("LM_SEED");

	return given ? (guint32)strtoul(given, NULL, 10) : g_random_int();
}

static void discard(Soak *soak, Vm *vm)
{
	scene_end(soak->scene, vm);
	g_ptr_array_remove(soak->scene->test->vms, vm);
}

/* Memory that was shared stays so: now and then there is a guest whose memory is private. */
static void renew_guest(Soak *soak)
{
	Scene *scene = soak->scene;

	if (soak->guest && g_rand_int_range(soak->random, 0, 4))
		return;
	if (soak->guest)
		discard(soak, soak->guest);
	scene->options.backend =
		g_rand_int_range(soak->random, 0, 4) ? NULL : "memory-backend-memfd,share=on";
	soak->guest = scene_spawn(scene, NULL, NULL);
	scene_connect_source(scene, soak->guest);
}

/* Early moments are more likely: that is when most happens. */
static Round choose_round(Soak *soak)
{
	const double early = g_rand_double(soak->random);

	return (Round){
		.way = g_rand_int_range(soak->random, 0, G_N_ELEMENTS(ways)),
		.kills_source = g_rand_boolean(soak->random),
		.after_us = early * early * LATEST_US,
	};
}

static void check_place(const Round *round, Place place)
{
	if (round->kills_source)
		assert_true(place == PLACE_DEAD || place == PLACE_DESTINATION);
	else if (place == PLACE_LOST)
		assert_true(ways[round->way].flips);
	/* A destination that had the guest died with it. */
	else
		assert_true(place == PLACE_DEAD || place == PLACE_SOURCE);
	if (!strcmp(ways[round->way].name, "rehearse"))
		assert_int_equal(place, round->kills_source ? PLACE_DEAD : PLACE_SOURCE);
}

static void run_round(Soak *soak, guint number)
{
	const Round round = choose_round(soak);
	Scene *scene = soak->scene;
	Vm *source = soak->guest;
	Vm *destination = scene_spawn(scene, NULL, source);
	Holdings before;
	Place place;

	scene_connect_destination(scene, destination);
	scene_listen(scene, destination);
	holdings_note(&before, source);
	migrate_begin(source, scene->uri, ways[round.way].more);
	g_usleep(round.after_us);
	vm_kill(round.kills_source ? source : destination, SIGKILL);
	assert_true(vm_wait_exit(round.kills_source ? source : destination, LM_WAIT_MS));
	place = aftermath(source, destination, NULL);
	lm_test_note("round %u: %s, %s killed after %lu us: %s", number, ways[round.way].name,
		     round.kills_source ? "source" : "destination", round.after_us,
		     place_name(place));
	soak->counts[place]++;
	check_place(&round, place);
	soak->guest = place == PLACE_SOURCE	   ? source
		      : place == PLACE_DESTINATION ? destination
						   : NULL;
	if (soak->guest)
		scene_assert_guest(scene, soak->guest);
	if (vm_alive(source))
		holdings_assert(&before, source, SHARES_MAX);
	else
		g_free(before.threads);
	if (soak->guest != source)
		discard(soak, source);
	if (soak->guest != destination)
		discard(soak, destination);
}

static void test_soak(LmTest *test, const void *arg)
{
	const guint rounds = g_getenv("LM_LONG") ? ROUNDS_LONG : ROUNDS;
	const guint32 seed = choose_seed();
	Soak *soak = g_new0(Soak, 1);

	lm_test_cleanup_later(test, soak_free, soak);
	soak->random = g_rand_new_with_seed(seed);
	soak->scene = scene_new(test, 32, NULL);
	lm_test_note("%u rounds with LM_SEED=%u", rounds, seed);
	for (guint i = 1; i <= rounds; i++) {
		renew_guest(soak);
		run_round(soak, i);
	}
	for (guint i = 0; i < G_N_ELEMENTS(soak->counts); i++)
		lm_test_note("%s: %u", place_name((Place)i), soak->counts[i]);
	if (soak->guest)
		discard(soak, soak->guest);
	scene_assert_image(soak->scene);
}

static const LmCase cases[] = {
	LM_CASE(test_soak),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
