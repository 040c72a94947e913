/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What /proc says of another process, part of which (its name, the paths of what it has mapped, its
 * arguments) that process chooses. The linker leads g_file_get_contents here: every file is the
 * input.
 */
#include "fuzz.h"

#include "proc.h"
#include "process.h"

static const guint8 *text;
static gsize text_bytes;

gboolean __wrap_g_file_get_contents(const char *path, char **contents, gsize *length,
				    GError **errp);
gboolean __wrap_g_file_get_contents(const char *path, char **contents, gsize *length, GError **errp)
{
	*contents = g_malloc(text_bytes + 1);
	memcpy(*contents, text, text_bytes);
	(*contents)[text_bytes] = '\0';
	if (length)
		*length = text_bytes;
	return TRUE;
}

static void fuzz_attach(void)
{
	g_autoptr(GPtrArray) maps = attach_proc_maps(1);
	const AttachMapping *mapping;
	guint index = 0;

	while ((mapping = attach_proc_next_file(maps, &index)))
		g_assert(mapping->path && mapping->ino);
	g_free(attach_proc_status(1, "TracerPid"));
	g_free(attach_proc_comm(1));
	attach_proc_status_number(1, "Seccomp");
	attach_proc_auxv(1, 9);
	attach_proc_syscall(1);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	g_autofree char *string = g_strndup((const char *)data, size);
	g_auto(GStrv) list = lu_proc_split((const char *)data, size);
	guint64 start_time;
	char state;

	text = data;
	text_bytes = size;
	g_assert(g_strv_length(list) <= size);
	lu_proc_parse_stat(string, &state, &start_time);
	g_free(lu_proc_status_field(string, "Uid"));
	lu_proc_status_bytes(1, "VmRSS");
	fuzz_attach();
	return 0;
}
