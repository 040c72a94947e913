// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many attaches at random moments, each with another build of the plugin, and tracers that are
 * killed. LM_LONG=1: a thousand and more instead of fifty. The guest's memory is judged, and the
 * processor's time that the main thread takes for it. How long it is stopped by the clock, and the
 * guest's own gaps, depend on what else the machine does: they are reported, the gaps beside those
 * of the same guest that nobody attaches to.
 */
#include "attach-vm.h"
#include "linux-guest.h"
#include "process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define PER_VM	50
#define WORK_MS 20

static guint rounds(void)
{
	return g_getenv("LM_LONG") ? 20 : 1;
}

static int compare_sizes(const void *a, const void *b)
{
	guint64 x = *(const guint64 *)a, y = *(const guint64 *)b;

	return x < y ? -1 : x > y;
}

/* In microseconds, one of each per attach. */
typedef struct Times {
	GArray *stopped, *work;
	guint64 tries;
} Times;

static Times times_new(void)
{
	return (Times){.stopped = g_array_new(FALSE, FALSE, sizeof(guint64)),
		       .work = g_array_new(FALSE, FALSE, sizeof(guint64))};
}

/* The processor's time that the main thread has had so far. */
static guint64 work_us(const Vm *vm)
{
	g_autofree char *path =
		g_strdup_printf("/proc/%d/task/%d/schedstat", (int)vm->pid, (int)vm->pid);
	g_autofree char *text = NULL;

	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return g_ascii_strtoull(text, NULL, 10) / 1000;
}

static void attach_timed(Vm *vm, const char *build, Times *times)
{
	guint64 before_us = work_us(vm), took_us;
	AttachReport report = attach_must(vm, build);

	took_us = work_us(vm) - before_us;
	times->tries += report.tries;
	g_array_append_val(times->stopped, report.stopped_us);
	g_array_append_val(times->work, took_us);
}

/* Of sorted times: @share of 1 are not longer. */
static double share_ms(const GArray *times, double share)
{
	guint at = (guint)((times->len - 1) * share + 0.5);

	return (double)g_array_index(times, guint64, at) / 1000;
}

static void note_times(const char *what, GArray *times)
{
	g_array_sort(times, compare_sizes);
	lm_test_note("%s %.2f ms (median), %.2f ms (99 %%), %.2f ms (longest)", what,
		     share_ms(times, 0.5), share_ms(times, 0.99), share_ms(times, 1));
}

/* Frees them. A main thread that begins its work meanwhile is none to be judged by it. */
static void report_times(Times *times, gboolean judged)
{
	double work_ms;

	lm_test_note("%u attaches in %" G_GUINT64_FORMAT " tries", times->stopped->len,
		     times->tries);
	note_times("main thread stopped for", times->stopped);
	note_times("processor's time that it took", times->work);
	work_ms = share_ms(times->work, 0.5);
	g_array_unref(times->stopped);
	g_array_unref(times->work);
	assert_true(!judged || work_ms < WORK_MS);
}

static guint64 gap_of(Vm *vm)
{
	Beat beat = {0};

	serial_last_beat(vm->serial_path, &beat);
	return beat.gap_ms;
}

static void beat_on(Vm *vm)
{
	g_autoptr(GError) error = NULL;

	serial_wait_beats(vm->serial_path, 1, LM_WAIT_MS, NULL, &error);
	must(error);
}

static Vm *busy_vm(LmTest *test)
{
	static const char *const extra[] = {"-object", "iothread,id=io0", NULL};
	VmOptions options = attach_options();

	options.append = "rate=64";
	options.smp = 2;
	options.extra = extra;
	return migrate_source(test, &options);
}

static void end(Vm *vm)
{
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
	vm_do(vm, "quit", NULL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(vm), 0);
}

static void attach_many(LmTest *test, Vm *vm, Times *times)
{
	for (guint i = 0; i < PER_VM; i++) {
		g_autofree char *build = attach_other_build(test, i);

		g_usleep((gulong)rand() % 20000);
		attach_timed(vm, build, times);
		attach_assert_there(vm);
		g_unlink(build);
	}
}

static void test_many(LmTest *test, const void *arg)
{
	Times times = times_new();
	guint64 gap_ms = 0, alone_gap_ms = 0;

	srand(7);
	for (guint round = 0; round < rounds(); round++) {
		Vm *vm = busy_vm(test), *alone = busy_vm(test);

		attach_many(test, vm, &times);
		gap_ms = MAX(gap_ms, gap_of(vm));
		alone_gap_ms = MAX(alone_gap_ms, gap_of(alone));
		end(vm);
		end(alone);
	}
	lm_test_note("longest gap of the guest's heartbeat %" G_GUINT64_FORMAT
		     " ms, of one beside it that is left alone %" G_GUINT64_FORMAT
		     " ms (50 is normal)",
		     gap_ms, alone_gap_ms);
	report_times(&times, TRUE);
}

/*
 * A Linux guest that reads and writes memory, disk and network without a rest; the disk in an I/O
 * thread. What it wrote to disk is compared from outside at its end.
 */
static void test_linux(LmTest *test, const void *arg)
{
	Times times = times_new();
	LinuxDisk *disk;
	VmOptions options;
	guint64 blocks;
	Vm *vm;

	if (linux_missing())
		skip();
	disk = linux_disk_new(test, arg, TRUE);
	options = linux_options(disk, LINUX_APPEND " lm.fast=1");
	options.plugin = "";
	options.smp = 2;
	vm = linux_boot(test, &options);
	blocks = linux_disk_blocks(vm);
	attach_many(test, vm, &times);
	lm_test_note("the guest read %" G_GUINT64_FORMAT " blocks meanwhile",
		     linux_disk_blocks(vm) - blocks);
	report_times(&times, TRUE);
	linux_assert_disk_goes_on(vm);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
	linux_power_off(vm);
	linux_disk_assert_right(disk, vm->serial_path);
}

/* While the machine starts, too. */
static void test_fresh(LmTest *test, const void *arg)
{
	Times times = times_new();
	VmOptions options = attach_options();

	options.memory_mib = 32;
	for (guint i = 0; i < 8 * rounds(); i++) {
		Vm *vm = vm_start(test, &options);

		g_usleep((gulong)rand() % 300000);
		attach_timed(vm, lm_test_env("LM_PLUGIN"), &times);
		attach_assert_there(vm);
		vm_assert_ready(vm);
		vm_assert_intact(vm);
		vm_kill(vm, SIGKILL);
		assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	}
	report_times(&times, FALSE);
}

/* In this process, which has no other thread; what it leaves to the guest is looked at outside. */
static pid_t start_attacher(const Vm *vm, const char *build)
{
	pid_t pid = fork();

	if (!pid)
		_exit(attach_load(vm->pid, build, 0, ATTACH_MS, NULL, NULL) ? 1 : 0);
	return pid;
}

static void test_killed(LmTest *test, const void *arg)
{
	Vm *vm = busy_vm(test);
	int fds = process_count_fds(vm->pid);
	g_autofree char *last = attach_other_build(test, 1000000);
	guint done = 0, kills = PER_VM * rounds();

	for (guint i = 0; i < kills; i++) {
		g_autofree char *build = attach_other_build(test, i);
		pid_t attacher = start_attacher(vm, build);
		int status;

		/* The checks take the first part of that, the calls the second. */
		g_usleep((gulong)rand() % 60000);
		kill(attacher, SIGKILL);
		waitpid(attacher, &status, 0);
		g_unlink(build);
		done += WIFEXITED(status) && !WEXITSTATUS(status);
		beat_on(vm);
		assert_true(vm_has_status(vm, "running"));
	}
	lm_test_note("%u attachers, %u of which were done before they were killed; %d descriptors "
		     "more than before",
		     kills, done, process_count_fds(vm->pid) - fds);
	attach_must(vm, last);
	attach_assert_there(vm);
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static const LmCase cases[] = {
	LM_CASE(test_many),
	LM_CASE_ARG(test_linux, "io_uring"),
	LM_CASE(test_fresh),
	LM_CASE(test_killed),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
