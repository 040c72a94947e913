/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that cannot move, and moves that are taken back: each is said in a line, the guest was not
 * stopped or runs on, and beside the new image nothing is left.
 */
#include "images.h"
#include "migrate.h"
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MIB 16

typedef struct Fixture {
	LmTest *test;
	GPtrArray *args;
	VmOptions options;
	Vm *source, *destination;
	char *uri;
} Fixture;

static void add(Fixture *f, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void add(Fixture *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g_ptr_array_add(f->args, g_strdup_vprintf(format, args));
	va_end(args);
}

/* A disk called @name, on NAME.img. */
static void add_disk(Fixture *f, const char *name, const char *options)
{
	g_autofree char *file = g_strconcat(name, ".img", NULL);
	g_autofree char *path = lm_test_path(f->test, file);

	add(f, "-drive");
	add(f, "if=none,id=%s,file=%s%s", name, path, options);
	add(f, "-device");
	add(f, "virtio-blk-pci,drive=%s,id=the-%s", name, name);
}

static void fixture_free(gpointer opaque)
{
	Fixture *f = opaque;

	g_ptr_array_unref(f->args);
	g_free(f->uri);
	g_free(f);
}

static Fixture *fixture_new(LmTest *test)
{
	Fixture *f = g_new0(Fixture, 1);

	lm_test_cleanup_later(test, fixture_free, f);
	f->test = test;
	f->args = g_ptr_array_new_with_free_func(g_free);
	return f;
}

static void start(Fixture *f, const char *destination_fault)
{
	g_ptr_array_add(f->args, NULL);
	f->options = (VmOptions){.append = "rate=8",
				 .memory_mib = 128,
				 .backend = "memory-backend-memfd,share=on",
				 .extra = (const char *const *)f->args->pdata};
	migrate_pair(f->test, &f->options, NULL, destination_fault, &f->source, &f->destination);
	f->uri = migrate_uri(f->destination);
}

/* One disk, and a new image for it. */
static Fixture *plain(LmTest *test, const char *destination_fault, char **to)
{
	Fixture *f = fixture_new(test);
	g_autofree char *from = lm_test_path(test, "disk.img");

	image_make(from, "raw", MIB);
	*to = lm_test_path(test, "new.img");
	image_make_over(*to, from, "raw");
	add_disk(f, "disk", ",format=raw");
	start(f, destination_fault);
	return f;
}

static char *argument(const char *node, const char *to, const char *more)
{
	return g_strdup_printf(", 'disks': [{'node': '%s', 'file': '%s'%s}]", node, to, more);
}

static void check_refused(Fixture *f, const char *more, const char *part)
{
	g_autofree char *text = migrate_refused(f->source, f->uri, more);

	lm_test_note("%s", text);
	assert_contains(text, part);
	assert_null(strchr(text, '\n'));
}

static void refuse(Fixture *f, const char *node, const char *to, const char *more, const char *part)
{
	g_autofree char *disks = argument(node, to, more);

	check_refused(f, disks, part);
	assert_false(image_has_journal(to));
}

/* The destination has waited on, and takes the guest with its disk after all. */
static void assert_still_moves(Fixture *f, const char *node, const char *to)
{
	g_autofree char *disks = argument(node, to, "");
	g_autoptr(JsonNode) info = NULL;

	migrate_begin(f->source, f->uri, disks);
	info = migrate_wait(f->source, LM_WAIT_MS);
	migrate_assert_completed(f->source, f->destination, info);
}

/* ------------------------------------------------------------ the argument */

static void test_argument(LmTest *test, const void *arg)
{
	static const struct {
		const char *disks, *part;
	} bad[] = {
		{"'x'", "Invalid parameter type for 'disks', expected: array"},
		{"['x']", "Invalid parameter type for 'disks[0]', expected: object"},
		{"[{'file': '/f'}]", "Parameter 'disks[0].node' is missing"},
		{"[{'node': 'disk'}]", "Parameter 'disks[0].file' is missing"},
		{"[{'node': 3, 'file': '/f'}]",
		 "Invalid parameter type for 'disks[0].node', expected: string"},
		{"[{'node': 'disk', 'file': 'f'}]",
		 "Parameter 'disks[0].file' is 'f', expects an absolute path"},
		{"[{'node': 'disk', 'file': '/f', 'format': 'vmdk'}]",
		 "Parameter 'disks[0].format' does not accept value 'vmdk'"},
		{"[{'node': 'disk', 'file': '/f', 'throttle': 0}]",
		 "Parameter 'disks[0].throttle' is 0, expects 1 or more"},
		{"[{'node': 'disk', 'file': '/f', 'x': 1}]",
		 "Parameter 'disks[0].x' is unexpected"},
		{"[{'node': '', 'file': '/f'}]",
		 "Parameter 'disks[0].node' is empty, expects a disk's node, drive or device"},
		{"[{'node': 'the-second', 'file': '/f'}]",
		 "two disks have a node, drive or device that is called the-second: "
		 "/machine/peripheral/the-second/virtio-backend and "
		 "/machine/peripheral/the-the-second/virtio-backend"},
		{"[{'node': 'none', 'file': '/f'}]",
		 "no disk whose node, drive or device is called none"},
		{"[{'node': 'disk', 'file': '/f'}, {'node': 'the-disk', 'file': '/g'}]",
		 "is to move twice, to /f and to /g"},
		{"[{'node': 'disk', 'file': '/f'}, {'node': 'second', 'file': '/f'}]",
		 "two disks are to move to /f"},
	};
	Fixture *f = fixture_new(test);
	/* The third one's drive is called as the second one's device. */
	static const char *const names[] = {"disk", "second", "the-second"};

	for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *file = g_strconcat(names[i], ".img", NULL);
		g_autofree char *image = lm_test_path(test, file);

		image_make(image, "raw", MIB);
		add_disk(f, names[i], ",format=raw");
	}
	start(f, NULL);
	for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autofree char *more = g_strconcat(", 'disks': ", bad[i].disks, NULL);

		check_refused(f, more, bad[i].part);
	}
}

/* ---------------------------------------------------------------- the disk */

/* qemu-img times itself first, and gives up where the clock of CPU time is too coarse for it. */
static void make_secret_disk(LmTest *test, const char *path)
{
	const char *const argv[] = {"qemu-img",
				    "create",
				    "-q",
				    "--object",
				    "secret,id=s0,data=abc",
				    "-f",
				    "qcow2",
				    "-o",
				    "encrypt.format=luks,encrypt.key-secret=s0,"
				    "encrypt.iter-time=10",
				    path,
				    "16M",
				    NULL};

	for (guint tries = 0; process_run(NULL, argv); tries++)
		assert_true(tries < 50);
}

static void make_special_disks(LmTest *test)
{
	g_autofree char *ro = lm_test_path(test, "ro.img"), *snap = lm_test_path(test, "snap.img");
	g_autofree char *bitmap = lm_test_path(test, "bitmap.img");
	g_autofree char *secret = lm_test_path(test, "secret.img");
	const char *const snapshot[] = {"qemu-img", "snapshot", "-c", "one", snap, NULL};
	const char *const add_bitmap[] = {"qemu-img", "bitmap", "--add", "-f",
					  "qcow2",    bitmap,	"map",	 NULL};

	image_make(ro, "raw", MIB);
	image_make(snap, "qcow2", MIB);
	g_free(image_tool(snapshot));
	image_make(bitmap, "qcow2", MIB);
	g_free(image_tool(add_bitmap));
	make_secret_disk(test, secret);
}

static void test_disk(LmTest *test, const void *arg)
{
	Fixture *f = fixture_new(test);
	g_autofree char *to = lm_test_path(test, "new.img");

	make_special_disks(test);
	image_make(to, "raw", MIB);
	add(f, "-object");
	add(f, "secret,id=s0,data=abc");
	add_disk(f, "ro", ",format=raw,readonly=on");
	add_disk(f, "snap", ",format=qcow2");
	add_disk(f, "bitmap", ",format=qcow2");
	add_disk(f, "secret", ",format=qcow2,encrypt.key-secret=s0");
	add(f, "-device");
	add(f, "ide-cd,id=cd");
	start(f, NULL);
	refuse(f, "ro", to, ", 'format': 'raw'", "it is read-only");
	refuse(f, "snap", to, ", 'format': 'raw'", "has internal snapshots");
	refuse(f, "bitmap", to, ", 'format': 'raw'", "has dirty bitmaps");
	refuse(f, "secret", to, ", 'format': 'raw'", "is encrypted");
	refuse(f, "cd", to, ", 'format': 'raw'", "it has no medium");
}

/* ----------------------------------------------------------- the new image */

static void refuse_other_images(Fixture *f, const char *from, const char *to)
{
	g_autofree char *none = lm_test_path(f->test, "none.img"),
			*alone = lm_test_path(f->test, "alone.img");
	g_autofree char *large = lm_test_path(f->test, "large.img");
	g_autofree char *foreign = lm_test_path(f->test, "foreign.img");
	g_autofree char *link_to = lm_test_path(f->test, "link.img");

	refuse(f, "disk", none, "", "there is no such file; \"qemu-img create\" makes it");
	refuse(f, "disk", f->test->dir, "", "Is a directory");
	refuse(f, "disk", from, ", 'format': 'raw'", "that is where it is");
	assert_int_equal(link(from, link_to), 0);
	refuse(f, "disk", link_to, ", 'format': 'raw'", "that is where it is");
	image_make(alone, "qcow2", MIB);
	refuse(f, "disk", alone, "", "its header must name the disk's image");
	image_make_over(foreign, alone, "qcow2");
	refuse(f, "disk", foreign, "", "its header must name the disk's image");
	image_make(large, "raw", 2 * MIB);
	refuse(f, "disk", large, ", 'format': 'raw'",
	       "the disk has 16777216 bytes, that image 33554432");
	refuse(f, "disk", large, "", "Image is not in qcow2 format");
	refuse(f, "disk", to, ", 'format': 'raw'", "the disk has 16777216 bytes, that image");
}

static void refuse_locked(Fixture *f, const char *to)
{
	struct flock lock = {.l_type = F_RDLCK, .l_start = 100, .l_len = 1};
	int fd = open(to, O_RDWR | O_CLOEXEC);

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	refuse(f, "disk", to, "", "another process has that image open");
	close(fd);
}

static void refuse_old_journal(Fixture *f, const char *to)
{
	g_autofree char *journal = g_strconcat(to, ".moving", NULL), *disks = NULL;

	assert_true(g_file_set_contents(journal, "[move]\n", -1, NULL));
	disks = argument("disk", to, "");
	check_refused(f, disks, "is of a move that has not ended");
	assert_true(image_has_journal(to));
	assert_int_equal(unlink(journal), 0);
}

static void test_image(LmTest *test, const void *arg)
{
	g_autofree char *to = NULL, *from = lm_test_path(test, "disk.img");
	Fixture *f = plain(test, NULL, &to);

	refuse_other_images(f, from, to);
	refuse_locked(f, to);
	refuse_old_journal(f, to);
	assert_still_moves(f, "disk", to);
}

static void test_no_room(LmTest *test, const void *arg)
{
	Fixture *f = fixture_new(test);
	g_autofree char *from = lm_test_path(test, "disk.img"), *to = NULL;
	g_autofree char *bytes = g_malloc(MIB << 20);
	const char *place = image_small_place(test, "2M");

	if (!place)
		return;
	memset(bytes, 0x5a, MIB << 20);
	assert_true(g_file_set_contents(from, bytes, MIB << 20, NULL));
	to = g_build_filename(place, "new.img", NULL);
	image_make_over(to, from, "raw");
	add_disk(f, "disk", ",format=raw");
	start(f, NULL);
	refuse(f, "disk", to, "", "its images hold 16777216 bytes, there is room for");
}

/* -------------------------------------------------------- taken back again */

static void test_rehearsal(LmTest *test, const void *arg)
{
	g_autofree char *to = NULL, *disks = NULL;
	Fixture *f = plain(test, NULL, &to);
	g_autoptr(JsonNode) info = NULL;

	disks = argument("disk", to, ", 'format': 'qcow2'");
	{
		g_autofree char *more =
			g_strconcat(disks, ", 'ram': 'share', 'rehearse': true", NULL);

		migrate_begin(f->source, f->uri, more);
	}
	info = migrate_wait(f->source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "completed");
	assert_true(vm_wait_exit(f->destination, LM_WAIT_MS));
	vm_assert_intact(f->source);
	assert_false(image_has_journal(to));
	assert_true(image_is_empty(to, "qcow2"));
}

/* After the new image went on top of the old one, even: nothing is left of it. */
static void test_comes_back(LmTest *test, const void *arg)
{
	g_autofree char *to = NULL, *disks = NULL;
	Fixture *f = plain(test, arg, &to);
	const gboolean killed = g_str_has_suffix(arg, ":kill");
	g_autoptr(JsonNode) info = NULL;

	disks = argument("disk", to, "");
	migrate_begin(f->source, f->uri, disks);
	info = migrate_wait(f->source, 3 * LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "failed");
	migrate_assert_kept(f->source, info);
	if (migrate_fault_is_before("stop", arg))
		assert_true(vm_wait_exit(f->destination, LM_WAIT_MS));
	assert_true(image_is_empty(to, "qcow2"));
	assert_int_equal(image_has_journal(to), killed);
}

/* ------------------------------------------------------------ ended by others */

/* It may not have begun yet. */
static gboolean cancel_job(void *vm)
{
	g_autoptr(JsonNode) reply =
		qmp_command(((Vm *)vm)->qmp, NULL, "block-job-cancel", "{'device': %s}", "moved0");

	return reply != NULL;
}

static gboolean has_failed(void *vm)
{
	g_autoptr(JsonNode) info = migrate_query(vm);
	g_autofree char *text = json_to_string(info, FALSE);

	return strstr(text, "\"state\":\"failed\"") &&
	       strstr(text, "its job was ended from outside");
}

/* A job that pulls goes without a word when it is cancelled: that is not taken for its success. */
static void test_pull_is_cancelled(LmTest *test, const void *arg)
{
	g_autofree char *to = NULL, *disks = NULL;
	Fixture *f = plain(test, NULL, &to);
	g_autoptr(JsonNode) info = NULL;

	disks = argument("disk", to, ", 'throttle': 65536");
	migrate_begin(f->source, f->uri, disks);
	info = migrate_wait(f->source, LM_WAIT_MS);
	migrate_assert_completed(f->source, f->destination, info);
	assert_true(lm_wait_until(cancel_job, f->destination, LM_WAIT_MS));
	assert_true(lm_wait_until(has_failed, f->destination, LM_WAIT_MS));
	assert_true(image_has_journal(to));
	vm_assert_intact(f->destination);
}

static const LmCase cases[] = {
	LM_CASE(test_argument),
	LM_CASE(test_disk),
	LM_CASE(test_image),
	LM_CASE(test_no_room),
	LM_CASE(test_rehearsal),
	LM_CASE_ARG(test_comes_back, "stop:fail"),
	LM_CASE_ARG(test_comes_back, "load:fail"),
	LM_CASE_ARG(test_comes_back, "commit:fail"),
	LM_CASE_ARG(test_comes_back, "load:kill"),
	LM_CASE_ARG(test_comes_back, "commit:kill"),
	LM_CASE(test_pull_is_cancelled),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
