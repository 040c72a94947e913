/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that end up in other images: a Linux guest writes to its disk and checks it all the while,
 * and what it never touches is compared from outside at the end.
 */
#include "images.h"
#include "linux-guest.h"
#include "migrate.h"
#include "process.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define DISK_MIB 160
/* Of what is copied: slow enough for a test to come in between. */
#define SLOWLY ", 'throttle': 33554432"

typedef struct Layout {
	const char *name, *from; /* "raw", "qcow2", "over": qcow2 over qcow2 */
	const char *to;
	LinuxDiskHow how;
} Layout;

typedef struct Moving {
	LinuxDisk *disk;
	VmOptions options;
	const char *node; /* of its disk */
	char *to;
	const char *to_format;
	Vm *a, *b;
} Moving;

/* ------------------------------------------------------------------ images */

static LinuxDisk *make_disk(LmTest *test, const Layout *layout)
{
	const gboolean over = !strcmp(layout->from, "over");
	const char *format = over ? "qcow2" : layout->from;
	g_autofree char *image = lm_test_path(test, "old.img");
	g_autofree char *content = image_make_full(test, image, format, DISK_MIB, LINUX_DISK_MIB);
	LinuxDisk *disk;

	if (over) {
		g_autofree char *top = lm_test_path(test, "old-top.img");

		image_make_over(top, image, "qcow2");
		disk = linux_disk_of(test, top, format, layout->how);
	} else {
		disk = linux_disk_of(test, image, format, layout->how);
	}
	disk->beyond = g_steal_pointer(&content);
	return disk;
}

static void make_target(const Moving *moving)
{
	if (!strcmp(moving->to_format, "raw"))
		image_make(moving->to, "raw", DISK_MIB);
	else
		image_make_over(moving->to, moving->disk->image, moving->disk->format);
}

static void moving_free(gpointer opaque)
{
	Moving *moving = opaque;

	g_free(moving->to);
	g_free(moving);
}

/* A guest on @disk, and where that is to go. */
static Moving *moving_of(LmTest *test, LinuxDisk *disk, const Layout *layout)
{
	Moving *moving = g_new0(Moving, 1);

	lm_test_cleanup_later(test, moving_free, moving);
	moving->disk = disk;
	moving->options = linux_options(moving->disk, LINUX_APPEND);
	moving->node = "disk0";
	moving->to = lm_test_path(test, "new.img");
	moving->to_format = layout->to;
	make_target(moving);
	return moving;
}

static Moving *moving_new(LmTest *test, const Layout *layout)
{
	return moving_of(test, make_disk(test, layout), layout);
}

static void boot(LmTest *test, Moving *moving)
{
	moving->a = linux_boot(test, &moving->options);
}

/* A second disk, that the guest does not touch. */
static void plug_second(Moving *moving, const char *image)
{
	GPtrArray *args = moving->disk->args;

	g_ptr_array_remove_index(args, args->len - 1);
	g_ptr_array_add(args, g_strdup("-drive"));
	g_ptr_array_add(args, g_strdup_printf("if=none,id=second,file=%s,format=qcow2", image));
	g_ptr_array_add(args, g_strdup("-device"));
	g_ptr_array_add(args, g_strdup("virtio-blk-pci,drive=second"));
	g_ptr_array_add(args, NULL);
	moving->options = linux_options(moving->disk, LINUX_APPEND);
}

static char *disks_argument(const Moving *moving, const char *more)
{
	return g_strdup_printf(", 'disks': [{'node': '%s', 'file': '%s', 'format': '%s'%s}]",
			       moving->node, moving->to, moving->to_format, more);
}

/* --------------------------------------------------------------- the move */

typedef struct StateWait {
	Vm *vm;
	const char *state;
	char *is;
} StateWait;

/* All disks of them. */
static gboolean has_state(void *opaque)
{
	StateWait *wait = opaque;
	g_autoptr(JsonNode) info = migrate_query(wait->vm);
	JsonObject *object = json_node_get_object(info);
	JsonArray *disks = json_object_has_member(object, "disks")
				   ? json_object_get_array_member(object, "disks")
				   : NULL;

	vm_do(wait->vm, "query-named-block-nodes", NULL); /* as libvirt does at any time */
	g_free(wait->is);
	wait->is = json_to_string(info, FALSE);
	for (guint i = 0; disks && i < json_array_get_length(disks); i++)
		if (strcmp(qmp_str(json_array_get_element(disks, i), "state"), wait->state))
			return FALSE;
	return disks != NULL;
}

static void wait_state(Vm *vm, const char *state)
{
	StateWait wait = {vm, state, NULL};

	if (!lm_wait_until(has_state, &wait, 3 * LM_WAIT_MS))
		fail_msg("the disk is not %s: %s", state, wait.is);
	g_free(wait.is);
}

static JsonNode *first_disk(const JsonNode *info)
{
	JsonObject *object = json_node_get_object((JsonNode *)info);

	return json_array_get_element(json_object_get_array_member(object, "disks"), 0);
}

static gboolean has_ended(void *opaque)
{
	g_autoptr(JsonNode) info = migrate_query(opaque);

	return strcmp(qmp_str(first_disk(info), "state"), "copying") != 0;
}

static void quit(Vm *vm)
{
	vm_do(vm, "quit", NULL);
	assert_true(vm_wait_exit(vm, LM_WAIT_MS));
}

static void assert_alone(const Moving *moving)
{
	g_autofree char *said = image_info(moving->to);

	assert_null(strstr(said, "backing file"));
	assert_false(image_has_journal(moving->to));
}

/* Only the new image is open in @vm. */
static void assert_old_is_closed(Vm *vm, const Moving *moving)
{
	g_autoptr(JsonNode) nodes = vm_command(vm, "query-named-block-nodes", "{'flat': true}");
	g_autofree char *text = json_to_string(nodes, FALSE);

	assert_null(strstr(text, moving->disk->image));
	assert_contains(text, moving->to);
}

static void move(LmTest *test, Moving *moving, const char *more)
{
	g_autofree char *disks = disks_argument(moving, more);
	g_autoptr(JsonNode) info = NULL;

	moving->b = migrate_destination(test, &moving->options, moving->a);
	info = migrate_ok(moving->a, moving->b, disks);
	lm_test_note("stopped for %.1f ms",
		     json_object_get_double_member(json_node_get_object(info), "downtime"));
}

/* The guest has read back all that it wrote, and the new image has it. */
static void assert_right(Moving *moving, Vm *vm)
{
	linux_power_off(vm);
	g_free(moving->disk->image);
	moving->disk->image = g_strdup(moving->to);
	moving->disk->format = moving->to_format;
	linux_disk_assert_right(moving->disk, vm->serial_path);
}

/* From where it is now to a further image. */
static void moving_on(LmTest *test, Moving *moving)
{
	g_autofree char *name = g_strdup_printf("new-%u.img", test->next++);
	LinuxDisk *disk = linux_disk_of(test, moving->to, moving->to_format, (LinuxDiskHow){0});

	disk->beyond = g_strdup(moving->disk->beyond);
	moving->disk = disk;
	moving->options = linux_options(disk, LINUX_APPEND);
	g_free(moving->to);
	moving->to = lm_test_path(test, name);
	make_target(moving);
	moving->a = moving->b;
	moving->node = "moved0";
}

static const Layout layouts[] = {
	{"raw to qcow2", "raw", "qcow2", {.aio = NULL}},
	{"-drive raw to qcow2", "raw", "qcow2", {.drive = TRUE}},
	{"qcow2 to qcow2, iothread", "qcow2", "qcow2", {.aio = "io_uring", .iothread = TRUE}},
	{"chain to qcow2", "over", "qcow2", {.aio = NULL}},
	{"chain to raw", "over", "raw", {.aio = NULL}},
	{"-drive qcow2 to raw", "qcow2", "raw", {.drive = TRUE}},
};

static const Layout *layout_of(const char *name)
{
	for (guint i = 0; i < G_N_ELEMENTS(layouts); i++)
		if (!strcmp(layouts[i].name, name))
			return &layouts[i];
	g_assert_not_reached();
}

static void test_moves(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, layout_of(arg));

	boot(test, moving);
	move(test, moving, SLOWLY);
	quit(moving->a);
	wait_state(moving->b, "copying");
	assert_true(image_has_journal(moving->to));
	wait_state(moving->b, "completed");
	assert_alone(moving);
	assert_old_is_closed(moving->b, moving);
	assert_right(moving, moving->b);
}

/* Two disks by one move; the second one is not the guest's to write. */
static void test_two(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, layout_of("raw to qcow2"));
	g_autofree char *other = lm_test_path(test, "other.img"), *to = NULL, *disks = NULL;
	g_autoptr(JsonNode) info = NULL;

	image_make(other, "qcow2", 16);
	to = lm_test_path(test, "other-new.img");
	image_make(to, "raw", 16);
	plug_second(moving, other);
	disks = g_strdup_printf(", 'disks': [{'node': 'disk0', 'file': '%s'},"
				" {'node': 'second', 'file': '%s', 'format': 'raw'}]",
				moving->to, to);
	boot(test, moving);
	moving->b = migrate_destination(test, &moving->options, moving->a);
	info = migrate_ok(moving->a, moving->b, disks);
	wait_state(moving->b, "completed");
	assert_alone(moving);
	assert_false(image_has_journal(to));
	assert_old_is_closed(moving->b, moving);
	assert_right(moving, moving->b);
}

/* The source has no part in the copying: whenever it dies, the guest does not notice. */
static void test_source_is_killed(LmTest *test, const void *arg)
{
	const Layout *layout = layout_of(arg);
	Moving *moving = moving_new(test, layout);
	const guint kills = g_getenv("LM_LONG") ? 50 : 5;

	boot(test, moving);
	for (guint i = 0; i < kills; i++) {
		move(test, moving, SLOWLY);
		g_usleep(g_random_int_range(0, 2000000));
		vm_kill(moving->a, SIGKILL);
		wait_state(moving->b, "completed");
		assert_alone(moving);
		assert_old_is_closed(moving->b, moving);
		linux_assert_disk_goes_on(moving->b);
		if (i + 1 < kills)
			moving_on(test, moving);
	}
	assert_right(moving, moving->b);
}

/* A qcow2 image whose QEMU was killed may have clusters that belong to nothing. */
static void mend_leaks(const LinuxDisk *disk)
{
	const char *const argv[] = {"qemu-img", "check", "-q", "-r", "leaks", disk->image, NULL};

	if (strcmp(disk->format, "raw"))
		g_free(image_tool(argv));
}

/*
 * The destination dies while it copies, and the guest with it. What the guest had written is in
 * the new image and the old one beneath it; of a mirror, in the old one.
 */
static void test_destination_is_killed(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, layout_of(arg));
	const gboolean mirror = !strcmp(moving->to_format, "raw");
	LinuxDisk *disk;
	VmOptions options;
	Vm *again;

	boot(test, moving);
	move(test, moving, SLOWLY);
	quit(moving->a);
	wait_state(moving->b, "copying");
	g_usleep(g_random_int_range(0, 2000000));
	linux_assert_disk_goes_on(moving->b);
	vm_kill(moving->b, SIGKILL);
	assert_true(vm_wait_exit(moving->b, LM_WAIT_MS));
	assert_true(image_has_journal(moving->to));
	disk = linux_disk_of(test, mirror ? moving->disk->image : moving->to,
			     mirror ? moving->disk->format : moving->to_format, (LinuxDiskHow){0});
	disk->beyond = g_strdup(moving->disk->beyond);
	mend_leaks(disk);
	options = linux_options(disk, LINUX_APPEND);
	again = linux_boot(test, &options);
	linux_power_off(again);
	linux_disk_assert_right(disk, again->serial_path);
}

/* The guest's own write may be the one that finds no room: QEMU stops it, as it does with any
 * image. */
static void wait_guest(Vm *vm)
{
	g_autofree char *status = vm_status(vm);

	if (!strcmp(status, "io-error"))
		vm_do(vm, "cont", NULL);
	else
		assert_string_equal(status, "running");
}

/* Somebody fills the new file system while the disk is copied to it, and makes room again. */
static void test_full(LmTest *test, const void *arg)
{
	const char *place = image_small_place(test, "192M");
	Moving *moving;
	g_autofree char *filler = NULL, *fill = NULL;

	if (!place)
		return;
	moving = moving_new(test, layout_of(arg));
	g_free(moving->to);
	moving->to = g_build_filename(place, "new.img", NULL);
	make_target(moving);
	boot(test, moving);
	move(test, moving, SLOWLY);
	quit(moving->a);
	filler = g_build_filename(place, "filler", NULL);
	fill = g_strdup_printf("sh -c 'dd if=/dev/zero of=%s bs=1M 2>/dev/null'", filler);
	g_spawn_command_line_sync(fill, NULL, NULL, NULL, NULL);
	wait_state(moving->b, "paused");
	assert_true(image_has_journal(moving->to));
	assert_int_equal(unlink(filler), 0);
	wait_guest(moving->b);
	vm_do(moving->b, "block-job-resume", "{'device': 'moved0'}");
	wait_state(moving->b, "completed");
	assert_alone(moving);
	assert_right(moving, moving->b);
}

/* The old image cannot be read in one place: the guest, which does not read there, goes on. */
static void test_bad_sector(LmTest *test, const void *arg)
{
	Layout layout = {"bad sector", "raw", arg, {.drive = TRUE}};
	g_autofree char *image = lm_test_path(test, "old.img"), *name = NULL;
	LinuxDisk *disk;
	Moving *moving;
	char *content;

	content = image_make_full(test, image, "raw", DISK_MIB, LINUX_DISK_MIB);
	name = image_with_bad_sector(test, image, DISK_MIB / 2 + LINUX_DISK_MIB / 2);
	disk = linux_disk_of(test, name, "raw", layout.how);
	disk->beyond = content;
	g_free(disk->raw);
	disk->raw = lm_test_path(test, "as-raw");
	moving = moving_of(test, disk, &layout);
	boot(test, moving);
	move(test, moving, "");
	quit(moving->a);
	wait_state(moving->b, "paused");
	assert_true(image_has_journal(moving->to));
	linux_assert_disk_goes_on(moving->b);
	vm_do(moving->b, "block-job-resume", "{'device': 'moved0'}");
	wait_state(moving->b, "completed");
	assert_alone(moving);
	assert_old_is_closed(moving->b, moving);
	assert_right(moving, moving->b);
}

/*
 * A mirror that is cancelled when it is ready ends without an error, and the guest stays on the old
 * image; unless it had gone over to the new one in that very moment.
 */
static void test_cancelled_when_ready(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, layout_of(arg));
	g_autoptr(GError) error = NULL;
	G_GNUC_UNUSED g_autoptr(JsonNode) reply = NULL;
	g_autoptr(JsonNode) info = NULL;

	boot(test, moving);
	move(test, moving, SLOWLY);
	quit(moving->a);
	assert_non_null(qmp_wait_event(moving->b->qmp, "BLOCK_JOB_READY", NULL, NULL,
				       3 * LM_WAIT_MS, &error));
	reply = qmp_command(moving->b->qmp, NULL, "block-job-cancel", "{'device': %s}", "moved0");
	assert_true(lm_wait_until(has_ended, moving->b, 3 * LM_WAIT_MS));
	info = migrate_query(moving->b);
	if (!strcmp(qmp_str(first_disk(info), "state"), "completed")) {
		lm_test_note("it was completed before it was cancelled");
		assert_alone(moving);
		assert_right(moving, moving->b);
		return;
	}
	assert_contains(qmp_str(first_disk(info), "error-desc"), "its job was cancelled");
	assert_true(image_has_journal(moving->to));
	linux_power_off(moving->b);
	linux_disk_assert_right(moving->disk, moving->b->serial_path);
}

/* What the guest has while it waits for blocks that are not there yet, and what it had before. */
static void test_latency(LmTest *test, const void *arg)
{
	Moving *moving = moving_new(test, layout_of("raw to qcow2"));
	g_autoptr(GError) error = NULL;
	Beat before = {0}, meanwhile = {0};

	boot(test, moving);
	serial_wait_beats(moving->a->serial_path, 10, LM_WAIT_MS, &before, &error);
	must(error);
	move(test, moving, ", 'throttle': 4194304");
	serial_wait_beats(moving->b->serial_path, 30, LM_WAIT_MS, &meanwhile, &error);
	must(error);
	assert_int_equal(meanwhile.errors, 0);
	lm_test_note(
		"the longest read or write of 64 KiB in 100 ms, the median: %d us before, %d us "
		"while the disk is copied",
		(int)serial_disk_us(moving->a->serial_path, 0, before.beat),
		(int)serial_disk_us(moving->a->serial_path, before.beat, meanwhile.beat));
	vm_do(moving->b, "block-job-set-speed", "{'device': 'moved0', 'speed': 0}");
	wait_state(moving->b, "completed");
	quit(moving->a);
	assert_right(moving, moving->b);
}

static const LmCase cases[] = {
	LM_CASE_ARG(test_moves, "raw to qcow2"),
	LM_CASE_ARG(test_moves, "-drive raw to qcow2"),
	LM_CASE_ARG(test_moves, "qcow2 to qcow2, iothread"),
	LM_CASE_ARG(test_moves, "chain to qcow2"),
	LM_CASE_ARG(test_moves, "chain to raw"),
	LM_CASE_ARG(test_moves, "-drive qcow2 to raw"),
	LM_CASE(test_two),
	LM_CASE_ARG(test_full, "raw to qcow2"),
	LM_CASE_ARG(test_full, "chain to raw"),
	LM_CASE_ARG(test_bad_sector, "qcow2"),
	LM_CASE_ARG(test_bad_sector, "raw"),
	LM_CASE_ARG(test_cancelled_when_ready, "chain to raw"),
	LM_CASE(test_latency),
	LM_CASE_ARG(test_source_is_killed, "qcow2 to qcow2, iothread"),
	LM_CASE_ARG(test_destination_is_killed, "raw to qcow2"),
	LM_CASE_ARG(test_destination_is_killed, "chain to qcow2"),
	LM_CASE_ARG(test_destination_is_killed, "chain to raw"),
};

int main(int argc, char **argv)
{
	const char *missing = linux_missing();

	if (missing)
		return lm_test_skip("%s is not set", missing);
	return LM_TEST_MAIN(argc, argv, cases);
}
