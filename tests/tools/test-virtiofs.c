/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux guest with a file system of virtiofsd, in which it keeps a file open that it writes and
 * checks all the while. The virtiofsd stays, and has one connection only.
 */
#include "linux-guest.h"
#include "tool.h"
#include "versions.h"
#include "virtiofsd.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Shared {
	Virtiofsd *server, *second; /* second: of a file system that nobody mounts */
	LinuxDisk *disk;
	Vm *vm;
	pid_t pid; /* of the process that the guest is in */
} Shared;

/* ------------------------------------------------------------------- the guest */

static void add_second(Shared *shared)
{
	GPtrArray *args = shared->disk->args;

	g_ptr_array_remove_index(args, args->len - 1); /* NULL */
	g_ptr_array_add(args, g_strdup("-chardev"));
	g_ptr_array_add(args, g_strdup_printf("socket,id=second,path=%s", shared->second->socket));
	g_ptr_array_add(args, g_strdup("-device"));
	g_ptr_array_add(args, g_strdup("{\"driver\": \"vhost-user-fs-pci\", \"id\": \"fs1\", "
				       "\"chardev\": \"second\", \"tag\": \"other\"}"));
	g_ptr_array_add(args, NULL);
}

/* NULL, and a note: it cannot be tested. */
static Shared *shared_boot(LmTest *test, const char *version, gboolean with_second)
{
	g_autofree char *program = virtiofsd_find(test), *image = NULL;
	g_autofree char *binary = program ? tool_qemu_version(test, version) : NULL;
	g_autoptr(GError) error = NULL;
	VmOptions options;
	Shared *shared;

	if (!program || !binary)
		return NULL;
	shared = g_new0(Shared, 1);
	lm_test_cleanup_later(test, g_free, shared);
	shared->server = virtiofsd_start(test, program, "shared");
	image = g_build_filename(shared->server->folder, "disk", NULL);
	shared->disk = linux_disk_of(test, image, "raw",
				     (LinuxDiskHow){.virtiofsd = shared->server->socket});
	if (with_second) {
		shared->second = virtiofsd_start(test, program, "second");
		add_second(shared);
	}
	options = linux_options(shared->disk, LINUX_FS_APPEND);
	options.backend = "memory-backend-memfd,share=on";
	options.binary = binary;
	shared->vm = tool_spawn(test, &options);
	shared->pid = shared->vm->pid;
	serial_wait_beats(shared->vm->serial_path, 5, LINUX_BOOT_MS, NULL, &error);
	must(error);
	linux_assert_disk_goes_on(shared->vm);
	return shared;
}

static void upgrade(LmTest *test, Shared *shared, Run *run, const char *version, const char *fault,
		    const char *argument)
{
	g_autofree char *pid = g_strdup_printf("%d", (int)shared->pid);
	g_autofree char *binary = tool_qemu_version(test, version);

	run_clear(run);
	tool_run(test, run, fault, "--binary", binary, pid, argument, NULL);
	if (run->status == 0 && run->new_pid > 0)
		shared->pid = run->new_pid;
}

static void assert_goes_on(Shared *shared)
{
	linux_assert_disk_goes_on(shared->vm);
	virtiofsd_assert_serves(shared->server);
	if (shared->second)
		virtiofsd_assert_serves(shared->second);
}

static void assert_upgraded(Shared *shared, const Run *run)
{
	if (run->status)
		fail_msg("status %d: %s", run->status, qmp_str(run->report, "error"));
	lm_test_note(
		"%s to %s, stopped for %.1f ms", qmp_str(run->report, "from"),
		qmp_str(run->report, "to"),
		json_object_get_double_member(json_node_get_object(run->report), "stopped-ms"));
	assert_goes_on(shared);
}

static gboolean has_ended(void *opaque)
{
	return waitpid(GPOINTER_TO_INT(opaque), NULL, WNOHANG) != 0;
}

/* The guest reads all back, and what it knows is what the host has. */
static void assert_right(Shared *shared)
{
	g_autoptr(GError) error = NULL;
	int fd = linux_tell_power_off(shared->vm);

	assert_true(lm_wait_until(has_ended, GINT_TO_POINTER(shared->pid), LINUX_BOOT_MS));
	close(fd);
	serial_wait(shared->vm->serial_path, "^guest done beats [0-9]+ errors 0 ", 0, &error);
	must(error);
	linux_disk_assert_right(shared->disk, shared->vm->serial_path);
}

/* ------------------------------------------------------------------- the cases */

static void test_upgrades(LmTest *test, const void *arg)
{
	static const char *const path[] = {VERSION_10_0, VERSION_10_0, VERSION_11_1, VERSION_11_1};
	Shared *shared = shared_boot(test, VERSION_10_0, TRUE);
	g_auto(Run) run = {0};

	for (guint i = 0; shared && i < G_N_ELEMENTS(path) && version_is_here(path[i]); i++) {
		upgrade(test, shared, &run, path[i], NULL, NULL);
		assert_upgraded(shared, &run);
	}
	if (shared)
		assert_right(shared);
}

static void test_rehearsed(LmTest *test, const void *arg)
{
	Shared *shared = shared_boot(test, VERSION_10_0, FALSE);
	g_auto(Run) run = {0};

	if (!shared)
		return;
	for (guint i = 0; i < 2; i++) {
		upgrade(test, shared, &run, VERSION_10_0, NULL, "--rehearse");
		assert_int_equal(run.status, 0);
		shared->pid = shared->vm->pid;
		assert_goes_on(shared);
	}
	upgrade(test, shared, &run, VERSION_10_0, NULL, NULL);
	assert_upgraded(shared, &run);
	assert_right(shared);
}

#if LM_FAULT_INJECTION
/* The guest goes back, and on, from wherever it was; and can be upgraded then. */
static void test_goes_back(LmTest *test, const void *arg)
{
	g_autofree char *plugin =
		g_strdup_printf("--plugin=%s,fault=%s", lm_test_env("LM_PLUGIN"), (char *)arg);
	g_autofree char *whole = g_strconcat("--plugin=", lm_test_env("LM_PLUGIN"), NULL);
	Shared *shared = shared_boot(test, VERSION_10_0, FALSE);
	g_auto(Run) run = {0};

	if (!shared)
		return;
	upgrade(test, shared, &run, VERSION_10_0, NULL, plugin);
	assert_int_equal(run.status, 3);
	assert_goes_on(shared);
	upgrade(test, shared, &run, VERSION_10_0, NULL, whole);
	assert_upgraded(shared, &run);
	assert_right(shared);
}

static void test_tool_fails(LmTest *test, const void *arg)
{
	Shared *shared = shared_boot(test, VERSION_10_0, FALSE);
	g_auto(Run) run = {0};

	if (!shared)
		return;
	upgrade(test, shared, &run, VERSION_10_0, arg, NULL);
	assert_int_not_equal(run.status, 0);
	assert_goes_on(shared);
	upgrade(test, shared, &run, VERSION_10_0, NULL, NULL);
	assert_upgraded(shared, &run);
	assert_right(shared);
}
#endif

/* QEMU 7.2 does not save such a device. */
static void test_refused(LmTest *test, const void *arg)
{
	Shared *shared = shared_boot(test, VERSION_7_2, FALSE);
	g_auto(Run) run = {0};

	if (!shared)
		return;
	upgrade(test, shared, &run, VERSION_10_0, NULL, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "QEMU 7.2");
	assert_contains(qmp_str(run.report, "error"), "8.2 and later do");
	assert_goes_on(shared);
	assert_right(shared);
}

/* It answers nothing for a while: the guest stays, and so does the connection. */
static void test_hangs(LmTest *test, const void *arg)
{
	Shared *shared = shared_boot(test, VERSION_10_0, FALSE);
	g_auto(Run) run = {0};

	if (!shared)
		return;
	kill(shared->server->pid, SIGSTOP);
	upgrade(test, shared, &run, VERSION_10_0, NULL, NULL);
	kill(shared->server->pid, SIGCONT);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), "Connection timed out");
	assert_goes_on(shared);
	upgrade(test, shared, &run, VERSION_10_0, NULL, NULL);
	assert_upgraded(shared, &run);
	assert_right(shared);
}

static const LmCase cases[] = {
	LM_CASE(test_upgrades),
	LM_CASE(test_rehearsed),
#if LM_FAULT_INJECTION
	LM_CASE_ARG(test_goes_back, "load:fail"),
	LM_CASE_ARG(test_goes_back, "load:kill"),
	LM_CASE_ARG(test_goes_back, "load:stop"),
	LM_CASE_ARG(test_tool_fails, "greet:fail"),
	LM_CASE_ARG(test_tool_fails, "greet:kill"),
#endif
	LM_CASE(test_hangs),
	LM_CASE(test_refused),
};

int main(int argc, char **argv)
{
	const char *missing = linux_missing();

	if (geteuid())
		return lm_test_skip("must be root");
	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LM_TEST_MAIN(argc, argv, cases);
}
