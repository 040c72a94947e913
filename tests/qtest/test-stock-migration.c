/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's own migration: refused from when the VM is stopped for a handover until it is clear where
 * the guest is, and in a source that the guest has left; possible again in one that has kept it.
 */
#include "migrate.h"
#include "versions.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 128};

#define NOWHERE "exec:cat >/dev/null"

static void assert_refused(Vm *vm, const char *part)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = qmp_command(vm->qmp, &error, "migrate", "{'uri': %s}", NOWHERE);

	assert_null(reply);
	assert_non_null(error);
	lm_test_note("%s", error->message);
	assert_contains(error->message, part);
}

static gboolean stock_is_completed(void *opaque)
{
	g_autoptr(JsonNode) info = vm_command(opaque, "query-migrate", NULL);
	const char *status = qmp_str(info, "status");

	assert_string_not_equal(status, "failed");
	return !strcmp(status, "completed");
}

/* To nowhere, and the guest goes on here. */
static void assert_possible(Vm *vm)
{
	vm_do(vm, "migrate", "{'uri': %s}", NOWHERE);
	assert_true(lm_wait_until(stock_is_completed, vm, LM_WAIT_MS));
	assert_true(vm_wait_status(vm, "postmigrate", LM_WAIT_MS));
	vm_do(vm, "cont", NULL);
	vm_assert_intact(vm);
}

/* Held there, the VM is stopped and its memory is about to move. */
static void begin_and_hold(Vm *source, Vm *destination, const char *more)
{
	g_autofree char *uri = migrate_uri(destination);

	migrate_begin(source, uri, more);
	assert_true(vm_wait_status(source, "finish-migrate", LM_WAIT_MS));
}

static void test_while_stopped(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL, theirs = NULL;

	if (arg && !version_is_here(arg))
		skip();
	options.root = version_root(arg);
	migrate_pair(test, &options, "flip:hold", NULL, &source, &destination);
	begin_and_hold(source, destination, ", 'deadline-ms': 300"); /* holds for three seconds */
	assert_refused(source, "hands the VM over to another process");
	theirs = vm_command(source, "query-migrate", NULL);
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
	assert_refused(source, "");
	migrate_assert_never_again(source);
}

/* Whatever ends a handover with the guest in the source. */
static void test_possible_again(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;
	g_autofree char *uri = NULL;

	migrate_pair(test, &plain, NULL, arg, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, ", 'deadline-ms': 3000");
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(source, info);
	assert_possible(source);
}

static void test_possible_after_cancel(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, "flip:hold", NULL, &source, &destination);
	begin_and_hold(source, destination, "");
	assert_refused(source, "hands the VM over to another process");
	vm_do(source, "localhost-migrate-cancel", NULL);
	info = migrate_wait(source, 2 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "cancelled");
	migrate_assert_kept(source, info);
	assert_possible(source);
}

static void test_possible_after_rehearsal(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autoptr(JsonNode) info =
		migrate_run(source, destination, ", 'ram': 'share', 'rehearse': true");

	assert_string_equal(qmp_str(info, "status"), "completed");
	migrate_assert_kept(source, info);
	assert_possible(source);
}

#define IMAGE_BYTES (16 << 20)
#define PAGES	    (IMAGE_BYTES / 4096)

static guint cached_pages(const char *path)
{
	g_autofree unsigned char *there = g_malloc0(PAGES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *map = mmap(NULL, IMAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	guint count = 0;

	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, IMAGE_BYTES, there), 0);
	for (guint i = 0; i < PAGES; i++)
		count += there[i] & 1;
	munmap(map, IMAGE_BYTES);
	close(fd);
	return count;
}

/* A raw image, all of it in the page cache and none of it dirty. FALSE: it is always there. */
static gboolean make_cached_image(const char *path)
{
	g_autofree char *content = g_malloc(IMAGE_BYTES);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	gboolean drops;

	memset(content, 0x5a, IMAGE_BYTES);
	assert_int_equal(write(fd, content, IMAGE_BYTES), IMAGE_BYTES);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	drops = cached_pages(path) < PAGES / 2;
	assert_int_equal(pread(fd, content, IMAGE_BYTES, 0), IMAGE_BYTES);
	close(fd);
	return drops;
}

/*
 * A destination that has turned a source of ours away, and gets its guest by QEMU's own migration,
 * perhaps from another host: it must not take what this host has cached of the image for the disk.
 */
static void test_cache_is_dropped(LmTest *test, const void *arg)
{
	g_autofree char *image = lm_test_path(test, "disk.img");
	g_autofree char *drive = g_strconcat("if=virtio,format=raw,file=", image, NULL);
	const char *const extra[] = {"-drive", drive, NULL};
	g_autofree char *path = lm_test_path(test, "stock"), *to = g_strconcat("unix:", path, NULL);
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	VmOptions options = plain;
	Vm *source, *destination;

	if (!make_cached_image(image))
		skip();
	options.extra = extra;
	migrate_pair(test, &options, "stop:fail", NULL, &source, &destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_true(vm_has_status(destination, "inmigrate"));
	assert_true(cached_pages(image) > PAGES / 2);

	vm_do(destination, "migrate-incoming", "{'uri': %s}", to);
	vm_do(source, "migrate", "{'uri': %s}", to);
	assert_true(lm_wait_until(stock_is_completed, source, LM_WAIT_MS));
	assert_true(vm_wait_status(destination, "running", LM_WAIT_MS));
	vm_assert_intact(destination);
	lm_test_note("%u of %u pages are cached", cached_pages(image), PAGES);
	assert_true(cached_pages(image) < PAGES / 2);
}

static const LmCase cases[] = {
	LM_CASE(test_while_stopped),
	LM_CASE_ARG(test_while_stopped, VERSION_10_0),
	LM_CASE_ARG(test_while_stopped, VERSION_11_1),
	LM_CASE_ARG(test_possible_again, "flip:fail"),
	LM_CASE_ARG(test_possible_again, "load:fail"),
	LM_CASE(test_possible_after_cancel),
	LM_CASE(test_possible_after_rehearsal),
	LM_CASE(test_cache_is_dropped),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
