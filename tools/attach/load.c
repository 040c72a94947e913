// SPDX-License-Identifier: GPL-2.0-or-later
#include "load.h"
#include "call.h"
#include "elf-image.h"
#include "migration/attached.h"
#include "proc.h"
#include "remote.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define COPY_NAME  "localhost-migrate.so" /* what /proc/PID/maps shows: /memfd:NAME (deleted) */
#define ERROR_MAX  1000
#define SEALS	   (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define FAILED_INT G_MAXUINT32 /* the -1 of an int that a function returned */

/* A call of a function with up to two arguments; the third is seldom there. */
static int call2(AttachCall *call, guint64 function, guint64 first, guint64 second, guint64 *result,
		 GError **errp)
{
	return attach_call(call, function, first, second, 0, result, errp);
}

/*
 * The dynamic linker takes two objects for one if they are opened by the same name, and gives the
 * old one. A copy more, a "./" more.
 */
static char *unique_path(const char *folder, const char *rest, guint copies)
{
	GString *path = g_string_new(folder);

	for (guint i = 0; i < copies; i++)
		g_string_append(path, "./");
	g_string_append(path, rest);
	return g_string_free(path, FALSE);
}

/* -------------------------------------------------------------------- a copy */

static int write_all(int fd, const char *data, gsize bytes)
{
	while (bytes) {
		ssize_t done = write(fd, data, bytes);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		data += done;
		bytes -= (gsize)done;
	}
	return 0;
}

/*
 * The process's own descriptor, with no other right than the process has to it: /proc/PID/fd would
 * open any file that it names anew, with the rights of who attaches. Only a memfd is written.
 */
static int take_memfd(pid_t pid, int number)
{
	g_auto(AttachFd) process = (int)syscall(SYS_pidfd_open, pid, 0);
	g_auto(AttachFd) fd = -1;
	int seals;

	if (process >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	if (fd < 0)
		return -errno;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || seals & F_SEAL_SEAL)
		return -EINVAL;
	return attach_fd_steal(&fd);
}

static int fill_copy(const AttachJob *job, int number, GError **errp)
{
	g_autofree char *data = NULL;
	gsize bytes;
	g_auto(AttachFd) fd = -1;
	int rc;

	if (!g_file_get_contents(job->plugin_path, &data, &bytes, NULL))
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOENT, "cannot read the plugin %s",
				   job->plugin_path);
	/* Once more: it may have been replaced since it was looked at. */
	if (!attach_elf_file_is_whole((const guint8 *)data, bytes))
		return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOEXEC,
				   "%s is no plugin: it is cut off", job->plugin_path);
	rc = fd = take_memfd(job->pid, number);
	if (rc >= 0)
		rc = write_all(fd, data, bytes);
	if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		rc = -errno;
	if (rc == 0)
		return 0;
	return attach_fail_errno(errp, ATTACH_ERROR_FAILED, -rc,
				 "cannot write a copy of the plugin to descriptor %d of process %d",
				 number, (int)job->pid);
}

/* A memfd of the process's own; *@number is the caller's to close. */
static int make_copy(AttachCall *call, const AttachJob *job, int *number, GError **errp)
{
	guint64 result;
	int rc = attach_call_set_data(call, COPY_NAME, errp);

	if (rc == 0)
		rc = call2(call, job->target.memfd_create, call->data,
			   MFD_CLOEXEC | MFD_ALLOW_SEALING, &result, errp);
	if (rc < 0)
		return rc;
	if ((guint32)result == FAILED_INT)
		return attach_fail(errp, ATTACH_ERROR_LOAD, EPERM,
				   "process %d may not make a memfd for a copy of the plugin",
				   (int)job->pid);
	*number = (int)result;
	return fill_copy(job, *number, errp);
}

/* ---------------------------------------------------------------------- dlopen */

static int say_no(AttachCall *call, const AttachJob *job, GError **errp)
{
	g_autofree char *text = NULL;
	g_autofree char *advice = NULL;
	guint64 address = 0;
	int rc = call2(call, job->target.dlerror, 0, 0, &address, errp);

	if (rc < 0)
		return rc;
	if (address)
		text = attach_remote_string(job->pid, address, ERROR_MAX);
	if (job->facts.confined)
		advice = attach_confinement_advice(job->facts.confined, attach_selinux_is_on(),
						   job->facts.by_path ? job->plugin_path
								      : "/memfd:" COPY_NAME "*");
	return attach_fail(errp, ATTACH_ERROR_LOAD, ENOEXEC,
			   "process %d cannot load the plugin: %s%s", (int)job->pid,
			   text ? text : "dlopen says no more", advice ? advice : "");
}

/* An object without the variable is none of ours, and goes again. */
static int find_variable(AttachCall *call, AttachJob *job, GError **errp)
{
	guint64 address = 0, ignored;
	guint32 magic = 0;
	int rc = attach_call_set_data(call, LM_ATTACHED_SYMBOL, errp);

	if (rc == 0)
		rc = call2(call, job->target.dlsym, job->handle, call->data, &address, errp);
	if (rc == 0 && address)
		rc = attach_remote_read(job->pid, address, &magic, sizeof(magic), errp);
	if (rc < 0)
		return rc;
	if (magic == LM_ATTACHED_MAGIC) {
		job->attached = address;
		return 0;
	}
	call2(call, job->target.dlclose, job->handle, 0, &ignored, NULL);
	return attach_fail(errp, ATTACH_ERROR_PLUGIN, ENOEXEC,
			   "%s is no plugin that can be attached", job->plugin_path);
}

static int open_plugin(AttachCall *call, AttachJob *job, const char *path, GError **errp)
{
	guint64 handle = 0;
	int rc = attach_call_set_data(call, path, errp);

	if (rc == 0)
		rc = call2(call, job->target.dlopen, call->data, RTLD_NOW | RTLD_LOCAL, &handle,
			   errp);
	if (rc == 0 && !handle)
		rc = say_no(call, job, errp);
	if (rc < 0)
		return rc;
	job->handle = handle;
	rc = find_variable(call, job, errp);
	if (rc == 0 && job->flags & ATTACH_ALLOW_UNTESTED)
		rc = attach_thread_write(call->thread,
					 job->attached + offsetof(LmAttached, allow_untested),
					 &(guint32){1}, sizeof(guint32), errp);
	return rc;
}

static int open_copy(AttachCall *call, AttachJob *job, GError **errp)
{
	int number = -1, rc = make_copy(call, job, &number, errp);
	guint64 ignored;

	if (rc == 0) {
		g_autofree char *name = g_strdup_printf("%d", number);
		g_autofree char *path = unique_path("/proc/self/fd/", name, job->target.copies);

		rc = open_plugin(call, job, path, errp);
	}
	if (number >= 0)
		call2(call, job->target.close, (guint64)number, 0, &ignored, NULL);
	return rc;
}

/* The process may see the file and yet not be allowed to read it; the first error counts. */
static int open_either(AttachCall *call, AttachJob *job, GError **errp)
{
	g_autofree char *path = NULL;
	g_autoptr(GError) error = NULL;
	int rc;

	job->report.by_path = job->facts.by_path;
	if (!job->facts.by_path)
		return open_copy(call, job, errp);
	path = unique_path("/", job->plugin_path + 1, job->target.copies);
	rc = open_plugin(call, job, path, &error);
	if (g_error_matches(error, ATTACH_ERROR, ATTACH_ERROR_LOAD) &&
	    open_copy(call, job, NULL) == 0) {
		job->report.by_path = FALSE;
		return 0;
	}
	if (rc < 0)
		g_propagate_error(errp, g_steal_pointer(&error));
	return rc;
}

/* --------------------------------------------------------------- while it is held */

typedef int Work(AttachCall *call, AttachJob *job, GError **errp);

static int keep_errno(AttachCall *call, AttachJob *job, Work *work, GError **errp)
{
	guint64 address = 0;
	int rc = call2(call, job->target.errno_location, 0, 0, &address, errp);
	gint32 number;

	if (rc == 0)
		rc = attach_remote_read(job->pid, address, &number, sizeof(number), errp);
	if (rc < 0)
		return rc;
	rc = work(call, job, errp);
	if (!call->lost)
		attach_thread_write(call->thread, address, &number, sizeof(number), NULL);
	return rc;
}

/* While it was waited for it may have ended, or executed another program: no address counts then.
 */
static int check_same(const AttachJob *job, GError **errp)
{
	g_autofree char *identity = attach_proc_identity(job->pid);

	if (identity && !strcmp(identity, job->target.identity))
		return 0;
	return attach_fail(errp, ATTACH_ERROR_NO_PROCESS, ESRCH,
			   "process %d is not the one that was looked at, and nothing was done to "
			   "it",
			   (int)job->pid);
}

static int while_held(AttachJob *job, Work *work, GError **errp)
{
	AttachThread thread = {.pid = job->pid, .end_us = job->end_us};
	AttachCall call;
	int rc = attach_thread_hold(&thread, errp);

	if (rc == 0)
		rc = check_same(job, errp);
	if (rc < 0) {
		attach_thread_release(&thread);
		attach_state_clear(&thread.state);
		return rc;
	}
	rc = attach_call_begin(&call, &thread, job->target.entry, errp);
	if (rc == 0)
		rc = keep_errno(&call, job, work, errp);
	attach_call_end(&call);
	job->report.tries = thread.tries;
	job->report.stopped_us = g_get_monotonic_time() - thread.held_us;
	attach_state_clear(&thread.state);
	return rc;
}

int attach_job_load(AttachJob *job, GError **errp)
{
	return while_held(job, open_either, errp);
}

static int close_plugin(AttachCall *call, AttachJob *job, GError **errp)
{
	guint64 ignored;

	return call2(call, job->target.dlclose, job->handle, 0, &ignored, errp);
}

int attach_job_unload(AttachJob *job, GError **errp)
{
	AttachReport report = job->report;
	int rc = while_held(job, close_plugin, errp);

	job->report = report;
	return rc;
}
