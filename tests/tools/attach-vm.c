// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach-vm.h"
#include "elf-image.h"
#include "qapi-localhost-migrate.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

VmOptions attach_options(void)
{
	return (VmOptions){.plugin = "", .append = "rate=32", .memory_mib = 128};
}

AttachReport attach_must(Vm *vm, const char *plugin)
{
	g_autoptr(GError) error = NULL;
	AttachReport report = {0};

	attach_load(vm->pid, plugin ? plugin : lm_test_env("LM_PLUGIN"), 0, ATTACH_MS, &report,
		    &error);
	must(error);
	return report;
}

/* Of each build that is loaded QEMU has all commands; only those of one may be called. */
static void assert_commands_once(Vm *vm)
{
	g_autoptr(JsonNode) reply = vm_command(vm, "query-commands", NULL);
	JsonArray *commands = json_node_get_array(reply);

	for (size_t i = 0; i < lm_qapi_n_commands; i++) {
		guint count = 0;

		for (guint j = 0; j < json_array_get_length(commands); j++)
			count += !strcmp(qmp_str(json_array_get_element(commands, j), "name"),
					 lm_qapi_commands[i].name);
		if (count != 1)
			fail_msg("%s is there %u times", lm_qapi_commands[i].name, count);
	}
}

void attach_assert_there(Vm *vm)
{
	g_autoptr(JsonNode) info = migrate_query(vm);

	assert_commands_once(vm);
	assert_true(qmp_bool(info, "attached"));
	assert_true(attach_is_mapped(vm));
}

gboolean attach_is_mapped(const Vm *vm)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)vm->pid);
	g_autofree char *maps = NULL;

	return g_file_get_contents(path, &maps, NULL, NULL) &&
	       g_regex_match_simple("localhost-migrate[^/\n]*\\.so", maps, 0, 0);
}

char *attach_write_file(LmTest *test, const char *name, const void *data, gsize bytes)
{
	char *path = lm_test_path(test, name);
	g_autoptr(GError) error = NULL;

	g_file_set_contents_full(path, data, (gssize)bytes, G_FILE_SET_CONTENTS_CONSISTENT, 0755,
				 &error);
	must(error);
	return path;
}

char *attach_copy_of_qemu(LmTest *test, VmOptions *options, const char *from, const char *to)
{
	static const char *data_folders[] = {"-L", NULL, "-L", NULL, NULL};
	g_autofree char *program = g_find_program_in_path("qemu-system-x86_64");
	g_autofree char *folder = g_path_get_dirname(program);
	g_autofree char *modules = g_build_filename(folder, "../lib/x86_64-linux-gnu/qemu", NULL);
	g_autofree char *share = g_build_filename(folder, "../share/qemu", NULL);
	g_autofree char *firmware = g_build_filename(folder, "../share/seabios", NULL);
	g_autofree char *path = lm_test_path(test, "qemu");
	g_autofree char *data = NULL;
	g_autoptr(GError) error = NULL;
	gsize length;
	char *at;

	g_file_get_contents(program, &data, &length, &error);
	must(error);
	at = from ? memmem(data, length, from, strlen(from)) : NULL;
	assert_true(!from || at);
	if (at)
		memcpy(at, to, strlen(to));
	g_setenv("QEMU_MODULE_DIR", modules, TRUE);
	data_folders[1] = g_intern_string(share);
	data_folders[3] = g_intern_string(firmware);
	options->extra = data_folders;
	options->binary = g_intern_string(path);
	return attach_write_file(test, "qemu", data, length);
}

char *attach_write_elsewhere(LmTest *test, const void *data, gsize bytes)
{
	g_autoptr(GError) error = NULL;
	char *path;
	int fd = g_file_open_tmp("localhost-migrate-XXXXXX.so", &path, &error);

	must(error);
	lm_test_remove_later(test, g_strdup(path));
	assert_int_equal(write(fd, data, bytes), bytes);
	close(fd);
	return path;
}

/* The build ID is a note of 20 bytes; its first four become @number. */
char *attach_other_build(LmTest *test, guint number)
{
	g_autofree char *name = g_strdup_printf("localhost-migrate-%u.so", number);
	g_autofree char *data = NULL, *id = NULL;
	g_autoptr(GError) error = NULL;
	guint8 bytes[20];
	char *at;
	gsize length;

	g_file_get_contents(lm_test_env("LM_PLUGIN"), &data, &length, &error);
	must(error);
	id = attach_elf_file_build_id((const guint8 *)data, length);
	assert_non_null(id);
	assert_int_equal(strlen(id), 2 * sizeof(bytes));
	for (gsize i = 0; i < sizeof(bytes); i++)
		bytes[i] = (guint8)(g_ascii_xdigit_value(id[2 * i]) << 4 |
				    g_ascii_xdigit_value(id[2 * i + 1]));
	at = memmem(data, length, bytes, sizeof(bytes));
	assert_non_null(at);
	memcpy(at, &number, sizeof(number));
	return attach_write_file(test, name, data, length);
}
