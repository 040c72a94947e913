/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Linux guest (tests/guest/guest.md): it writes to memory, disk and network all the while. */
#include "demo.h"

#define LINUX_MIB 1024
/* The kernel's own options make it start soon and on a busy host too. */
#define LINUX_APPEND                                                                               \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.disk=1 lm.disk_mib=16 lm.net=1 lm.mib=" G_STRINGIFY(LINUX_TOUCHED_MIB)

const char *given(const char *variable)
{
	const char *value = g_getenv(variable);

	return value && *value ? value : NULL;
}

gboolean given_qemu(const char *version, DemoQemu *qemu)
{
	g_autofree char *binary = g_strconcat("LM_QEMU_", version, NULL);
	g_autofree char *root = g_strconcat("LM_ROOT_", version, NULL);

	*qemu = (DemoQemu){.binary = given(binary), .root = given(root)};
	return qemu->binary || qemu->root;
}

static char *make_disk(Demo *demo)
{
	g_autofree char *name = g_strdup_printf("disk%u.qcow2", demo->next++);
	g_autofree char *path = lm_test_path(demo->test, name);
	const char *const argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", path, "64M", NULL};
	g_autoptr(GError) error = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
			  &status, &error) ||
	    !g_spawn_check_wait_status(status, &error))
		demo_fail("qemu-img: %s", error->message);
	return g_steal_pointer(&path);
}

const DemoGuest *linux_guest(Demo *demo, gboolean stock)
{
	g_autofree char *image = make_disk(demo);

	return linux_guest_on(image, stock);
}

const DemoGuest *linux_guest_on(const char *image, gboolean stock)
{
	const char *const extra[] = {
		"-blockdev", g_strdup_printf("driver=file,filename=%s,node-name=file0", image),
		"-blockdev", "driver=qcow2,file=file0,node-name=disk0",
		"-device",   "virtio-blk-pci,drive=disk0",
		"-netdev",   "user,id=net0,guestfwd=tcp:10.0.2.100:7-cmd:cat",
		"-device",   "virtio-net-pci,netdev=net0,romfile=",
		NULL,
	};
	DemoGuest *guest = g_new0(DemoGuest, 1);

	*guest = (DemoGuest){
		.name = "a Linux guest of 1 GiB",
		.kernel = given("LM_VMLINUZ"),
		.initrd = given("LM_INITRAMFS"),
		.append = LINUX_APPEND,
		.memory_mib = LINUX_MIB,
		.extra = g_memdup2(extra, sizeof(extra)),
		.stock = stock,
	};
	return guest;
}
