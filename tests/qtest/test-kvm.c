/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Under KVM, with a guest that is a ROM in real mode: it counts, and checks its memory. */
#include "migrate.h"

#include <string.h>
#include <unistd.h>

static VmOptions rom(void)
{
	return (VmOptions){.accel = "kvm", .bios = lm_test_env("LM_ROM"), .memory_mib = 64};
}

static void test_default(LmTest *test, const void *arg)
{
	VmOptions options = rom();
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	options.backend = arg;
	source = migrate_source(test, &options);
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, "");
	migrate_assert_never_again(source);
}

static void test_engine(LmTest *test, const void *arg)
{
	VmOptions options = rom();
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	options.plugin_args = arg;
	source = migrate_source(test, &options);
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, ", 'channels': 2");
}

static void test_chain(LmTest *test, const void *arg)
{
	VmOptions options = rom();
	Vm *vm = migrate_source(test, &options);

	for (guint i = 0; i < 2; i++) {
		Vm *next = migrate_destination(test, &options, vm);
		G_GNUC_UNUSED g_autoptr(JsonNode) info = migrate_ok(vm, next, "");

		vm_do(vm, "quit", NULL);
		assert_true(vm_wait_exit(vm, LM_WAIT_MS));
		vm_assert_intact(next);
		vm = next;
	}
}

static void test_comes_back(LmTest *test, const void *arg)
{
	VmOptions options = rom();
	g_autoptr(JsonNode) info = NULL;
	g_autofree char *uri = NULL;
	Vm *source, *destination;

	migrate_pair(test, &options, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, ", 'deadline-ms': 1000");
	info = migrate_wait(source, 2 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
}

static void test_other_accelerator(LmTest *test, const void *arg)
{
	VmOptions options = rom();
	Vm *source = migrate_source(test, &options), *destination;
	g_autofree char *uri = NULL, *text = NULL;

	options.accel = "tcg";
	destination = migrate_destination(test, &options, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	text = migrate_refused(source, uri, "");
	lm_test_note("%s", text);
	assert_contains(text, "kvm");
	assert_contains(text, "tcg");
}

static const LmCase cases[] = {
	LM_CASE(test_default),
	LM_CASE_ARG(test_default, "memory-backend-memfd,share=on"),
	LM_CASE_ARG(test_engine, "engine=process-vm-readv"),
	LM_CASE_ARG(test_engine, "engine=vmsplice,io-uring=off"),
	LM_CASE(test_chain),
	LM_CASE_ARG(test_comes_back, "regions:kill"),
	LM_CASE_ARG(test_comes_back, "load:fail"),
	LM_CASE_ARG(test_comes_back, "commit:fail"),
	LM_CASE(test_other_accelerator),
};

int main(int argc, char **argv)
{
	if (access("/dev/kvm", F_OK))
		return lm_test_skip("no /dev/kvm");
	return LM_TEST_MAIN(argc, argv, cases);
}
