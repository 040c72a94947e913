/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that libvirt copies itself, to raw images and to block devices, when the guest runs in the
 * new process.
 */
#include "images.h"
#include "linux-guest.h"
#include "moving-disk.h"
#include "process.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------- a disk that libvirt copies to a raw image */

/* The tool has gone, and libvirt copies on: whoever ends it, the guest's disk is whole. */
static void test_raw_unfinished(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw,throttle=1M", "");
	const char *name = moving->domain->name;
	g_auto(Run) run = {0}, again = {0};

	moving_wait_beats(moving->domain, 20);
	domain_upgrade(moving->domain, &run, "libvirt-copy:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, NULL);
	assert_int_equal(again.status, 2);
	assert_contains(qmp_str(again.report, "error"), "block job (virsh blockjob): copy-vda");
	moving_assert_next_is(moving, moving->old, moving->new);
	moving_wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", name, NULL);
	assert_true(moving_copied_bytes(moving) < (MOVING_MIB / 2 << 20));
	moving_start_again(moving->domain);
	moving_assert_is(moving, moving->old, moving->new);
}

/* Ends libvirt's copy as soon as it is there, within a minute; NULL: there was none. */
static gpointer abort_copy(gpointer domain_name)
{
	const char *const argv[] = {"virsh", "blockjob", domain_name, "vda", "--abort", NULL};

	for (guint i = 0; i < 600; i++) {
		g_autofree char *said = NULL;

		if (!process_run(&said, argv) && !strstr(said, "No current"))
			return domain_name;
		g_usleep(100 * 1000);
	}
	return NULL;
}

/* Somebody ends the job while the tool follows it: the guest is upgraded, with its old disk. */
static void test_raw_aborted(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw,throttle=1M", "");
	const pid_t old = domain_pid(moving->domain);
	GThread *thread = g_thread_new("abort", abort_copy, moving->domain->name);
	g_auto(Run) run = {0};
	g_autofree char *report = NULL;

	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	assert_non_null(g_thread_join(thread));
	/* It is upgraded, and that is not all that was asked for. */
	assert_int_equal(run.status, 5);
	assert_true(domain_has_ended(old));
	domain_assert_runs_in(moving->domain, run.new_pid);
	domain_assert_clean(moving->domain);
	report = json_to_string(run.report, FALSE);
	assert_contains(report, "libvirt's copy ended before it was whole");
	assert_contains(report, "virsh blockjob lm-raw vda");
	moving_assert_is(moving, moving->old, moving->new);
}

/* Begins the daemon anew while it copies, within a minute; NULL: it did not copy. */
static gpointer restart_daemon(gpointer domain_name)
{
	const char *const argv[] = {"virsh", "blockjob", domain_name, "vda", "--raw", NULL};

	for (guint i = 0; i < 600; i++) {
		g_autofree char *said = NULL;

		if (!process_run(&said, argv) && strstr(said, "cur=")) {
			libvirt_daemon_end();
			libvirt_daemon_begin();
			return domain_name;
		}
		g_usleep(100 * 1000);
	}
	return NULL;
}

/* @arg: the option's more. */
static void test_daemon_restarted(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", arg, "");
	const pid_t old = domain_pid(moving->domain);
	GThread *thread = g_thread_new("restart", restart_daemon, moving->domain->name);
	g_auto(Run) run = {0};

	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	assert_non_null(g_thread_join(thread));
	domain_assert_upgraded(moving->domain, &run, old);
	moving_assert_is(moving, moving->new, moving->old);
	moving_wait_beats(moving->domain, 5);
}

static void wait_copied(const Domain *domain)
{
	for (guint i = 0; i < 300; i++) {
		g_autofree char *job =
			virsh(domain->test, "blockjob", domain->name, "vda", "--raw", NULL);
		const char *cur = strstr(job, "cur="), *end = strstr(job, "end=");

		if (cur && end && end[4] != '0' &&
		    g_ascii_strtoull(cur + 4, NULL, 10) == g_ascii_strtoull(end + 4, NULL, 10))
			return;
		g_usleep(100 * 1000);
	}
	fail_msg("the disk of %s is not copied", domain->name);
}

/* The same, and it is ended as libvirt's users end such a job. */
static void test_raw_ended_by_hand(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw,throttle=64M", "");
	const char *name = moving->domain->name;
	g_auto(Run) run = {0};

	domain_upgrade(moving->domain, &run, "libvirt-copy:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	wait_copied(moving->domain);
	virsh_do(test, "blockjob", name, "vda", "--pivot", NULL);
	moving_assert_is(moving, moving->new, moving->old);
	moving_wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	moving_start_again(moving->domain);
}

/* The tool is killed with the guest in the new process; the same command again does the rest. */
static void test_raw_interrupted(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, "daemon-start:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	moving_assert_is(moving, moving->new, moving->old);
}

/* What is finished for a run that was killed is no reason to take a disk unseen. */
static void test_raw_asked_later(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw", "");
	const pid_t old = domain_pid(moving->domain);
	g_autofree char *report = NULL;
	g_auto(Run) run = {0}, again = {0}, third = {0};

	domain_upgrade(moving->domain, &run, "retire:kill", NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	assert_true(g_file_set_contents(moving->new, "precious", -1, NULL));
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	report = json_to_string(again.report, FALSE);
	lm_test_note("%s", report);
	assert_contains(report, "it is there already, and libvirt makes the raw image");
	assert_int_equal(again.status, 5);
	assert_true(domain_has_ended(old));
	moving_assert_is(moving, moving->old, moving->new);
	unlink(moving->new);
	/* Nothing new is installed. */
	tool_run(test, &third, NULL, "--libvirt", moving->domain->name, "--plugin",
		 moving->domain->plugin, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &third, again.new_pid);
	moving_assert_is(moving, moving->new, moving->old);
}

static void assert_refused(const MovingDisk *moving, const char *option, const char *why)
{
	g_auto(Run) run = {0};

	domain_upgrade(moving->domain, &run, NULL, option, NULL);
	assert_int_equal(run.status, 2);
	assert_contains(qmp_str(run.report, "error"), why);
}

static void test_raw_refused(LmTest *test, const void *arg)
{
	MovingDisk *moving = moving_start(test, "lm-raw", ",format=raw", "");
	const pid_t old = domain_pid(moving->domain);

	assert_refused(moving, "--move-disk=vdz=/new.img,format=raw", "target is called vdz");
	assert_refused(moving, "--move-disk=vda=/nowhere/new.img,format=raw", "/nowhere");
	assert_refused(moving, "--move-disk=vda=/proc/new.img,format=raw", "/proc has room for 0");
	assert_refused(moving, "--move-disk=vda=/dev/lm-none,format=raw", "no such device");
	assert_true(g_file_set_contents(moving->new, "precious", -1, NULL));
	assert_refused(moving, moving->option, "it is there already");
	unlink(moving->new);
	virsh_do(test, "qemu-monitor-command", moving->domain->name, "--hmp", "savevm lm-test",
		 NULL);
	assert_refused(moving, moving->option, "internal snapshots");
	domain_assert_runs_in(moving->domain, old);
	domain_assert_clean(moving->domain);
	assert_int_not_equal(access(moving->new, F_OK), 0);
}

/* ------------------------------------------------------- a block device as the target */

static void detach_device(gpointer device)
{
	const char *const argv[] = {"losetup", "-d", device, NULL};
	g_autofree char *said = NULL;

	if (process_run(&said, argv))
		lm_test_note("%s", said);
	g_free(device);
}

/* A loop device of @mib; NULL: this machine gives none. */
static const char *make_device(LmTest *test, const char *name, guint mib)
{
	g_autofree char *file = lm_test_path(test, name), *said = NULL;
	const char *const argv[] = {"losetup", "--find", "--show", file, NULL};
	char *device;

	image_make(file, "raw", mib);
	if (process_run(&said, argv)) {
		lm_test_note("no loop device: %s", said);
		return NULL;
	}
	device = g_strdup(g_strchomp(said));
	lm_test_cleanup_later(test, detach_device, device);
	return device;
}

/* libvirt lets QEMU at it, which sees no device that is not of the domain. @arg: the format. */
static void test_move_to_device(LmTest *test, const void *arg)
{
	const char *small = make_device(test, "small", 4);
	/* A guest that writes everywhere needs more of a qcow2 image than the disk has. */
	const guint mib = strcmp(arg, "raw") ? MOVING_MIB + 16 : MOVING_MIB;
	const char *device = small ? make_device(test, "device", mib) : NULL;
	g_autofree char *small_option =
		g_strdup_printf("--move-disk=vda=%s,format=%s", small, (const char *)arg);
	g_autofree char *option =
		g_strdup_printf("--move-disk=vda=%s,format=%s", device, (const char *)arg);
	g_autofree char *source = g_strdup_printf("<source dev='%s'", device), *xml = NULL;
	g_auto(Run) run = {0};
	MovingDisk *moving;
	pid_t old;

	if (!device)
		return;
	moving = moving_start(test, "lm-device", "", "");
	old = domain_pid(moving->domain);
	assert_refused(moving, small_option, "bytes, the device has 4194304");
	domain_upgrade(moving->domain, &run, NULL, option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	moving_assert_is(moving, device, moving->old);
	xml = virsh(test, "dumpxml", moving->domain->name, "--inactive", NULL);
	assert_contains(xml, source);
	virsh_do(test, "destroy", moving->domain->name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	moving_start_again(moving->domain);
	virsh_do(test, "destroy", moving->domain->name, NULL);
}

/* A device that a guest has is no target, by whatever name. @arg: whose guest. */
static void test_device_in_use(LmTest *test, const void *arg)
{
	const char *device = make_device(test, "device", MOVING_MIB);
	g_autofree char *name = lm_test_path(test, "name"), *option = NULL, *devices = NULL;
	g_autofree char *why = NULL;
	const char *owner = arg;
	MovingDisk *moving;
	Domain *other;

	if (!device)
		return;
	moving = moving_start(test, "lm-device", "", "");
	devices = g_strdup_printf("<disk type='block' device='disk'><driver name='qemu' "
				  "type='raw'/><source dev='%s'/><target dev='vdb' "
				  "bus='virtio'/></disk>\n",
				  device);
	if (!strcmp(owner, "lm-device")) {
		virsh_do(test, "attach-disk", owner, device, "vdb", "--driver", "qemu",
			 "--subdriver", "raw", "--sourcetype", "block", NULL);
	} else {
		other = domain_start(test, "lm-owner", devices);
		if (!strcmp(owner, "lm-owner, shut off"))
			virsh_do(test, "destroy", other->name, NULL);
	}
	assert_int_equal(symlink(device, name), 0);
	option = g_strdup_printf("--move-disk=vda=%s,format=raw", name);
	why = g_strdup_printf("domain %.*s has it", (int)strcspn(owner, ","), owner);
	assert_refused(moving, option, why);
	moving_wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", "lm-device", NULL);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE(test_raw_unfinished),
		LM_CASE(test_raw_ended_by_hand),
		LM_CASE(test_raw_aborted),
		LM_CASE_ARG(test_daemon_restarted, ",format=raw,throttle=16M"),
		LM_CASE(test_raw_interrupted),
		LM_CASE(test_raw_asked_later),
		LM_CASE(test_raw_refused),
		LM_CASE_ARG(test_device_in_use, "lm-device"),
		LM_CASE_ARG(test_device_in_use, "lm-owner"),
		LM_CASE_ARG(test_device_in_use, "lm-owner, shut off"),
		LM_CASE_ARG(test_move_to_device, "raw"),
		LM_CASE_ARG(test_move_to_device, "qcow2"),
	};
	const char *missing = linux_missing();

	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}
