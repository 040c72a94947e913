// SPDX-License-Identifier: GPL-2.0-or-later
#include "worker.h"
#include "error.h"
#include "handle.h"
#include "json.h"
#include "qmp.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define LAST_LINE_MS 10000

/* --------------------------------------------------------------- in the worker */

static void tell(int fd, const char *text)
{
	g_autofree char *line = g_strconcat(text, "\n", NULL);
	gsize length = strlen(line);

	/* As one piece, or not at all. */
	if (length <= PIPE_BUF && write(fd, line, length) < 0)
		return;
}

static void on_step(void *opaque, const char *name, const char *what)
{
	g_autofree char *text = lu_json_format("{'step': %s}", name);

	tell(GPOINTER_TO_INT(opaque), text);
}

static void on_progress(void *opaque, const char *stage, guint64 done, guint64 total)
{
	g_autofree char *quoted = lu_json_quote(stage);
	g_autofree char *text = g_strdup_printf("{\"stage\": %s, \"done\": %" G_GUINT64_FORMAT
						", \"total\": %" G_GUINT64_FORMAT "}",
						quoted, done, total);

	tell(GPOINTER_TO_INT(opaque), text);
}

static void on_note(void *opaque, const char *note)
{
	g_autofree char *text = lu_json_format("{'note': %s}", note);

	tell(GPOINTER_TO_INT(opaque), text);
}

static void tell_report(int fd, JsonNode *report)
{
	g_autofree char *json = json_to_string(report, FALSE);
	g_autofree char *line = g_strdup_printf("{\"report\": %s}\n", json);
	gint64 end_us = lu_end_us(LAST_LINE_MS);
	gsize at = 0, length = strlen(line);

	while (at < length && lu_left_ms(end_us)) {
		struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
		ssize_t wrote;

		if (poll(&pollfd, 1, lu_left_ms(end_us)) <= 0 || !(pollfd.revents & POLLOUT))
			return;
		wrote = write(fd, line + at, length - at);
		if (wrote > 0)
			at += (gsize)wrote;
		else if (errno != EAGAIN && errno != EINTR)
			return;
	}
}

/* A fault is one VM's if QEMU_LIVE_UPGRADE_FAULT_VM names one. */
static void choose_fault(const LuVm *vm, const LuRequest *request)
{
	const char *name = LM_FAULT_INJECTION ? g_getenv("QEMU_LIVE_UPGRADE_FAULT_VM") : NULL;

	if ((name && strcmp(name, vm->name)) || request->recover_only)
		g_unsetenv("QEMU_LIVE_UPGRADE_FAULT");
}

static void G_GNUC_NORETURN work(const LuVm *vm, gpointer state, const LuRequest *request, int fd)
{
	g_auto(LuResult) result = {0};
	g_autoptr(GError) error = NULL;
	LuRequest one = *request;
	g_autoptr(JsonNode) report = NULL;

	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	choose_fault(vm, request);
	one.observer = (LuObserver){on_step, on_progress, on_note, GINT_TO_POINTER(fd)};
	vm->kind->upgrade(state, vm, &one, &result, &error);
	report = lu_report_node(&one, &result, error);
	tell_report(fd, report);
	_exit(error ? error->code : 0);
}

/* -------------------------------------------------------------- in its maker */

LuWorker *lu_worker_start(LuVm *vm, gpointer state, const LuRequest *request, GError **errp)
{
	LuWorker *worker;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "pipe");
		return NULL;
	}
	pid = fork();
	if (!pid) {
		close(ends[0]);
		work(vm, state, request, ends[1]);
	}
	close(ends[1]);
	if (pid < 0) {
		lu_fail_errno(errp, LU_ERROR_REFUSED, errno, "fork");
		close(ends[0]);
		return NULL;
	}
	worker = g_new0(LuWorker, 1);
	worker->pid = pid;
	worker->fd = ends[0];
	worker->pending = g_string_new(NULL);
	worker->notes = g_ptr_array_new_with_free_func(g_free);
	return worker;
}

void lu_worker_free(LuWorker *worker)
{
	if (!worker)
		return;
	close(worker->fd);
	g_string_free(worker->pending, TRUE);
	g_ptr_array_unref(worker->notes);
	g_free(worker);
}

static void take_line(LuWorker *worker, LuVm *vm, const char *line)
{
	g_autoptr(JsonNode) node = json_from_string(line, NULL);
	JsonNode *report = lu_json_member(node, "report");
	const char *step = lu_json_str(node, "step"), *note = lu_json_str(node, "note");

	if (step) {
		g_free(vm->step);
		vm->step = g_strdup(step);
	}
	if (lu_json_str(node, "stage")) {
		vm->done = (guint64)lu_json_int(node, "done");
		vm->total = (guint64)lu_json_int(node, "total");
	}
	if (note)
		g_ptr_array_add(worker->notes, g_strdup(note));
	if (report) {
		g_clear_pointer(&vm->report, json_node_unref);
		vm->report = json_node_copy(report);
	}
}

static void take_lines(LuWorker *worker, LuVm *vm)
{
	char *end;

	while ((end = strchr(worker->pending->str, '\n'))) {
		*end = '\0';
		take_line(worker, vm, worker->pending->str);
		g_string_erase(worker->pending, 0, end + 1 - worker->pending->str);
	}
}

static char *how_it_ended(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? g_strdup_printf("was ended by signal %d", WTERMSIG(status))
				   : g_strdup_printf("exited with %d", WEXITSTATUS(status));
}

gboolean lu_worker_read(LuWorker *worker, LuVm *vm, char **end)
{
	char text[4096];
	gboolean more;
	ssize_t got;

	while ((got = read(worker->fd, text, sizeof(text))) > 0)
		g_string_append_len(worker->pending, text, got);
	more = got < 0 && (errno == EAGAIN || errno == EINTR);
	take_lines(worker, vm);
	if (more)
		return TRUE;
	*end = how_it_ended(worker->pid);
	if (vm->report)
		g_clear_pointer(end, g_free);
	return FALSE;
}
