/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One guest is migrated again and again, by ways, with arguments and under loads that are drawn by
 * lot, while neighbours take processors and memory; and most times something happens at some
 * microsecond: one of the two processes is killed, or stands still for a while, or the command is
 * cancelled. The guest is in one place afterwards, whole, and goes on from there; or it died with
 * the process that had it, and nobody runs it: then the next guest takes its place, and its disk.
 *
 * LM_LONG=1: 500 rounds instead of 40. LM_SOAK_MINUTES=N: for so long. LM_SEED=N: as a run with
 * that seed did.
 */
#include "aftermath.h"
#include "neighbours.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS	    40
#define ROUNDS_LONG 500
#define STALL_MS    300	  /* much shorter than the deadline */
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

typedef enum Act {
	ACT_KILL_SOURCE,
	ACT_KILL_DESTINATION,
	ACT_STALL_SOURCE,
	ACT_STALL_DESTINATION,
	ACT_CANCEL,
	ACT_NOTHING,
} Act;

/* Twice in the list is twice as likely. */
static const Act acts[] = {ACT_KILL_SOURCE,	 ACT_KILL_SOURCE,  ACT_KILL_DESTINATION,
			   ACT_KILL_DESTINATION, ACT_STALL_SOURCE, ACT_STALL_DESTINATION,
			   ACT_CANCEL,		 ACT_NOTHING,	   ACT_NOTHING};

static const char *const act_names[] = {"source killed",  "destination killed",
					"source held up", "destination held up",
					"cancelled",	  "nothing"};

typedef struct Soak {
	Scene *scene;
	GRand *random;
	Neighbours *neighbours;
	Vm *guest; /* NULL: none is alive */
	guint counts[PLACE_DEAD + 1];
	guint act_counts[ACT_NOTHING + 1];
} Soak;

typedef struct Round {
	guint way;
	Act act;
	gulong after_us;
	char more[160];
} Round;

static void soak_free(gpointer opaque)
{
	Soak *soak = opaque;

	neighbours_free(soak->neighbours);
	g_free((char *)soak->scene->options.append);
	g_rand_free(soak->random);
	g_free(soak);
}

static guint32 choose_seed(void)
{
	const char *given = g_getenv("LM_SEED");

	return given ? (guint32)strtoul(given, NULL, 10) : g_random_int();
}

/* From @low on, below @high. */
static int draw(Soak *soak, int low, int high)
{
	return g_rand_int_range(soak->random, low, high);
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
	g_free((char *)scene->options.append);
	scene->options.append =
		g_strdup_printf("rate=%d hot=%d", 4 << draw(soak, 0, 7), draw(soak, 1, 101));
	soak->guest = scene_spawn(scene, NULL, NULL);
	scene_connect_source(scene, soak->guest);
}

/* Early moments are more likely: that is when most happens. */
static Round choose_round(Soak *soak)
{
	const double early = g_rand_double(soak->random);
	Round round = {
		.way = draw(soak, 0, G_N_ELEMENTS(ways)),
		.act = acts[draw(soak, 0, G_N_ELEMENTS(acts))],
		.after_us = early * early * LATEST_US,
	};

	g_snprintf(round.more, sizeof(round.more), "%s, 'channels': %d%s", ways[round.way].more,
		   draw(soak, 1, 9),
		   draw(soak, 0, 3) || !strstr(ways[round.way].more, "'live'")
			   ? ""
			   : ", 'max-stall-us': 2000, 'bandwidth': 200000000");
	return round;
}

static void act(const Round *round, Vm *source, Vm *destination)
{
	Vm *const stalled = round->act == ACT_STALL_SOURCE ? source : destination;

	g_usleep(round->after_us);
	switch (round->act) {
	case ACT_KILL_SOURCE:
	case ACT_KILL_DESTINATION:
		vm_kill(round->act == ACT_KILL_SOURCE ? source : destination, SIGKILL);
		assert_true(vm_wait_exit(round->act == ACT_KILL_SOURCE ? source : destination,
					 LM_WAIT_MS));
		break;
	case ACT_STALL_SOURCE:
	case ACT_STALL_DESTINATION:
		if (!vm_alive(stalled)) /* of a rehearsal, over already */
			break;
		vm_kill(stalled, SIGSTOP);
		g_usleep(STALL_MS * 1000);
		vm_kill(stalled, SIGCONT);
		break;
	case ACT_CANCEL:
		vm_do(source, "localhost-migrate-cancel", NULL);
		break;
	case ACT_NOTHING:
		break;
	}
}

static gboolean place_is_possible(const Round *round, Place place)
{
	const gboolean rehearses = !strcmp(ways[round->way].name, "rehearse");

	switch (round->act) {
	case ACT_KILL_SOURCE:
		return place == PLACE_DEAD || (place == PLACE_DESTINATION && !rehearses);
	case ACT_KILL_DESTINATION: /* one that had the guest died with it */
		return place == PLACE_SOURCE || (place == PLACE_DEAD && !rehearses) ||
		       (place == PLACE_LOST && ways[round->way].flips);
	case ACT_NOTHING:
		return place == (rehearses ? PLACE_SOURCE : PLACE_DESTINATION);
	default:
		return place == PLACE_SOURCE || (place == PLACE_DESTINATION && !rehearses);
	}
}

static void settle(Soak *soak, Vm *source, Vm *destination, Place place, Holdings *theirs)
{
	soak->guest = place == PLACE_SOURCE	   ? source
		      : place == PLACE_DESTINATION ? destination
						   : NULL;
	if (soak->guest)
		scene_assert_guest(soak->scene, soak->guest);
	if (soak->guest)
		holdings_assert(&theirs[soak->guest == destination], soak->guest, SHARES_MAX);
	g_free(theirs[soak->guest == source].threads);
	if (!soak->guest)
		g_free(theirs[1].threads);
	if (soak->guest != source)
		discard(soak, source);
	if (soak->guest != destination)
		discard(soak, destination);
}

static void run_round(Soak *soak, guint number)
{
	const Round round = choose_round(soak);
	Scene *scene = soak->scene;
	Vm *source = soak->guest;
	Vm *destination = scene_spawn(scene, NULL, source);
	Holdings before[2]; /* of the source, of the destination */
	Place place;

	scene_connect_destination(scene, destination);
	holdings_note(&before[0], source);
	holdings_note(&before[1], destination);
	scene_listen(scene, destination);
	neighbours_change(soak->neighbours, soak->random);
	migrate_begin(source, scene->uri, round.more);
	act(&round, source, destination);
	place = aftermath(source, destination, NULL);
	lm_test_note("round %u: %s, %s after %lu us, %s: %s", number, ways[round.way].name,
		     act_names[round.act], round.after_us, neighbours_text(soak->neighbours),
		     place_name(place));
	soak->counts[place]++;
	soak->act_counts[round.act]++;
	if (!place_is_possible(&round, place))
		fail_msg("the guest is in the wrong place: %s", place_name(place));
	settle(soak, source, destination, place, before);
}

/* For how many rounds, or until when. */
static gboolean goes_on(guint done, gint64 end_us)
{
	if (end_us)
		return g_get_monotonic_time() < end_us;
	return done < (g_getenv("LM_LONG") ? ROUNDS_LONG : ROUNDS);
}

static void test_soak(LmTest *test, const void *arg)
{
	const char *minutes = g_getenv("LM_SOAK_MINUTES");
	const gint64 end_us =
		minutes ? g_get_monotonic_time() + atoi(minutes) * G_GINT64_CONSTANT(60000000) : 0;
	const guint32 seed = choose_seed();
	Soak *soak = g_new0(Soak, 1);
	guint rounds = 0;

	soak->scene = scene_new(test, 32, NULL);
	soak->scene->options.append = NULL;
	lm_test_cleanup_later(test, soak_free, soak);
	soak->random = g_rand_new_with_seed(seed);
	soak->neighbours = neighbours_new();
	lm_test_note("LM_SEED=%u", seed);
	while (goes_on(rounds, end_us)) {
		renew_guest(soak);
		run_round(soak, ++rounds);
	}
	for (guint i = 0; i < G_N_ELEMENTS(soak->act_counts); i++)
		lm_test_note("%s: %u", act_names[i], soak->act_counts[i]);
	for (guint i = 0; i < G_N_ELEMENTS(soak->counts); i++)
		lm_test_note("%s: %u", place_name((Place)i), soak->counts[i]);
	lm_test_note("%u rounds", rounds);
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
