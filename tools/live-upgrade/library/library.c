// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libqemu-live-upgrade: the tool's own call (upgrade.h) behind a face that stays as it is while
 * that one changes. A handle holds a request and a result; nothing else is kept anywhere.
 *
 * Why functions, and not a struct or a map of options by name: a struct has a layout that can
 * never grow, and a name in a string is looked at when it is too late, in a running program. A
 * function is checked by the compiler, and its symbol by the linker and by who makes packages: a
 * program that uses a new one needs the library that has it. Switches are flags of one setter;
 * one that an older library does not know is refused, not ignored. The header takes nothing but
 * the C library's types, so that any language can call it.
 *
 * The engine is inside, with all of its symbols hidden: two versions of it, in a program and in
 * this library, do not see each other. What is exported is in the .map.
 */
#pragma GCC visibility push(default)
#include "qemu-live-upgrade.h"
#pragma GCC visibility pop

#include "libvirt/lu-libvirt.h"
#include "running.h"
#include "upgrade.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define FLAGS (QLU_DRY_RUN | QLU_REHEARSE | QLU_ALLOW_DOWNGRADE | QLU_NO_ATTACH)

struct QluUpgrade {
	pid_t pid;
	char *qmp, *domain, *binary, *plugin;
	int way; /* as it was set: it may be none of QluWay's */
	unsigned int deadline_s, flags;

	QluOnStep on_step;
	QluOnProgress on_progress;
	QluOnNote on_note;
	void *step_opaque, *progress_opaque, *note_opaque;

	LuResult result;
	GError *error;
	QluOutcome outcome;
};

G_STATIC_ASSERT((int)QLU_WAY_AUTO == LU_WAY_AUTO && (int)QLU_WAY_FLIP == LU_WAY_FLIP &&
		(int)QLU_WAY_SHARE == LU_WAY_SHARE);
G_STATIC_ASSERT((int)QLU_USAGE == LU_ERROR_USAGE && (int)QLU_REFUSED == LU_ERROR_REFUSED &&
		(int)QLU_ROLLED_BACK == LU_ERROR_FAILED && (int)QLU_LOST == LU_ERROR_LOST &&
		(int)QLU_MANAGER == LU_ERROR_MANAGER);

const char *qlu_version(void)
{
	return LM_VERSION;
}

/* ------------------------------------------------------------------ handle */

/* Lists of a result always end with NULL, so that they can be given out as they are. */
static void begin_results(QluUpgrade *upgrade)
{
	lu_result_clear(&upgrade->result);
	g_clear_error(&upgrade->error);
	upgrade->outcome = QLU_USAGE;
}

QluUpgrade *qlu_new(void)
{
	QluUpgrade *upgrade = g_new0(QluUpgrade, 1);

	begin_results(upgrade);
	return upgrade;
}

void qlu_free(QluUpgrade *upgrade)
{
	if (!upgrade)
		return;
	begin_results(upgrade);
	g_free(upgrade->qmp);
	g_free(upgrade->domain);
	g_free(upgrade->binary);
	g_free(upgrade->plugin);
	g_free(upgrade);
}

static void set(char **string, const char *value)
{
	char *old = *string; /* @value may be a part of it */

	*string = g_strdup(value);
	g_free(old);
}

void qlu_set_pid(QluUpgrade *upgrade, pid_t pid)
{
	upgrade->pid = pid;
	set(&upgrade->qmp, NULL);
	set(&upgrade->domain, NULL);
}

void qlu_set_qmp(QluUpgrade *upgrade, const char *path)
{
	upgrade->pid = 0;
	set(&upgrade->qmp, path);
	set(&upgrade->domain, NULL);
}

void qlu_set_libvirt(QluUpgrade *upgrade, const char *domain)
{
	upgrade->pid = 0;
	set(&upgrade->qmp, NULL);
	set(&upgrade->domain, domain);
}

void qlu_set_binary(QluUpgrade *upgrade, const char *path)
{
	set(&upgrade->binary, path);
}

void qlu_set_plugin(QluUpgrade *upgrade, const char *plugin)
{
	set(&upgrade->plugin, plugin);
}

void qlu_set_way(QluUpgrade *upgrade, QluWay way)
{
	upgrade->way = (int)way;
}

void qlu_set_deadline_s(QluUpgrade *upgrade, unsigned int seconds)
{
	upgrade->deadline_s = seconds;
}

void qlu_set_flags(QluUpgrade *upgrade, unsigned int flags)
{
	upgrade->flags = flags;
}

void qlu_on_step(QluUpgrade *upgrade, QluOnStep callback, void *opaque)
{
	upgrade->on_step = callback;
	upgrade->step_opaque = opaque;
}

void qlu_on_progress(QluUpgrade *upgrade, QluOnProgress callback, void *opaque)
{
	upgrade->on_progress = callback;
	upgrade->progress_opaque = opaque;
}

void qlu_on_note(QluUpgrade *upgrade, QluOnNote callback, void *opaque)
{
	upgrade->on_note = callback;
	upgrade->note_opaque = opaque;
}

/* ---------------------------------------------------------------------- run */

static void tell_step(void *opaque, const char *step, const char *what)
{
	QluUpgrade *upgrade = opaque;

	if (upgrade->on_step)
		upgrade->on_step(upgrade->step_opaque, step, what);
}

static void tell_progress(void *opaque, const char *stage, guint64 done, guint64 total)
{
	QluUpgrade *upgrade = opaque;

	if (upgrade->on_progress)
		upgrade->on_progress(upgrade->progress_opaque, stage, done, total);
}

static void tell_note(void *opaque, const char *text)
{
	QluUpgrade *upgrade = opaque;

	if (upgrade->on_note)
		upgrade->on_note(upgrade->note_opaque, text);
}

/* What the tool says of its options, for who calls. */
static gboolean check(const QluUpgrade *upgrade, GError **errp)
{
	if (upgrade->pid < 0)
		return lu_fail(errp, LU_ERROR_USAGE, "%d is not a process id", (int)upgrade->pid);
	if (!upgrade->pid && !upgrade->qmp && !upgrade->domain)
		return lu_fail(errp, LU_ERROR_USAGE,
			       "it was not said which QEMU: a process id, a QMP socket or a "
			       "domain of libvirt");
	if (upgrade->flags & ~(unsigned int)FLAGS)
		return lu_fail(errp, LU_ERROR_USAGE,
			       "the flags 0x%x are unknown in version " LM_VERSION
			       " of libqemu-live-upgrade",
			       upgrade->flags & ~(unsigned int)FLAGS);
	if (upgrade->flags & QLU_DRY_RUN && upgrade->flags & QLU_REHEARSE)
		return lu_fail(errp, LU_ERROR_USAGE,
			       "QLU_DRY_RUN and QLU_REHEARSE exclude each other");
	if (upgrade->way < QLU_WAY_AUTO || upgrade->way > QLU_WAY_SHARE)
		return lu_fail(errp, LU_ERROR_USAGE,
			       "%d is no way of libqemu-live-upgrade " LM_VERSION, upgrade->way);
	return TRUE;
}

static void upgrade_with_result(QluUpgrade *upgrade)
{
	const LuRequest request = {
		.pid = upgrade->pid,
		.qmp = upgrade->qmp,
		.binary = upgrade->binary,
		.plugin = upgrade->plugin,
		.way = (LuWay)upgrade->way,
		.rehearse = !!(upgrade->flags & QLU_REHEARSE),
		.dry_run = !!(upgrade->flags & QLU_DRY_RUN),
		.allow_downgrade = !!(upgrade->flags & QLU_ALLOW_DOWNGRADE),
		.no_attach = !!(upgrade->flags & QLU_NO_ATTACH),
		.deadline_s = upgrade->deadline_s,
		.observer = {tell_step, tell_progress, tell_note, upgrade},
	};

	if (!check(upgrade, &upgrade->error))
		return;
	if (upgrade->domain)
		lu_libvirt_upgrade(upgrade->domain, &request, &upgrade->result, &upgrade->error);
	else
		lu_upgrade(&request, &upgrade->result, &upgrade->error);
}

static void attach_with_note(QluUpgrade *upgrade)
{
	pid_t pid = upgrade->pid;
	char *said = NULL;

	if (!check(upgrade, &upgrade->error))
		return;
	if (upgrade->domain) {
		lu_fail(&upgrade->error, LU_ERROR_USAGE,
			"attaching takes a process id or a QMP socket");
		return;
	}
	if (!pid)
		pid = lu_running_peer_of(upgrade->qmp);
	if (pid <= 0) {
		lu_fail(&upgrade->error, LU_ERROR_REFUSED, "nobody listens at QMP socket %s",
			upgrade->qmp);
		return;
	}
	upgrade->result.old_pid = pid;
	if (!lu_attach_only(pid, upgrade->plugin, &said, &upgrade->error))
		return;
	upgrade->result.notes = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(upgrade->result.notes, said);
	tell_note(upgrade, said);
}

static void end_list(GPtrArray *list)
{
	if (list)
		g_ptr_array_add(list, NULL);
}

/*
 * The other end of a pipe may be a process that has ended. SIGPIPE is for the thread that writes,
 * so it is put off in this one, and taken out if it came.
 */
static QluOutcome without_sigpipe(QluUpgrade *upgrade, void (*act)(QluUpgrade *upgrade))
{
	const struct timespec now = {0};
	sigset_t pipe, before, pending;
	gboolean was_pending;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE) == 1;
	pthread_sigmask(SIG_BLOCK, &pipe, &before);

	begin_results(upgrade);
	act(upgrade);
	end_list(upgrade->result.refusals);
	end_list(upgrade->result.notes);
	if (upgrade->error)
		upgrade->outcome = upgrade->error->domain == LU_ERROR
					   ? (QluOutcome)upgrade->error->code
					   : QLU_LOST;
	else
		upgrade->outcome = QLU_DONE;

	sigpending(&pending);
	if (!was_pending && sigismember(&pending, SIGPIPE) == 1)
		sigtimedwait(&pipe, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return upgrade->outcome;
}

QluOutcome qlu_run(QluUpgrade *upgrade)
{
	return without_sigpipe(upgrade, upgrade_with_result);
}

QluOutcome qlu_attach(QluUpgrade *upgrade)
{
	return without_sigpipe(upgrade, attach_with_note);
}

/* ------------------------------------------------------------------ results */

static const char *const *list_of(const GPtrArray *list)
{
	static const char *const nothing[] = {NULL};

	return list ? (const char *const *)list->pdata : nothing;
}

QluOutcome qlu_outcome(const QluUpgrade *upgrade)
{
	return upgrade->outcome;
}

const char *qlu_error(const QluUpgrade *upgrade)
{
	return upgrade->error ? upgrade->error->message : NULL;
}

const char *const *qlu_refusals(const QluUpgrade *upgrade)
{
	return list_of(upgrade->result.refusals);
}

const char *const *qlu_notes(const QluUpgrade *upgrade)
{
	return list_of(upgrade->result.notes);
}

pid_t qlu_old_pid(const QluUpgrade *upgrade)
{
	return upgrade->result.old_pid;
}

pid_t qlu_new_pid(const QluUpgrade *upgrade)
{
	return upgrade->result.new_pid;
}

const char *qlu_from(const QluUpgrade *upgrade)
{
	return upgrade->result.from;
}

const char *qlu_to(const QluUpgrade *upgrade)
{
	return upgrade->result.to;
}

const char *qlu_command_line(const QluUpgrade *upgrade)
{
	return upgrade->result.command_line;
}

const char *qlu_way(const QluUpgrade *upgrade)
{
	return upgrade->result.way;
}

double qlu_stopped_ms(const QluUpgrade *upgrade)
{
	return upgrade->result.downtime_ms;
}

double qlu_total_ms(const QluUpgrade *upgrade)
{
	return upgrade->result.total_ms;
}

uint64_t qlu_peak_bytes(const QluUpgrade *upgrade)
{
	return upgrade->result.peak_bytes;
}

const char *qlu_peak_of(const QluUpgrade *upgrade)
{
	return upgrade->result.peak_of;
}

int qlu_recovered(const QluUpgrade *upgrade)
{
	return upgrade->result.recovered;
}
