/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "images.h"

#include <string.h>
#include <sys/stat.h>

#include "harness.h"
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

gboolean image_has_journal(const char *path)
{
	g_autofree char *journal = g_strconcat(path, ".moving", NULL);
	struct stat st;

	return stat(journal, &st) == 0 && st.st_size > 0;
}
