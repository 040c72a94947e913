/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "harness.h"
#include "vm.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

void lm_test_note(const char *format, ...)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	lines = g_strsplit(text, "\n", -1);
	for (guint i = 0; lines[i]; i++)
		printf("# %s\n", lines[i]);
	fflush(stdout);
}

int lm_test_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("1..0 # SKIP ", stdout);
	vprintf(format, args);
	fputc('\n', stdout);
	va_end(args);
	return 0;
}

char *lm_test_path(const LmTest *test, const char *name)
{
	return g_build_filename(test->dir, name, NULL);
}

char *lm_test_copy(const LmTest *test, const char *from, int mode)
{
	g_autofree char *name = g_path_get_basename(from), *content = NULL;
	g_autofree char *to = lm_test_path(test, name);
	g_autoptr(GError) error = NULL;
	gsize length;

	if (g_file_test(to, G_FILE_TEST_EXISTS))
		return g_steal_pointer(&to);
	if (g_file_get_contents(from, &content, &length, &error))
		g_file_set_contents_full(to, content, (gssize)length,
					 G_FILE_SET_CONTENTS_CONSISTENT, mode, &error);
	must(error);
	return g_steal_pointer(&to);
}

typedef struct Cleanup {
	GDestroyNotify run;
	gpointer opaque;
} Cleanup;

void lm_test_cleanup_later(LmTest *test, GDestroyNotify cleanup, gpointer opaque)
{
	Cleanup entry = {cleanup, opaque};

	g_array_append_val(test->cleanups, entry);
}

static void remove_file(gpointer path)
{
	g_unlink(path);
	g_free(path);
}

void lm_test_remove_later(LmTest *test, char *path)
{
	lm_test_cleanup_later(test, remove_file, path);
}

const char *lm_test_env(const char *variable)
{
	const char *value = g_getenv(variable);

	if (!value || !*value)
		fail_msg("%s is not set", variable);
	return value;
}

void lm_must(const GError *error, const char *file, int line)
{
	if (!error)
		return;
	print_error("%s\n", error->message);
	_fail(file, line);
}

void lm_assert_contains(const char *text, const char *part, const char *file, int line)
{
	if (text && strstr(text, part))
		return;
	print_error("\"%s\" does not contain \"%s\"\n", text ? text : "(null)", part);
	_fail(file, line);
}

static guint patience(void)
{
	const char *value = g_getenv("LM_PATIENCE");

	return value ? MAX((guint)g_ascii_strtoull(value, NULL, 10), 1) : 1;
}

gint64 lm_end_us(guint timeout_ms)
{
	return g_get_monotonic_time() + (gint64)timeout_ms * 1000 * patience();
}

int lm_left_ms(gint64 end_us)
{
	gint64 left_us = end_us - g_get_monotonic_time();

	return left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
}

gboolean lm_wait_until(gboolean (*check)(void *opaque), void *opaque, guint timeout_ms)
{
	gint64 end_us = lm_end_us(timeout_ms);

	while (!check(opaque)) {
		if (!lm_left_ms(end_us))
			return FALSE;
		poll(NULL, 0, 5);
	}
	return TRUE;
}

/* The folder is flat but for what a test makes in it by hand: one level of folders is enough. */
static void remove_folder(const char *path)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *child = g_build_filename(path, name, NULL);

		if (g_unlink(child) && g_rmdir(child))
			remove_folder(child);
	}
	g_rmdir(path);
}

LmTest *lm_test_new(GError **errp)
{
	g_autofree char *dir = g_dir_make_tmp("lmq-XXXXXX", errp);
	LmTest *test;

	if (!dir)
		return NULL;
	test = g_new0(LmTest, 1);
	test->dir = g_steal_pointer(&dir);
	test->vms = g_ptr_array_new_with_free_func((GDestroyNotify)vm_free);
	test->cleanups = g_array_new(FALSE, FALSE, sizeof(Cleanup));
	return test;
}

void lm_test_free(LmTest *test)
{
	g_ptr_array_free(test->vms, TRUE);
	for (guint i = test->cleanups->len; i-- > 0;) {
		Cleanup *cleanup = &g_array_index(test->cleanups, Cleanup, i);

		cleanup->run(cleanup->opaque);
	}
	g_array_free(test->cleanups, TRUE);
	if (g_getenv("LM_TEST_KEEP"))
		lm_test_note("%s: %s", test->test_case ? test->test_case->name : "kept", test->dir);
	else
		remove_folder(test->dir);
	g_free(test->dir);
	g_free(test);
}

static int setup(void **state)
{
	const LmCase *test_case = *state;
	LmTest *test = lm_test_new(NULL);

	if (!test)
		return -1;
	test->test_case = test_case;
	*state = test;
	return 0;
}

static void print_tail(const char *path, const char *what)
{
	g_autofree char *text = NULL;
	gsize length;

	if (!path || !g_file_get_contents(path, &text, &length, NULL) || !length)
		return;
	const char *from = length > 800 ? text + length - 800 : text;
	g_auto(GStrv) lines = g_strsplit(from, "\n", -1);

	for (guint i = 0; lines[i] && *lines[i]; i++)
		lm_test_note("%s: %s", what, lines[i]);
}

static void explain(const LmTest *test)
{
	for (guint i = 0; i < test->vms->len; i++) {
		Vm *vm = test->vms->pdata[i];
		g_autofree char *what = g_strdup_printf("VM %u, stderr", i);
		g_autofree char *serial = g_strdup_printf("VM %u, serial", i);
		g_autofree char *line = g_strjoinv(" ", (char **)vm->argv->pdata);

		lm_test_note("VM %u, pid %d: %s", i, (int)vm->pid, line);
		print_tail(vm->stderr_path, what);
		if (!i || strcmp(vm->serial_path, ((Vm *)test->vms->pdata[i - 1])->serial_path))
			print_tail(vm->serial_path, serial);
	}
}

static int teardown(void **state)
{
	LmTest *test = *state;

	if (!test->passed)
		explain(test);
	lm_test_free(test);
	return 0;
}

static void run(void **state)
{
	LmTest *test = *state;

	test->test_case->run(test, test->test_case->arg);
	test->passed = TRUE;
}

int lm_test_main(int argc, char **argv, const LmCase *cases, size_t count)
{
	g_autofree struct CMUnitTest *tests = g_new0(struct CMUnitTest, count);
	g_autofree char *group = g_path_get_basename(argv[0]);

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < count; i++)
		tests[i] = (struct CMUnitTest){cases[i].name, run, setup, teardown,
					       (void *)(uintptr_t)&cases[i]};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}
