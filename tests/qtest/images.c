/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "images.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <glib/gstdio.h>

#include "process.h"

char *image_tool(const char *const *argv)
{
	g_autofree char *said = NULL;

	if (process_run(&said, argv))
		fail_msg("%s %s: %s", argv[0], argv[1], said);
	return g_steal_pointer(&said);
}

void image_make(const char *path, const char *format, guint mib)
{
	g_autofree char *size = g_strdup_printf("%uM", mib);
	const char *const argv[] = {"qemu-img", "create", "-q", "-f", format, path, size, NULL};

	g_free(image_tool(argv));
}

char *image_make_full(LmTest *test, const char *path, const char *format, guint mib, guint from_mib)
{
	const gsize bytes = (gsize)mib << 20, from = (gsize)from_mib << 20;
	char *content = lm_test_path(test, "content.raw");
	const char *const convert[] = {"qemu-img", "convert", "-f", "raw", "-O",
				       format,	   content,   path, NULL};
	g_autofree guint64 *words = g_malloc0(bytes);
	g_autoptr(GError) error = NULL;

	for (gsize i = from / sizeof(*words); i < bytes / sizeof(*words); i++)
		words[i] = i * 0x9e3779b97f4a7c15;
	g_file_set_contents(content, (const char *)words, bytes, &error);
	must(error);
	g_free(image_tool(convert));
	return content;
}

void image_make_over(const char *path, const char *beneath, const char *beneath_format)
{
	const char *const argv[] = {"qemu-img", "create", "-q",		  "-f", "qcow2", "-b",
				    beneath,	"-F",	  beneath_format, path, NULL};

	g_free(image_tool(argv));
}

char *image_info(const char *path)
{
	const char *const argv[] = {"qemu-img", "info", "-U", path, NULL};

	return image_tool(argv);
}

gboolean image_is_empty(const char *path, const char *format)
{
	const char *const argv[] = {"qemu-img", "map",	"-U", "-f", format,
				    "--output", "json", path, NULL};
	g_autofree char *said = image_tool(argv);

	return !strstr(said, "\"depth\": 0");
}

static void unmount(gpointer path)
{
	umount2(path, MNT_DETACH);
	g_free(path);
}

const char *image_small_place(LmTest *test, const char *bytes)
{
	g_autofree char *options = g_strconcat("size=", bytes, NULL);
	char *path = lm_test_path(test, "small");

	assert_int_equal(g_mkdir(path, 0755), 0);
	if (mount("tmpfs", path, "tmpfs", 0, options) < 0) {
		lm_test_note("not tested: mount: %s", g_strerror(errno));
		g_free(path);
		return NULL;
	}
	lm_test_cleanup_later(test, unmount, path);
	return path;
}

const char *image_read_only(LmTest *test, const char *path)
{
	g_autofree char *name = g_path_get_basename(path);
	g_autofree char *read_only = g_strconcat(name, ".read-only", NULL);
	char *other = lm_test_path(test, read_only);

	assert_true(g_file_set_contents(other, "", 0, NULL));
	if (mount(path, other, NULL, MS_BIND, NULL) < 0) {
		lm_test_note("not tested: mount: %s", g_strerror(errno));
		g_free(other);
		return NULL;
	}
	lm_test_cleanup_later(test, unmount, other);
	assert_int_equal(mount(NULL, other, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	return other;
}

char *image_with_bad_sector(LmTest *test, const char *path, guint bad_mib)
{
	g_autofree char *rules = lm_test_path(test, "blkdebug");
	g_autofree char *text = g_strdup_printf("[inject-error]\n"
						"event = \"read_aio\"\n"
						"iotype = \"read\"\n"
						"errno = \"5\"\n"
						"sector = \"%u\"\n"
						"once = \"on\"\n",
						bad_mib << 11);

	assert_true(g_file_set_contents(rules, text, -1, NULL));
	return g_strdup_printf("blkdebug:%s:%s", rules, path);
}

gboolean image_has_journal(const char *path)
{
	g_autofree char *journal = g_strconcat(path, ".moving", NULL);
	struct stat st;

	return stat(journal, &st) == 0 && st.st_size > 0;
}
