/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests share: cmocka's own includes, descriptors counted, errors checked. */
#ifndef LM_TEST_UTIL_H
#define LM_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>

#include <glib.h>
#include <cmocka.h>

#include <migration/localhost.h>

static inline guint count_fds(void)
{
	g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
	guint count = 0;

	assert_non_null(dir);
	while (g_dir_read_name(dir))
		count++;
	return count;
}

/* Fixtures: a test must leave as many descriptors open as it found. */
static inline int fds_setup(void **state)
{
	*state = GUINT_TO_POINTER(count_fds());
	return 0;
}

static inline int fds_teardown(void **state)
{
	assert_int_equal(count_fds(), GPOINTER_TO_UINT(*state));
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fds_setup, fds_teardown)

/* Checks that @ret is -@err, and *@error's code and part of its text; then clears it. */
static inline void check_failure(int ret, GError **error, int err, LmErrorCode code,
				 const char *part)
{
	assert_int_equal(ret, -err);
	assert_non_null(*error);
	assert_true((*error)->domain == LM_ERROR);
	if (!strstr((*error)->message, part))
		fail_msg("\"%s\" is not in \"%s\"", part, (*error)->message);
	assert_int_equal((*error)->code, code);
	assert_false(g_str_has_suffix((*error)->message, "."));
	assert_null(strchr((*error)->message, '\n'));
	g_clear_error(error);
}

static inline void check_bytes(const GByteArray *array, const guint8 *expected, gsize length)
{
	assert_int_equal(array->len, length);
	assert_memory_equal(array->data, expected, length);
}

#endif
