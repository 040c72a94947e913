/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One test program = one cmocka group = one TAP plan. A case gets an LmTest: a folder of its own
 * and the VMs that it started, which the teardown kills by pid and removes whatever happened:
 * a failed assertion leaves a case by longjmp, so nothing that must be undone may be on its stack.
 *
 *     static void test_default(LmTest *test, const void *arg) { ... }
 *     static const LmCase cases[] = { LM_CASE(test_default) };
 *     int main(int argc, char **argv) { return LM_TEST_MAIN(argc, argv, cases); }
 *
 * An argument is a pattern for the cases' names: test-migrate 'test_channels*'.
 * LM_TEST_KEEP=1 keeps the folders.
 */
#ifndef LM_QTEST_HARNESS_H
#define LM_QTEST_HARNESS_H

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

typedef struct LmTest LmTest;
typedef struct Vm Vm;

typedef struct LmCase {
	const char *name;
	void (*run)(LmTest *test, const void *arg);
	const void *arg;
} LmCase;
#define LM_CASE(function)                                                                          \
	{                                                                                          \
#function, function, NULL                                                          \
	}
#define LM_CASE_ARG(function, about)                                                               \
	{                                                                                          \
#function " " about, function, about                                               \
	}

/* One case for each of the handover's stages: argument "hello:kill", "regions:kill" ... */
#define LM_CASES_EACH_STAGE(function, action)                                                      \
	LM_CASE_ARG(function, "hello:" action), LM_CASE_ARG(function, "regions:" action),          \
		LM_CASE_ARG(function, "stop:" action), LM_CASE_ARG(function, "flip:" action),      \
		LM_CASE_ARG(function, "devices:" action), LM_CASE_ARG(function, "load:" action),   \
		LM_CASE_ARG(function, "commit:" action)

struct LmTest {
	const LmCase *test_case;
	char *dir;	  /* short: socket paths have 107 bytes */
	GPtrArray *vms;	  /* of Vm, owned */
	GArray *cleanups; /* run backwards at the end, when the VMs are gone */
	guint next;	  /* for names */
	gboolean passed;
};

/* A folder and VMs for a program that is no group of cases; lm_test_free does what a teardown does.
 */
LmTest *lm_test_new(GError **errp);
void lm_test_free(LmTest *test);

int lm_test_main(int argc, char **argv, const LmCase *cases, size_t count);
#define LM_TEST_MAIN(argc, argv, cases) lm_test_main(argc, argv, cases, G_N_ELEMENTS(cases))
/* Prints a plan of no tests; returns main's exit status. Only where no group runs. */
int lm_test_skip(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* A remark in the output, which no TAP reader counts. */
void lm_test_note(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* dir/name; the caller's. */
char *lm_test_path(const LmTest *test, const char *name);
/*
 * The path of a copy of @from in dir, under the same name; the caller's. A file that is there
 * already stays as it is.
 */
char *lm_test_copy(const LmTest *test, const char *from, int mode);
/* At the end of the case, when its VMs are gone; the last one first. */
void lm_test_cleanup_later(LmTest *test, GDestroyNotify cleanup, gpointer opaque);
/* The same for a file outside of dir; takes @path. */
void lm_test_remove_later(LmTest *test, char *path);
/* What @variable of the environment says; fails the case if it is not set. */
const char *lm_test_env(const char *variable);

/* Fails the case with the error's text if there is one. */
void lm_must(const GError *error, const char *file, int line);
#define must(error) lm_must(error, __FILE__, __LINE__)
/* Fails the case unless @text contains @part. */
void lm_assert_contains(const char *text, const char *part, const char *file, int line);
#define assert_contains(text, part) lm_assert_contains(text, part, __FILE__, __LINE__)

/* Waits are in milliseconds from now and always end; LM_PATIENCE makes them so many times longer.
 */
#define LM_WAIT_MS 20000u
gint64 lm_end_us(guint timeout_ms);
/* What is left until @end_us, for poll: 0 when it has passed. */
int lm_left_ms(gint64 end_us);
/*
 * Looks every few milliseconds, for what nothing announces. FALSE if @check still is after
 * @timeout_ms.
 */
gboolean lm_wait_until(gboolean (*check)(void *opaque), void *opaque, guint timeout_ms);

#endif
