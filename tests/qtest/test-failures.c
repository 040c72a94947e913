/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One side fails at each stage, or the peer is no peer: the guest stays in the source, intact.
 * What is killed is in test-kills.c, what is cancelled in test-cancel.c.
 */
#include "images.h"
#include "migrate.h"
#include "versions.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const VmOptions plain = {.append = "rate=8", .memory_mib = 128};
static const VmOptions shared = {
	.append = "rate=8", .memory_mib = 128, .backend = "memory-backend-memfd,share=on"};

#define SHORT ", 'deadline-ms': 3000"

static JsonNode *begin_and_wait(Vm *source, Vm *destination)
{
	g_autofree char *uri = migrate_uri(destination);

	migrate_begin(source, uri, SHORT);
	return migrate_wait(source, 3 * LM_WAIT_MS);
}

static void assert_failed(JsonNode *info, const char *fault)
{
	g_auto(GStrv) parts = g_strsplit(fault, ":", 2);
	g_autofree char *text = g_strdup_printf("fault injected at %s", parts[0]);

	lm_test_note("%s", qmp_str(info, "error-desc"));
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_contains(qmp_str(info, "error-desc"), text);
}

/* A destination whose memory or devices were written must not be used again. */
static void assert_spoilt_or_waiting(Vm *destination, gboolean spoilt)
{
	if (spoilt) {
		assert_true(vm_wait_exit(destination, LM_WAIT_MS));
		assert_int_equal(vm_exit_status(destination), 1);
	} else {
		assert_true(vm_alive(destination));
		assert_true(vm_has_status(destination, "inmigrate"));
	}
}

static void destination_fails(LmTest *test, const VmOptions *options, const char *fault)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, options, NULL, fault, &source, &destination);
	info = begin_and_wait(source, destination);
	assert_failed(info, fault);
	migrate_assert_kept(source, info);
	if (migrate_fault_is_before(fault, "stop"))
		vm_assert_never_stopped(source);
	if (!migrate_fault_is_before(fault, "devices")) {
		assert_spoilt_or_waiting(destination, TRUE);
		assert_int_equal(qmp_int(info, "returned"), qmp_int(info, "flipped"));
	}
}

static void test_destination_fails(LmTest *test, const void *arg)
{
	destination_fails(test, &plain, arg);
}

static void test_shared_destination_fails(LmTest *test, const void *arg)
{
	destination_fails(test, &shared, arg);
}

static void test_source_fails(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	info = begin_and_wait(source, destination);
	assert_failed(info, arg);
	migrate_assert_kept(source, info);
	if (migrate_fault_is_before(arg, "stop"))
		vm_assert_never_stopped(source);
	if (!migrate_fault_is_before(arg, "devices"))
		assert_spoilt_or_waiting(destination, TRUE);
}

/* From load on the destination may take the VM first: then a failure here changes nothing. */
static void test_source_fails_late(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, arg, NULL, &source, &destination);
	info = begin_and_wait(source, destination);
	lm_test_note("%s", qmp_str(info, "status"));
	if (!strcmp(qmp_str(info, "status"), "completed")) {
		migrate_assert_completed(source, destination, info);
		return;
	}
	assert_failed(info, arg);
	migrate_assert_kept(source, info);
	assert_spoilt_or_waiting(destination, TRUE);
}

/* After a failure the source is as good as new: the next migration works. */
static void test_again_after_failure(LmTest *test, const void *arg)
{
	Vm *source, *destination, *next;
	g_autoptr(JsonNode) info = NULL, again = NULL;

	migrate_pair(test, &plain, NULL, "load:fail", &source, &destination);
	info = begin_and_wait(source, destination);
	migrate_assert_kept(source, info);
	next = migrate_destination(test, &plain, source);
	again = migrate_ok(source, next, "");
}

static void test_paused_stays_paused(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, "load:fail", &source, &destination);
	vm_do(source, "stop", NULL);
	info = begin_and_wait(source, destination);
	assert_string_equal(qmp_str(info, "owner"), "source");
	assert_true(vm_wait_status(source, "paused", LM_WAIT_MS));
	vm_do(source, "cont", NULL);
	vm_assert_intact(source);
}

static void test_failure_is_told(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;
	const GPtrArray *events;
	const char *last = NULL;

	migrate_pair(test, &plain, NULL, "load:fail", &source, &destination);
	info = begin_and_wait(source, destination);
	migrate_assert_kept(source, info);
	qmp_poll(source->qmp);
	events = qmp_events(source->qmp);
	for (guint i = 0; i < events->len; i++) {
		const QmpEvent *event = events->pdata[i];

		if (!strcmp(event->name, "MIGRATION"))
			last = qmp_str(event->data, "status");
	}
	assert_string_equal(last, "failed");
	assert_int_equal(qmp_count_events(source->qmp, "STOP"), 1);
	assert_int_equal(qmp_count_events(source->qmp, "RESUME"), 1);
}

static int connect_to(Vm *destination)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	g_autofree char *path = migrate_socket_path(destination);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

typedef struct Junk {
	const char *name;
	const char *bytes;
	size_t length;
} Junk;

#define JUNK(name, bytes)                                                                          \
	{                                                                                          \
		name, bytes, sizeof(bytes) - 1                                                     \
	}
static const Junk junks[] = {
	JUNK("nothing", ""),
	JUNK("words", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	JUNK("half a header", "QLMG\x01"),
	JUNK("endless message", "QLMG\x01\x00\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00"),
	JUNK("many descriptors", "QLMG\x01\x00\x01\x00\x00\x00\x00\x00\xff\xff\x00\x00"),
	JUNK("unknown message", "QLMG\x01\x00\x63\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
	JUNK("not a hello", "QLMG\x01\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
	JUNK("empty hello", "QLMG\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
};

/* A destination that met junk waits on, and takes a real guest after it. */
static void test_junk(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autoptr(JsonNode) info = NULL;

	migrate_pair(test, &plain, NULL, NULL, &source, &destination);
	for (guint i = 0; i < G_N_ELEMENTS(junks); i++) {
		int fd = connect_to(destination);

		lm_test_note("%s", junks[i].name);
		assert_int_equal(send(fd, junks[i].bytes, junks[i].length, MSG_NOSIGNAL),
				 junks[i].length);
		close(fd);
		assert_true(vm_has_status(destination, "inmigrate"));
	}
	info = begin_and_wait(source, destination);
	migrate_assert_completed(source, destination, info);
}

static void test_silent_connection(LmTest *test, const void *arg)
{
	Vm *source, *destination;
	g_autofree char *uri = NULL;
	g_autoptr(JsonNode) info = NULL;
	int fd;

	migrate_pair(test, &plain, NULL, NULL, &source, &destination);
	fd = connect_to(destination);
	uri = migrate_uri(destination);
	migrate_begin(source, uri, ", 'deadline-ms': 30000");
	info = migrate_wait(source, 3 * LM_WAIT_MS);
	close(fd);
	migrate_assert_completed(source, destination, info);
}

/* A stand-in whose place nothing can take: the guest is stopped then, and goes on where it was. */
static void test_stand_in_fails(LmTest *test, const void *arg)
{
	VmOptions options = plain;
	Vm *source = migrate_source(test, &plain), *destination;
	g_autoptr(JsonNode) info = NULL;

	options.plugin_args = "stand-in=500:501";
	destination = migrate_destination(test, &options, source);
	migrate_listen(destination);
	info = begin_and_wait(source, destination);
	assert_string_equal(qmp_str(info, "status"), "failed");
	assert_contains(qmp_str(info, "error-desc"), "descriptor 501 for its stand-in 500");
	migrate_assert_kept(source, info);
	assert_spoilt_or_waiting(destination, TRUE);
}

static void add_disk(GPtrArray *args, guint i, const char *image, const char *auto_read_only)
{
	g_ptr_array_add(args, g_strdup("-blockdev"));
	g_ptr_array_add(args, g_strdup_printf("driver=file,filename=%s,node-name=file%u,"
					      "auto-read-only=%s",
					      image, i, auto_read_only));
	g_ptr_array_add(args, g_strdup("-blockdev"));
	g_ptr_array_add(args, g_strdup_printf("driver=qcow2,file=file%u,node-name=disk%u", i, i));
	g_ptr_array_add(args, g_strdup("-device"));
	g_ptr_array_add(args, g_strdup_printf("virtio-blk-pci,share-rw=on,drive=disk%u", i));
}

/* Two disks; of the second one the name @second. */
static GPtrArray *two_disks(LmTest *test, const char *second, const char *auto_read_only)
{
	g_autofree char *first = lm_test_path(test, "first.img");
	GPtrArray *args = g_ptr_array_new_with_free_func(g_free);

	add_disk(args, 0, first, auto_read_only);
	add_disk(args, 1, second, auto_read_only);
	g_ptr_array_add(args, NULL);
	return args;
}

static void make_two_images(LmTest *test, char **second)
{
	g_autofree char *first = lm_test_path(test, "first.img");

	*second = lm_test_path(test, "second.img");
	image_make(first, "qcow2", 16);
	image_make(*second, "qcow2", 16);
}

/* QEMU says it on stderr; each disk has its own number of bytes, to tell them apart. */
static void assert_writes(Vm *vm, const char *node, guint bytes)
{
	g_autofree char *line = g_strdup_printf("qemu-io %s \"write -P 7 0 %u\"", node, bytes);
	g_autofree char *wrote = g_strdup_printf("wrote %u/%u bytes", bytes, bytes);
	g_autoptr(GError) error = NULL;
	G_GNUC_UNUSED g_autofree char *said = qmp_hmp(vm->qmp, line, &error);
	g_autofree char *told = NULL;

	must(error);
	told = vm_stderr(vm);
	assert_contains(told, wrote);
}

/* The destination has its first disk, and cannot have its second one: the source takes both back.
 */
static void second_disk_fails(LmTest *test, VmOptions options, const char *version)
{
	g_autofree char *image = NULL;
	g_autoptr(GPtrArray) mine = NULL, theirs = NULL;
	g_autoptr(JsonNode) info = NULL;
	const char *read_only;
	Vm *source, *destination;

	make_two_images(test, &image);
	read_only = image_read_only(test, image);
	if (!read_only || (version && !version_is_here(version)))
		skip();
	mine = two_disks(test, image, "off");
	theirs = two_disks(test, read_only, "on");
	options.root = version_root(version);
	options.extra = (const char *const *)mine->pdata;
	source = migrate_source(test, &options);
	options.extra = (const char *const *)theirs->pdata;
	destination = migrate_destination(test, &options, source);
	migrate_listen(destination);
	info = begin_and_wait(source, destination);
	assert_string_equal(qmp_str(info, "status"), "failed");
	lm_test_note("%s", qmp_str(info, "error-desc"));
	assert_contains(qmp_str(info, "error-desc"), "taking over the disks");
	migrate_assert_kept(source, info);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	if (version) /* it gave the first one back itself */
		assert_int_equal(vm_exit_status(destination), 1);
	assert_writes(source, "disk0", 65536);
	assert_writes(source, "disk1", 32768);
}

static void test_second_disk(LmTest *test, const void *arg)
{
	second_disk_fails(test, plain, arg);
}

static void test_shared_second_disk(LmTest *test, const void *arg)
{
	second_disk_fails(test, shared, arg);
}

static const LmCase cases[] = {
	LM_CASES_EACH_STAGE(test_destination_fails, "fail"),
	LM_CASE_ARG(test_shared_destination_fails, "regions:fail"),
	LM_CASE_ARG(test_shared_destination_fails, "load:fail"),
	LM_CASE_ARG(test_shared_destination_fails, "commit:fail"),
	LM_CASE_ARG(test_source_fails, "hello:fail"),
	LM_CASE_ARG(test_source_fails, "regions:fail"),
	LM_CASE_ARG(test_source_fails, "stop:fail"),
	LM_CASE_ARG(test_source_fails, "flip:fail"),
	LM_CASE_ARG(test_source_fails, "devices:fail"),
	LM_CASE_ARG(test_source_fails_late, "load:fail"),
	LM_CASE_ARG(test_source_fails_late, "commit:fail"),
	LM_CASE(test_stand_in_fails),
	LM_CASE(test_second_disk),
	LM_CASE_ARG(test_second_disk, VERSION_10_0),
	LM_CASE_ARG(test_second_disk, VERSION_11_1),
	LM_CASE(test_shared_second_disk),
	LM_CASE(test_again_after_failure),
	LM_CASE(test_paused_stays_paused),
	LM_CASE(test_failure_is_told),
	LM_CASE(test_junk),
	LM_CASE(test_silent_connection),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
