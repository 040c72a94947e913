/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk of a domain that ends up in another image: libvirt's view, and the guest's, afterwards and
 * when something fails.
 */
#include "images.h"
#include "libvirt-domain.h"
#include "linux-guest.h"
#include "process.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_MIB 96

typedef struct MovingDisk {
	char *old, *new, *option;
	Domain *domain;
} MovingDisk;

static void moving_free(gpointer opaque)
{
	MovingDisk *moving = opaque;

	g_free(moving->old);
	g_free(moving->new);
	g_free(moving->option);
	g_free(moving);
}

/* @beneath: an element that says of the definition's disk what is beneath it, or "". */
static MovingDisk *start_with_disk(LmTest *test, const char *name, const char *more,
				   const char *beneath)
{
	MovingDisk *moving = g_new0(MovingDisk, 1);
	g_autofree char *devices = NULL, *content = NULL;

	lm_test_cleanup_later(test, moving_free, moving);
	moving->old = lm_test_path(test, "old.img");
	moving->new = lm_test_path(test, "new.img");
	moving->option = g_strdup_printf("--move-disk=vda=%s%s", moving->new, more);
	content = image_make_full(test, moving->old, "qcow2", DISK_MIB, LINUX_DISK_MIB);
	devices = g_strdup_printf("<disk type='file' device='disk'><driver name='qemu' "
				  "type='qcow2'/><source file='%s'/>%s<target dev='vda' "
				  "bus='virtio'/></disk>\n",
				  moving->old, beneath);
	moving->domain = domain_start_linux(test, name, "lm.disk=1 lm.disk_mib=32", devices);
	return moving;
}

/* libvirt's view, now and at the next start, and the files of both. */
static void assert_disk_is(const MovingDisk *moving, const char *is, const char *is_not)
{
	LmTest *test = moving->domain->test;
	g_autofree char *now = virsh(test, "dumpxml", moving->domain->name, NULL);
	g_autofree char *next = virsh(test, "dumpxml", moving->domain->name, "--inactive", NULL);
	g_autofree char *list = virsh(test, "domblklist", moving->domain->name, NULL);

	assert_contains(now, is);
	assert_contains(next, is);
	assert_contains(list, is);
	assert_null(strstr(now, is_not));
	assert_null(strstr(next, is_not));
}

/* What libvirt does by the names of block nodes. */
static void use_nodes(const MovingDisk *moving)
{
	const char *name = moving->domain->name;
	g_autofree char *outer = g_strconcat(moving->new, ".outer", NULL);
	g_autofree char *spec = g_strdup_printf("vda,file=%s", outer), *list = NULL;
	LmTest *test = moving->domain->test;

	virsh_do(test, "snapshot-create-as", name, "outer", "--disk-only", "--no-metadata",
		 "--diskspec", spec, NULL);
	list = virsh(test, "domblklist", name, NULL);
	assert_contains(list, outer);
	virsh_do(test, "blockcommit", name, "vda", "--active", "--pivot", "--wait", NULL);
	unlink(outer);
}

static void assert_disk_next_is(const MovingDisk *moving, const char *is, const char *is_not)
{
	g_autofree char *next =
		virsh(moving->domain->test, "dumpxml", moving->domain->name, "--inactive", NULL);

	assert_contains(next, is);
	assert_null(strstr(next, is_not));
}

static void wait_beats(const Domain *domain, guint beats)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(domain->serial_path, beats, LINUX_BOOT_MS, NULL, &error);
	must(error);
}

static void start_again(const Domain *domain)
{
	/* its beats may begin anew */
	assert_int_equal(truncate(domain->serial_path, 0), 0);
	virsh_do(domain->test, "start", domain->name, NULL);
	wait_beats(domain, 5);
}

/* @arg: the option's more. */
static void test_move_disk(LmTest *test, const void *arg)
{
	const char *name = "lm-move";
	MovingDisk *moving = start_with_disk(test, name, arg, "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	assert_true(qmp_int(run.report, "copied-bytes") > 0);
	assert_disk_is(moving, moving->new, moving->old);
	use_nodes(moving);
	libvirt_daemon_end();
	libvirt_daemon_begin();
	assert_disk_is(moving, moving->new, moving->old);
	domain_upgrade(moving->domain, &again, NULL, NULL);
	domain_assert_upgraded(moving->domain, &again, run.new_pid);
	use_nodes(moving);
	wait_beats(moving->domain, 10);
	/* The next start is from the new image, where a guest finds only blocks that are whole. */
	virsh_do(test, "destroy", name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	start_again(moving->domain);
}

static guint64 copied_bytes(const MovingDisk *moving)
{
	struct stat st;

	assert_int_equal(stat(moving->new, &st), 0);
	return (guint64)st.st_blocks * 512;
}

/*
 * The guest ends (@arg: how) while its disk is copied, and is started again: from the new image,
 * with the old one beneath it, though the definition said that nothing was beneath the old one.
 */
static void test_move_disk_unfinished(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-half", ",throttle=1M", "<backingStore/>");
	const char *name = moving->domain->name;
	g_autofree char *xml = NULL;
	g_auto(Run) run = {0};

	wait_beats(moving->domain, 20);
	domain_upgrade(moving->domain, &run, "daemon-start:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	libvirt_daemon_begin();
	wait_beats(moving->domain, 5);
	virsh_do(test, arg, name, NULL);
	assert_true(copied_bytes(moving) < (DISK_MIB / 2 << 20));
	assert_true(image_has_journal(moving->new));
	start_again(moving->domain);
	xml = virsh(test, "dumpxml", name, NULL);
	assert_contains(xml, moving->old);
}

/* The tool is killed with the guest in the new process; the next one is asked for the disk. */
static void test_move_disk_asked_later(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-later", "", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, arg, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	assert_disk_is(moving, moving->new, moving->old);
	assert_false(image_has_journal(moving->new));
}

/* The same command again follows the copying to its end. */
static void test_move_disk_interrupted(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-again", ",throttle=16M", "");
	const pid_t old = domain_pid(moving->domain);
	g_autofree char *journal = g_strconcat(moving->new, ".moving", NULL), *info = NULL;
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, arg, moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	assert_true(qmp_int(again.report, "copied-bytes") > 0);
	assert_disk_is(moving, moving->new, moving->old);
	assert_int_not_equal(access(journal, F_OK), 0);
	info = image_info(moving->new);
	assert_null(strstr(info, "backing file"));
}

/* Somebody has written another image into the definition, for the next start. */
static void test_move_disk_defined_anew(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-anew", "", "");
	const char *name = moving->domain->name;
	const pid_t old = domain_pid(moving->domain);
	g_autofree char *xml = virsh(test, "dumpxml", name, "--inactive", NULL);
	g_autofree char *path = lm_test_path(test, "anew.xml"), *now = NULL, *next = NULL;
	g_autoptr(GString) text = g_string_new(xml);
	g_auto(Run) run = {0};

	g_string_replace(text, moving->old, "/elsewhere.img", 0);
	assert_true(g_file_set_contents(path, text->str, -1, NULL));
	virsh_do(test, "define", path, NULL);
	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	now = virsh(test, "dumpxml", name, NULL);
	next = virsh(test, "dumpxml", name, "--inactive", NULL);
	assert_contains(now, moving->new);
	assert_contains(next, "/elsewhere.img");
	assert_null(strstr(next, moving->new));
}

/* The guest stays, and libvirt's files say the old image. */
static void test_move_disk_fails(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-stays", "", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, none = {0};

	domain_upgrade(moving->domain, &run, "staged:fail", moving->option, NULL);
	assert_true(run.status == 2 || run.status == 3);
	domain_assert_runs_in(moving->domain, old);
	assert_disk_is(moving, moving->old, moving->new);
	assert_int_not_equal(access(moving->new, F_OK), 0);
	domain_upgrade(moving->domain, &none, NULL, "--move-disk=vdz=/new.img", NULL);
	assert_int_equal(none.status, 2);
	assert_contains(qmp_str(none.report, "error"), "is called vdz");
	domain_assert_clean(moving->domain);
}

/* ------------------------------------------- a disk that libvirt copies to a raw image */

/* The tool has gone, and libvirt copies on: whoever ends it, the guest's disk is whole. */
static void test_raw_unfinished(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw,throttle=1M", "");
	const char *name = moving->domain->name;
	g_auto(Run) run = {0}, again = {0};

	wait_beats(moving->domain, 20);
	domain_upgrade(moving->domain, &run, "libvirt-copy:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, NULL);
	assert_int_equal(again.status, 2);
	assert_contains(qmp_str(again.report, "error"), "block job (virsh blockjob): copy-vda");
	assert_disk_next_is(moving, moving->old, moving->new);
	wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", name, NULL);
	assert_true(copied_bytes(moving) < (DISK_MIB / 2 << 20));
	start_again(moving->domain);
	assert_disk_is(moving, moving->old, moving->new);
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
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw,throttle=1M", "");
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
	assert_disk_is(moving, moving->old, moving->new);
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
	MovingDisk *moving = start_with_disk(test, "lm-raw", arg, "");
	const pid_t old = domain_pid(moving->domain);
	GThread *thread = g_thread_new("restart", restart_daemon, moving->domain->name);
	g_auto(Run) run = {0};

	domain_upgrade(moving->domain, &run, NULL, moving->option, NULL);
	assert_non_null(g_thread_join(thread));
	domain_assert_upgraded(moving->domain, &run, old);
	assert_disk_is(moving, moving->new, moving->old);
	wait_beats(moving->domain, 5);
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
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw,throttle=64M", "");
	const char *name = moving->domain->name;
	g_auto(Run) run = {0};

	domain_upgrade(moving->domain, &run, "libvirt-copy:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	wait_copied(moving->domain);
	virsh_do(test, "blockjob", name, "vda", "--pivot", NULL);
	assert_disk_is(moving, moving->new, moving->old);
	wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	start_again(moving->domain);
}

/* The tool is killed with the guest in the new process; the same command again does the rest. */
static void test_raw_interrupted(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw", "");
	const pid_t old = domain_pid(moving->domain);
	g_auto(Run) run = {0}, again = {0};

	domain_upgrade(moving->domain, &run, "daemon-start:kill", moving->option, NULL);
	assert_int_equal(run.status, 128 + SIGKILL);
	domain_upgrade(moving->domain, &again, NULL, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &again, old);
	assert_disk_is(moving, moving->new, moving->old);
}

/* What is finished for a run that was killed is no reason to take a disk unseen. */
static void test_raw_asked_later(LmTest *test, const void *arg)
{
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw", "");
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
	assert_disk_is(moving, moving->old, moving->new);
	unlink(moving->new);
	/* Nothing new is installed. */
	tool_run(test, &third, NULL, "--libvirt", moving->domain->name, "--plugin",
		 moving->domain->plugin, moving->option, NULL);
	domain_assert_upgraded(moving->domain, &third, again.new_pid);
	assert_disk_is(moving, moving->new, moving->old);
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
	MovingDisk *moving = start_with_disk(test, "lm-raw", ",format=raw", "");
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
	const guint mib = strcmp(arg, "raw") ? DISK_MIB + 16 : DISK_MIB;
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
	moving = start_with_disk(test, "lm-device", "", "");
	old = domain_pid(moving->domain);
	assert_refused(moving, small_option, "bytes, the device has 4194304");
	domain_upgrade(moving->domain, &run, NULL, option, NULL);
	domain_assert_upgraded(moving->domain, &run, old);
	assert_disk_is(moving, device, moving->old);
	xml = virsh(test, "dumpxml", moving->domain->name, "--inactive", NULL);
	assert_contains(xml, source);
	virsh_do(test, "destroy", moving->domain->name, NULL);
	assert_int_equal(unlink(moving->old), 0);
	start_again(moving->domain);
	virsh_do(test, "destroy", moving->domain->name, NULL);
}

/* A device that a guest has is no target, by whatever name. @arg: whose guest. */
static void test_device_in_use(LmTest *test, const void *arg)
{
	const char *device = make_device(test, "device", DISK_MIB);
	g_autofree char *name = lm_test_path(test, "name"), *option = NULL, *devices = NULL;
	g_autofree char *why = NULL;
	const char *owner = arg;
	MovingDisk *moving;
	Domain *other;

	if (!device)
		return;
	moving = start_with_disk(test, "lm-device", "", "");
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
	wait_beats(moving->domain, 5);
	virsh_do(test, "destroy", "lm-device", NULL);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE_ARG(test_move_disk, ""),
		LM_CASE_ARG(test_move_disk, ",format=raw"),
		LM_CASE_ARG(test_move_disk_unfinished, "destroy"),
		LM_CASE_ARG(test_move_disk_unfinished, "managedsave"),
		LM_CASE_ARG(test_move_disk_asked_later, "retire:kill"),
		LM_CASE_ARG(test_move_disk_asked_later, "daemon-start:kill"),
		LM_CASE_ARG(test_move_disk_interrupted, "retire:kill"),
		LM_CASE_ARG(test_move_disk_interrupted, "daemon-start:kill"),
		LM_CASE(test_move_disk_defined_anew),
		LM_CASE(test_move_disk_fails),
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
