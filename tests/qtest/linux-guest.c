/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "linux-guest.h"
#include "process.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void disk_add(LinuxDisk *disk, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void disk_add(LinuxDisk *disk, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_ptr_array_add(disk->args, g_strdup_vprintf(format, args));
	va_end(args);
}

static void disk_free(gpointer opaque)
{
	LinuxDisk *disk = opaque;

	g_ptr_array_free(disk->args, TRUE);
	g_free(disk->image);
	g_free(disk->raw);
	g_free(disk->beyond);
	g_free(disk);
}

static void add_blockdevs(LinuxDisk *disk, const char *aio)
{
	disk_add(disk, "-blockdev");
	disk_add(disk, "driver=file,filename=%s,node-name=file0%s%s", disk->image,
		 aio ? ",cache.direct=on,aio=" : "", aio ? aio : "");
	disk_add(disk, "-blockdev");
	disk_add(disk, "driver=%s,file=file0,node-name=disk0%s", disk->format,
		 aio ? ",cache.direct=on" : "");
}

static void add_drive(LinuxDisk *disk)
{
	disk_add(disk, "-drive");
	disk_add(disk, "if=none,id=disk0,file=%s,format=%s", disk->image, disk->format);
}

static void add_disk(LinuxDisk *disk, const LinuxDiskHow *how)
{
	if (how->iothread) {
		disk_add(disk, "-object");
		disk_add(disk, "iothread,id=io0");
	}
	if (how->drive)
		add_drive(disk);
	else
		add_blockdevs(disk, how->aio);
	disk_add(disk, "-device");
	disk_add(disk, "virtio-blk-pci,drive=disk0%s", how->iothread ? ",iothread=io0" : "");
}

static void add_fs(LinuxDisk *disk, const char *socket)
{
	disk_add(disk, "-chardev");
	disk_add(disk, "socket,id=fs0,path=%s", socket);
	disk_add(disk, "-device");
	disk_add(disk, "vhost-user-fs-pci,chardev=fs0,tag=lm");
}

static void add_net(LinuxDisk *disk)
{
	disk_add(disk, "-netdev");
	disk_add(disk, "user,id=net0,guestfwd=tcp:10.0.2.100:7-cmd:cat");
	disk_add(disk, "-device");
	disk_add(disk, "virtio-net-pci,netdev=net0,romfile=");
}

LinuxDisk *linux_disk_of(LmTest *test, const char *image, const char *format, LinuxDiskHow how)
{
	LinuxDisk *disk = g_new0(LinuxDisk, 1);

	lm_test_cleanup_later(test, disk_free, disk);
	disk->args = g_ptr_array_new_with_free_func(g_free);
	disk->image = g_strdup(image);
	disk->format = format;
	disk->raw = g_strconcat(image, ".as-raw", NULL);
	if (how.virtiofsd) {
		add_fs(disk, how.virtiofsd);
	} else {
		add_disk(disk, &how);
		add_net(disk);
	}
	g_ptr_array_add(disk->args, NULL);
	return disk;
}

LinuxDisk *linux_disk_new(LmTest *test, const char *aio, gboolean iothread)
{
	g_autofree char *image = lm_test_path(test, "disk.qcow2");
	const char *const create[] = {"qemu-img", "create", "-f", "qcow2", image, "64M", NULL};

	assert_int_equal(process_run(NULL, create), 0);
	return linux_disk_of(test, image, "qcow2",
			     (LinuxDiskHow){.aio = aio, .iothread = iothread});
}

VmOptions linux_options(const LinuxDisk *disk, const char *append)
{
	return (VmOptions){
		.kernel = lm_test_env("LM_VMLINUZ"),
		.initrd = lm_test_env("LM_INITRAMFS"),
		.append = append,
		.memory_mib = LINUX_MIB,
		.serial_socket = TRUE,
		.extra = (const char *const *)disk->args->pdata,
	};
}

gboolean linux_disk_is_locked(const LinuxDisk *disk)
{
	const char *const info[] = {"qemu-img", "info", disk->image, NULL};
	g_autofree char *said = NULL;
	int status = process_run(&said, info);

	if (status)
		assert_contains(said, "lock");
	return status != 0;
}

Vm *linux_boot(LmTest *test, const VmOptions *options)
{
	g_autoptr(GError) error = NULL;
	Vm *vm = vm_start(test, options);

	serial_wait_beats(vm->serial_path, 5, LINUX_BOOT_MS, NULL, &error);
	must(error);
	return vm;
}

guint64 linux_disk_blocks(const Vm *vm)
{
	g_autofree char *text = NULL;
	const char *at;

	assert_true(g_file_get_contents(vm->serial_path, &text, NULL, NULL));
	at = g_strrstr(text, " disk ");
	assert_non_null(at);
	return g_ascii_strtoull(at + strlen(" disk "), NULL, 10);
}

typedef struct DiskWait {
	const Vm *vm;
	guint64 before;
} DiskWait;

static gboolean has_gone_on(void *opaque)
{
	const DiskWait *wait = opaque;

	return linux_disk_blocks(wait->vm) > wait->before;
}

/* What QEMU knows of the disk's queue, for the one who looks for the reason. */
static void note_queue(const Vm *vm)
{
	static const char *const lines[] = {
		"info virtio-queue-status /machine/peripheral-anon/device[0]/virtio-backend 0",
		"info virtio-status /machine/peripheral-anon/device[0]/virtio-backend",
	};

	for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_autofree char *said = qmp_hmp(vm->qmp, lines[i], NULL);

		lm_test_note("%s", said ? g_strdelimit(said, "\r\n", ' ') : "no answer");
	}
}

void linux_assert_disk_goes_on(const Vm *vm)
{
	DiskWait wait = {vm, linux_disk_blocks(vm)};

	if (lm_wait_until(has_gone_on, &wait, LM_WAIT_MS))
		return;
	note_queue(vm);
	fail_msg("the guest's disk has stopped after %" G_GUINT64_FORMAT " blocks", wait.before);
}

int linux_tell_power_off(const Vm *vm)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, vm->serial_socket, sizeof(address.sun_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* QEMU forgets what it did not deliver yet when the connection ends. */
	assert_int_equal(write(fd, "poweroff\n", 9), 9);
	return fd;
}

void linux_power_off(Vm *vm)
{
	g_autoptr(GError) error = NULL;
	int fd;

	serial_wait_beats(vm->serial_path, 20, LINUX_BOOT_MS, NULL, &error);
	must(error);
	linux_assert_disk_goes_on(vm);
	fd = linux_tell_power_off(vm);
	if (!vm_wait_exit(vm, LINUX_BOOT_MS))
		fail_msg("the guest did not power off");
	close(fd);
	assert_int_equal(vm_exit_status(vm), 0);
	serial_wait(vm->serial_path, "^guest done beats [0-9]+ errors 0 ", 0, &error);
	must(error);
}

/* "valid V maxgen M gensum S" as the guest said at its end; the caller's. */
static char *guest_sums(const char *serial_path)
{
	g_autofree char *text = NULL;
	g_autoptr(GRegex) regex =
		g_regex_new("guest done .*(valid [0-9]+ maxgen [0-9]+ gensum [0-9]+)", 0, 0, NULL);
	g_autoptr(GMatchInfo) match = NULL;

	assert_true(g_file_get_contents(serial_path, &text, NULL, NULL));
	assert_true(g_regex_match(regex, text, 0, &match));
	return g_match_info_fetch(match, 1);
}

/* What the guest never touches is as it was; cut off, for the guest's checker. */
static void check_beyond(const LinuxDisk *disk)
{
	const gsize at = (gsize)LINUX_DISK_MIB << 20;
	g_autoptr(GMappedFile) was = g_mapped_file_new(disk->beyond, FALSE, NULL);
	g_autoptr(GMappedFile) is = g_mapped_file_new(disk->raw, FALSE, NULL);
	const gsize bytes = g_mapped_file_get_length(was);

	assert_int_equal(g_mapped_file_get_length(is), bytes);
	if (memcmp(g_mapped_file_get_contents(was) + at, g_mapped_file_get_contents(is) + at,
		   bytes - at))
		fail_msg("%s has another content than %s", disk->raw, disk->beyond);
	assert_int_equal(truncate(disk->raw, at), 0);
}

/* What disk-check says of the image's content; the caller's. */
static char *check_content(const LinuxDisk *disk)
{
	const char *const convert[] = {"qemu-img", "convert",	"-f",	   disk->format, "-O",
				       "raw",	   disk->image, disk->raw, NULL};
	const char *const content[] = {lm_test_env("LM_DISK_CHECK"), disk->raw, NULL};
	g_autofree char *converted = NULL, *said = NULL;

	if (process_run(&converted, convert))
		fail_msg("%s", converted);
	if (disk->beyond)
		check_beyond(disk);
	if (process_run(&said, content))
		fail_msg("%s", said);
	return g_steal_pointer(&said);
}

void linux_disk_assert_whole(const LinuxDisk *disk)
{
	g_autofree char *said = check_content(disk);

	lm_test_note("%s", g_strchomp(said));
}

void linux_disk_assert_right(const LinuxDisk *disk, const char *serial_path)
{
	g_autofree char *sums = guest_sums(serial_path);
	const char *const check[] = {"qemu-img", "check", disk->image, NULL};
	g_autofree char *checked = NULL, *said = NULL;

	if (strcmp(disk->format, "raw") && process_run(&checked, check))
		fail_msg("%s", checked);
	said = check_content(disk);
	assert_contains(said, sums);
	lm_test_note("%s", g_strchomp(said));
}

const char *linux_missing(void)
{
	static const char *const needed[] = {"LM_VMLINUZ", "LM_INITRAMFS", "LM_DISK_CHECK"};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!g_getenv(needed[i]))
			return needed[i];
	return NULL;
}
