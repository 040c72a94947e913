/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bridges.h"
#include "interface.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

static void remove_bridges(gpointer opaque)
{
	g_autofree char *layer = opaque;

	umount2("/etc", MNT_DETACH);
	umount2(layer, MNT_DETACH);
	if (system("ip link del lmbr0; ip link del lmbr1"))
		lm_test_note("a bridge stays");
}

/* The helper asks /etc/qemu/bridge.conf, which is put into a layer over /etc for this. */
void bridges_make(LmTest *test)
{
	g_autofree char *layer = lm_test_path(test, "layer");
	g_autofree char *text = g_strdup_printf(
		"ip link add lmbr0 type bridge\nip addr add " BRIDGES_HOST "/24 dev lmbr0\n"
		"ip link set lmbr0 up\nip link add lmbr1 type bridge\nmkdir %s\nmount -t tmpfs "
		"none %s\nmkdir %s/u %s/w\n"
		"mount -t overlay none -o lowerdir=/etc,upperdir=%s/u,workdir=%s/w /etc\n"
		"mkdir -p /etc/qemu\necho allow lmbr0 >/etc/qemu/bridge.conf\n"
		"echo allow lmbr1 >>/etc/qemu/bridge.conf\n",
		layer, layer, layer, layer, layer, layer);

	lm_test_cleanup_later(test, remove_bridges, lm_test_path(test, "layer"));
	tool_run_script(test, text);
}

/* Of the new process, as its command line says. */
static char *descriptor_of(const Run *run, const char *id)
{
	g_auto(GStrv) argv = NULL;
	g_autofree char *begin = g_strdup_printf("tap,id=%s,", id);

	assert_true(g_shell_parse_argv(qmp_str(run->report, "command-line"), NULL, &argv, NULL));
	for (guint i = 0; argv[i]; i++)
		if (g_str_has_prefix(argv[i], begin))
			return g_strdup(strstr(argv[i], "fd=") + strlen("fd="));
	fail_msg("there is no %s in %s", begin, qmp_str(run->report, "command-line"));
	return NULL;
}

void bridges_assert_on(const Run *run, const char *id, const char *bridge)
{
	g_autofree char *number = descriptor_of(run, id);
	g_autofree char *name = g_strdup_printf("fdinfo/%s", number);
	g_autofree char *text = tool_proc(run->new_pid, name);
	g_autofree char *interface = lu_proc_status_field(text, "iff"), *is = NULL;
	g_autoptr(LuProcess) process = lu_process_open(run->new_pid, NULL);

	assert_non_null(interface);
	is = lu_interface_master(process, interface);
	assert_string_equal(is, bridge);
}
