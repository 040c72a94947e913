/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux guest (tests/guest/guest.md) that writes to a disk and to its network while the
 * process under it is replaced twice. Its disk is checked from outside afterwards.
 */
#include "migrate.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BOOT_MS 120000
#define APPEND                                                                                     \
	"console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr "        \
	"lm.mib=128 lm.disk=1 lm.disk_mib=32 lm.net=1"

/* Runs a tool; its exit status, and what it said in *said (the caller's). */
static int run_tool(char **said, const char *const *argv)
{
	g_autofree char *out = NULL, *err = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err,
		     &status, &error);
	must(error);
	if (said)
		*said = g_strconcat(out, err, NULL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

typedef struct Disk {
	char *image, *raw;
	GPtrArray *args; /* for VmOptions.extra */
} Disk;

static void disk_add(Disk *disk, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void disk_add(Disk *disk, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_ptr_array_add(disk->args, g_strdup_vprintf(format, args));
	va_end(args);
}

static void disk_free(gpointer opaque)
{
	Disk *disk = opaque;

	g_ptr_array_free(disk->args, TRUE);
	g_free(disk->image);
	g_free(disk->raw);
	g_free(disk);
}

/* A new qcow2 image, and the arguments of a machine with it and a network card. */
static Disk *disk_new(LmTest *test, gboolean iothread)
{
	Disk *disk = g_new0(Disk, 1);
	g_autofree char *said = NULL;

	lm_test_cleanup_later(test, disk_free, disk);
	disk->args = g_ptr_array_new_with_free_func(g_free);
	disk->image = lm_test_path(test, "disk.qcow2");
	disk->raw = lm_test_path(test, "disk.raw");
	const char *const create[] = {"qemu-img",  "create", "-f", "qcow2",
				      disk->image, "64M",    NULL};

	assert_int_equal(run_tool(&said, create), 0);
	if (iothread) {
		disk_add(disk, "-object");
		disk_add(disk, "iothread,id=io0");
	}
	disk_add(disk, "-blockdev");
	disk_add(disk, "driver=file,filename=%s,node-name=file0", disk->image);
	disk_add(disk, "-blockdev");
	disk_add(disk, "driver=qcow2,file=file0,node-name=disk0");
	disk_add(disk, "-device");
	disk_add(disk, "virtio-blk-pci,drive=disk0%s", iothread ? ",iothread=io0" : "");
	disk_add(disk, "-netdev");
	disk_add(disk, "user,id=net0,guestfwd=tcp:10.0.2.100:7-cmd:cat");
	disk_add(disk, "-device");
	disk_add(disk, "virtio-net-pci,netdev=net0,romfile=");
	g_ptr_array_add(disk->args, NULL);
	return disk;
}

/* Whether another process may open the image, as qemu-img without -U sees it. */
static gboolean is_locked(const Disk *disk)
{
	const char *const info[] = {"qemu-img", "info", disk->image, NULL};
	g_autofree char *said = NULL;
	int status = run_tool(&said, info);

	if (status)
		assert_contains(said, "lock");
	return status != 0;
}

static int console_connect(Vm *vm)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, vm->serial_socket, sizeof(address.sun_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Some more work, and then the guest ends in order: it reads its disk back before. */
static void power_off(Vm *vm)
{
	g_autoptr(GError) error = NULL;
	int fd;

	serial_wait_beats(vm->serial_path, 20, BOOT_MS, NULL, &error);
	must(error);
	/* QEMU forgets what it did not deliver yet when the connection ends. */
	fd = console_connect(vm);
	assert_int_equal(write(fd, "poweroff\n", 9), 9);
	if (!vm_wait_exit(vm, BOOT_MS))
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

/* No block is bad, and no write that the guest knows of is missing. */
static void assert_disk_is_right(const Disk *disk, const char *serial_path)
{
	g_autofree char *sums = guest_sums(serial_path);
	const char *const convert[] = {"qemu-img",  "convert", "-O", "raw",
				       disk->image, disk->raw, NULL};
	const char *const check[] = {"qemu-img", "check", disk->image, NULL};
	const char *const content[] = {lm_test_env("LM_DISK_CHECK"), disk->raw, NULL};
	g_autofree char *converted = NULL, *checked = NULL, *said = NULL;

	if (run_tool(&checked, check))
		fail_msg("%s", checked);
	if (run_tool(&converted, convert))
		fail_msg("%s", converted);
	if (run_tool(&said, content))
		fail_msg("%s", said);
	assert_contains(said, sums);
	lm_test_note("%s", g_strchomp(said));
}

static void twice(LmTest *test, const Disk *disk, const VmOptions *options)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) first = NULL, second = NULL;
	Vm *a = vm_start(test, options), *b, *c;

	serial_wait_beats(a->serial_path, 5, BOOT_MS, NULL, &error);
	must(error);
	assert_true(is_locked(disk));
	b = migrate_destination(test, options, a);
	first = migrate_ok(a, b, "");
	assert_true(is_locked(disk));
	vm_do(a, "quit", NULL);
	assert_true(vm_wait_exit(a, LM_WAIT_MS));
	c = migrate_destination(test, options, b);
	second = migrate_ok(b, c, "");
	power_off(c);
	/* b is still there, and holds no lock on the image. */
	assert_true(vm_alive(b));
	assert_false(is_locked(disk));
	assert_disk_is_right(disk, c->serial_path);
}

static void test_twice(LmTest *test, const void *arg)
{
	Disk *disk = disk_new(test, !g_strcmp0(arg, "iothread"));
	VmOptions options = {
		.kernel = lm_test_env("LM_VMLINUZ"),
		.initrd = lm_test_env("LM_INITRAMFS"),
		.append = APPEND,
		.memory_mib = 512,
		.serial_socket = TRUE,
		.extra = (const char *const *)disk->args->pdata,
	};

	if (!g_strcmp0(arg, "shared memory"))
		options.backend = "memory-backend-memfd,share=on";
	twice(test, disk, &options);
}

/* A destination that fails takes its hands off the disk, and the source goes on with it. */
static void test_comes_back(LmTest *test, const void *arg)
{
	Disk *disk = disk_new(test, FALSE);
	const VmOptions options = {
		.kernel = lm_test_env("LM_VMLINUZ"),
		.initrd = lm_test_env("LM_INITRAMFS"),
		.append = APPEND,
		.memory_mib = 512,
		.serial_socket = TRUE,
		.extra = (const char *const *)disk->args->pdata,
	};
	g_autofree char *args = g_strconcat("fault=", (const char *)arg, NULL);
	VmOptions faulty = options;
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) info = NULL;
	Vm *source = vm_start(test, &options), *destination;

	serial_wait_beats(source->serial_path, 5, BOOT_MS, NULL, &error);
	must(error);
	faulty.plugin_args = args;
	destination = migrate_destination(test, &faulty, source);
	info = migrate_run(source, destination, "");
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	assert_true(is_locked(disk));
	power_off(source);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	assert_disk_is_right(disk, source->serial_path);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_twice, "disk and network"), LM_CASE_ARG(test_twice, "iothread"),
	LM_CASE_ARG(test_twice, "shared memory"),    LM_CASE_ARG(test_comes_back, "load:fail"),
	LM_CASE_ARG(test_comes_back, "commit:fail"),
};

int main(int argc, char **argv)
{
	static const char *const needed[] = {"LM_VMLINUZ", "LM_INITRAMFS", "LM_DISK_CHECK"};

	for (guint i = 0; i < G_N_ELEMENTS(needed); i++)
		if (!g_getenv(needed[i]))
			return lm_test_skip("%s is not set", needed[i]);
	return LM_TEST_MAIN(argc, argv, cases);
}
