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

typedef struct Pipe {
	int fd;
	const LuVm *vm; /* that is spoken of */
} Pipe;

static void tell(const Pipe *out, const char *members)
{
	g_autofree char *line = g_strdup_printf("{\"vm\": %d, %s}\n", (int)out->vm->pid, members);
	gsize length = strlen(line);

	/* As one piece, or not at all. */
	if (length <= PIPE_BUF && write(out->fd, line, length) < 0)
		return;
}

static void on_step(void *opaque, const char *name, const char *what)
{
	g_autofree char *quoted = lu_json_quote(name);
	g_autofree char *members = g_strdup_printf("\"step\": %s", quoted);

	tell(opaque, members);
}

static void on_progress(void *opaque, const char *stage, guint64 done, guint64 total)
{
	g_autofree char *quoted = lu_json_quote(stage);
	g_autofree char *members = g_strdup_printf("\"stage\": %s, \"done\": %" G_GUINT64_FORMAT
						   ", \"total\": %" G_GUINT64_FORMAT,
						   quoted, done, total);

	tell(opaque, members);
}

static void tell_report(const Pipe *out, JsonNode *report)
{
	g_autofree char *json = json_to_string(report, FALSE);
	g_autofree char *line =
		g_strdup_printf("{\"vm\": %d, \"report\": %s}\n", (int)out->vm->pid, json);
	gint64 end_us = lu_end_us(LAST_LINE_MS);
	gsize at = 0, length = strlen(line);

	while (at < length && lu_left_ms(end_us)) {
		struct pollfd pollfd = {.fd = out->fd, .events = POLLOUT};
		ssize_t wrote;

		if (poll(&pollfd, 1, lu_left_ms(end_us)) <= 0 || !(pollfd.revents & POLLOUT))
			return;
		wrote = write(out->fd, line + at, length - at);
		if (wrote > 0)
			at += (gsize)wrote;
		else if (errno != EAGAIN && errno != EINTR)
			return;
	}
}

static void begun(void *opaque, const LuVm *vm)
{
	Pipe *out = opaque;

	out->vm = vm;
}

static void ended(void *opaque, const LuVm *vm, const LuRequest *request, const LuResult *result,
		  const GError *error)
{
	Pipe out = {((Pipe *)opaque)->fd, vm};
	g_autoptr(JsonNode) report = lu_report_node(request, result, error);

	tell_report(&out, report);
}

/* A fault is one VM's if QEMU_LIVE_UPGRADE_FAULT_VM names one. */
static void choose_fault(const LuVm *vm, const LuRequest *request)
{
	const char *name = LM_FAULT_INJECTION ? g_getenv("QEMU_LIVE_UPGRADE_FAULT_VM") : NULL;

	if ((name && strcmp(name, vm->name)) || request->recover_only)
		g_unsetenv("QEMU_LIVE_UPGRADE_FAULT");
}

static void work_on_one(const LuVm *vm, const LuRequest *request, Pipe *out)
{
	g_auto(LuResult) result = {0};
	g_autoptr(GError) error = NULL;

	begun(out, vm);
	vm->kind->upgrade(vm, request, &result, &error);
	ended(out, vm, request, &result, error);
}

static void G_GNUC_NORETURN work(GPtrArray *vms, const LuRequest *request, int fd)
{
	const LuVm *first = vms->pdata[0];
	Pipe out = {fd, first};
	LuTeller teller = {begun, ended, &out};
	LuRequest each = *request;

	setpgid(0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	choose_fault(first, request);
	each.observer = (LuObserver){on_step, on_progress, NULL, &out};
	if (first->kind->upgrade_together)
		first->kind->upgrade_together(vms, &each, &teller);
	else
		work_on_one(first, &each, &out);
	_exit(0);
}

/* -------------------------------------------------------------- in its maker */

LuWorker *lu_worker_start(GPtrArray *vms, const LuRequest *request, GError **errp)
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
		work(vms, request, ends[1]);
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
	worker->vms = g_ptr_array_ref(vms);
	return worker;
}

void lu_worker_free(LuWorker *worker)
{
	if (!worker)
		return;
	close(worker->fd);
	g_string_free(worker->pending, TRUE);
	g_ptr_array_unref(worker->vms);
	g_free(worker);
}

static LuVm *vm_of(LuWorker *worker, gint64 pid)
{
	for (guint i = 0; i < worker->vms->len; i++) {
		LuVm *vm = worker->vms->pdata[i];

		if (vm->pid == pid)
			return vm;
	}
	return NULL;
}

static void take_line(LuWorker *worker, const char *line)
{
	g_autoptr(JsonNode) node = json_from_string(line, NULL);
	LuVm *vm = vm_of(worker, lu_json_int(node, "vm"));
	JsonNode *report = lu_json_member(node, "report");
	const char *step = lu_json_str(node, "step");

	if (!vm)
		return;
	if (step) {
		g_free(vm->step);
		vm->step = g_strdup(step);
	}
	if (lu_json_str(node, "stage")) {
		vm->done = (guint64)lu_json_int(node, "done");
		vm->total = (guint64)lu_json_int(node, "total");
	}
	if (report) {
		g_clear_pointer(&vm->report, json_node_unref);
		vm->report = json_node_copy(report);
	}
}

static void take_lines(LuWorker *worker)
{
	char *end;

	while ((end = strchr(worker->pending->str, '\n'))) {
		*end = '\0';
		take_line(worker, worker->pending->str);
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

gboolean lu_worker_read(LuWorker *worker, char **end)
{
	char text[4096];
	gboolean more;
	ssize_t got;

	while ((got = read(worker->fd, text, sizeof(text))) > 0)
		g_string_append_len(worker->pending, text, got);
	more = got < 0 && (errno == EAGAIN || errno == EINTR);
	take_lines(worker);
	if (more)
		return TRUE;
	*end = how_it_ended(worker->pid);
	return FALSE;
}
