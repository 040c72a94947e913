/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who else connects to a QEMU that waits: many, who say nothing or nonsense, one after the other,
 * at once, or while a source is at work. It answers its monitor, keeps no descriptor and hardly any
 * memory, and takes the VM from the source that comes in the end.
 */
#include "migrate.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MANY	    10000
#define CROWD	    2000
#define SPARE_BYTES (16u << 20)

static const VmOptions small = {.append = "rate=8 touch=48", .memory_mib = 128};

/* -1 with EAGAIN where as many wait as may. */
static int try_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	assert_int_equal(errno, EAGAIN);
	close(fd);
	return -1;
}

static int must_connect(const char *path)
{
	gint64 end_us = lm_end_us(LM_WAIT_MS);
	int fd;

	while ((fd = try_connect(path)) < 0) {
		assert_true(lm_left_ms(end_us) > 0);
		poll(NULL, 0, 1);
	}
	return fd;
}

typedef struct Held {
	pid_t pid;
	int fds;
} Held;

static gboolean holds_no_more(void *opaque)
{
	const Held *held = opaque;

	return process_count_fds(held->pid) <= held->fds;
}

static void assert_unspoilt(Vm *source, Vm *destination, int fds)
{
	Held held = {destination->pid, fds};
	g_autoptr(JsonNode) info = NULL;
	g_autofree char *uri = migrate_uri(destination);

	assert_true(lm_wait_until(holds_no_more, &held, LM_WAIT_MS));
	vm_assert_never_stopped(source);
	migrate_begin(source, uri, "");
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
}

/* Half of them say something that is no message. */
static void test_one_after_the_other(LmTest *test, const void *arg)
{
	static const char nonsense[] =
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nwhat is it that listens here?";
	Vm *source = migrate_source(test, &small);
	Vm *destination = migrate_destination(test, &small, source);
	g_autofree char *path = migrate_socket_path(destination);
	guint64 before, after;
	int fds;

	migrate_listen(destination);
	fds = process_count_fds(destination->pid);
	before = process_smaps_bytes(destination->pid, "Rss");
	for (guint i = 0; i < MANY; i++) {
		int fd = must_connect(path);

		if (i % 2)
			send(fd, nonsense, sizeof(nonsense), MSG_NOSIGNAL);
		close(fd);
		if (i % 1000 == 0)
			assert_true(vm_has_status(destination, "inmigrate"));
	}
	after = process_smaps_bytes(destination->pid, "Rss");
	lm_test_note("%d connections: %d KiB more in use", MANY,
		     (int)((gint64)(after - before) / 1024));
	assert_true(after < before + SPARE_BYTES);
	assert_unspoilt(source, destination, fds);
}

/* More cannot wait than the kernel was told to let wait; a source is told so, and runs on. */
static void test_all_at_once(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &small);
	Vm *destination = migrate_destination(test, &small, source);
	g_autofree char *path = migrate_socket_path(destination), *uri = migrate_uri(destination);
	g_autofree char *said = NULL;
	g_autoptr(GArray) held = g_array_new(FALSE, FALSE, sizeof(int));
	int fds;

	migrate_listen(destination);
	fds = process_count_fds(destination->pid);
	for (guint i = 0; i < CROWD; i++) {
		int fd = try_connect(path);

		if (fd >= 0)
			g_array_append_val(held, fd);
	}
	lm_test_note("%u of %d connections wait", held->len, CROWD);
	assert_true(held->len > 0 && held->len < 100);
	assert_true(vm_has_status(destination, "inmigrate"));
	assert_true(process_count_fds(destination->pid) <= fds + 8);
	said = migrate_refused(source, uri, ", 'deadline-ms': 500");
	lm_test_note("%s", said);
	for (guint i = 0; i < held->len; i++)
		close(g_array_index(held, int, i));
	assert_unspoilt(source, destination, fds);
}

/* It is never listened to, and learns so when the VM has arrived. */
static void test_while_a_source_is_at_work(LmTest *test, const void *arg)
{
	static const char nonsense[64] = "not now";
	Vm *source = migrate_source(test, &small);
	Vm *destination = migrate_destination(test, &small, source);
	g_autofree char *path = migrate_socket_path(destination), *uri = migrate_uri(destination);
	g_autoptr(JsonNode) info = NULL;
	char byte;
	int fd;

	migrate_listen(destination);
	migrate_begin(source, uri, ", 'ram': 'share', 'bandwidth': 30000000");
	migrate_wait_stage(source, "share", LM_WAIT_MS);
	fd = must_connect(path);
	assert_int_equal(send(fd, nonsense, sizeof(nonsense), MSG_NOSIGNAL), sizeof(nonsense));
	info = migrate_wait(source, LM_WAIT_MS);
	migrate_assert_completed(source, destination, info);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
}

int main(int argc, char **argv)
{
	static const LmCase cases[] = {
		LM_CASE(test_one_after_the_other),
		LM_CASE(test_all_at_once),
		LM_CASE(test_while_a_source_is_at_work),
	};

	return LM_TEST_MAIN(argc, argv, cases);
}
