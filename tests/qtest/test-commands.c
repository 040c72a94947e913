/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong with a command, with the socket that it names, or with the moment: refused while
 * the guest runs, which runs on and never stopped.
 */
#include "migrate.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GUEST .append = "rate=8", .memory_mib = 64

static const VmOptions plain = {GUEST};

typedef struct BadCommand {
	const char *command, *arguments;
	const char *says[3];
} BadCommand;

static const BadCommand bad_commands[] = {
	{"localhost-migrate", NULL, {"uri"}},
	{"localhost-migrate", "{'uri': 5}", {"uri", "string"}},
	{"localhost-migrate", "{'uri': ''}", {"unix:"}},
	{"localhost-migrate", "{'uri': 'unix:'}", {"path"}},
	{"localhost-migrate", "{'uri': 'tcp:127.0.0.1:4444'}", {"tcp:127.0.0.1:4444"}},
	{"localhost-migrate", "{'uri': '/run/vm.sock'}", {"/run/vm.sock"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'channels': 0}", {"channels", "0", "16"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'channels': 17}", {"channels", "17", "16"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'channels': -1}", {"channels", "-1", "16"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'channels': 'two'}", {"channels"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'channels': 1.5}", {"channels"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'deadline-ms': 0}", {"deadline-ms", "0"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'deadline-ms': -5}", {"deadline-ms", "-5"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'deadline-ms': 9999999999999}", {"deadline-ms"}},
	{"localhost-migrate", "{'uri': 'unix:/n', 'chanels': 2}", {"chanels"}},
	{"localhost-migrate-incoming", "{'uri': 'unix:/n', 'channels': 2}", {"channels"}},
	{"localhost-migrate-incoming", NULL, {"uri"}},
	{"localhost-migrate-incoming", "{'uri': 'unix:/n'}", {"-incoming"}},
	{"query-localhost-migrate", "{'verbose': true}", {"verbose"}},
	{"localhost-migrate-cancel", "{'id': 1}", {"id"}},
};

static void test_bad_commands(LmTest *test, const void *arg)
{
	Vm *vm = migrate_source(test, &plain);

	for (guint i = 0; i < G_N_ELEMENTS(bad_commands); i++) {
		const BadCommand *bad = &bad_commands[i];
		g_autoptr(GError) error = NULL;
		g_autoptr(JsonNode) reply = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
		reply = qmp_command(vm->qmp, &error, bad->command, bad->arguments);
#pragma GCC diagnostic pop
		if (reply)
			fail_msg("%s %s was not refused", bad->command, bad->arguments);
		lm_test_note("%s", error->message);
		assert_int_equal(error->code, QMP_ERROR_GENERIC);
		for (guint j = 0; j < G_N_ELEMENTS(bad->says) && bad->says[j]; j++)
			assert_contains(error->message, bad->says[j]);
	}
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static void test_uri_too_long(LmTest *test, const void *arg)
{
	g_autofree char *path = g_strnfill(200, 'x');
	g_autofree char *uri = g_strdup_printf("unix:/%s", path);
	Vm *vm = migrate_source(test, &plain);
	g_autofree char *text = migrate_refused(vm, uri, "");

	assert_contains(text, "107");
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void close_later(LmTest *test, int fd)
{
	lm_test_cleanup_later(test, (GDestroyNotify)(void (*)(void))close, GINT_TO_POINTER(fd));
}

static char *uri_of(const char *path)
{
	return g_strconcat("unix:", path, NULL);
}

static void test_socket_of_another_user(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "s"), *uri = uri_of(path), *text = NULL;
	Vm *vm = migrate_source(test, &plain);

	close_later(test, listen_at(path));
	if (chown(path, 65534, 65534)) {
		lm_test_note("not tested: this user may not give files away");
		return;
	}
	text = migrate_refused(vm, uri, "");
	lm_test_note("%s", text);
	assert_contains(text, path);
	assert_contains(text, "65534");
}

static void test_no_socket(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "s"), *uri = uri_of(path), *text = NULL;
	Vm *vm = migrate_source(test, &plain);

	assert_true(g_file_set_contents(path, "no socket", -1, NULL));
	text = migrate_refused(vm, uri, "");
	lm_test_note("%s", text);
	assert_contains(text, path);
	assert_contains(text, "socket");
}

static void test_nothing_there(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "s"), *uri = uri_of(path), *text = NULL;
	Vm *vm = migrate_source(test, &plain);

	text = migrate_refused(vm, uri, "");
	lm_test_note("%s", text);
	assert_contains(text, path);
	assert_contains(text, "No such file");
}

static void test_nobody_listens(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "s"), *uri = uri_of(path), *text = NULL;
	Vm *vm = migrate_source(test, &plain);

	close(listen_at(path));
	text = migrate_refused(vm, uri, "");
	lm_test_note("%s", text);
	assert_contains(text, path);
	assert_contains(text, "refused");
}

/* The socket takes the connection, and nobody ever answers. */
static void test_nobody_answers(LmTest *test, const void *arg)
{
	g_autofree char *path = lm_test_path(test, "s"), *uri = uri_of(path), *text = NULL;
	Vm *vm = migrate_source(test, &plain);

	close_later(test, listen_at(path));
	text = migrate_refused(vm, uri, ", 'deadline-ms': 500");
	lm_test_note("%s", text);
	assert_contains(text, "500 ms");
}

/* A source whose destination holds at a stage: a migration that is under way for long. */
static Vm *start_held(LmTest *test, Vm *source, const char *fault)
{
	g_autofree char *args = g_strconcat("fault=", fault, NULL);
	g_autofree char *uri = NULL;
	VmOptions options = plain;
	Vm *destination;

	options.plugin_args = args;
	destination = migrate_destination(test, &options, source);
	uri = migrate_uri(destination);
	migrate_listen(destination);
	migrate_begin(source, uri, "");
	migrate_wait_stage(destination, "hello", LM_WAIT_MS);
	return destination;
}

static void cancel_and_check(Vm *source)
{
	g_autoptr(JsonNode) info = NULL;

	vm_do(source, "localhost-migrate-cancel", NULL);
	info = migrate_wait(source, LM_WAIT_MS);
	assert_string_equal(qmp_str(info, "status"), "cancelled");
	migrate_assert_kept(source, info);
	vm_assert_never_stopped(source);
}

static void test_second_while_under_way(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = NULL;

	start_held(test, source, "hello:hold");
	reply = qmp_command(source->qmp, &error, "localhost-migrate", "{'uri': 'unix:/n'}");
	assert_null(reply);
	lm_test_note("%s", error->message);
	assert_contains(error->message, "under way");
	cancel_and_check(source);
}

static void test_stock_migration_under_way(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	g_autofree char *text = NULL;

	vm_do(source, "migrate-set-parameters", "{'max-bandwidth': 1000}");
	vm_do(source, "migrate", "{'uri': 'exec:cat > /dev/null'}");
	text = migrate_refused(source, "unix:/n", "");
	lm_test_note("%s", text);
	assert_contains(text, "a migration of QEMU's own is under way");
	vm_do(source, "migrate_cancel", NULL);
	vm_assert_intact(source);
}

static void test_destination_is_busy(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain), *second = migrate_source(test, &plain);
	Vm *destination = start_held(test, source, "regions:hold");
	g_autofree char *uri = migrate_uri(destination);
	g_autofree char *text = migrate_refused(second, uri, ", 'deadline-ms': 1000");

	lm_test_note("%s", text);
	cancel_and_check(source);
}

static void test_bad_plugin_arguments(LmTest *test, const void *arg)
{
	static const char *const bad[][2] = {
		{"nonsense=1", "nonsense"},	   {"fault=hello", "fault"},
		{"fault=nowhere:kill", "nowhere"}, {"fault=hello:explode", "explode"},
		{"engine=steam", "steam"},	   {"io-uring=maybe", "maybe"},
		{"incoming=tcp:1", "tcp:1"},	   {"stand-in=10", "stand-in"},
		{"stand-in=10:10", "stand-in"},	   {"stand-in=10:11/x:12", "stand-in"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
		VmOptions options = plain;
		g_autofree char *said = NULL;
		Vm *vm;

		options.plugin_args = bad[i][0];
		options.incoming = TRUE;
		vm = vm_spawn(test, &options);
		if (!vm_wait_exit(vm, LM_WAIT_MS))
			fail_msg("%s was not refused", bad[i][0]);
		said = vm_stderr(vm);
		lm_test_note("%s", g_strchomp(said));
		assert_int_equal(vm_exit_status(vm), 1);
		assert_contains(said, bad[i][1]);
	}
}

static void test_cancel_of_nothing(LmTest *test, const void *arg)
{
	Vm *vm = migrate_source(test, &plain);
	g_autoptr(JsonNode) info = NULL;

	vm_do(vm, "localhost-migrate-cancel", NULL);
	info = migrate_query(vm);
	assert_string_equal(qmp_str(info, "status"), "none");
	vm_assert_never_stopped(vm);
	vm_assert_intact(vm);
}

static void test_incoming_stops_and_begins_again(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autofree char *path = migrate_socket_path(destination);
	g_autoptr(JsonNode) stopped = NULL, info = NULL;

	migrate_listen(destination);
	vm_do(destination, "localhost-migrate-cancel", NULL);
	stopped = migrate_wait(destination, LM_WAIT_MS);
	assert_string_equal(qmp_str(stopped, "status"), "cancelled");
	assert_int_not_equal(access(path, F_OK), 0);
	info = migrate_ok(source, destination, "");
}

static void test_quit_while_waiting(LmTest *test, const void *arg)
{
	Vm *source = migrate_source(test, &plain);
	Vm *destination = migrate_destination(test, &plain, source);
	g_autofree char *path = migrate_socket_path(destination);

	migrate_listen(destination);
	assert_int_equal(access(path, F_OK), 0);
	vm_do(destination, "quit", NULL);
	assert_true(vm_wait_exit(destination, LM_WAIT_MS));
	assert_int_equal(vm_exit_status(destination), 0);
	assert_int_not_equal(access(path, F_OK), 0);
}

static const LmCase cases[] = {
	LM_CASE(test_bad_commands),
	LM_CASE(test_uri_too_long),
	LM_CASE(test_socket_of_another_user),
	LM_CASE(test_no_socket),
	LM_CASE(test_nothing_there),
	LM_CASE(test_nobody_listens),
	LM_CASE(test_nobody_answers),
	LM_CASE(test_second_while_under_way),
	LM_CASE(test_stock_migration_under_way),
	LM_CASE(test_destination_is_busy),
	LM_CASE(test_bad_plugin_arguments),
	LM_CASE(test_cancel_of_nothing),
	LM_CASE(test_incoming_stops_and_begins_again),
	LM_CASE(test_quit_while_waiting),
};

int main(int argc, char **argv)
{
	return LM_TEST_MAIN(argc, argv, cases);
}
