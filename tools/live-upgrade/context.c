// SPDX-License-Identifier: GPL-2.0-or-later
/* Reading and comparing; context-apply.c gives it to a new process. */
#include "context.h"
#include "cgroup.h"
#include "error.h"
#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_WHO_PROCESS 1

const LuNamespace lu_namespaces[LU_NAMESPACES] = {
	{"user", CLONE_NEWUSER}, {"mnt", CLONE_NEWNS},	      {"pid", CLONE_NEWPID},
	{"net", CLONE_NEWNET},	 {"ipc", CLONE_NEWIPC},	      {"uts", CLONE_NEWUTS},
	{"time", 0x80},		 {"cgroup", CLONE_NEWCGROUP},
};

void lu_context_free(LuContext *context)
{
	if (!context)
		return;
	g_clear_pointer(&context->groups, g_array_unref);
	g_clear_pointer(&context->cgroups, g_ptr_array_unref);
	g_free(context->coredump_filter);
	g_free(context->label);
	g_free(context);
}

/* ------------------------------------------------------------------ reading */

static guint64 number_of(const char *status, const char *name, int base)
{
	g_autofree char *field = lu_proc_status_field(status, name);

	return field ? g_ascii_strtoull(field, NULL, base) : 0;
}

static void read_ids(const char *status, const char *name, guint32 *ids)
{
	g_autofree char *field = lu_proc_status_field(status, name);
	g_auto(GStrv) numbers = g_strsplit_set(field ? field : "", "\t ", -1);

	for (guint i = 0; i < 3 && numbers[i]; i++)
		ids[i] = (guint32)g_ascii_strtoull(numbers[i], NULL, 10);
}

static void read_status(LuContext *context, const char *status)
{
	read_ids(status, "Uid", context->uid);
	read_ids(status, "Gid", context->gid);
	context->groups = lu_proc_groups(status);
	context->cap_inheritable = number_of(status, "CapInh", 16);
	context->cap_permitted = number_of(status, "CapPrm", 16);
	context->cap_effective = number_of(status, "CapEff", 16);
	context->cap_bounding = number_of(status, "CapBnd", 16);
	context->cap_ambient = number_of(status, "CapAmb", 16);
	context->no_new_privs = number_of(status, "NoNewPrivs", 10) != 0;
	context->seccomp_filters = number_of(status, "Seccomp_filters", 10);
	context->umask = (mode_t)number_of(status, "Umask", 8);
}

static guint64 inode_of(pid_t pid, const char *name, guint64 *dev)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	if (dev)
		*dev = st.st_dev;
	return st.st_ino;
}

static void read_namespaces(LuContext *context, pid_t pid)
{
	for (guint i = 0; i < LU_NAMESPACES; i++) {
		g_autofree char *name = g_strdup_printf("ns/%s", lu_namespaces[i].name);

		context->namespaces[i] = inode_of(pid, name, NULL);
	}
	context->root_ino = inode_of(pid, "root", &context->root_dev);
}

gboolean lu_context_parse_limits(const char *text, struct rlimit *limits)
{
	g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);

	if (g_strv_length(lines) <= RLIM_NLIMITS)
		return FALSE;
	for (guint i = 0; i < RLIM_NLIMITS; i++) {
		rlim_t *values[2] = {&limits[i].rlim_cur, &limits[i].rlim_max};
		const char *at = lines[i + 1]; /* below the head */

		/* A name of 26 columns, with blanks in it, then the two values. */
		if (strlen(at) < 27)
			return FALSE;
		at += 26;
		for (guint j = 0; j < 2; j++) {
			at += strspn(at, " ");
			*values[j] = g_ascii_isdigit(*at) ? g_ascii_strtoull(at, NULL, 10)
							  : RLIM_INFINITY;
			at += strcspn(at, " ");
		}
	}
	return TRUE;
}

/* By the text: prlimit would want CAP_SYS_RESOURCE for another user's process. */
static gboolean read_limits(LuContext *context, pid_t pid, GError **errp)
{
	g_autofree char *text = lu_proc_read(pid, "limits", NULL);

	return lu_context_parse_limits(text, context->limits) ||
	       lu_fail(errp, LU_ERROR_REFUSED, "the limits of process %d cannot be read", (int)pid);
}

static gboolean read_scheduling(LuContext *context, pid_t pid, GError **errp)
{
	struct sched_param param = {0};

	context->policy = sched_getscheduler(pid);
	sched_getparam(pid, &param);
	context->priority = param.sched_priority;
	context->nice = getpriority(PRIO_PROCESS, pid);
	context->io_priority = (int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid);
	/* The system call itself: its mask may be longer than the library's type. */
	if (syscall(SYS_sched_getaffinity, pid, sizeof(context->affinity), context->affinity) < 0)
		return lu_fail_errno(errp, LU_ERROR_REFUSED, errno,
				     "the CPU affinity of process %d cannot be read", (int)pid);
	return TRUE;
}

/* "unconfined" of AppArmor, or "kernel" of none at all, is no label to give. */
static void read_label(LuContext *context, pid_t pid)
{
	g_autofree char *apparmor = lu_proc_read(pid, "attr/apparmor/current", NULL);
	g_autofree char *label =
		apparmor ? g_steal_pointer(&apparmor) : lu_proc_read(pid, "attr/current", NULL);
	gboolean selinux = g_file_test("/sys/fs/selinux/enforce", G_FILE_TEST_EXISTS);
	char *mode;

	if (!label)
		return;
	g_strchomp(label);
	mode = strstr(label, " (");
	if (mode && !selinux)
		*mode = '\0';
	context->apparmor = !selinux;
	if (*label && strcmp(label, "unconfined") && strcmp(label, "kernel"))
		context->label = g_steal_pointer(&label);
}

LuContext *lu_context_read(pid_t pid, GError **errp)
{
	g_autoptr(LuContext) context = g_new0(LuContext, 1);
	g_autofree char *status = lu_proc_read(pid, "status", NULL);
	g_autofree char *oom = lu_proc_read(pid, "oom_score_adj", NULL);

	if (!status || !oom) {
		lu_fail(errp, LU_ERROR_REFUSED, "there is no process %d", (int)pid);
		return NULL;
	}
	read_status(context, status);
	read_namespaces(context, pid);
	context->cgroups = lu_cgroup_read(pid);
	context->oom_score_adj = atoi(oom);
	context->coredump_filter = lu_proc_read(pid, "coredump_filter", NULL);
	if (context->coredump_filter)
		g_strstrip(context->coredump_filter);
	read_label(context, pid);
	if (!read_limits(context, pid, errp) || !read_scheduling(context, pid, errp))
		return NULL;
	return g_steal_pointer(&context);
}

/* ---------------------------------------------------------------- comparing */

char *lu_context_cpu_list(const guint8 *affinity)
{
	GString *text = g_string_new(NULL);

	for (int cpu = 0; cpu < LU_CPUS; cpu++) {
		int first = cpu;

		while (cpu < LU_CPUS && (affinity[cpu / 8] & 1 << cpu % 8))
			cpu++;
		if (cpu == first)
			continue;
		g_string_append_printf(text, text->len ? ",%d" : "%d", first);
		if (cpu - first > 1)
			g_string_append_printf(text, "-%d", cpu - 1);
	}
	return g_string_free(text, FALSE);
}

static void add(GPtrArray *traits, const char *name, char *value)
{
	g_ptr_array_add(traits, g_strdup(name));
	g_ptr_array_add(traits, value);
}

static void add_limits(GPtrArray *traits, const LuContext *context)
{
	static const char *const names[RLIM_NLIMITS] = {
		"cpu",	   "fsize", "data",  "stack",	   "core",     "rss",  "nproc",	 "nofile",
		"memlock", "as",    "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
	};

	for (guint i = 0; i < RLIM_NLIMITS; i++) {
		g_autofree char *name = g_strdup_printf("limit %s", names[i]);

		add(traits, name,
		    g_strdup_printf("%lld:%lld", (long long)context->limits[i].rlim_cur,
				    (long long)context->limits[i].rlim_max));
	}
}

static void add_namespaces(GPtrArray *traits, const LuContext *context)
{
	for (guint i = 0; i < LU_NAMESPACES; i++) {
		g_autofree char *name = g_strdup_printf("%s namespace", lu_namespaces[i].name);

		add(traits, name, g_strdup_printf("%" G_GUINT64_FORMAT, context->namespaces[i]));
	}
	add(traits, "root folder",
	    g_strdup_printf("inode %" G_GUINT64_FORMAT " on %" G_GUINT64_FORMAT, context->root_ino,
			    context->root_dev));
}

static char *group_text(const LuContext *context)
{
	GString *text = g_string_new(NULL);

	for (guint i = 0; i < context->groups->len; i++)
		g_string_append_printf(text, i ? " %u" : "%u",
				       g_array_index(context->groups, gid_t, i));
	return g_string_free(text, FALSE);
}

static void add_rights(GPtrArray *traits, const LuContext *context)
{
	add(traits, "user",
	    g_strdup_printf("%u/%u/%u", context->uid[0], context->uid[1], context->uid[2]));
	add(traits, "group",
	    g_strdup_printf("%u/%u/%u", context->gid[0], context->gid[1], context->gid[2]));
	add(traits, "supplementary groups", group_text(context));
	add(traits, "effective capabilities",
	    g_strdup_printf("%" G_GINT64_MODIFIER "x", context->cap_effective));
	add(traits, "bounding capabilities",
	    g_strdup_printf("%" G_GINT64_MODIFIER "x", context->cap_bounding));
	add(traits, "no_new_privs", g_strdup(context->no_new_privs ? "1" : "0"));
	add(traits, "number of seccomp filters",
	    g_strdup_printf("%" G_GUINT64_FORMAT, context->seccomp_filters));
	add(traits, "umask", g_strdup_printf("%03o", (guint)context->umask));
	add(traits, "security label", g_strdup(context->label ? context->label : "none"));
}

/* Names and values in turn. */
static GPtrArray *traits_of(const LuContext *context)
{
	GPtrArray *traits = g_ptr_array_new_with_free_func(g_free);

	add_rights(traits, context);
	add_namespaces(traits, context);
	add(traits, "control groups", lu_cgroup_text(context->cgroups));
	add_limits(traits, context);
	add(traits, "scheduling",
	    g_strdup_printf("policy %d, priority %d, nice %d", context->policy, context->priority,
			    context->nice));
	add(traits, "I/O priority", g_strdup_printf("%d", context->io_priority));
	add(traits, "CPU affinity", lu_context_cpu_list(context->affinity));
	add(traits, "oom_score_adj", g_strdup_printf("%d", context->oom_score_adj));
	add(traits, "coredump_filter", g_strdup(context->coredump_filter));
	return traits;
}

gboolean lu_context_compare(const LuContext *old, pid_t pid, GError **errp)
{
	g_autoptr(LuContext) context = lu_context_read(pid, errp);
	g_autoptr(GPtrArray) here = NULL, there = NULL;

	if (!context)
		return FALSE;
	here = traits_of(old);
	there = traits_of(context);
	for (guint i = 0; i < here->len; i += 2)
		if (g_strcmp0(here->pdata[i + 1], there->pdata[i + 1]))
			return lu_fail(errp, LU_ERROR_REFUSED,
				       "the new process would run with another %s: %s, and the "
				       "running one has %s",
				       (char *)here->pdata[i], (char *)there->pdata[i + 1],
				       (char *)here->pdata[i + 1]);
	return TRUE;
}
