/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest goes on in newer versions of QEMU, one after the other. */
#include "migrate.h"
#include "versions.h"

#include <string.h>
#include <unistd.h>

static VmOptions in_version(const char *version)
{
	return (VmOptions){.append = "rate=8", .memory_mib = 128, .root = version_root(version)};
}

/* @path holds up to three versions; each is the destination of the one before. */
static void walk_with(LmTest *test, const char *const *path, guint count, const char *backend,
		      const char *more, const char *const *extra)
{
	VmOptions options = in_version(path[0]);
	Vm *source;

	options.backend = backend;
	options.extra = extra;
	source = migrate_source(test, &options);
	for (guint i = 1; i < count; i++) {
		g_autoptr(JsonNode) info = NULL;
		Vm *destination;

		options.root = version_root(path[i]);
		destination = migrate_destination(test, &options, source);
		info = migrate_ok(source, destination, more);
		lm_test_note("to %s", qmp_str(info, "peer-version"));
		vm_do(source, "quit", NULL);
		assert_true(vm_wait_exit(source, LM_WAIT_MS));
		assert_int_equal(vm_exit_status(source), 0);
		vm_assert_intact(destination);
		source = destination;
	}
}

static void walk(LmTest *test, const char *const *path, guint count, const char *backend,
		 const char *more)
{
	walk_with(test, path, count, backend, more, NULL);
}

static void test_to_10_0(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_7_2, VERSION_10_0};

	walk(test, path, G_N_ELEMENTS(path), arg, "");
}

static void test_to_11_1(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_7_2, VERSION_11_1};

	walk(test, path, G_N_ELEMENTS(path), arg, "");
}

static void test_10_0_to_11_1(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_10_0, VERSION_11_1};

	walk(test, path, G_N_ELEMENTS(path), arg, "");
}

/* Two cores in a socket: CPUID says so in other places of each version's code. */
static void test_cores(LmTest *test, const void *arg)
{
	VmOptions options = in_version(VERSION_7_2);
	Vm *source, *destination;
	G_GNUC_UNUSED g_autoptr(JsonNode) info = NULL;

	options.smp = 2;
	source = migrate_source(test, &options);
	options.root = version_root(arg);
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, ", 'ram': 'share'");
}

/* Drives of the machine itself: each version numbers their devices in its own way. */
static void test_own_drives(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "image"),
			*floppy = lm_test_path(test, "floppy");
	g_autofree char *drive = g_strdup_printf("if=floppy,format=raw,file=%s", floppy);
	const char *const extra[] = {"-cdrom", image, "-drive", drive, NULL};
	VmOptions options = in_version(VERSION_7_2);
	Vm *source, *destination;
	G_GNUC_UNUSED g_autoptr(JsonNode) info = NULL;

	for (guint i = 0; i < 2; i++) {
		assert_true(g_file_set_contents(i ? floppy : image, "", 0, NULL));
		assert_int_equal(truncate(i ? floppy : image, 1440 << 10), 0);
	}
	options.machine = "pc-i440fx-7.2";
	options.extra = extra;
	source = migrate_source(test, &options);
	options.root = version_root(arg);
	destination = migrate_destination(test, &options, source);
	info = migrate_ok(source, destination, "");
}

static void test_chain(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};

	walk(test, path, G_N_ELEMENTS(path), arg, "");
}

/* Shared on the way to the second, passed to the third. */
static void test_shared_chain(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};

	walk(test, path, G_N_ELEMENTS(path), NULL, arg);
}

static void test_rehearsed(LmTest *test, const void *arg)
{
	VmOptions options = in_version(VERSION_7_2);
	Vm *source = migrate_source(test, &options), *destination;
	g_autoptr(JsonNode) info = NULL;

	options.root = version_root(arg);
	destination = migrate_destination(test, &options, source);
	info = migrate_run(source, destination, ", 'ram': 'share', 'rehearse': true");
	if (strcmp(qmp_str(info, "status"), "completed"))
		fail_msg("%s", qmp_str(info, "error-desc"));
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	migrate_assert_kept(source, info);
}

static const char *const virtio[] = {"-device", "virtio-rng-pci", "-device", "virtio-scsi-pci",
				     NULL};

/* Their queues stay as long as they were in the first version. */
static void test_queues(LmTest *test, const void *arg)
{
	const char *const path[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};

	walk_with(test, path, G_N_ELEMENTS(path), NULL, arg, virtio);
}

/* A guest of @options is refused by 11.1 while it runs; why, the caller's. */
static char *refused_by_11_1(LmTest *test, VmOptions options)
{
	Vm *source = migrate_source(test, &options), *destination;
	g_autofree char *uri = NULL;
	char *text;

	options.root = version_root(VERSION_11_1);
	destination = migrate_destination(test, &options, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	text = migrate_refused(source, uri, "");
	lm_test_note("%s", text);
	vm_assert_never_stopped(source);
	vm_assert_intact(source);
	return text;
}

/* The second version gives a guest that begins there longer queues than the third one takes. */
static void test_longer_queues(LmTest *test, const void *arg)
{
	VmOptions options = in_version(VERSION_10_0);
	g_autofree char *text = NULL;

	options.extra = virtio;
	text = refused_by_11_1(test, options);
	assert_contains(text, "virtio queue of 0000:00:0");
	assert_contains(text, "(number 0) does not fit: source 1024, destination at most 8");
}

/* The new version fails to load the devices: the guest goes on in the old one. */
static void test_back_from_11_1(LmTest *test, const void *arg)
{
	VmOptions options = in_version(VERSION_7_2);
	Vm *source = migrate_source(test, &options), *destination;
	g_autoptr(JsonNode) info = NULL;

	options.root = version_root(VERSION_11_1);
	options.plugin_args = "fault=load:fail";
	destination = migrate_destination(test, &options, source);
	info = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_contains(qmp_str(info, "error-desc"), "fault injected at load");
	migrate_assert_kept(source, info);
}

/* "max" is another CPU in each version, under the same name. */
static void test_cpu_max(LmTest *test, const void *arg)
{
	VmOptions options = in_version(VERSION_7_2);
	g_autofree char *text = NULL;

	options.cpu = "max";
	text = refused_by_11_1(test, options);
	assert_contains(text, "CPU features 0x");
}

#define SHARED "memory-backend-memfd,share=on"

static const LmCase cases[] = {
	LM_CASE(test_to_10_0),
	LM_CASE(test_to_11_1),
	LM_CASE(test_10_0_to_11_1),
	LM_CASE_ARG(test_cores, VERSION_10_0),
	LM_CASE_ARG(test_cores, VERSION_11_1),
	LM_CASE_ARG(test_own_drives, VERSION_10_0),
	LM_CASE_ARG(test_own_drives, VERSION_11_1),
	LM_CASE(test_chain),
	LM_CASE_ARG(test_chain, SHARED),
	LM_CASE_ARG(test_queues, ""),
	LM_CASE_ARG(test_queues, ", 'ram': 'share'"),
	LM_CASE(test_longer_queues),
	LM_CASE(test_back_from_11_1),
	LM_CASE(test_cpu_max),
	LM_CASE_ARG(test_shared_chain, ", 'ram': 'share'"),
	LM_CASE_ARG(test_shared_chain, ", 'ram': 'share', 'live': false"),
	LM_CASE_ARG(test_rehearsed, VERSION_10_0),
	LM_CASE_ARG(test_rehearsed, VERSION_11_1),
};

int main(int argc, char **argv)
{
	static const char *const needed[] = {VERSION_7_2, VERSION_10_0, VERSION_11_1};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!version_is_here(needed[i]))
			return lm_test_skip("no QEMU %s", needed[i]);
	return LM_TEST_MAIN(argc, argv, cases);
}
