/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cancelled at each stage, by either side: the guest is in the source afterwards, intact. */
#include "migrate.h"

#include <signal.h>
#include <string.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 128};

static void begin_and_reach(Vm *source, Vm *destination, Vm *holder, const char *fault)
{
	g_auto(GStrv) parts = g_strsplit(fault, ":", 2);
	g_autofree char *uri = migrate_uri(destination);

	migrate_begin(source, uri, ", 'deadline-ms': 2000");
	migrate_wait_stage(holder, strcmp(parts[0], "frame") ? parts[0] : "flip", LM_WAIT_MS);
}

static void assert_cancelled(Vm *source, const char *fault)
{
	g_autoptr(JsonNode) info = migrate_wait(source, 2 * LM_WAIT_MS);

	if (qmp_str(info, "error-desc"))
		lm_test_note("%s", qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "cancelled");
	migrate_assert_kept(source, info);
	if (migrate_fault_is_before(fault, "stop"))
		vm_assert_never_stopped(source);
}

/*
 * Either it waits for the next source, or it has ended, with status 1: or the source has killed
 * it, if it held and so did not answer, to have the pages back.
 */
static void assert_out_of_the_game(Vm *destination)
{
	if (vm_wait_exit(destination, 500)) {
		int status = vm_exit_status(destination);

		assert_true(status == 1 || status == 128 + SIGKILL);
		return;
	}
	assert_true(vm_has_status(destination, "inmigrate"));
}

static void test_source_holds(LmTest *test, const void *arg)
{
	Vm *source, *destination;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	begin_and_reach(source, destination, source, arg);
	vm_do(source, "localhost-migrate-cancel", NULL);
	assert_cancelled(source, arg);
	assert_out_of_the_game(destination);
}

/* From load on the destination does not need the source any more, and may take the VM first. */
static void test_source_holds_late(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	begin_and_reach(source, destination, source, arg);
	vm_do(source, "localhost-migrate-cancel", NULL);
	info = migrate_wait(source, 2 * LM_WAIT_MS);
	lm_test_note("%s", qmp_str(info, "status"));
	if (!strcmp(qmp_str(info, "status"), "completed"))
		migrate_assert_completed(source, destination, info);
	else
		migrate_assert_kept(source, info);
}

static void test_destination_holds(LmTest *test, const void *arg)
{
	Vm *source, *destination;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	begin_and_reach(source, destination, destination, arg);
	vm_do(source, "localhost-migrate-cancel", NULL);
	assert_cancelled(source, arg);
	assert_out_of_the_game(destination);
}

/* The destination's own user cancels. */
static void test_destination_cancels(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	begin_and_reach(source, destination, destination, arg);
	vm_do(destination, "localhost-migrate-cancel", NULL);
	info = migrate_wait(source, 2 * LM_WAIT_MS);
	assert_string_not_equal(qmp_str(info, "status"), "completed");
	migrate_assert_kept(source, info);
	assert_out_of_the_game(destination);
}

static void test_cancel_then_again(LmTest *test, const void *arg)
{
	Vm *source, *destination, *next;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, "load:hold", &source, &destination);
	begin_and_reach(source, destination, destination, "load:hold");
	vm_do(source, "localhost-migrate-cancel", NULL);
	assert_cancelled(source, "load:hold");
	next = migrate_destination(test, &plain, source);
	info = migrate_ok(source, next, "");
}

static void test_cancel_after_the_end(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL, after = NULL;

	migrate_pair(test, &plain, NULL, NULL, &source, &destination);
	begin_and_reach(source, destination, source, "commit");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
	vm_do(source, "localhost-migrate-cancel", NULL);
	vm_do(destination, "localhost-migrate-cancel", NULL);
	after = migrate_query(source);
	migrate_assert_completed(source, destination, after);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_source_holds, "hello:hold"),
	LM_CASE_ARG(test_source_holds, "regions:hold"),
	LM_CASE_ARG(test_source_holds, "stop:hold"),
	LM_CASE_ARG(test_source_holds, "flip:hold"),
	LM_CASE_ARG(test_source_holds, "devices:hold"),
	LM_CASE_ARG(test_source_holds_late, "load:hold"),
	LM_CASE_ARG(test_source_holds_late, "commit:hold"),
	LM_CASE_ARG(test_source_holds, "frame:hold"),
	LM_CASES_EACH_STAGE(test_destination_holds, "hold"),
	LM_CASE_ARG(test_destination_cancels, "hello:hold"),
	LM_CASE_ARG(test_destination_cancels, "regions:hold"),
	LM_CASE_ARG(test_destination_cancels, "load:hold"),
	LM_CASE(test_cancel_then_again),
	LM_CASE(test_cancel_after_the_end),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
