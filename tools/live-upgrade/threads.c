// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Threads that an administrator pinned, gave a priority, or put into control groups of their own,
 * as libvirt does: the guest's CPUs by their index, I/O threads by their name. The rest have what
 * the process has.
 */
#include "steps.h"
#include "cgroup.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The control group first: joining one of cpuset sets the affinity. */
static gboolean copy_groups(LuUpgrade *up, pid_t from, pid_t to)
{
	g_autoptr(GPtrArray) groups = lu_cgroup_read_thread(up->old->pid, from);
	g_autoptr(GError) error = NULL;

	if (lu_cgroup_join_thread(groups, up->new->pid, to, &error))
		return TRUE;
	lu_note(up, g_strdup_printf("a thread of the new process: %s", error->message));
	return FALSE;
}

static gboolean copy_scheduling(pid_t from, pid_t to)
{
	guint8 affinity[LU_CPUS / 8] = {0}, now[LU_CPUS / 8] = {0};
	struct sched_param param = {0};
	int policy = sched_getscheduler(from), nice = getpriority(PRIO_PROCESS, from);
	gboolean ok = TRUE;

	if (syscall(SYS_sched_getaffinity, from, sizeof(affinity), affinity) < 0 ||
	    syscall(SYS_sched_getaffinity, to, sizeof(now), now) < 0)
		return FALSE;
	if (memcmp(affinity, now, sizeof(now)))
		ok = !syscall(SYS_sched_setaffinity, to, sizeof(affinity), affinity);
	sched_getparam(from, &param);
	if (policy != sched_getscheduler(to) && sched_setscheduler(to, policy, &param) < 0)
		ok = FALSE;
	if (nice != getpriority(PRIO_PROCESS, to) && setpriority(PRIO_PROCESS, to, nice) < 0)
		ok = FALSE;
	return ok;
}

/* Only threads of that very process: in another PID namespace QEMU counts differently. */
static pid_t thread_of(const LuProcess *process, JsonNode *entry)
{
	pid_t tid = (pid_t)lu_json_int(entry, "thread-id");
	g_autofree char *path = g_strdup_printf("/proc/%d/task/%d", (int)process->pid, (int)tid);

	return g_file_test(path, G_FILE_TEST_EXISTS) ? tid : -1;
}

static JsonNode *find(JsonNode *list, JsonNode *like, const char *id)
{
	for (guint i = 0; i < lu_json_length(list); i++) {
		JsonNode *entry = lu_json_element(list, i);

		if (lu_json_int(entry, "cpu-index") == lu_json_int(like, "cpu-index") &&
		    !g_strcmp0(lu_json_str(entry, id), lu_json_str(like, id)))
			return entry;
	}
	return NULL;
}

static void copy_list(LuUpgrade *up, const char *command, const char *id)
{
	g_autoptr(JsonNode) old = lu_qmp_call(up->old_qmp, NULL, command, NULL);
	g_autoptr(JsonNode) new = lu_qmp_call(up->new_qmp, NULL, command, NULL);

	for (guint i = 0; i < lu_json_length(old); i++) {
		JsonNode *entry = lu_json_element(old, i), *other = find(new, entry, id);
		pid_t from = thread_of(up->old, entry);
		pid_t to = other ? thread_of(up->new, other) : -1;

		if (from <= 0 || to <= 0 || !copy_groups(up, from, to) ||
		    !copy_scheduling(from, to))
			lu_note(up, g_strdup_printf("the scheduling of thread %u of %s is not "
						    "carried over",
						    i, command));
	}
}

void lu_threads_copy(LuUpgrade *up)
{
	copy_list(up, "query-cpus-fast", "qom-path");
	copy_list(up, "query-iothreads", "id");
}
