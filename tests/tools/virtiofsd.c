/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtiofsd.h"
#include "process.h"
#include "versions.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void virtiofsd_free(gpointer opaque)
{
	Virtiofsd *server = opaque;

	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	g_free(server->socket);
	g_free(server->folder);
	g_free(server->log);
	g_free(server);
}

static gboolean is_socket(void *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

char *virtiofsd_find(LmTest *test)
{
	const char *root = version_root(VERSION_10_0);
	g_autofree char *there = g_strconcat(root ? root : "", "/usr/libexec/virtiofsd", NULL);
	char *program = lm_test_path(test, "virtiofsd");
	g_autofree char *command = g_strdup_printf(
		"cp -n '%s' '%s' && patchelf --set-interpreter %s/usr/lib64/ld-linux-x86-64.so.2 "
		"--force-rpath --set-rpath %s/usr/lib/x86_64-linux-gnu '%s'",
		there, program, root, root, program);
	const char *const argv[] = {"sh", "-c", command, NULL};
	g_autofree char *said = NULL;

	if (g_file_test(program, G_FILE_TEST_EXISTS))
		return program;
	if (!root || access(there, X_OK)) {
		lm_test_note("not tested: there is no virtiofsd");
		g_clear_pointer(&program, g_free);
	} else if (process_run(&said, argv)) {
		fail_msg("%s", said);
	}
	return program;
}

Virtiofsd *virtiofsd_start(LmTest *test, const char *program, const char *name)
{
	Virtiofsd *server = g_new0(Virtiofsd, 1);
	g_autofree char *command = NULL, *folder = lm_test_path(test, name);
	const char *argv[] = {"sh", "-c", NULL, NULL};
	g_autoptr(GError) error = NULL;
	GPid pid = 0;

	server->folder = g_steal_pointer(&folder);
	server->socket = g_strconcat(server->folder, ".socket", NULL);
	server->log = g_strconcat(server->folder, ".log", NULL);
	assert_int_equal(mkdir(server->folder, 0755), 0);
	command = g_strdup_printf("exec '%s' --socket-path '%s' --shared-dir '%s' --sandbox none "
				  ">'%s' 2>&1",
				  program, server->socket, server->folder, server->log);
	argv[2] = command;
	g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
		      NULL, NULL, &pid, &error);
	must(error);
	server->pid = pid;
	lm_test_cleanup_later(test, virtiofsd_free, server);
	assert_true(lm_wait_until(is_socket, server->socket, LM_WAIT_MS));
	return server;
}

void virtiofsd_assert_serves(const Virtiofsd *server)
{
	g_autofree char *said = NULL;

	assert_int_equal(waitpid(server->pid, NULL, WNOHANG), 0);
	assert_true(g_file_get_contents(server->log, &said, NULL, NULL));
	assert_null(strstr(said, "ERROR"));
	assert_null(strstr(said, "migration"));
}
