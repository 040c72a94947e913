// SPDX-License-Identifier: GPL-2.0-or-later
/* The files of libvirt's daemon say the new process and nothing else new; its journal comes back.
 */
#include "unit.h"

#include "libvirt/daemon-journal.h"
#include "libvirt/status.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char status_text[] = "<!-- made by libvirt -->\n"
				  "<domstatus state='running' reason='booted' pid='100'>\n"
				  "  <monitor path='/l/monitor.sock' type='unix'/>\n"
				  "  <vcpus>\n"
				  "    <vcpu id='0' pid='101'/>\n"
				  "    <vcpu id='2' pid='102'/>\n"
				  "    <vcpu id='3' pid='0'/>\n"
				  "  </vcpus>\n"
				  "  <qemuCaps>\n"
				  "    <flag name='kept'/>\n"
				  "    <flag name='dropped'/>\n"
				  "  </qemuCaps>\n"
				  "%s"
				  "  <blockjobs active='%s'/>\n"
				  "  <domain type='qemu' id='1'>\n"
				  "    <name>a &lt; b</name>\n"
				  "    <uuid>ec838a74-d90f-4515-916a-d9478cc7a73a</uuid>\n"
				  "    <devices>\n"
				  "      <emulator>/usr/bin/old</emulator>\n"
				  "      <serial type='pty'>\n"
				  "        <source path='/dev/pts/1'/>\n"
				  "        <alias name='serial0'/>\n"
				  "      </serial>\n"
				  "      <console type='pty' tty='/dev/pts/1'>\n"
				  "        <source path='/dev/pts/1'/>\n"
				  "        <alias name='serial0'/>\n"
				  "      </console>\n"
				  "      <serial type='file'>\n"
				  "        <source path='/log'/>\n"
				  "        <alias name='serial1'/>\n"
				  "      </serial>\n"
				  "    </devices>\n"
				  "  </domain>\n"
				  "</domstatus>\n";

static LuStatus *status_with(const char *more, const char *blockjobs)
{
	g_autofree char *text = NULL;
	g_autoptr(GError) error = NULL;
	LuStatus *status;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	text = g_strdup_printf(status_text, more, blockjobs);
#pragma GCC diagnostic pop
	status = lu_status_parse(text, strlen(text), &error);
	assert_null(error);
	return status;
}

/* ------------------------------------------------------- a QEMU that says what it is to */

static gpointer answer(gpointer data)
{
	int fd = GPOINTER_TO_INT(data);
	FILE *in = fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;

	dprintf(fd, "{\"QMP\": {}}\n");
	while (getline(&line, &size, in) > 0) {
		if (strstr(line, "query-cpus-fast"))
			dprintf(fd, "{\"return\": [{\"cpu-index\": 2, \"thread-id\": 202}, "
				    "{\"cpu-index\": 0, \"thread-id\": 201}]}\n");
		else if (strstr(line, "query-chardev"))
			dprintf(fd, "{\"return\": [{\"label\": \"charserial0\", \"filename\": "
				    "\"pty:/dev/pts/7\"}]}\n");
		else if (*g_strchomp(line))
			dprintf(fd, "{\"return\": {}}\n");
	}
	g_free(line);
	fclose(in);
	return NULL;
}

static LuQmp *scripted_qmp(GThread **thread)
{
	g_autoptr(GError) error = NULL;
	LuQmp *qmp;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	*thread = g_thread_new("qemu", answer, GINT_TO_POINTER(ends[1]));
	qmp = lu_qmp_new(ends[0], g_get_monotonic_time() + 5 * G_USEC_PER_SEC, &error);
	assert_null(error);
	return qmp;
}

static void replace(char **text, const char *what, const char *by)
{
	g_auto(GStrv) parts = g_strsplit(*text, what, -1);

	assert_true(g_strv_length(parts) > 1);
	g_free(*text);
	*text = g_strjoinv(by, parts);
}

static void test_succession(void **state)
{
	g_autoptr(LuStatus) status = status_with("", "no");
	g_autofree char *expected = lu_status_text(status), *text = NULL;
	g_autoptr(GHashTable) capabilities = g_hash_table_new(g_str_hash, g_str_equal);
	LuProcess old_process = {.exe = (char *)"/usr/bin/old"}, new = {.pid = 200};
	LuRunning old = {.process = &old_process};
	LuSuccession succession = {.old = &old, .new = &new, .program = "/opt/a&b"};
	g_autoptr(GError) error = NULL;
	GThread *thread;

	g_hash_table_add(capabilities, (char *)"kept");
	g_hash_table_add(capabilities, (char *)"new");
	succession.new_qmp = scripted_qmp(&thread);
	assert_true(lu_status_succeed(status, &succession, capabilities, &error));
	lu_status_set_monitor(status, "/l/monitor.sock.lu1");
	text = lu_status_text(status);
	replace(&expected, "pid=\"100\"", "pid=\"200\"");
	replace(&expected, "pid=\"101\"", "pid=\"201\"");
	replace(&expected, "pid=\"102\"", "pid=\"202\"");
	replace(&expected, "/l/monitor.sock", "/l/monitor.sock.lu1");
	replace(&expected, "\n    <flag name=\"dropped\"/>", "");
	replace(&expected, "/usr/bin/old", "/opt/a&amp;b");
	replace(&expected, "/dev/pts/1", "/dev/pts/7");
	assert_string_equal(text, expected);
	assert_int_equal(lu_status_pid(status), 200);
	lu_qmp_free(succession.new_qmp);
	g_thread_join(thread);
}

/* Without anything to change it stays what it was, but for the kind of quotation marks. */
static void test_kept(void **state)
{
	g_autoptr(LuStatus) status = status_with("", "no");
	g_autofree char *text = lu_status_text(status), *uuid = lu_status_uuid(status);
	g_autofree char *expected = NULL;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	expected = g_strdup_printf(status_text, "", "no");
#pragma GCC diagnostic pop
	replace(&expected, "'", "\"");
	assert_string_equal(text, expected);
	assert_string_equal(uuid, "ec838a74-d90f-4515-916a-d9478cc7a73a");
	assert_true(lu_status_check(status, "web", NULL));
}

static void test_refusals(void **state)
{
	static const char *const busy[][3] = {
		{"<job type='async' async='migration out'/>", "no", "job: migration out"},
		{"", "yes", "block job: yes"},
		{"<lockstate>1:2</lockstate>", "no", "lock of a lock manager: 1:2"},
		{"<backups><domainbackup mode='pull'/></backups>", "no", "backup: pull"},
		{"<slirp/>", "no", "network helper process"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(busy); i++) {
		g_autoptr(LuStatus) status = status_with(busy[i][0], busy[i][1]);
		g_autoptr(GError) error = NULL;

		assert_false(lu_status_check(status, "web", &error));
		assert_non_null(strstr(error->message, busy[i][2]));
	}
}

static void test_nonsense(void **state)
{
	static const char *const texts[] = {"", "<domstatus", "<domain/>", "\x01"};

	for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
		assert_null(lu_status_parse(texts[i], strlen(texts[i]), NULL));
}

static void test_daemon_journal(void **state)
{
	const char *units[] = {"libvirtd.socket", "libvirtd.service", NULL};
	const char *argv[] = {"/usr/sbin/libvirtd", "-d", NULL}, *envp[] = {"A=b c", NULL};
	LuDaemon daemon = {.name = (char *)"libvirtd",
			   .exe = (char *)"/usr/sbin/libvirtd",
			   .cwd = (char *)"/",
			   .cgroups = (char *)"0::/x\n",
			   .limits = (char *)"Limit",
			   .oom_score_adj = -5,
			   .nice = 3,
			   .umask = 022,
			   .units = (char **)units,
			   .argv = (char **)argv,
			   .envp = (char **)envp};
	g_autofree char *text = lu_daemon_journal_text(&daemon), *again = NULL;
	g_autoptr(LuDaemon) back = lu_daemon_journal_parse(text);

	assert_non_null(back);
	again = lu_daemon_journal_text(back);
	assert_string_equal(again, text);
	assert_string_equal(back->units[1], "libvirtd.service");
	assert_string_equal(back->envp[0], "A=b c");
	assert_int_equal(back->oom_score_adj, -5);
	assert_true(lu_daemon_is_away(back));
	assert_null(lu_daemon_journal_parse("{\"daemon\": \"libvirtd\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_succession), TEST(test_kept),		  TEST(test_refusals),
		TEST(test_nonsense),   TEST(test_daemon_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
