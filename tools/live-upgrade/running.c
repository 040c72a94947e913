// SPDX-License-Identifier: GPL-2.0-or-later
#include "running.h"
#include "descriptor.h"
#include "error.h"
#include "handle.h"
#include "opts.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GREETING_MS 5000

/* -------------------------------------------------------------------- names */

static const char *const private_suffixes[] = {".lu1", ".lu2"};

char *lu_public_name(const char *path)
{
	for (guint i = 0; i < G_N_ELEMENTS(private_suffixes); i++)
		if (g_str_has_suffix(path, private_suffixes[i]))
			return g_strndup(path, strlen(path) - strlen(private_suffixes[i]));
	return g_strdup(path);
}

char *lu_private_name(const char *path)
{
	g_autofree char *name = lu_public_name(path);

	return g_strconcat(name, private_suffixes[g_str_has_suffix(path, private_suffixes[0])],
			   NULL);
}

char *lu_cpu_model(const char *type)
{
	const char *end = g_strrstr(type, "-x86_64-cpu");

	if (!end)
		end = g_strrstr(type, "-i386-cpu");
	return end ? g_strndup(type, end - type) : g_strdup(type);
}

/* ------------------------------------------------------------------ version */

int lu_version_compare(const LuVersion *a, const LuVersion *b)
{
	if (a->major != b->major)
		return a->major - b->major;
	if (a->minor != b->minor)
		return a->minor - b->minor;
	return a->micro - b->micro;
}

gboolean lu_version_read(LuQmp *qmp, LuVersion *version, GError **errp)
{
	g_autoptr(JsonNode) reply = lu_qmp_call(qmp, errp, "query-version", NULL);
	JsonNode *qemu;

	if (!reply)
		return FALSE;
	qemu = lu_json_member(reply, "qemu");
	version->major = (int)lu_json_int(qemu, "major");
	version->minor = (int)lu_json_int(qemu, "minor");
	version->micro = (int)lu_json_int(qemu, "micro");
	g_free(version->text);
	version->text = g_strdup_printf("%d.%d.%d", version->major, version->minor, version->micro);
	return TRUE;
}

/* ------------------------------------------------------------------ monitor */

static LuOption *chardev_of(const LuCommandLine *line, const char *id)
{
	for (guint i = 0; i < line->options->len; i++) {
		LuOption *option = line->options->pdata[i];
		g_autofree char *is = NULL;

		if (!lu_option_is(option, "chardev"))
			continue;
		is = lu_option_member(option, "id", "backend");
		if (!g_strcmp0(is, id))
			return option;
	}
	return NULL;
}

/* Of a chardev that listens at a descriptor which was given to QEMU. */
static char *given_path(const LuProcess *process, const LuOption *chardev)
{
	g_autofree char *number = lu_option_member(chardev, "fd", "backend");
	g_auto(LuFd) fd = -1;

	if (!number || !g_ascii_isdigit(*number))
		return NULL;
	fd = lu_descriptor_get(process, (int)g_ascii_strtoll(number, NULL, 10), NULL);
	return fd < 0 ? NULL : lu_descriptor_listening_path(fd);
}

/* The path of a unix socket with a name that this -qmp, or -mon with its chardev, listens at. */
static char *monitor_path(const LuRunning *running, const LuOption *option)
{
	g_autoptr(LuOpts) opts = NULL;
	const LuOption *chardev;
	char *path;

	if (lu_option_is(option, "qmp") || lu_option_is(option, "qmp-pretty")) {
		if (!g_str_has_prefix(option->value, "unix:"))
			return NULL;
		opts = lu_opts_parse(option->value + strlen("unix:"), "path");
		return g_strdup(lu_opts_get(opts, "path"));
	}
	if (!lu_option_is(option, "mon"))
		return NULL;
	opts = lu_opts_parse(option->value, "chardev");
	if (g_strcmp0(lu_opts_get(opts, "mode"), "control") || !lu_opts_get(opts, "chardev"))
		return NULL;
	chardev = chardev_of(running->line, lu_opts_get(opts, "chardev"));
	if (!chardev)
		return NULL;
	path = lu_option_member(chardev, "path", "backend");
	return path ? path : given_path(running->process, chardev);
}

static gboolean connect_to(LuRunning *running, const char *path, GError **errp)
{
	g_autofree char *name = lu_public_name(path), *absolute = NULL, *here = NULL;

	absolute = g_path_is_absolute(name) ? g_strdup(name)
					    : g_build_filename(running->cwd, name, NULL);
	if (running->qmp_is_lent) {
		running->qmp_path = g_steal_pointer(&absolute);
		return TRUE;
	}
	here = lu_process_path(running->process, absolute);
	running->qmp = lu_qmp_open(here, -1, lu_end_us(GREETING_MS), errp);
	if (!running->qmp) {
		g_prefix_error(errp, "QEMU %d, QMP socket %s: ", (int)running->process->pid,
			       absolute);
		return FALSE;
	}
	if (lu_qmp_peer(running->qmp) != running->process->pid) {
		lu_fail(errp, LU_ERROR_REFUSED,
			"at QMP socket %s process %d answers, and not QEMU %d", absolute,
			(int)lu_qmp_peer(running->qmp), (int)running->process->pid);
		g_clear_pointer(&running->qmp, lu_qmp_free);
		return FALSE;
	}
	running->qmp_path = g_steal_pointer(&absolute);
	return TRUE;
}

gboolean lu_running_connect(LuRunning *running, GError **errp)
{
	g_autofree char *path = g_steal_pointer(&running->qmp_path);

	running->qmp = NULL;
	running->qmp_is_lent = FALSE;
	if (connect_to(running, path, errp))
		return TRUE;
	running->qmp_path = g_steal_pointer(&path);
	return FALSE;
}

static gboolean find_monitor(LuRunning *running, GError **errp)
{
	g_autoptr(GError) last = NULL;

	for (guint i = 0; i < running->line->options->len; i++) {
		g_autofree char *path = monitor_path(running, running->line->options->pdata[i]);

		if (!path)
			continue;
		g_clear_error(&last);
		if (connect_to(running, path, &last))
			return TRUE;
	}
	if (last)
		return lu_fail(errp, LU_ERROR_REFUSED, "%s", last->message);
	return lu_fail(errp, LU_ERROR_REFUSED,
		       "QEMU %d has no QMP socket in the file system (-qmp unix:PATH,server=on)",
		       (int)running->process->pid);
}

pid_t lu_running_peer_of(const char *qmp_path)
{
	struct ucred peer = {.pid = -1};
	socklen_t size = sizeof(peer);
	gint64 end_us = lu_end_us(GREETING_MS);
	g_auto(LuFd) fd = -1;

	/* EAGAIN: its queue of clients is full, for a moment or for good. */
	while ((fd = lu_unix_connect(qmp_path)) < 0 && errno == EAGAIN && lu_left_ms(end_us))
		poll(NULL, 0, 10);
	if (fd >= 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	return peer.pid;
}

/* ---------------------------------------------------------------- questions */

static char *qom_string(LuQmp *qmp, const char *path, const char *property, GError **errp)
{
	g_autoptr(JsonNode) reply =
		lu_qmp_call(qmp, errp, "qom-get", "{'path': %s, 'property': %s}", path, property);

	return reply ? json_node_dup_string(reply) : NULL;
}

static gboolean ask_machine(LuRunning *running, GError **errp)
{
	g_autoptr(JsonNode) cpus = lu_qmp_call(running->qmp, errp, "query-cpus-fast", NULL);
	const char *cpu_path;
	char *suffix;

	if (!cpus)
		return FALSE;
	running->machine = qom_string(running->qmp, "/machine", "type", errp);
	if (!running->machine)
		return FALSE;
	suffix = g_strrstr(running->machine, "-machine");
	if (suffix)
		*suffix = '\0';
	cpu_path = lu_json_length(cpus) ? lu_json_str(lu_json_element(cpus, 0), "qom-path") : NULL;
	if (!cpu_path)
		return lu_fail(errp, LU_ERROR_REFUSED, "QEMU %d has no CPU",
			       (int)running->process->pid);
	running->cpu_type = qom_string(running->qmp, cpu_path, "type", errp);
	return running->cpu_type != NULL;
}

static gboolean ask(LuRunning *running, GError **errp)
{
	g_autoptr(JsonNode) status = NULL, kvm = NULL;

	if (!lu_version_read(running->qmp, &running->version, errp))
		return FALSE;
	status = lu_qmp_call(running->qmp, errp, "query-status", NULL);
	kvm = status ? lu_qmp_call(running->qmp, errp, "query-kvm", NULL) : NULL;
	if (!kvm)
		return FALSE;
	running->status = g_strdup(lu_json_str(status, "status"));
	running->kvm = lu_json_bool(kvm, "enabled");
	return TRUE;
}

/* -daemonize leaves QEMU in "/": where it was started is what its environment says. */
static char *first_cwd(const LuRunning *running)
{
	const char *pwd = g_environ_getenv(running->process->envp, "PWD");
	g_autofree char *here = NULL;

	if (!lu_command_line_has(running->line, "daemonize") || !pwd || !g_path_is_absolute(pwd))
		return g_strdup(running->process->cwd);
	here = lu_process_path(running->process, pwd);
	return g_strdup(g_file_test(here, G_FILE_TEST_IS_DIR) ? pwd : running->process->cwd);
}

/* A QEMU is what takes QEMU's options and speaks QMP as QEMU; its name does not matter. */
LuRunning *lu_running_open(pid_t pid, const char *qmp_path, LuQmp *lent, GError **errp)
{
	g_autoptr(LuRunning) running = g_new0(LuRunning, 1);

	running->process = lu_process_open(pid, errp);
	if (!running->process)
		return NULL;
	if (!lu_process_is_called_qemu(running->process)) {
		lu_fail(errp, LU_ERROR_REFUSED, "process %d is %s, not a QEMU", (int)pid,
			running->process->exe);
		return NULL;
	}
	running->context = lu_context_read(pid, errp);
	running->line =
		running->context ? lu_command_line_parse(running->process->argv, errp) : NULL;
	if (!running->line)
		return NULL;
	running->cwd = first_cwd(running);
	running->qmp = lent;
	running->qmp_is_lent = lent != NULL;
	if (!(qmp_path ? connect_to(running, qmp_path, errp) : find_monitor(running, errp)) ||
	    !ask(running, errp))
		return NULL;
	return g_steal_pointer(&running);
}

void lu_running_free(LuRunning *running)
{
	if (!running)
		return;
	lu_process_free(running->process);
	lu_context_free(running->context);
	lu_command_line_free(running->line);
	if (!running->qmp_is_lent)
		lu_qmp_free(running->qmp);
	g_free(running->qmp_path);
	g_free(running->version.text);
	g_free(running->machine);
	g_free(running->cpu_type);
	g_free(running->status);
	g_free(running->cwd);
	lu_unit_free(running->unit);
	g_free(running);
}

/* ------------------------------------------------------------------ refusals */

gboolean lu_running_has_plugin(LuRunning *running, gboolean *has, GError **errp)
{
	g_autoptr(JsonNode) commands = lu_qmp_call(running->qmp, errp, "query-commands", NULL);

	*has = FALSE;
	for (guint i = 0; i < lu_json_length(commands); i++)
		if (!g_strcmp0(lu_json_str(lu_json_element(commands, i), "name"),
			       "localhost-migrate"))
			*has = TRUE;
	return commands != NULL;
}

/* The file that -pidfile names, as the QEMU sees it; NULL if there is none. The caller's. */
static char *pid_file_of(const LuRunning *running)
{
	for (guint i = 0; i < running->line->options->len; i++) {
		const LuOption *option = running->line->options->pdata[i];
		g_autofree char *name = NULL;

		if (!lu_option_is(option, "pidfile"))
			continue;
		name = lu_public_name(option->value);
		return g_canonicalize_filename(name, running->cwd);
	}
	return NULL;
}

/* systemd ends all of a service's processes when its main process ends. */
static gboolean check_service(LuRunning *running, GError **errp)
{
	g_autofree char *pid_file = pid_file_of(running);

	running->unit = lu_unit_find(running->process->pid);
	return !running->unit || lu_unit_check(running->unit, running->process, pid_file, errp);
}

/* The kernel ends all of a PID namespace's processes when its first one ends. */
static gboolean check_namespaces(LuRunning *running, GError **errp)
{
	struct stat st;

	if (lu_proc_own_pid(running->process->pid) == 1)
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "QEMU %d is the first process of its PID namespace (a container), "
			       "which would end with it",
			       (int)running->process->pid);
	if (!stat("/proc/self/ns/user", &st) && st.st_ino != running->context->namespaces[0])
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "QEMU %d is in user namespace %" G_GUINT64_FORMAT
			       ", and this is %" G_GUINT64_FORMAT,
			       (int)running->process->pid, running->context->namespaces[0],
			       (guint64)st.st_ino);
	return TRUE;
}

gboolean lu_running_check(LuRunning *running, GError **errp)
{
	if (strcmp(running->status, "running") && strcmp(running->status, "paused") &&
	    strcmp(running->status, "prelaunch"))
		return lu_fail(errp, LU_ERROR_REFUSED,
			       "the guest is in state %s; it must be running, paused or prelaunch",
			       running->status);
	return check_namespaces(running, errp) && check_service(running, errp) &&
	       ask_machine(running, errp);
}
