/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every fault point, on each side that reaches it, with each of its actions, in each way that RAM
 * may go: made from the table in migration/local/fault.c. Whatever happens, the guest is in one
 * place, whole, with its disk; it can be migrated from there; and nothing is left behind.
 *
 * LM_LONG=1 runs all of it. Without it there is, for each point, side and way, one action; another
 * in each way.
 */
#include "aftermath.h"
#include "process.h"

#include <fault.h>
#include <signal.h>
#include <string.h>

#define SHORT_MS 300 /* a deadline that is waited for */

typedef struct Combination {
	const LmFaultPoint *point;
	guint number; /* of the point */
	LmRole side;
	LmFaultAction action;
	LmFaultWay way;
	char *name;
} Combination;

static const struct {
	const char *backend, *more;
} ways[LM_FAULT_WAY__MAX] = {
	[LM_FAULT_FLIP] = {NULL, ""},
	[LM_FAULT_STOPPED] = {NULL, ", 'ram': 'share', 'live': false"},
	[LM_FAULT_LIVE] = {NULL, ", 'ram': 'share', 'live': true"},
	[LM_FAULT_PASS] = {"memory-backend-memfd,share=on", ""},
	[LM_FAULT_REHEARSE] = {NULL, ", 'ram': 'share', 'live': true, 'rehearse': true"},
};

/* ------------------------------------------------------------ expectations */

static gboolean is_stage(const Combination *c)
{
	return c->number < LM_STAGE__MAX;
}

/* There is another message to be cut. */
static gboolean has_to_send(const Combination *c)
{
	if (c->side == LM_ROLE_SOURCE)
		return c->number < LM_STAGE_LOAD || !is_stage(c) || c->way == LM_FAULT_REHEARSE;
	return c->number != LM_STAGE_COMMIT || c->way != LM_FAULT_REHEARSE;
}

static gboolean makes_sense(const Combination *c)
{
	if (!(c->point->actions & (1u << c->action)) || !(c->point->ways[c->side] & (1u << c->way)))
		return FALSE;
	return c->action != LM_FAULT_SHORT || has_to_send(c);
}

/* Pages have left, and who has them is killed. */
static gboolean may_be_lost(const Combination *c)
{
	return c->way == LM_FAULT_FLIP && c->side == LM_ROLE_DESTINATION &&
	       c->action == LM_FAULT_KILL && c->number >= LM_STAGE_FLIP;
}

/* The VM is stopped when this point is reached. */
static gboolean is_after_stop(const Combination *c)
{
	return is_stage(c) ? c->number >= LM_STAGE_STOP
			   : c->number != LM_FAULT_CHUNK && c->number != LM_FAULT_MEMFD_LEDGER &&
				     c->number != LM_FAULT_MEMFD_SHARE;
}

/* It ends there, and not somewhat later. */
static gboolean fails_at_once(const Combination *c)
{
	return c->action != LM_FAULT_EMFILE && c->action != LM_FAULT_HOLD &&
	       c->action != LM_FAULT_STOP && c->number != LM_FAULT_USERFAULTFD;
}

/* What happens is only that it takes longer, or is done in another way. */
static gboolean may_complete(const Combination *c)
{
	if (c->number == LM_FAULT_USERFAULTFD || c->action == LM_FAULT_STOP ||
	    c->action == LM_FAULT_HOLD || c->action == LM_FAULT_EMFILE)
		return TRUE;
	/* From the device state on the destination needs nobody, nor that its word arrives. */
	return is_stage(c) &&
	       c->number >= (c->action == LM_FAULT_SHORT ? LM_STAGE_STOP : LM_STAGE_LOAD);
}

static void check_place(const Combination *c, Place place, JsonNode *info)
{
	const gboolean killed = c->side == LM_ROLE_SOURCE && c->action == LM_FAULT_KILL;
	const gboolean completed = info && !strcmp(qmp_str(info, "status"), "completed");

	if (info && qmp_str(info, "error-desc"))
		lm_test_note("%s: %s", place_name(place), qmp_str(info, "error-desc"));
	else
		lm_test_note("%s", place_name(place));
	if (killed)
		assert_true(place == PLACE_DEAD || c->number >= LM_STAGE_LOAD);
	else if (place == PLACE_LOST)
		assert_true(may_be_lost(c));
	else if (c->way == LM_FAULT_REHEARSE)
		assert_int_equal(place, PLACE_SOURCE);
	else
		assert_int_equal(place, completed ? PLACE_DESTINATION : PLACE_SOURCE);
	if (completed)
		assert_true(may_complete(c));
}

/* ------------------------------------------------------------------- cases */

/* Who gives pages back was asked to, by a source that failed. */
static char *arguments(const Combination *c, LmRole side)
{
	const gboolean goes_back = c->number == LM_FAULT_RETURN || c->number == LM_FAULT_FRAME;
	const gboolean waits = c->action == LM_FAULT_HOLD && c->side == side;
	g_autofree char *deadline =
		waits ? g_strdup_printf("deadline-ms=%d,", SHORT_MS) : g_strdup("");

	if (c->side == side)
		return g_strdup_printf("%sfault=%s.%s:%s", deadline,
				       side == LM_ROLE_SOURCE ? "source" : "destination",
				       c->point->name, lm_fault_action_name(c->action));
	if (goes_back && side == LM_ROLE_SOURCE)
		return g_strdup("fault=source.devices:fail");
	return NULL;
}

static void attempt(Scene *scene, Vm *source, Vm *destination, const char *more, gboolean hasty)
{
	g_autofree char *all =
		hasty ? g_strdup_printf("%s, 'deadline-ms': %d", more, SHORT_MS) : g_strdup(more);

	scene_listen(scene, destination);
	migrate_begin(source, scene->uri, all);
}

static void assert_happened(const Combination *c, Vm *vm)
{
	g_autofree char *said = vm_stderr(vm);
	g_autofree char *text = g_strdup_printf("localhost-migrate: fault %s:%s\n", c->point->name,
						lm_fault_action_name(c->action));

	assert_contains(said, text);
}

static gboolean is_stopped(void *opaque)
{
	return process_state(((Vm *)opaque)->pid) == 'T';
}

/* A source that sleeps is not asked anything; a destination only when the source is at rest. */
static void wake_when_stopped(Vm *source)
{
	assert_true(lm_wait_until(is_stopped, source, LM_WAIT_MS));
	vm_kill(source, SIGCONT);
}

/* Each block that was shared has a memfd from then on. */
static int count_shared(JsonNode *info)
{
	JsonObject *object = json_node_get_object(info);
	JsonArray *blocks = json_object_has_member(object, "blocks")
				    ? json_object_get_array_member(object, "blocks")
				    : NULL;
	int count = 0;

	for (guint i = 0; blocks && i < json_array_get_length(blocks); i++)
		count += !strcmp(qmp_str(json_array_get_element(blocks, i), "way"), "share");
	return count;
}

/* From where the guest is now it goes on, as if nothing had been. */
static void again(const Combination *c, Scene *scene, Vm *from, Vm *to)
{
	g_autoptr(JsonNode) info = NULL;
	Place place;

	attempt(scene, from, to, ways[c->way].more, FALSE);
	place = aftermath(from, to, &info);
	if (strcmp(qmp_str(info, "status"), "completed"))
		fail_msg("the second attempt: %s", qmp_str(info, "error-desc"));
	assert_int_equal(place, c->way == LM_FAULT_REHEARSE ? PLACE_SOURCE : PLACE_DESTINATION);
	if (c->way == LM_FAULT_REHEARSE)
		assert_int_equal(vm_exit_status(to), 0);
	scene_assert_guest(scene, place == PLACE_SOURCE ? from : to);
}

static void test_fault(LmTest *test, const void *arg)
{
	const Combination *c = arg;
	Scene *scene = scene_new(test, 32, ways[c->way].backend);
	g_autofree char *mine = arguments(c, LM_ROLE_SOURCE);
	g_autofree char *theirs = arguments(c, LM_ROLE_DESTINATION);
	Vm *source = scene_spawn(scene, mine, NULL);
	Vm *destination = scene_spawn(scene, theirs, source);
	Vm *next = scene_spawn(scene, NULL, source), *at;
	g_autoptr(JsonNode) info = NULL;
	Holdings before;
	Place place;

	scene_connect_destination(scene, destination);
	scene_connect_destination(scene, next);
	scene_connect_source(scene, source);
	holdings_note(&before, source);
	attempt(scene, source, destination, ways[c->way].more,
		c->action == LM_FAULT_HOLD || c->action == LM_FAULT_STOP);
	if (c->action == LM_FAULT_STOP && c->side == LM_ROLE_SOURCE)
		wake_when_stopped(source);
	place = aftermath(source, destination, &info);
	check_place(c, place, info);
	assert_happened(c, c->side == LM_ROLE_SOURCE ? source : destination);
	at = place == PLACE_SOURCE ? source : place == PLACE_DESTINATION ? destination : NULL;
	if (at)
		scene_assert_guest(scene, at);
	if (at == source && fails_at_once(c) && !is_after_stop(c))
		vm_assert_never_stopped(source);
	if (vm_alive(source))
		holdings_assert(&before, source, count_shared(info));
	if (at != source)
		scene_end(scene, source);
	if (at != destination)
		scene_end(scene, destination);
	if (at)
		again(c, scene, at, next);
	for (guint i = 0; i < test->vms->len; i++)
		scene_end(scene, test->vms->pdata[i]);
	scene_assert_image(scene);
}

static gboolean is_chosen(const Combination *c)
{
	guint actions = 0, at = 0;

	if (g_getenv("LM_LONG"))
		return TRUE;
	for (guint action = 0; action < LM_FAULT_ACTION__MAX; action++) {
		Combination other = *c;

		other.action = (LmFaultAction)action;
		if (!makes_sense(&other))
			continue;
		at = action < c->action ? at + 1 : at;
		actions++;
	}
	return at == (c->number + c->way + 3 * c->side) % actions;
}

static void add(GArray *cases, Combination c)
{
	Combination *kept;
	LmCase one = {.run = test_fault};

	if (!makes_sense(&c) || !is_chosen(&c))
		return;
	kept = g_memdup2(&c, sizeof(c));
	kept->name = g_strdup_printf(
		"%u %s.%s:%s %s", c.number + 1, c.side == LM_ROLE_SOURCE ? "source" : "destination",
		c.point->name, lm_fault_action_name(c.action), lm_fault_way_name(c.way));
	one.name = kept->name;
	one.arg = kept;
	g_array_append_val(cases, one);
}

int main(int argc, char **argv)
{
	GArray *cases = g_array_new(FALSE, FALSE, sizeof(LmCase));

	for (guint i = 0; i < LM_FAULT_POINT__MAX; i++)
		for (guint side = 0; side < 2; side++)
			for (guint action = 0; action < LM_FAULT_ACTION__MAX; action++)
				for (guint way = 0; way < LM_FAULT_WAY__MAX; way++)
					add(cases, (Combination){.point = &lm_fault_points[i],
								 .number = i,
								 .side = (LmRole)side,
								 .action = (LmFaultAction)action,
								 .way = (LmFaultWay)way});
	return lm_test_main(argc, argv, (const LmCase *)cases->data, cases->len);
}
