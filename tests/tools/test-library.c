/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqemu-live-upgrade, as a program of others sees it: linked against the shared library, with
 * its header alone. The engine's own tests are test-live-upgrade*.c.
 */
#include "tool.h"

#include <qemu-live-upgrade.h>

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 64};

static void free_upgrade(gpointer upgrade)
{
	qlu_free(upgrade);
}

/* A failed case leaves by longjmp, so the handle is the case's. */
static QluUpgrade *upgrade_of(LmTest *test, const Vm *vm)
{
	QluUpgrade *upgrade = qlu_new();

	lm_test_cleanup_later(test, free_upgrade, upgrade);
	if (vm)
		qlu_set_qmp(upgrade, vm->qmp_path);
	qlu_set_binary(upgrade, tool_qemu());
	qlu_set_plugin(upgrade, lm_test_env("LM_PLUGIN"));
	return upgrade;
}

static void assert_outcome(const QluUpgrade *upgrade, QluOutcome outcome)
{
	if (qlu_error(upgrade))
		lm_test_note("%d: %s", (int)qlu_outcome(upgrade), qlu_error(upgrade));
	assert_int_equal(qlu_outcome(upgrade), outcome);
	assert_true(!qlu_error(upgrade) == (outcome == QLU_DONE));
	assert_true(!qlu_error(upgrade) || !strchr(qlu_error(upgrade), '\n'));
}

static void assert_upgraded(Vm *vm, const QluUpgrade *upgrade)
{
	assert_outcome(upgrade, QLU_DONE);
	assert_true(qlu_new_pid(upgrade) > 0 && qlu_new_pid(upgrade) != qlu_old_pid(upgrade));
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	tool_assert_runs_in(vm, qlu_new_pid(upgrade));
}

/* ------------------------------------------------------------------- cases */

typedef struct Told {
	GString *steps;
	guint progress, notes;
	guint64 total_bytes;
} Told;

static void on_step(void *opaque, const char *step, const char *what)
{
	Told *told = opaque;

	assert_true(*what);
	g_string_append_printf(told->steps, "%s ", step);
}

static void on_progress(void *opaque, const char *stage, uint64_t done_bytes, uint64_t total_bytes)
{
	Told *told = opaque;

	assert_true(*stage && done_bytes <= total_bytes);
	told->progress++;
	told->total_bytes = MAX(told->total_bytes, total_bytes);
}

static void on_note(void *opaque, const char *text)
{
	Told *told = opaque;

	assert_true(*text);
	told->notes++;
}

static guint length(const char *const *list)
{
	return g_strv_length((char **)list);
}

/* A QEMU that was started without the plugin: all that is told and all that can be asked. */
static void test_upgrade(LmTest *test, const void *arg)
{
	g_autoptr(GString) steps = g_string_new(NULL);
	VmOptions options = plain;
	Told told = {.steps = steps};
	QluUpgrade *upgrade;
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	upgrade = upgrade_of(test, vm);
	qlu_on_step(upgrade, on_step, &told);
	qlu_on_progress(upgrade, on_progress, &told);
	qlu_on_note(upgrade, on_note, &told);
	qlu_run(upgrade);
	assert_upgraded(vm, upgrade);
	assert_true(g_str_has_prefix(steps->str, "look probe plan attach "));
	assert_contains(steps->str, " handover ");
	assert_true(g_str_has_suffix(steps->str, " retire settle "));
	assert_int_equal(told.notes, length(qlu_notes(upgrade)));
	assert_true(told.notes > 0);
	assert_int_equal(length(qlu_refusals(upgrade)), 0);
	assert_int_equal(qlu_old_pid(upgrade), vm->pid);
	assert_non_null(qlu_from(upgrade));
	assert_non_null(qlu_to(upgrade));
	assert_contains(qlu_command_line(upgrade), "-incoming defer");
	assert_non_null(qlu_way(upgrade));
	assert_true(qlu_stopped_ms(upgrade) > 0);
	assert_true(qlu_total_ms(upgrade) > qlu_stopped_ms(upgrade));
	assert_true(qlu_peak_bytes(upgrade) > 16 << 20);
	assert_non_null(qlu_peak_of(upgrade));
	assert_int_equal(qlu_recovered(upgrade), 0);
}

/* Each run's results are its own; what was set stays set. */
static void test_one_handle_many_runs(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrade = upgrade_of(test, NULL);
	pid_t last = vm->pid;

	assert_int_equal(qlu_outcome(upgrade), QLU_USAGE);
	assert_null(qlu_error(upgrade));
	assert_null(qlu_notes(upgrade)[0]);
	qlu_set_qmp(upgrade, "/nowhere/qmp");
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_REFUSED);
	assert_contains(qlu_error(upgrade), "/nowhere/qmp");
	qlu_set_pid(upgrade, vm->pid);
	qlu_set_way(upgrade, QLU_WAY_FLIP);
	qlu_run(upgrade);
	assert_upgraded(vm, upgrade);
	assert_string_equal(qlu_way(upgrade), "flip");
	assert_int_equal(qlu_old_pid(upgrade), last);
	last = qlu_new_pid(upgrade);
	qlu_set_qmp(upgrade, vm->qmp_path);
	qlu_run(upgrade);
	assert_upgraded(vm, upgrade);
	assert_int_equal(qlu_old_pid(upgrade), last);
}

static void test_dry_run_and_rehearsal(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrade = upgrade_of(test, vm);

	qlu_set_flags(upgrade, QLU_DRY_RUN);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_DONE);
	assert_contains(qlu_command_line(upgrade), "-incoming defer");
	assert_int_equal(qlu_new_pid(upgrade), 0);
	tool_assert_untouched(vm);
	qlu_set_flags(upgrade, QLU_REHEARSE);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_DONE);
	tool_assert_untouched(vm);
}

static void test_usage(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrade = upgrade_of(test, NULL);

	assert_int_equal(qlu_run(upgrade), QLU_USAGE);
	assert_contains(qlu_error(upgrade), "which QEMU");
	assert_int_equal(qlu_attach(upgrade), QLU_USAGE);
	qlu_set_pid(upgrade, -5);
	assert_int_equal(qlu_run(upgrade), QLU_USAGE);
	assert_contains(qlu_error(upgrade), "-5");
	qlu_set_qmp(upgrade, vm->qmp_path);
	qlu_set_flags(upgrade, QLU_REHEARSE | 1 << 20);
	assert_int_equal(qlu_run(upgrade), QLU_USAGE);
	assert_contains(qlu_error(upgrade), "0x100000");
	qlu_set_flags(upgrade, QLU_REHEARSE | QLU_DRY_RUN);
	assert_int_equal(qlu_run(upgrade), QLU_USAGE);
	qlu_set_flags(upgrade, 0);
	qlu_set_way(upgrade, (QluWay)7);
	assert_int_equal(qlu_run(upgrade), QLU_USAGE);
	assert_contains(qlu_error(upgrade), "7");
	tool_assert_untouched(vm);
}

/* Two things at once: both are said. */
static void test_refusals(LmTest *test, const void *arg)
{
	static const char *const extra[] = {"-snapshot", "-gdb", "none", NULL};
	VmOptions options = plain;
	QluUpgrade *upgrade;
	Vm *vm;

	options.extra = extra;
	vm = tool_vm(test, &options);
	upgrade = upgrade_of(test, vm);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_REFUSED);
	assert_int_equal(length(qlu_refusals(upgrade)), 2);
	assert_string_equal(qlu_refusals(upgrade)[0], qlu_error(upgrade));
	tool_assert_untouched(vm);
}

static void test_no_attach(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	QluUpgrade *upgrade;
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	upgrade = upgrade_of(test, vm);
	qlu_set_flags(upgrade, QLU_NO_ATTACH);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_REFUSED);
	tool_assert_untouched(vm);
	qlu_attach(upgrade);
	assert_outcome(upgrade, QLU_DONE);
	assert_int_equal(length(qlu_notes(upgrade)), 1);
	qlu_attach(upgrade);
	assert_outcome(upgrade, QLU_REFUSED); /* it is there */
	qlu_run(upgrade);
	assert_upgraded(vm, upgrade);
}

/* The new process says no, or is killed, on the way. */
static void test_rolled_back(LmTest *test, const void *arg)
{
	g_autofree char *plugin =
		g_strdup_printf("%s,fault=%s", lm_test_env("LM_PLUGIN"), (const char *)arg);
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrade = upgrade_of(test, vm);

	qlu_set_plugin(upgrade, plugin);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_ROLLED_BACK);
	tool_assert_untouched(vm);
}

/* ----------------------------------------------------- the program that calls */

static guint count_descriptors(void)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	guint count = 0;

	while (g_dir_read_name(dir))
		count++;
	return count;
}

/* What a program has of its own, as text. */
static char *describe_self(void)
{
	g_autofree char *folder = g_get_current_dir();
	g_autofree char *status = NULL, *ids = NULL, *after = NULL;
	sigset_t blocked;
	mode_t mask = umask(0);

	umask(mask);
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_true(g_file_get_contents("/proc/thread-self/status", &status, NULL, NULL));
	ids = g_strdup(strstr(status, "Uid:"));
	after = strstr(ids, "FDSize:");
	*after = '\0';
	after = g_strdup(strstr(status, "SigPnd:"));
	*strstr(after, "Cpus_allowed:") = '\0';
	return g_strdup_printf("%s %o %u descriptors\n%s%s", folder, mask, count_descriptors(), ids,
			       after);
}

/* The signal's default would end this program; a handler that counts would be no proof. */
static void test_caller_stays_as_it_is(LmTest *test, const void *arg)
{
	g_autofree char *before = NULL, *after = NULL;
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrade = upgrade_of(test, vm);

	signal(SIGPIPE, SIG_DFL);
	/* Whatever is loaded or opened once is, by the first. */
	qlu_run(upgrade);
	assert_upgraded(vm, upgrade);
	before = describe_self();
	qlu_set_flags(upgrade, QLU_DRY_RUN);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_DONE);
	qlu_set_flags(upgrade, 0);
	qlu_run(upgrade);
	assert_outcome(upgrade, QLU_DONE);
	/* The new process is a child, and its end is the caller's to see. */
	json_node_unref(tool_command(vm, "quit", NULL));
	assert_int_equal(waitpid(qlu_new_pid(upgrade), NULL, 0), qlu_new_pid(upgrade));
	after = describe_self();
	assert_string_equal(after, before);
}

static gpointer run_in_thread(gpointer upgrade)
{
	return GINT_TO_POINTER(qlu_run(upgrade));
}

static void run_both(QluUpgrade *upgrades[2])
{
	GThread *threads[2];

	for (guint i = 0; i < 2; i++)
		threads[i] = g_thread_new("run", run_in_thread, upgrades[i]);
	for (guint i = 0; i < 2; i++) {
		g_thread_join(threads[i]);
		lm_test_note("%d %s", (int)qlu_outcome(upgrades[i]),
			     qlu_error(upgrades[i]) ? qlu_error(upgrades[i]) : "");
	}
}

static void test_two_guests_in_two_threads(LmTest *test, const void *arg)
{
	Vm *vms[2] = {tool_vm(test, &plain), tool_vm(test, &plain)};
	QluUpgrade *upgrades[2] = {upgrade_of(test, vms[0]), upgrade_of(test, vms[1])};

	run_both(upgrades);
	assert_upgraded(vms[0], upgrades[0]);
	assert_upgraded(vms[1], upgrades[1]);
}

static void test_one_guest_in_two_threads(LmTest *test, const void *arg)
{
	Vm *vm = tool_vm(test, &plain);
	QluUpgrade *upgrades[2] = {upgrade_of(test, vm), upgrade_of(test, vm)};
	guint done;

	run_both(upgrades);
	done = qlu_outcome(upgrades[0]) == QLU_DONE ? 0 : 1;
	assert_outcome(upgrades[!done], QLU_REFUSED);
	assert_upgraded(vm, upgrades[done]);
}

/* ------------------------------------------------------------------ the files */

/* A shell that must succeed; its output. */
static char *shell(const char *format, ...) G_GNUC_PRINTF(1, 2);
static char *shell(const char *format, ...)
{
	g_autofree char *script = NULL, *err = NULL;
	char *out = NULL;
	const char *argv[] = {"sh", "-euc", NULL, NULL};
	va_list args;
	int status;

	va_start(args, format);
	script = g_strdup_vprintf(format, args);
	va_end(args);
	argv[2] = script;
	assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out,
				 &err, &status, NULL));
	if (status)
		fail_msg("%s: %s%s", script, out, err);
	return out;
}

/* The header declares what the library exports, and no symbol of the engine's gets out. */
static void test_exports(LmTest *test, const void *arg)
{
	g_autofree char *exported =
		shell("nm -D --defined-only %s | sed -n 's/.* T \\([^@]*\\).*/\\1/p'"
		      " | sort",
		      lm_test_env("LM_LIBRARY"));
	g_autofree char *declared = shell("sed -n 's/^[a-zQ].*[ *]\\(qlu_[a-z_]*\\)(.*);.*/\\1/p' "
					  "%s/include/qemu-live-upgrade.h | sort",
					  lm_test_env("LM_SOURCE"));
	g_autofree char *soname =
		shell("objdump -p %s | sed -n 's/ *SONAME *//p'", lm_test_env("LM_LIBRARY"));

	assert_string_equal(exported, declared);
	assert_string_equal(soname, "libqemu-live-upgrade.so.0\n");
}

/* The example, compiled and run with nothing but what "meson install" puts in place. */
static void test_installed(LmTest *test, const void *arg)
{
	g_autofree char *root = lm_test_path(test, "root"), *out = NULL;
	VmOptions options = plain;
	Vm *vm;

	options.plugin = "";
	vm = tool_vm(test, &options);
	out = shell(
		"meson install -C '%s' --no-rebuild --tags devel,runtime --destdir '%s' >'%s.log'\n"
		"export PKG_CONFIG_SYSROOT_DIR='%s'\n"
		"PKG_CONFIG_LIBDIR=$(dirname $(find '%s' -name libqemu-live-upgrade.pc))\n"
		"export PKG_CONFIG_LIBDIR\n"
		"cc -Wall -Wextra -Werror '%s/docs/examples/upgrade.c' -o '%s/upgrade' "
		"$(pkg-config --cflags --libs libqemu-live-upgrade)\n"
		"LD_LIBRARY_PATH=$(dirname $PKG_CONFIG_LIBDIR) '%s/upgrade' '%s' '%s' '%s'",
		lm_test_env("LM_BUILD_ROOT"), root, root, root, root, lm_test_env("LM_SOURCE"),
		root, root, vm->qmp_path, tool_qemu(), lm_test_env("LM_PLUGIN"));
	lm_test_note("%s", g_strchomp(out));
	assert_contains(out, "stopped for");
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
	json_node_unref(tool_command(vm, "query-status", NULL));
}

static const LmCase cases[] = {
	LM_CASE(test_upgrade),
	LM_CASE(test_one_handle_many_runs),
	LM_CASE(test_dry_run_and_rehearsal),
	LM_CASE(test_usage),
	LM_CASE(test_refusals),
	LM_CASE(test_no_attach),
#if LM_FAULT_INJECTION
	LM_CASE_ARG(test_rolled_back, "flip:kill"),
	LM_CASE_ARG(test_rolled_back, "load:fail"),
#endif
	LM_CASE(test_caller_stays_as_it_is),
	LM_CASE(test_two_guests_in_two_threads),
	LM_CASE(test_one_guest_in_two_threads),
	LM_CASE(test_exports),
	LM_CASE(test_installed),
};

int main(int argc, char **argv)
{
	if (geteuid())
		return lm_test_skip("must be root");
	return LM_TEST_MAIN(argc, argv, cases);
}
