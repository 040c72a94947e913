/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A rehearsal: the destination loads the VM's state and exits; the guest stays where it is. */
#include "migrate.h"

#include <string.h>

#define REHEARSE       ", 'rehearse': true"
#define SHARE_REHEARSE ", 'ram': 'share', 'rehearse': true"
#define SHORT_WAITS    ", 'deadline-ms': 1000"

static const VmOptions plain = {.append = "rate=64", .memory_mib = 128};
static const VmOptions shared = {
	.append = "rate=64", .memory_mib = 128, .backend = "memory-backend-memfd,share=on"};

static gboolean is_rehearsal(JsonNode *info)
{
	return json_object_get_boolean_member(json_node_get_object(info), "rehearsal");
}

static void rehearse(LmTest *test, Vm *source, const VmOptions *options, const char *more)
{
	Vm *destination = migrate_destination(test, options, source);
	g_autoptr(JsonNode) info = migrate_run(source, destination, more);

	if (strcmp(qmp_str(info, "status"), "completed"))
		fail_msg("%s", qmp_str(info, "error-desc"));
	assert_true(is_rehearsal(info));
	assert_string_equal(qmp_str(info, "owner"), "source");
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(destination), 0);
	migrate_assert_kept(source, info);
}

/* As often as one likes, and the real thing after it. */
static void test_accepted(LmTest *test, const void *arg)
{
	const VmOptions *options = arg ? &shared : &plain;
	Vm *source = migrate_source(test, options), *destination;
	g_autoptr(JsonNode) info = NULL;

	rehearse(test, source, options, SHARE_REHEARSE);
	rehearse(test, source, options, REHEARSE);
	destination = migrate_destination(test, options, source);
	info = migrate_ok(source, destination, "");
	assert_int_equal(qmp_int(info, "flipped"), 0);
	assert_false(is_rehearsal(info));
}

static int run_command(const char *format, const char *argument)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	g_autofree char *command = g_strdup_printf(format, argument);
#pragma GCC diagnostic pop
	g_autofree char *said = NULL, *complained = NULL;
	g_autoptr(GError) error = NULL;
	int status = -1;

	g_spawn_command_line_sync(command, &said, &complained, &status, &error);
	must(error);
	return status;
}

/* The source keeps its disks all the while: nobody else gets the image's lock. */
static void test_with_a_disk(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "disk.qcow2");
	g_autofree char *drive = g_strdup_printf("file=%s,if=virtio,format=qcow2", image);
	const char *const extra[] = {"-drive", drive, NULL};
	VmOptions options = plain;
	Vm *source;

	assert_int_equal(run_command("qemu-img create -q -f qcow2 %s 64M", image), 0);
	assert_int_equal(run_command("qemu-img info %s", image), 0);
	options.extra = extra;
	source = migrate_source(test, &options);
	rehearse(test, source, &options, SHARE_REHEARSE);
	assert_int_not_equal(run_command("qemu-img info %s", image), 0);
	vm_assert_intact(source);
}

static void test_private_is_refused(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autofree char *uri = migrate_uri(destination), *text = NULL;

	migrate_listen(destination);
	text = migrate_refused(source, uri, REHEARSE);
	assert_contains(text, "a rehearsal needs shared RAM");
	assert_contains(text, "pc.ram");
	assert_true(vm_has_status(destination, "inmigrate"));
}

/* What does not fit is refused as ever, and the destination waits for another source. */
static void test_another_machine(LmTest *test, const void *arg)
{
	VmOptions other = plain;
	Vm *source = migrate_source(test, &plain), *destination;
	g_autofree char *uri = NULL, *text = NULL;

	other.machine = "pc-q35-6.2";
	destination = migrate_destination(test, &other, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	text = migrate_refused(source, uri, SHARE_REHEARSE);
	assert_contains(text, "pc-q35-6.2");
}

static void test_fails(LmTest *test, const void *arg)
{
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHARE_REHEARSE SHORT_WAITS);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	lm_test_note("%s", qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	rehearse(test, source, &plain, SHARE_REHEARSE);
}

/*
 * Both have the same file. What a rehearsal mapped privately over it stays so, and a handover that
 * trusts the descriptor would not see it: the destination must end, however it failed. Nothing but
 * that file is mapped before the stop.
 */
static void test_same_file(LmTest *test, const void *arg)
{
	g_autofree char *base = g_path_get_basename(test->dir);
	g_autofree char *file = g_strdup_printf("/dev/shm/%s", base), *uri = NULL;
	g_autofree char *backend =
		g_strdup_printf("memory-backend-file,share=on,mem-path=%s", file);
	const VmOptions options = {.append = "rate=64", .memory_mib = 128, .backend = backend};
	g_autoptr(JsonNode) info = NULL, again = NULL;
	Vm *source, *destination, *next;

	lm_test_remove_later(test, g_steal_pointer(&file));
	migrate_pair(test, &options, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHARE_REHEARSE ", 'live': false" SHORT_WAITS);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	next = migrate_destination(test, &options, source);
	again = migrate_ok(source, next, "");
}

static void test_source_fails(LmTest *test, const void *arg)
{
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source, *destination;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, SHARE_REHEARSE SHORT_WAITS);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
}

static const LmCase cases[] = {
	LM_CASE(test_accepted),
	LM_CASE_ARG(test_accepted, "shared from the start"),
	LM_CASE(test_with_a_disk),
	LM_CASE(test_private_is_refused),
	LM_CASE(test_another_machine),
	LM_CASE_ARG(test_fails, "share:kill"),
	LM_CASE_ARG(test_fails, "flip:kill"),
	LM_CASE_ARG(test_fails, "devices:fail"),
	LM_CASE_ARG(test_fails, "load:fail"),
	LM_CASE_ARG(test_fails, "load:stop"),
	LM_CASE_ARG(test_fails, "load:kill"),
	LM_CASE_ARG(test_same_file, "stop:fail"),
	LM_CASE_ARG(test_same_file, "load:fail"),
	LM_CASE_ARG(test_source_fails, "stop:fail"),
	LM_CASE_ARG(test_source_fails, "flip:fail"),
	LM_CASE_ARG(test_source_fails, "devices:fail"),
	LM_CASE_ARG(test_source_fails, "load:fail"),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
