// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU's arguments, taken apart and put together again. */
#include "unit.h"

#include "command-line.h"
#include "error.h"
#include "option-edit.h"
#include "opts.h"

static void test_round_trip(void **state)
{
	static const char *const same[] = {
		"socket,id=a,path=/tmp/x,server=on",
		"file=/tmp/a,,b=c,format=raw",
		"pc-q35-7.2",
		"",
		"user,id=n0,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4",
	};

	for (guint i = 0; i < G_N_ELEMENTS(same); i++) {
		g_autoptr(LuOpts) opts = lu_opts_parse(same[i], "first");
		g_autofree char *text = lu_opts_text(opts);

		assert_string_equal(text, same[i]);
	}
}

static void test_opts(void **state)
{
	g_autoptr(LuOpts) opts = lu_opts_parse("unix,path=/a,,b,server,nowait,x=1,x=2", "backend");
	g_autofree char *text = NULL;

	assert_string_equal(lu_opts_get(opts, "backend"), "unix");
	assert_string_equal(lu_opts_get(opts, "path"), "/a,b");
	assert_true(lu_opts_bool(opts, "server", FALSE));
	assert_false(lu_opts_bool(opts, "wait", TRUE));
	assert_true(lu_opts_bool(opts, "other", TRUE));
	assert_string_equal(lu_opts_get(opts, "x"), "2");
	assert_null(lu_opts_get(opts, "y"));
	lu_opts_set(opts, "x", "a,b");
	lu_opts_set(opts, "new", "n");
	lu_opts_remove(opts, "server");
	text = lu_opts_text(opts);
	assert_string_equal(text, "unix,path=/a,,b,wait=off,x=a,,b,new=n");
}

static void test_bare_value_with_equal_sign(void **state)
{
	g_autoptr(LuOpts) opts = lu_opts_parse("/tmp/a,server=on", "path");
	g_autofree char *text = NULL;

	lu_opts_set(opts, "path", "/tmp/a=b,c");
	text = lu_opts_text(opts);
	assert_string_equal(text, "path=/tmp/a=b,,c,server=on");
}

/* As QEMU reads them: only in a value two commas are one. */
static void test_commas_in_names(void **state)
{
	g_autoptr(LuOpts) opts = lu_opts_parse("a,,b=c,,d", NULL);
	g_autoptr(LuOpts) empty = lu_opts_parse(",x", "first"), again = NULL;
	g_autofree char *text = lu_opts_text(opts), *empty_text = lu_opts_text(empty);

	assert_int_equal(lu_opts_length(opts), 3);
	assert_string_equal(lu_opts_name(opts, 0), "a");
	assert_string_equal(lu_opts_name(opts, 1), "");
	assert_string_equal(lu_opts_get(opts, "b"), "c,d");
	assert_string_equal(text, "a=on,=on,b=c,,d");
	/* An empty first value stays one, even when it is alone. */
	lu_opts_remove(empty, "x");
	g_free(empty_text);
	empty_text = lu_opts_text(empty);
	again = lu_opts_parse(empty_text, "first");
	assert_int_equal(lu_opts_length(again), 1);
	assert_string_equal(lu_opts_get(again, "first"), "");
}

static void test_parse(void **state)
{
	char *argv[] = {(char *)"qemu",
			(char *)"-M",
			(char *)"q35",
			(char *)"--nodefaults",
			(char *)"disk.img",
			(char *)"-append",
			(char *)"",
			(char *)"-S",
			NULL};
	g_autoptr(GError) error = NULL;
	g_autoptr(LuCommandLine) line = lu_command_line_parse(argv, &error);
	g_autoptr(LuCommandLine) copy = NULL;
	g_auto(GStrv) back = NULL;
	g_autofree char *text = NULL;

	assert_non_null(line);
	assert_int_equal(line->options->len, 5);
	assert_string_equal(lu_command_line_value(line, "machine"), "q35");
	assert_true(lu_command_line_has(line, "nodefaults"));
	assert_true(lu_command_line_has(line, "S"));
	assert_false(lu_command_line_has(line, "s"));
	copy = lu_command_line_copy(line);
	lu_command_line_remove(copy, "S");
	lu_command_line_append(copy, "name", "a b'c");
	back = lu_command_line_argv(copy);
	assert_int_equal(g_strv_length(back), 9);
	assert_string_equal(back[4], "disk.img");
	assert_string_equal(back[6], "");
	text = lu_command_line_text(copy);
	assert_string_equal(text, "qemu -M q35 -nodefaults disk.img -append '' -name 'a b'\\''c'");
	assert_true(lu_command_line_has(line, "S"));
}

static void test_unknown(void **state)
{
	char *unknown[] = {(char *)"qemu", (char *)"-frobnicate", (char *)"x", NULL};
	char *cut[] = {(char *)"qemu", (char *)"-m", NULL};
	char *empty[] = {NULL};
	char **all[] = {unknown, cut, empty};

	for (guint i = 0; i < G_N_ELEMENTS(all); i++) {
		g_autoptr(GError) error = NULL;
		g_autoptr(LuCommandLine) line = lu_command_line_parse(all[i], &error);

		assert_null(line);
		assert_true(g_error_matches(error, LU_ERROR, LU_ERROR_REFUSED));
	}
}

static void test_member(void **state)
{
	LuOption plain = {.name = (char *)"device", .value = (char *)"virtio-net-pci,id=n,mac=1"};
	LuOption json = {.name = (char *)"device",
			 .value = (char *)"{\"driver\": \"e1000\", \"id\": \"n\"}"};
	LuOption broken = {.name = (char *)"device", .value = (char *)"{nonsense"};
	g_autofree char *a = lu_option_member(&plain, "driver", "driver");
	g_autofree char *b = lu_option_member(&json, "driver", "driver");
	g_autofree char *c = lu_option_member(&json, "id", "driver");

	assert_string_equal(a, "virtio-net-pci");
	assert_string_equal(b, "e1000");
	assert_string_equal(c, "n");
	assert_null(lu_option_member(&broken, "id", "driver"));
	assert_null(lu_option_member(&plain, "bus", "driver"));
}

/* The same edits of both kinds of text. */
static void test_edit(void **state)
{
	static const struct {
		const char *before, *after;
	} edits[] = {
		{"driver=qcow2,node-name=n,file.driver=file,file.filename=a,,b,cache.direct=on",
		 "driver=qcow2,node-name=n,cache.direct=off,file=f,read-only=on"},
		{"{\"driver\":\"qcow2\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
		 "\"filename\":\"a,b\"},\"cache\":{\"direct\":true}}",
		 "{\"driver\":\"qcow2\",\"node-name\":\"n\",\"cache\":{\"direct\":false},"
		 "\"file\":\"f\",\"read-only\":true}"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
		LuOption option = {.name = (char *)"blockdev", .value = g_strdup(edits[i].before)};
		g_autofree char *name = lu_option_get(&option, "file.filename", "driver");
		g_autofree char *driver = lu_option_get(&option, "driver", "driver");

		assert_string_equal(name, "a,b");
		assert_string_equal(driver, "qcow2");
		assert_true(lu_option_has_tree(&option, "file"));
		assert_false(lu_option_has_tree(&option, "backing"));
		assert_true(lu_option_get_bool(&option, "cache.direct"));
		assert_false(lu_option_get_bool(&option, "read-only"));
		assert_null(lu_option_get(&option, "file", "driver"));
		lu_option_put_bool(&option, "cache.direct", "driver", FALSE);
		lu_option_remove(&option, "file", "driver");
		lu_option_remove(&option, "backing.file", "driver");
		lu_option_put_string(&option, "file", "driver", "f");
		lu_option_put_bool(&option, "read-only", "driver", TRUE);
		assert_string_equal(option.value, edits[i].after);
		g_free(option.value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_opts),
		TEST(test_bare_value_with_equal_sign),
		TEST(test_parse),
		TEST(test_unknown),
		TEST(test_member),
		TEST(test_edit),
		TEST(test_commas_in_names),
	};

	return cmocka_run_group_tests_name("tool-command-line", tests, NULL, NULL);
}
