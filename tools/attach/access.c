// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whether this process may trace another one. The kernel is asked (a read of memory takes the
 * same right as ptrace); why it says no is found out afterwards, for the message.
 */
#include "check.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#define CAP_SYS_PTRACE 19

static gboolean has_capability(void)
{
	g_autofree char *effective = attach_proc_status(getpid(), "CapEff");

	return effective && (g_ascii_strtoull(effective, NULL, 16) >> CAP_SYS_PTRACE & 1);
}

static int yama_scope(void)
{
	g_autofree char *text = NULL;

	if (!g_file_get_contents("/proc/sys/kernel/yama/ptrace_scope", &text, NULL, NULL))
		return 0;
	return (int)g_ascii_strtoll(text, NULL, 10);
}

static int check_tracer(pid_t pid, GError **errp)
{
	pid_t tracer = (pid_t)attach_proc_status_number(pid, "TracerPid");
	g_autofree char *name = NULL;

	if (tracer <= 0)
		return 0;
	name = attach_proc_comm(tracer);
	return attach_fail(errp, ATTACH_ERROR_TRACED, EBUSY,
			   "process %d is traced already, by process %d (%s)", (int)pid,
			   (int)tracer, name);
}

static int say_why(pid_t pid, int err, GError **errp)
{
	gint64 owner = attach_proc_status_number(pid, "Uid");
	g_autofree char *label = attach_proc_read(pid, "attr/current");
	int scope = yama_scope();

	if (scope == 3)
		return attach_fail(errp, ATTACH_ERROR_NO_RIGHT, err,
				   "process %d may not be traced: kernel.yama.ptrace_scope is 3, "
				   "which forbids it to everybody until the next boot",
				   (int)pid);
	if (!has_capability() && owner != (gint64)geteuid())
		return attach_fail(errp, ATTACH_ERROR_NO_RIGHT, err,
				   "process %d may not be traced by this user: it belongs to user "
				   "%" G_GINT64_FORMAT ", this is %u without CAP_SYS_PTRACE",
				   (int)pid, owner, geteuid());
	if (!has_capability() && scope > 0)
		return attach_fail(errp, ATTACH_ERROR_NO_RIGHT, err,
				   "process %d may not be traced: kernel.yama.ptrace_scope is %d, "
				   "and CAP_SYS_PTRACE is missing",
				   (int)pid, scope);
	return attach_fail(errp, ATTACH_ERROR_NO_RIGHT, err,
			   "process %d may not be traced by this user (%s; security label: %s)",
			   (int)pid, g_strerror(err), label ? g_strchomp(label) : "none");
}

static int check_state(pid_t pid, GError **errp)
{
	g_autofree char *state = attach_proc_status(pid, "State");

	if (state && *state == 'T')
		return attach_fail(errp, ATTACH_ERROR_STATE, EBUSY,
				   "process %d is stopped by a signal; SIGCONT makes it go on",
				   (int)pid);
	return 0;
}

gboolean attach_selinux_is_on(void)
{
	return g_file_test("/sys/fs/selinux/enforce", G_FILE_TEST_EXISTS);
}

/* AppArmor's label has its mode in brackets: "libvirt-... (enforce)". */
char *attach_confinement_advice(const char *label, gboolean selinux, const char *file)
{
	g_autofree char *profile = g_strndup(label, strcspn(label, " "));

	if (selinux)
		return g_strdup_printf(" (it is confined by SELinux as %s, which must be allowed "
				       "to map and execute %s)",
				       label, file);
	return g_strdup_printf(" (it is confined by the AppArmor profile %s, which allows it with "
			       "the rule \"%s mr,\")",
			       profile, file);
}

/* Whether there is memory at the address does not matter: EFAULT comes after the question of right.
 */
int attach_check_access(pid_t pid, GError **errp)
{
	struct iovec local = {&(char){0}, 1}, remote = {(void *)0x10000, 1};
	int rc = check_tracer(pid, errp);

	if (rc == 0)
		rc = check_state(pid, errp);
	if (rc < 0)
		return rc;
	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 || errno == EFAULT)
		return 0;
	return say_why(pid, errno, errp);
}
