/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One side is killed, or stops answering, at each stage. The guest is in one place at most, and
 * in exactly one unless its pages died with a process: then the source says so.
 */
#include "migrate.h"
#include "process.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 128};
static const VmOptions shared = {
	.append = "rate=8", .memory_mib = 128, .backend = "memory-backend-memfd,share=on"};

#define SHORT ", 'deadline-ms': 1000"

static JsonNode *begin_and_wait(Vm *source, Vm *destination)
{
	g_autofree char *uri = migrate_uri(destination);

	migrate_begin(source, uri, SHORT);
	return migrate_wait(source, 3 * LM_WAIT_MS);
}

static void test_destination_is_killed(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	info = begin_and_wait(source, destination);
	lm_test_note("%s: %s", qmp_str(info, "owner"), qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(destination), 128 + SIGKILL);
	if (migrate_fault_is_before(arg, "stop")) {
		migrate_assert_kept(source, info);
		vm_assert_never_stopped(source);
	} else if (migrate_fault_is_before(arg, "devices")) {
		migrate_assert_kept_or_lost(source, destination, info);
	} else {
		migrate_assert_lost(source, destination, info);
	}
}

/* With memory that both map, nothing is ever lost. */
static void test_shared_destination_is_killed(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &shared, NULL, arg, &source, &destination);
	info = begin_and_wait(source, destination);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
}

/* Cancelled when all pages are in the destination, which has @fault on the way back. */
static JsonNode *cancel_at_devices(LmTest *test, const char *fault, Vm **source, Vm **destination)
{
	g_autofree char *uri = NULL;
	JsonNode *info;

	migrate_pair(test, &plain, "devices:hold", fault, source, destination);
	uri = migrate_uri(*destination);
	migrate_begin(*source, uri, SHORT);
	migrate_wait_stage(*source, "devices", LM_WAIT_MS);
	vm_do(*source, "localhost-migrate-cancel", NULL);
	info = migrate_wait(*source, 3 * LM_WAIT_MS);
	lm_test_note("%s: %s", qmp_str(info, "owner"), qmp_str(info, "error-desc"));
	return info;
}

/* Killed while it gives the pages back. */
static void test_destination_is_killed_returning(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = cancel_at_devices(test, arg, &source, &destination);

	migrate_assert_lost(source, destination, info);
}

/* One that hangs there has what is missing taken from it. */
static void test_destination_hangs_returning(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = cancel_at_devices(test, arg, &source, &destination);

	migrate_assert_kept(source, info);
	vm_assert_intact(source);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
}

typedef enum Place { PLACE_UNKNOWN, PLACE_HERE, PLACE_NOWHERE } Place;

/* What a destination is, without a source: the owner, or out of the game. */
static Place place_of(Vm *destination)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;
	const char *status;

	if (!vm_alive(destination))
		return PLACE_NOWHERE;
	info = qmp_command(destination->qmp, &error, "query-localhost-migrate", NULL);
	if (!info)
		return vm_wait_exit(destination, 1000) ? PLACE_NOWHERE : PLACE_UNKNOWN;
	status = qmp_str(info, "status");
	if (!strcmp(status, "completed"))
		return PLACE_HERE;
	if (!strcmp(status, "active") || !strcmp(status, "device"))
		return PLACE_UNKNOWN;
	return PLACE_NOWHERE;
}

static Place wait_place(Vm *destination)
{
	gint64 end_us = lm_end_us(LM_WAIT_MS);
	Place place;

	while ((place = place_of(destination)) == PLACE_UNKNOWN) {
		if (!lm_left_ms(end_us))
			fail_msg("the destination goes on waiting for a dead source");
		poll(NULL, 0, 10);
	}
	return place;
}

static void test_source_is_killed(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autofree char *uri = NULL;
	Place place;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHORT);
	assert_true(vm_wait_exit(source, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(source), 128 + SIGKILL);
	place = wait_place(destination);
	lm_test_note("the destination %s", place == PLACE_HERE ? "has the guest" : "has no guest");
	if (place == PLACE_HERE)
		vm_assert_intact(destination);
	else if (vm_alive(destination))
		assert_true(vm_has_status(destination, "inmigrate"));
	else
		assert_int_equal(vm_exit_status(destination), 1);
}

/*
 * A source that died before anything was flipped leaves a destination that is as good as new;
 * another source's guest goes there.
 */
static void test_another_source_after_kill(LmTest *test, const void *arg)
{
	Vm *source, *destination, *other;
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, "hello:kill", NULL, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHORT);
	assert_true(vm_wait_exit(source, LM_WAIT_MS));
	other = migrate_source(test, &plain);
	migrate_begin(other, uri, "");
	info = migrate_wait(other, 2 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "completed");
	assert_true(vm_wait_status(destination, "running", LM_WAIT_MS));
	assert_true(vm_has_status(other, "postmigrate"));
}

/* The destination is stopped (SIGSTOP), and never reads again. */
static void test_destination_hangs(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	info = begin_and_wait(source, destination);
	lm_test_note("%s: %s", qmp_str(info, "owner"), qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	/* Awake again, it must not run the guest as well. */
	vm_kill(destination, SIGCONT);
	if (wait_place(destination) == PLACE_HERE)
		fail_msg("the destination took the guest that the source kept");
}

static void test_shared_destination_hangs(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &shared, NULL, arg, &source, &destination);
	info = begin_and_wait(source, destination);
	migrate_assert_kept(source, info);
	vm_kill(destination, SIGCONT);
	if (wait_place(destination) == PLACE_HERE)
		fail_msg("the destination took the guest that the source kept");
	vm_assert_intact(source);
}

static gboolean is_stopped(void *opaque)
{
	return process_state(((Vm *)opaque)->pid) == 'T';
}

/* It has ended, or says on stderr that it has turned this source away. */
static gboolean has_given_up(void *opaque)
{
	g_autofree char *said = vm_stderr(opaque);

	return !vm_alive(opaque) || strstr(said, "turned away");
}

/*
 * The source is stopped for longer than the destination waits for what is due, and then goes on.
 * With the guest's pages the destination waits on for as long as the source lives.
 */
static void test_source_hangs(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	Vm *source, *destination;
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	options.plugin_args = "deadline-ms=1000";
	destination = migrate_destination(test, &options, source);
	migrate_listen(destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHORT);
	assert_true(lm_wait_until(is_stopped, source, LM_WAIT_MS));
	if (migrate_fault_is_before(arg, "devices"))
		assert_true(lm_wait_until(has_given_up, destination, LM_WAIT_MS));
	else
		assert_false(lm_wait_until(has_given_up, destination, 8000));
	vm_kill(source, SIGCONT);
	info = migrate_wait(source, 2 * LM_WAIT_MS);
	lm_test_note("%s: %s", qmp_str(info, "owner"), qmp_str(info, "error-desc"));
	migrate_assert_kept(source, info);
}

static const LmCase cases[] = {
	LM_CASES_EACH_STAGE(test_destination_is_killed, "kill"),
	LM_CASE_ARG(test_shared_destination_is_killed, "regions:kill"),
	LM_CASE_ARG(test_shared_destination_is_killed, "devices:kill"),
	LM_CASE_ARG(test_shared_destination_is_killed, "load:kill"),
	LM_CASE_ARG(test_shared_destination_is_killed, "commit:kill"),
	LM_CASE_ARG(test_destination_is_killed_returning, "return:kill"),
	LM_CASE_ARG(test_destination_is_killed_returning, "frame:kill"),
	LM_CASE_ARG(test_destination_hangs_returning, "return:stop"),
	LM_CASE_ARG(test_destination_hangs_returning, "frame:stop"),
	LM_CASES_EACH_STAGE(test_source_is_killed, "kill"),
	LM_CASE_ARG(test_source_is_killed, "frame:kill"),
	LM_CASE(test_another_source_after_kill),
	LM_CASE_ARG(test_destination_hangs, "hello:stop"),
	LM_CASE_ARG(test_destination_hangs, "flip:stop"),
	LM_CASE_ARG(test_shared_destination_hangs, "load:stop"),
	LM_CASE_ARG(test_source_hangs, "flip:stop"),
	LM_CASE_ARG(test_source_hangs, "devices:stop"),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
