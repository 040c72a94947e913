// SPDX-License-Identifier: GPL-2.0-or-later
/* What must not be believed: what a process says, and what was looked at before. */
#include "attach-victim.h"
#include "call.h"
#include "load.h"
#include "proc.h"

#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <poll.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <glib/gstdio.h>

#define DEADLINE_MS 20000
/* This program's arguments: to sleep in a poll, and to execute the first in another thread. */
#define SLEEP	      "--sleep"
#define EXECUTE_LATER "--execute-later"

static char *precious; /* a file that the process may not write */
static int how;	       /* it has it open */

/* In the process, instead of memfd_create. */
static int offer_file(const char *name, unsigned int flags)
{
	return open(precious, how);
}

/* A file with the first @part of 2 halves of a shared object; the caller's. */
static char *write_object(guint part)
{
	g_autofree char *data = NULL;
	char *path = NULL;
	Dl_info info;
	gsize bytes;
	int fd = g_file_open_tmp("attach-copy-XXXXXX", &path, NULL);

	assert_true(fd >= 0 && dladdr((void *)(gsize)g_malloc, &info));
	assert_true(g_file_get_contents(info.dli_fname, &data, &bytes, NULL));
	assert_int_equal(write(fd, data, bytes / 2 * part), bytes / 2 * part);
	close(fd);
	return path;
}

/* Everything is where this process has it. */
static AttachJob job_for(pid_t pid, const char *plugin, gpointer memfd_create_)
{
	g_autofree char *identity = attach_proc_identity(pid);
	AttachJob job = {.pid = pid,
			 .plugin_path = plugin,
			 .end_us = g_get_monotonic_time() + (gint64)DEADLINE_MS * 1000};

	assert_non_null(identity);
	job.target = (AttachTarget){.entry = getauxval(AT_ENTRY),
				    .dlopen = (guint64)dlopen,
				    .dlsym = (guint64)dlsym,
				    .dlclose = (guint64)dlclose,
				    .dlerror = (guint64)dlerror,
				    .errno_location = (guint64)__errno_location,
				    .memfd_create = (guint64)memfd_create_,
				    .close = (guint64)close};
	assert_true(g_strlcpy(job.target.identity, identity, sizeof(job.target.identity)) <
		    sizeof(job.target.identity));
	return job;
}

static int load_copy(const Victim *victim, const char *plugin, gpointer memfd_create_,
		     GError **errp)
{
	AttachJob job = job_for(victim->pid, plugin, memfd_create_);

	return attach_job_load(&job, errp);
}

static void assert_same(Victim *victim)
{
	for (guint i = 0; i < 2; i++)
		assert_true(victim_round(victim));
	if (victim->report->differences)
		fail_msg("%d differences: %s", victim->report->differences, victim->report->what);
}

/* It says that it made a memfd, and has another file open, which who attaches could write. */
static void offers_a_file(int flags)
{
	g_autofree char *object = write_object(2), *content = NULL;
	int fd = g_file_open_tmp("attach-precious-XXXXXX", &precious, NULL);
	g_autoptr(GError) error = NULL;
	Victim victim;

	assert_true(fd >= 0 && write(fd, "precious", 8) == 8);
	close(fd);
	how = flags;
	victim = victim_start(VICTIM_PPOLL);
	assert_true(load_copy(&victim, object, (gpointer)offer_file, &error) < 0);
	assert_true(g_file_get_contents(precious, &content, NULL, NULL));
	assert_string_equal(content, "precious");
	assert_non_null(strstr(error->message, "cannot write a copy of the plugin"));
	assert_same(&victim);
	victim_stop(&victim);
	g_unlink(precious);
	g_unlink(object);
	g_clear_pointer(&precious, g_free);
}

static void test_offers_a_file(void **state)
{
	offers_a_file(O_PATH);
	offers_a_file(O_RDONLY);
	offers_a_file(O_RDWR);
}

/* It was whole when it was looked at, and is not when it is copied. */
static void test_cut_off_meanwhile(void **state)
{
	g_autofree char *object = write_object(1);
	g_autoptr(GError) error = NULL;
	Victim victim = victim_start(VICTIM_PPOLL);

	assert_true(load_copy(&victim, object, (gpointer)memfd_create, &error) < 0);
	if (!strstr(error->message, "cut off"))
		fail_msg("%s", error->message);
	assert_same(&victim);
	victim_stop(&victim);
	g_unlink(object);
}

static gboolean has_executed(pid_t pid, const char *argument)
{
	for (guint i = 0; i < 20000; i++) {
		g_autofree char *line = attach_proc_path(pid, "cmdline"), *text = NULL;
		gsize bytes = 0;

		if (g_file_get_contents(line, &text, &bytes, NULL) &&
		    memmem(text, bytes, argument, strlen(argument)) &&
		    attach_proc_syscall(pid) == SYS_poll)
			return TRUE;
		g_usleep(500);
	}
	return FALSE;
}

/* It executes another program (one with set-uid, say) after it was looked at. */
static void test_executes_meanwhile(void **state)
{
	g_autoptr(GError) error = NULL;
	AttachJob job;
	int go[2];
	pid_t pid;

	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &(char){0}, 1) == 1)
			execl("/proc/self/exe", "test", SLEEP, NULL);
		_exit(1);
	}
	job = job_for(pid, "/nowhere", (gpointer)memfd_create);
	assert_int_equal(write(go[1], "", 1), 1);
	assert_true(has_executed(pid, SLEEP));
	assert_int_equal(attach_job_load(&job, &error), -ESRCH);
	assert_non_null(strstr(error->message, "is not the one that was looked at"));
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(go[0]);
	close(go[1]);
}

static gpointer execute_when_told(gpointer data)
{
	if (read(STDIN_FILENO, &(char){0}, 1) == 1)
		execl("/proc/self/exe", "test", SLEEP, NULL);
	_exit(1);
}

/* Another thread does that, which ends the one that is held. The stack is where the old one was. */
static void test_executes_while_held(void **state)
{
	g_autoptr(GError) error = NULL;
	AttachThread thread = {.end_us = g_get_monotonic_time() + DEADLINE_MS * 1000};
	AttachCall call;
	int go[2];

	assert_int_equal(pipe(go), 0);
	thread.pid = fork();
	if (!thread.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		personality(ADDR_NO_RANDOMIZE);
		dup2(go[0], STDIN_FILENO);
		execl("/proc/self/exe", "test", EXECUTE_LATER, NULL);
		_exit(1);
	}
	assert_true(has_executed(thread.pid, EXECUTE_LATER));
	assert_int_equal(attach_thread_hold(&thread, NULL), 0);
	assert_int_equal(
		attach_call_begin(&call, &thread, attach_proc_auxv(thread.pid, AT_ENTRY), NULL), 0);
	assert_int_equal(write(go[1], "", 1), 1);
	assert_true(has_executed(thread.pid, SLEEP));
	assert_true(attach_call_set_data(&call, "text", &error) < 0);
	attach_call_end(&call);
	attach_state_clear(&thread.state);
	assert_int_equal(waitpid(thread.pid, NULL, WNOHANG), 0);
	kill(thread.pid, SIGKILL);
	assert_int_equal(waitpid(thread.pid, NULL, 0), thread.pid);
	close(go[0]);
	close(go[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {TEST(test_offers_a_file), TEST(test_cut_off_meanwhile),
					   TEST(test_executes_meanwhile),
					   TEST(test_executes_while_held)};

	if (argc > 1 && !strcmp(argv[1], EXECUTE_LATER))
		g_thread_new("execute", execute_when_told, NULL);
	if (argc > 1)
		return poll(NULL, 0, DEADLINE_MS);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
