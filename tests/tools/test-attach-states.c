// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Attached to in each run state that can be brought about, on each version: the state stays what it
 * was, and where the guest can go on, it does.
 */
#include "attach-vm.h"
#include "versions.h"

#include <string.h>
#include <unistd.h>

/* ICH9's PM1 control register; its bits for sleeping: what kind, and now. */
#define SLEEP(kind) "o/h 0x604 " G_STRINGIFY(kind)
#define SUSPEND	    0x2400
#define POWER_OFF   0x2000

static VmOptions options_for(const char *version)
{
	VmOptions options = attach_options();

	if (!version_is_here(version))
		skip();
	options.root = version_root(version);
	options.memory_mib = 64;
	return options;
}

static void monitor(Vm *vm, const char *command)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *said = qmp_hmp(vm->qmp, command, &error);

	must(error);
	assert_string_equal(said, "");
}

/* It is attached to in this state, which stays; a second build as well. */
static void attach_in(LmTest *test, Vm *vm, const char *status)
{
	g_autofree char *newer = attach_other_build(test, 1);

	if (!vm_wait_status(vm, status, LM_WAIT_MS)) {
		g_autofree char *is = vm_status(vm);

		fail_msg("%s, not %s", is, status);
	}
	attach_must(vm, NULL);
	attach_assert_there(vm);
	assert_true(vm_has_status(vm, status));
	attach_must(vm, newer);
	attach_assert_there(vm);
	assert_true(vm_has_status(vm, status));
}

static void go_on(Vm *vm)
{
	vm_do(vm, "cont", NULL);
	vm_assert_ready(vm);
	vm_assert_intact(vm);
}

static void test_running(LmTest *test, const void *version)
{
	VmOptions options = options_for(version);
	Vm *vm = migrate_source(test, &options);

	attach_in(test, vm, "running");
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static void test_paused(LmTest *test, const void *version)
{
	VmOptions options = options_for(version);
	Vm *vm = migrate_source(test, &options);

	vm_do(vm, "stop", NULL);
	attach_in(test, vm, "paused");
	go_on(vm);
}

static void test_prelaunch(LmTest *test, const void *version)
{
	static const char *const stopped[] = {"-S", NULL};
	VmOptions options = options_for(version);
	Vm *vm;

	options.extra = stopped;
	vm = vm_start(test, &options);
	attach_in(test, vm, "prelaunch");
	go_on(vm);
}

/* It takes a guest by stock migration afterwards, as it would have. */
static void test_inmigrate(LmTest *test, const void *version)
{
	VmOptions options = options_for(version);
	Vm *source = migrate_source(test, &options);
	Vm *destination = migrate_destination(test, &options, source);
	g_autofree char *uri = migrate_uri(destination);

	attach_in(test, destination, "inmigrate");
	vm_do(destination, "migrate-incoming", "{'uri': %s}", uri);
	vm_do(source, "migrate", "{'uri': %s}", uri);
	if (!vm_wait_status(destination, "running", LM_WAIT_MS))
		fail_msg("the guest did not come");
	assert_true(vm_has_status(source, "postmigrate"));
	vm_assert_intact(destination);
}

/* A stock migration has taken the guest away, and it is taken back. */
static void test_postmigrate(LmTest *test, const void *version)
{
	VmOptions options = options_for(version);
	Vm *vm = migrate_source(test, &options);

	vm_do(vm, "migrate", "{'uri': 'exec:cat >/dev/null'}");
	attach_in(test, vm, "postmigrate");
	go_on(vm);
}

static void test_suspended(LmTest *test, const void *version)
{
	VmOptions options = options_for(version);
	Vm *vm = migrate_source(test, &options);

	monitor(vm, SLEEP(SUSPEND));
	attach_in(test, vm, "suspended");
	vm_do(vm, "system_wakeup", NULL);
	assert_true(vm_wait_status(vm, "running", LM_WAIT_MS));
}

static void test_shutdown(LmTest *test, const void *version)
{
	static const char *const stays[] = {"-action", "shutdown=pause", NULL};
	VmOptions options = options_for(version);
	Vm *vm;

	options.extra = stays;
	vm = migrate_source(test, &options);
	monitor(vm, SLEEP(POWER_OFF));
	attach_in(test, vm, "shutdown");
}

static void test_guest_panicked(LmTest *test, const void *version)
{
	static const char *const panics[] = {"-device", "pvpanic", "-action", "panic=pause", NULL};
	VmOptions options = options_for(version);
	Vm *vm;

	options.extra = panics;
	vm = migrate_source(test, &options);
	monitor(vm, "o/b 0x505 1");
	attach_in(test, vm, "guest-panicked");
	go_on(vm);
}

/* The firmware reads the disk's first block, in vain. */
static void test_io_error(LmTest *test, const void *version)
{
	static const char *const disk[] = {
		"-blockdev",
		"driver=null-co,node-name=n0,size=1048576,read-zeroes=on",
		"-blockdev",
		"driver=blkdebug,node-name=d0,image=n0,inject-error.0.event=none,"
		"inject-error.0.iotype=read",
		"-device",
		"virtio-blk-pci,drive=d0,rerror=stop,bootindex=1",
		NULL};
	VmOptions options = options_for(version);
	Vm *vm;

	options.kernel = "";
	options.append = NULL;
	options.extra = disk;
	vm = vm_start(test, &options);
	attach_in(test, vm, "io-error");
}

/*
 * Where there is no memory, KVM cannot run a program; where it emulates real mode altogether, it
 * stops before that, at the floating point unit's fsin.
 */
static void test_internal_error(LmTest *test, const void *version)
{
	static guint8 rom[65536];
	static const guint8 code[] = {0xd9, 0xfe, 0xea, 0, 0, 0, 0xa0}; /* fsin; jmp 0xa000:0 */
	VmOptions options = options_for(version);
	g_autofree char *path = NULL;
	Vm *vm;

	if (access("/dev/kvm", F_OK))
		skip();
	memset(rom, 0xf4, sizeof(rom));
	memcpy(rom + sizeof(rom) - 16, code, sizeof(code));
	path = attach_write_file(test, "rom", rom, sizeof(rom));
	options.accel = "kvm";
	options.machine = "pc-i440fx-7.2";
	options.bios = path;
	options.append = NULL;
	vm = vm_start(test, &options);
	attach_in(test, vm, "internal-error");
}

#define ON_EACH(function)                                                                          \
	LM_CASE_ARG(function, VERSION_7_2), LM_CASE_ARG(function, VERSION_10_0),                   \
		LM_CASE_ARG(function, VERSION_11_1)

static const LmCase cases[] = {
	ON_EACH(test_running),	      ON_EACH(test_paused),	    ON_EACH(test_prelaunch),
	ON_EACH(test_inmigrate),      ON_EACH(test_postmigrate),    ON_EACH(test_suspended),
	ON_EACH(test_shutdown),	      ON_EACH(test_guest_panicked), ON_EACH(test_io_error),
	ON_EACH(test_internal_error),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
