/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "aftermath.h"
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WRITES 200u /* 64 KiB each; then the first is written again */

static const char *const places[] = {"in the source", "in the destination", "lost", "dead"};

const char *place_name(Place place)
{
	return places[place];
}

/* ------------------------------------------------------------------- scene */

static void scene_free(gpointer opaque)
{
	Scene *scene = opaque;

	g_free(scene->image);
	g_free(scene->socket);
	g_free(scene->uri);
	g_free(scene->drive);
	g_free(scene);
}

static int run(const char *command)
{
	g_autoptr(GError) error = NULL;
	int status = 0;

	g_spawn_command_line_sync(command, NULL, NULL, &status, &error);
	must(error);
	return WEXITSTATUS(status);
}

Scene *scene_new(LmTest *test, guint memory_mib, const char *backend)
{
	Scene *scene = g_new0(Scene, 1);
	g_autofree char *make = NULL;

	lm_test_cleanup_later(test, scene_free, scene);
	scene->test = test;
	scene->image = lm_test_path(test, "disk.qcow2");
	scene->socket = lm_test_path(test, "socket");
	scene->uri = g_strconcat("unix:", scene->socket, NULL);
	scene->drive = g_strdup_printf("file=%s,if=virtio,format=qcow2", scene->image);
	scene->extra[0] = "-drive";
	scene->extra[1] = scene->drive;
	scene->extra[2] = "-name";
	scene->extra[3] = "guest,debug-threads=on";
	scene->options = (VmOptions){
		.append = "rate=64",
		.memory_mib = memory_mib,
		.backend = backend,
		.extra = scene->extra,
	};
	make = g_strdup_printf("qemu-img create -q -f qcow2 %s 16M", scene->image);
	assert_int_equal(run(make), 0);
	return scene;
}

Vm *scene_spawn(Scene *scene, const char *plugin_args, const Vm *source)
{
	VmOptions options = scene->options;

	options.plugin_args = plugin_args;
	options.incoming = source != NULL;
	options.serial_path = source ? source->serial_path : NULL;
	return vm_spawn(scene->test, &options);
}

static void connect_monitor(Vm *vm)
{
	g_autoptr(GError) error = NULL;

	vm->qmp = qmp_connect(vm->qmp_path, vm->pidfd, LM_WAIT_MS, &error);
	must(error);
}

/* What was written, by whom ever, is looked at when all have ended: QEMU does not say. */
static void write_disk(Scene *scene, Vm *vm)
{
	const guint at = scene->writes++ % WRITES;
	g_autofree char *write =
		g_strdup_printf("qemu-io virtio0 \"write -P %u %uk 64k\"", at + 1, at * 64);
	const char *const lines[] = {write, "qemu-io virtio0 flush"};

	for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *said = qmp_hmp(vm->qmp, lines[i], &error);

		must(error);
		if (*said)
			fail_msg("%s: %s", lines[i], said);
	}
}

void scene_connect_source(Scene *scene, Vm *vm)
{
	connect_monitor(vm);
	vm_assert_ready(vm);
	write_disk(scene, vm);
}

void scene_connect_destination(Scene *scene, Vm *vm)
{
	connect_monitor(vm);
}

void scene_listen(Scene *scene, Vm *vm)
{
	scene->listener = vm;
	vm_do(vm, "localhost-migrate-incoming", "{'uri': %s}", scene->uri);
}

/* ---------------------------------------------------------------- holdings */

/* NULL-terminated; what a fault used up (migration/local/fault.h) does not count. */
static GStrv descriptors(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	GPtrArray *found = g_ptr_array_new();
	const char *fd;

	while (dir && (fd = g_dir_read_name(dir))) {
		g_autofree char *link = g_build_filename(path, fd, NULL);
		g_autofree char *target = g_file_read_link(link, NULL);

		if (target && !strstr(target, "fault-filler"))
			g_ptr_array_add(found, g_strdup_printf("%s: %s", fd, target));
	}
	g_ptr_array_add(found, NULL);
	return (GStrv)g_ptr_array_free(found, FALSE);
}

static int count_descriptors(pid_t pid)
{
	g_auto(GStrv) found = descriptors(pid);

	return (int)g_strv_length(found);
}

/* QEMU's own pool of threads for I/O grows and shrinks as it likes. */
static gboolean is_of_a_pool(const char *name)
{
	return !strcmp(name, "worker") || g_str_has_prefix(name, "pool-");
}

/* Each of @names is one of @of; both are sorted. A thread may be new, and have no name yet. */
static gboolean are_among(const char *names, const char *of)
{
	g_auto(GStrv) these = g_strsplit(names, " ", -1), those = g_strsplit(of, " ", -1);
	guint at = 0;

	for (guint i = 0; these[i]; i++) {
		while (those[at] && strcmp(those[at], these[i]))
			at++;
		if (!those[at++])
			return FALSE;
	}
	return TRUE;
}

static int by_name(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *thread_names(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)pid);
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	const char *tid;

	while (dir && (tid = g_dir_read_name(dir))) {
		g_autofree char *comm = g_build_filename(path, tid, "comm", NULL);
		g_autofree char *name = NULL;

		if (!g_file_get_contents(comm, &name, NULL, NULL))
			continue;
		if (!is_of_a_pool(g_strchomp(name)))
			g_ptr_array_add(names, g_steal_pointer(&name));
	}
	g_ptr_array_sort(names, by_name);
	g_ptr_array_add(names, NULL);
	return g_strjoinv(" ", (char **)names->pdata);
}

void holdings_note(Holdings *holdings, const Vm *vm)
{
	holdings->fds = count_descriptors(vm->pid);
	holdings->threads = thread_names(vm->pid);
}

void holdings_assert(Holdings *before, Vm *vm, int more)
{
	gint64 end_us = lm_end_us(LM_WAIT_MS);
	g_autofree char *was = g_steal_pointer(&before->threads), *is = thread_names(vm->pid);
	int fds = count_descriptors(vm->pid);

	while (fds > before->fds + more || !are_among(is, was)) {
		if (!lm_left_ms(end_us)) {
			g_auto(GStrv) found = descriptors(vm->pid);

			for (guint i = 0; found[i]; i++)
				lm_test_note("%s", found[i]);
			fail_msg("%d descriptors and threads \"%s\" before, %d and \"%s\" after",
				 before->fds, was, fds, is);
		}
		poll(NULL, 0, 10);
		g_free(is);
		is = thread_names(vm->pid);
		fds = count_descriptors(vm->pid);
	}
}

/* --------------------------------------------------------------- aftermath */

static void wake(Vm *vm)
{
	struct rlimit limit;

	if (!vm_alive(vm))
		return;
	if (process_state(vm->pid) == 'T')
		vm_kill(vm, SIGCONT);
	if (prlimit(vm->pid, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur < 512) {
		limit.rlim_cur = limit.rlim_max;
		prlimit(vm->pid, RLIMIT_NOFILE, &limit, NULL);
	}
}

/* NULL if it is dead, or dies. */
static JsonNode *query(Vm *vm)
{
	g_autoptr(GError) error = NULL;
	JsonNode *info;

	if (!vm_alive(vm))
		return NULL;
	info = qmp_command(vm->qmp, &error, "query-localhost-migrate", NULL);
	if (!info && !vm_wait_exit(vm, LM_WAIT_MS))
		must(error);
	return info;
}

static gboolean is_over(JsonNode *info)
{
	const char *status = qmp_str(info, "status");

	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled");
}

/* A destination that turned a source away waits for another one. */
static gboolean is_waiting(JsonNode *info)
{
	return !strcmp(qmp_str(info, "status"), "setup") && qmp_int(info, "peer-pid") <= 0;
}

/* A process that sleeps (SIGSTOP) may be woken by the end of another only. */
static JsonNode *rest(Vm *vm, gboolean may_wait)
{
	gint64 end_us = lm_end_us(3 * LM_WAIT_MS);

	for (;;) {
		g_autoptr(JsonNode) info = NULL;

		if (vm_alive(vm) && process_state(vm->pid) == 'T')
			vm_kill(vm, SIGCONT);
		info = query(vm);
		if (!info || is_over(info) || (may_wait && is_waiting(info)))
			return g_steal_pointer(&info);
		if (!lm_left_ms(end_us)) {
			g_autofree char *text = json_to_string(info, FALSE);

			fail_msg("not at rest: %s", text);
		}
		poll(NULL, 0, 5);
	}
}

static gboolean runs(Vm *vm)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(JsonNode) reply = NULL;

	if (!vm_alive(vm))
		return FALSE;
	reply = qmp_command(vm->qmp, &error, "query-status", NULL);
	if (!reply && vm_wait_exit(vm, LM_WAIT_MS))
		return FALSE;
	must(error);
	return !strcmp(qmp_str(reply, "status"), "running");
}

/* Its disks could not be taken back, for lack of descriptors: cont tries again. */
static void cont_if_paused(Vm *vm)
{
	g_autofree char *status = vm_status(vm);

	if (strcmp(status, "paused"))
		return;
	lm_test_note("the source is paused");
	vm_do(vm, "cont", NULL);
}

static Place place_of(Vm *source, Vm *destination, JsonNode *info)
{
	const char *owner = info ? qmp_str(info, "owner") : NULL;

	if (!owner)
		return runs(destination) ? PLACE_DESTINATION : PLACE_DEAD;
	if (!strcmp(owner, "lost"))
		return PLACE_LOST;
	if (!strcmp(owner, "destination")) {
		assert_true(vm_has_status(source, "postmigrate"));
		return vm_alive(destination) ? PLACE_DESTINATION : PLACE_DEAD;
	}
	cont_if_paused(source);
	assert_true(vm_wait_status(source, "running", LM_WAIT_MS));
	return PLACE_SOURCE;
}

Place aftermath(Vm *source, Vm *destination, JsonNode **info)
{
	g_autoptr(JsonNode) mine = rest(source, FALSE), theirs = NULL;
	Place place;

	wake(source);
	wake(destination);
	theirs = rest(destination, TRUE);
	place = place_of(source, destination, mine);
	assert_int_equal(runs(source), place == PLACE_SOURCE);
	assert_int_equal(runs(destination), place == PLACE_DESTINATION);
	if (place == PLACE_LOST)
		migrate_assert_lost(source, destination, mine);
	if (info)
		*info = g_steal_pointer(&mine);
	return place;
}

void scene_assert_guest(Scene *scene, Vm *vm)
{
	g_autoptr(GError) error = NULL;
	Beat first, now;

	assert_true(vm_wait_status(vm, "running", LM_WAIT_MS));
	assert_true(serial_last_beat(vm->serial_path, &first));
	do {
		serial_wait_beats(vm->serial_path, 2, LM_WAIT_MS, &now, &error);
		must(error);
	} while ((guint32)(now.checked - first.checked) < now.pages);
	write_disk(scene, vm);
}

void scene_end(Scene *scene, Vm *vm)
{
	if (vm_alive(vm)) {
		g_autoptr(GError) error = NULL;
		G_GNUC_UNUSED g_autoptr(JsonNode) reply =
			qmp_command(vm->qmp, &error, "quit", NULL);

		assert_true(vm_wait_exit(vm, LM_WAIT_MS));
		assert_int_equal(vm_exit_status(vm), 0);
	}
	if (vm_exit_status(vm) >= 128) /* it could not remove it; who listens next does */
		assert_int_equal(vm_exit_status(vm), 128 + SIGKILL);
	else if (vm == scene->listener)
		assert_false(g_file_test(scene->socket, G_FILE_TEST_EXISTS));
}

void scene_assert_image(Scene *scene)
{
	g_autofree char *check = g_strdup_printf("qemu-img check -q %s", scene->image);
	const int status = run(check);

	assert_true(status == 0 || status == 3); /* 3: clusters leaked */
	for (guint at = 0; at < MIN(scene->writes, WRITES); at++) {
		g_autofree char *read =
			g_strdup_printf("qemu-io -r -f qcow2 -c \"read -q -P %u %uk 64k\" %s",
					at + 1, at * 64, scene->image);

		if (run(read))
			fail_msg("what was written to the disk as number %u is not there", at + 1);
	}
}
