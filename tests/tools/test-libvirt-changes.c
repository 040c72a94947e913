/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains that libvirt changed while they ran: each upgrade begins where the one before ended. */
#include "libvirt-domain.h"

#include <string.h>
#include <unistd.h>

static void assert_upgrades(const Domain *domain)
{
	g_auto(Run) run = {0};
	pid_t old = domain_pid(domain);

	domain_upgrade(domain, &run, NULL, NULL);
	domain_assert_upgraded(domain, &run, old);
}

static char *new_disk(LmTest *test, const char *name)
{
	char *path = lm_test_path(test, name);
	g_autofree char *command = g_strdup_printf("qemu-img create -q -f qcow2 %s 16M", path);

	assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
	return path;
}

/* Free PCIe ports, a CD drive, and controllers to plug things into. */
static Domain *start(LmTest *test, const char *disk)
{
	g_autoptr(GString) xml =
		g_string_new("<controller type='pci' index='0' model='pcie-root'/>\n");

	for (int i = 1; i < 8; i++)
		g_string_append_printf(
			xml, "<controller type='pci' index='%d' model='pcie-root-port'/>\n", i);
	g_string_append_printf(xml,
			       "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
			       "<source file='%s'/><target dev='vda' bus='virtio'/></disk>\n"
			       "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/>"
			       "<readonly/></disk>\n"
			       "<controller type='scsi' model='virtio-scsi'/>\n"
			       "<controller type='virtio-serial'/>\n",
			       disk);
	return domain_start(test, "lm-changed", xml->str);
}

static void attach(const Domain *domain, const char *name, const char *xml)
{
	g_autofree char *path = lm_test_path(domain->test, name);

	assert_true(g_file_set_contents(path, xml, -1, NULL));
	virsh_do(domain->test, "attach-device", domain->name, path, NULL);
}

static void test_changed(LmTest *test, const void *arg)
{
	g_autofree char *first = new_disk(test, "first"), *second = new_disk(test, "second");
	g_autofree char *medium = new_disk(test, "medium"), *overlay = NULL, *spec = NULL;
	g_autofree char *nic = g_strdup_printf("<interface type='ethernet'><target "
					       "dev='lmc%d'/><model type='virtio'/></interface>",
					       (int)getpid() % 10000);
	Domain *domain = start(test, first);

	overlay = lm_test_path(test, "overlay");
	spec = g_strdup_printf("vda,file=%s", overlay);
	virsh_do(test, "attach-disk", domain->name, second, "sdb", "--targetbus", "scsi",
		 "--subdriver", "qcow2", NULL);
	virsh_do(test, "snapshot-create-as", domain->name, "s1", "--disk-only", "--no-metadata",
		 "--diskspec", spec, "--diskspec", "sdb,snapshot=no", NULL);
	assert_upgrades(domain);
	attach(domain, "nic.xml", nic);
	attach(domain, "channel.xml",
	       "<channel type='unix'><target type='virtio' name='org.example.1'/></channel>");
	virsh_do(test, "change-media", domain->name, "sda", medium, "--insert", NULL);
	virsh_do(test, "blkdeviotune", domain->name, "vda", "--total-iops-sec", "500", NULL);
	assert_upgrades(domain);
	virsh_do(test, "detach-disk", domain->name, "sdb", NULL);
	virsh_do(test, "change-media", domain->name, "sda", "--eject", NULL);
	virsh_do(test, "blockcommit", domain->name, "vda", "--active", "--pivot", "--wait", NULL);
	assert_upgrades(domain);
}

static const LmCase cases[] = {LM_CASE(test_changed)};

int main(int argc, char **argv)
{
	return LIBVIRT_TEST_MAIN(argc, argv, cases);
}
