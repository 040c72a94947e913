/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Linux guest (tests/guest/guest.md) with a disk, which is checked from outside at its end. */
#ifndef LM_QTEST_LINUX_GUEST_H
#define LM_QTEST_LINUX_GUEST_H

#include "vm.h"

#define LINUX_BOOT_MS 120000
/* Memory, disk and network are written to and checked all the while. */
#define LINUX_APPEND                                                                               \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.mib=128 lm.disk=1 lm.disk_mib=32 lm.net=1"
#define LINUX_FS_APPEND                                                                            \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.mib=128 lm.disk=1 lm.disk_mib=32 lm.fs=1"
#define LINUX_DISK_MIB 32
#define LINUX_MIB      512

/* A qcow2 image of the case's, and the arguments of a machine with it and a network card. */
typedef struct LinuxDisk {
	char *image, *raw;
	const char *format;
	/* A raw file with what the image has beyond LINUX_DISK_MIB, the guest's; NULL: zeros. */
	char *beyond;
	GPtrArray *args; /* for VmOptions.extra */
} LinuxDisk;

typedef struct LinuxDiskHow {
	const char *aio; /* "io_uring" or "native", past the host's page cache; NULL: through it */
	gboolean iothread;
	gboolean drive; /* by -drive, and not by -blockdev */
	/* No disk and no network: the image is the file "disk" that virtiofsd shares, which listens
	 * here. For a guest with LINUX_FS_APPEND. */
	const char *virtiofsd;
} LinuxDiskHow;
/* The arguments for an image that is there. The disk is called disk0. */
LinuxDisk *linux_disk_of(LmTest *test, const char *image, const char *format, LinuxDiskHow how);
/* @aio: "io_uring" or "native", past the host's page cache; NULL: through it. */
LinuxDisk *linux_disk_new(LmTest *test, const char *aio, gboolean iothread);
/* A machine with this disk; what the guest is told to do is @append. */
VmOptions linux_options(const LinuxDisk *disk, const char *append);
/* Whether another process may open the image, as qemu-img without -U sees it. */
gboolean linux_disk_is_locked(const LinuxDisk *disk);
/* What linux_power_off's guest knows that it wrote is there, and nothing is bad. */
void linux_disk_assert_right(const LinuxDisk *disk, const char *serial_path);
/* The same of a guest that did not come to its end: no block is half of one and half of another. */
void linux_disk_assert_whole(const LinuxDisk *disk);
/* Starts a VM, and waits until its guest is at work. */
Vm *linux_boot(LmTest *test, const VmOptions *options);
/* How many blocks it has read back from its disk by its last heartbeat. */
guint64 linux_disk_blocks(const Vm *vm);
/* Reads and writes of the disk go on: a lost request would stop them for ever. */
void linux_assert_disk_goes_on(const Vm *vm);
/* Tells the guest to end; the caller's descriptor is closed when it has. */
int linux_tell_power_off(const Vm *vm);
/* Some more work, and then the guest ends in order: it reads its disk back before. */
void linux_power_off(Vm *vm);
/* The variable of the environment that a Linux guest needs and that is not set; NULL: none. */
const char *linux_missing(void);

#endif
