/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-live-upgrade --move-disk, on a Linux guest that writes to its disk and checks it. */
#include "images.h"
#include "linux-guest.h"
#include "tool.h"
#include "versions.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISK_MIB 96

typedef struct Moving {
	LinuxDisk *disk;
	Vm *vm;
	pid_t pid; /* of the process that the guest is in */
	char *to;
} Moving;

static void moving_free(gpointer opaque)
{
	g_free(((Moving *)opaque)->to);
	g_free(opaque);
}

/* A guest at work on a disk that has content where the guest does not touch it. */
static Moving *moving_new(LmTest *test, const char *format, gboolean drive)
{
	Moving *moving = g_new0(Moving, 1);
	g_autofree char *image = lm_test_path(test, "old.img");
	g_autoptr(GError) error = NULL;
	VmOptions options;

	lm_test_cleanup_later(test, moving_free, moving);
	moving->to = lm_test_path(test, "new.img");
	moving->disk = linux_disk_of(test, image, format, (LinuxDiskHow){.drive = drive});
	moving->disk->beyond = image_make_full(test, image, format, DISK_MIB, LINUX_DISK_MIB);
	options = linux_options(moving->disk, LINUX_APPEND);
	moving->vm = tool_spawn(test, &options);
	moving->pid = moving->vm->pid;
	serial_wait_beats(moving->vm->serial_path, 5, LINUX_BOOT_MS, NULL, &error);
	must(error);
	return moving;
}

static void upgrade_with(LmTest *test, Moving *moving, Run *run, const char *fault,
			 const char *binary, const char *move)
{
	g_autofree char *pid = g_strdup_printf("%d", (int)moving->pid);

	run_clear(run);
	tool_run(test, run, fault, "--binary", binary, pid, move, NULL);
	if (run->status == 0 && run->new_pid)
		moving->pid = run->new_pid;
}

static char *option(const char *disk, const char *to, const char *more)
{
	return g_strconcat("--move-disk=", disk, "=", to, more, NULL);
}

static void assert_status(const Run *run, int status)
{
	if (run->status != status)
		fail_msg("status %d: %s%s", run->status, run->out, run->err);
}

/* Both processes, of which the tool has told only one. */
static void kill_all(LmTest *test)
{
	g_autofree char *command = g_strdup_printf("pkill -KILL -f %s/", test->dir);

	g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL);
	while (waitpid(-1, NULL, WNOHANG) > 0 || tool_count_processes(test->dir))
		g_usleep(10000);
}

static gboolean has_ended(void *opaque)
{
	return waitpid(GPOINTER_TO_INT(opaque), NULL, WNOHANG) != 0;
}

/* The guest has read back what it wrote, and the new image has it, alone. */
static void assert_right(Moving *moving, const char *format)
{
	g_autoptr(GError) error = NULL;
	g_autofree char *info = NULL;
	int fd;

	linux_assert_disk_goes_on(moving->vm);
	fd = linux_tell_power_off(moving->vm);
	assert_true(lm_wait_until(has_ended, GINT_TO_POINTER(moving->pid), LINUX_BOOT_MS));
	close(fd);
	serial_wait(moving->vm->serial_path, "^guest done beats [0-9]+ errors 0 ", 0, &error);
	must(error);
	info = image_info(moving->to);
	assert_null(strstr(info, "backing file"));
	g_free(moving->disk->image);
	moving->disk->image = g_strdup(moving->to);
	moving->disk->format = format;
	linux_disk_assert_right(moving->disk, moving->vm->serial_path);
}

static void assert_nothing_left(const Moving *moving)
{
	g_autofree char *journal = g_strconcat(moving->to, ".moving", NULL);

	assert_int_not_equal(access(journal, F_OK), 0);
}

/* ----------------------------------------------------------------- moving */

/* The tool makes the image, follows the copying, and a later upgrade knows the disk. */
static void moves(LmTest *test, const char *from, gboolean drive, const char *format)
{
	Moving *moving = moving_new(test, from, drive);
	g_autofree char *format_is = g_strconcat(",format=", format, NULL);
	g_autofree char *move = option("disk0", moving->to, format_is);
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
	assert_status(&run, 0);
	assert_true(qmp_int(run.report, "copied-bytes") > (DISK_MIB - LINUX_DISK_MIB) << 20);
	assert_nothing_left(moving);
	upgrade_with(test, moving, &run, NULL, tool_qemu(), "--quiet");
	assert_status(&run, 0);
	assert_contains(qmp_str(run.report, "command-line"), moving->to);
	assert_null(strstr(qmp_str(run.report, "command-line"), moving->disk->image));
	assert_right(moving, format);
}

static void test_moves(LmTest *test, const void *arg)
{
	const gboolean drive = g_str_has_prefix(arg, "-drive ");
	const char *from = drive ? (const char *)arg + strlen("-drive ") : arg;

	moves(test, g_str_has_prefix(from, "raw ") ? "raw" : "qcow2", drive,
	      g_str_has_suffix(arg, " raw") ? "raw" : "qcow2");
}

/* Nothing new is installed: the guest goes into another process of the same program. */
static void test_same_program(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *move = option("disk0", moving->to, "");
	g_autofree char *pid = g_strdup_printf("%d", (int)moving->pid);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, pid, move, NULL);
	assert_status(&run, 0);
	moving->pid = run.new_pid;
	assert_nothing_left(moving);
	assert_right(moving, "qcow2");
}

/* From one version to the next, with a disk that moves each time. */
static void test_versions(LmTest *test, const void *arg)
{
	static const char *const versions[] = {VERSION_10_0, VERSION_11_1};
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *node = g_strdup("disk0");
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(versions); i++) {
		g_autofree char *binary = tool_qemu_version(test, versions[i]);
		g_autofree char *name = g_strdup_printf("new-%u.img", i), *move = NULL;

		if (!binary) {
			lm_test_note("not tested: QEMU %s is not here", versions[i]);
			continue;
		}
		g_free(moving->to);
		moving->to = lm_test_path(test, name);
		move = option(node, moving->to, "");
		upgrade_with(test, moving, &run, NULL, binary, move);
		assert_status(&run, 0);
		lm_test_note("%s to %s: stopped for %.1f ms", qmp_str(run.report, "from"),
			     qmp_str(run.report, "to"),
			     json_object_get_double_member(json_node_get_object(run.report),
							   "stopped-ms"));
		g_free(node);
		node = g_strdup("moved0");
	}
	assert_right(moving, "qcow2");
}

/* --------------------------------------------------------------- taken back */

static void assert_untouched(Moving *moving)
{
	assert_int_not_equal(access(moving->to, F_OK), 0);
	assert_nothing_left(moving);
	linux_assert_disk_goes_on(moving->vm);
}

/* What the tool made is gone again, and the guest goes on with its old image. */
static void test_refused(LmTest *test, const void *arg)
{
	static const struct {
		const char *disk, *to, *more, *part;
		int status;
	} bad[] = {
		{"nodisk", "new.img", "", "whose node, drive or device is called nodisk", 2},
		{"disk0", "new.img", ",format=vmdk", "it must be qcow2 or raw", 1},
		{"disk0", "new.img", ",throttle=fast", "it must be bytes a second", 1},
		{"disk0", "new.img", ",size=3", "there is no option size", 1},
		{"disk0", "none/new.img", "", "No such file or directory", 2},
		{"disk0", "old.img", "", "that is where it is", 2},
	};
	Moving *moving = moving_new(test, "raw", FALSE);
	g_auto(Run) run = {0};

	for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autofree char *to = lm_test_path(test, bad[i].to);
		g_autofree char *move = option(bad[i].disk, to, bad[i].more);

		upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
		lm_test_note("%s", run.report ? qmp_str(run.report, "error") : g_strchomp(run.err));
		assert_status(&run, bad[i].status);
		assert_contains(run.report ? qmp_str(run.report, "error") : run.err, bad[i].part);
		assert_untouched(moving);
	}
}

/* Two disks in one image would be none. */
static void test_one_target_for_two(LmTest *test, const void *arg)
{
	g_autofree char *to = lm_test_path(test, "new.img");
	g_autofree char *other = lm_test_path(test, "other.img");
	g_autofree char *one = option("disk0", to, ""), *two = option("disk1", to, ",format=raw");
	g_autofree char *three = option("disk1", other, "");
	g_auto(Run) same = {0}, link = {0};

	tool_run(test, &same, NULL, "1", one, two, NULL);
	assert_status(&same, 1);
	assert_contains(same.err, "is the target of disk0 already");
	assert_true(g_file_set_contents(to, "", -1, NULL));
	assert_int_equal(symlink(to, other), 0);
	tool_run(test, &link, NULL, "1", one, three, NULL);
	assert_status(&link, 1);
	assert_contains(link.err, "is the target of disk0 already");
}

static void test_rolled_back(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *move = option("disk0", moving->to, "");
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, arg, tool_qemu(), move);
	assert_true(run.status == 2 || run.status == 3);
	assert_untouched(moving);
	upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
	assert_status(&run, 0);
	assert_right(moving, "qcow2");
}

/*
 * Who may write to the folder puts a link in the new image's place while the tool makes that. What
 * it leads to is neither written to nor given away, now or when all is taken back.
 */
static void test_replaced(LmTest *test, const void *arg)
{
	static const char said[] = "nobody's business";
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *victim = lm_test_path(test, "victim"), *pid = NULL, *script = NULL;
	g_autofree char *more = g_strdup_printf(",format=%s", (const char *)arg), *text = NULL;
	g_autofree char *move = option("disk0", moving->to, more), *target = NULL;
	g_auto(GStrv) envp =
		g_environ_setenv(g_get_environ(), "QEMU_LIVE_UPGRADE_FAULT", "made:stop", TRUE);
	g_auto(Run) run = {0};
	struct stat st;

	assert_true(g_file_set_contents(victim, said, -1, NULL));
	assert_int_equal(chown(test->dir, 12345, 12346), 0);
	assert_int_equal(chown(victim, 12345, 12346), 0);
	assert_int_equal(chmod(victim, 0644), 0);
	pid = g_strdup_printf("%d", (int)moving->pid);
	script =
		tool_script(test, "replace",
			    "\"$@\" &\nuntil grep -q '^State:.[TZ]' /proc/$!/status; do sleep 0.1; "
			    "done\nrm %s\nln -s victim %s\nkill -CONT $!\nwait $!\n",
			    moving->to, moving->to);
	tool_run_argv(test, &run,
		      (const char *const[]){script, lm_test_env("LM_TOOL"), "--json", "--binary",
					    tool_qemu(), pid, move, NULL},
		      envp);
	assert_int_equal(run.status, 2);
	assert_true(g_file_get_contents(victim, &text, NULL, NULL));
	assert_string_equal(text, said);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(st.st_gid, 12346);
	assert_int_equal(st.st_mode & 07777, 0644);
	target = g_file_read_link(moving->to, NULL);
	assert_string_equal(target, "victim");
	assert_contains(run.out, "is left: it is not the file that was made");
	assert_int_equal(unlink(moving->to), 0);
	assert_untouched(moving);
}

/* The tool is killed; the next run finds out, and ends what was begun or takes it back. */
static void test_killed(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *move = option("disk0", moving->to, ",throttle=32M");
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, arg, tool_qemu(), move);
	assert_int_equal(run.status, 128 + SIGKILL);
	upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
	assert_status(&run, 0);
	assert_nothing_left(moving);
	assert_right(moving, "qcow2");
}

/* The run that was killed was not asked for the disk, and the next one is. */
static void test_asked_later(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *move = option("disk0", moving->to, "");
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, arg, tool_qemu(), "--quiet");
	assert_int_equal(run.status, 128 + SIGKILL);
	upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
	assert_status(&run, 0);
	assert_nothing_left(moving);
	assert_right(moving, "qcow2");
}

static void recover(LmTest *test, Run *run, const char *file)
{
	const char *const argv[] = {lm_test_env("LM_TOOL"), "recover", file, NULL};

	run_clear(run);
	tool_run_argv(test, run, argv, NULL);
	lm_test_note("%d %s%s", run->status, g_strchomp(run->out), g_strchomp(run->err));
}

/* What a guest wrote that is not there any more: all blocks are whole, and the rest is as it was.
 */
static void assert_whole(Moving *moving, const char *image, const char *format)
{
	g_free(moving->disk->image);
	moving->disk->image = g_strdup(image);
	moving->disk->format = format;
	linux_disk_assert_whole(moving->disk);
}

/* The guest flushes now and then; what it has not, a killed QEMU takes with it. */
static gboolean has_content(void *opaque)
{
	const Moving *moving = opaque;
	struct stat st;

	return stat(moving->to, &st) == 0 && st.st_blocks > (20 << 20) / 512;
}

static void wait_flushed(Moving *moving)
{
	g_autoptr(GError) error = NULL;

	assert_true(lm_wait_until(has_content, moving, LM_WAIT_MS));
	serial_wait_beats(moving->vm->serial_path, 10, LM_WAIT_MS, NULL, &error);
	must(error);
}

/* The guest's process is killed in the middle of the copying. */
static void test_recover(LmTest *test, const void *arg)
{
	const gboolean raw = !strcmp(arg, "raw");
	Moving *moving = moving_new(test, "qcow2", FALSE);
	g_autofree char *more = g_strdup_printf(",throttle=16M,format=%s", (const char *)arg);
	g_autofree char *move = option("disk0", moving->to, more), *info = NULL;
	g_autofree char *old = g_strdup(moving->disk->image);
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, "retire:kill", tool_qemu(), move);
	assert_int_equal(run.status, 128 + SIGKILL);
	assert_true(image_has_journal(moving->to));
	recover(test, &run, moving->to);
	assert_int_equal(run.status, 2);
	assert_contains(run.err, "is in use (its lock is held)");
	wait_flushed(moving);
	kill_all(test);
	recover(test, &run, moving->to);
	assert_int_equal(run.status, 0);
	assert_contains(run.out, raw ? "is a copy that is not complete" : "is the disk, and whole");
	assert_nothing_left(moving);
	info = image_info(moving->to);
	assert_null(strstr(info, "backing file"));
	assert_whole(moving, raw ? old : moving->to, raw ? "qcow2" : arg);
	recover(test, &run, moving->to);
	assert_int_equal(run.status, 2);
	assert_contains(run.err, "no move to");
}

/*
 * The tool dies when the guest has moved, and the guest's new process after it. Whatever the next
 * run makes of that, what the guest wrote since is in the new image alone.
 */
static void test_both_die(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "qcow2", FALSE);
	g_autofree char *move = option("disk0", moving->to, ",throttle=16M");
	g_autofree char *command =
		g_strdup_printf("pkill -KILL -f %s/.*-incoming.defer", test->dir);
	g_auto(Run) run = {0};

	upgrade_with(test, moving, &run, "handover:kill", tool_qemu(), move);
	assert_int_equal(run.status, 128 + SIGKILL);
	wait_flushed(moving);
	assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	upgrade_with(test, moving, &run, NULL, tool_qemu(), move);
	assert_int_not_equal(run.status, 0);
	lm_test_note("%s", qmp_str(run.report, "error"));
	assert_true(image_has_journal(moving->to));
	kill_all(test);
	recover(test, &run, moving->to);
	assert_int_equal(run.status, 0);
	assert_contains(run.out, "is the disk, and whole");
	assert_whole(moving, moving->to, "qcow2");
}

/* A journal of a switch that never was. */
static void test_recover_empty(LmTest *test, const void *arg)
{
	g_autofree char *old = lm_test_path(test, "old.img"), *to = lm_test_path(test, "new.img");
	g_autofree char *journal = g_strconcat(to, ".moving", NULL), *text = NULL;
	g_auto(Run) run = {0};

	image_make(old, "raw", 16);
	image_make_over(to, old, "raw");
	text = g_strdup_printf("[move]\nway=pull\nfrom=%s\nfrom-format=raw\nto=%s\n"
			       "to-format=qcow2\n",
			       old, to);
	assert_true(g_file_set_contents(journal, text, -1, NULL));
	recover(test, &run, to);
	assert_int_equal(run.status, 0);
	assert_contains(run.out, "holds nothing");
	assert_true(g_file_set_contents(journal, "[move]\nway=sideways\n", -1, NULL));
	recover(test, &run, to);
	assert_int_equal(run.status, 2);
	assert_contains(run.err, "way \"sideways\" is neither pull nor mirror");
}

/* A dry run and a rehearsal leave nothing. */
static void test_tries(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, "raw", FALSE);
	g_autofree char *move = option("disk0", moving->to, "");
	g_autofree char *pid = g_strdup_printf("%d", (int)moving->pid);
	g_auto(Run) run = {0};

	tool_run(test, &run, NULL, "--binary", tool_qemu(), pid, move, arg, NULL);
	assert_status(&run, 0);
	assert_untouched(moving);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_moves, "raw to qcow2"),
	LM_CASE_ARG(test_moves, "-drive raw to qcow2"),
	LM_CASE_ARG(test_moves, "qcow2 to raw"),
	LM_CASE(test_same_program),
	LM_CASE(test_versions),
	LM_CASE(test_refused),
	LM_CASE(test_one_target_for_two),
	LM_CASE_ARG(test_rolled_back, "images:fail"),
	LM_CASE_ARG(test_rolled_back, "greet:fail"),
	LM_CASE_ARG(test_replaced, "qcow2"),
	LM_CASE_ARG(test_replaced, "raw"),
	LM_CASE_ARG(test_killed, "images:kill"),
	LM_CASE_ARG(test_killed, "handover:kill"),
	LM_CASE_ARG(test_killed, "begun:kill"),
	LM_CASE_ARG(test_killed, "retire:kill"),
	LM_CASE_ARG(test_asked_later, "handover:kill"),
	LM_CASE_ARG(test_asked_later, "retire:kill"),
	LM_CASE_ARG(test_recover, "qcow2"),
	LM_CASE_ARG(test_recover, "raw"),
	LM_CASE(test_both_die),
	LM_CASE(test_recover_empty),
	LM_CASE_ARG(test_tries, "--dry-run"),
	LM_CASE_ARG(test_tries, "--rehearse"),
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
