// SPDX-License-Identifier: GPL-2.0-or-later
#include "paths.h"
#include "as-user.h"
#include "error.h"
#include "handle.h"
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

/* The folder of a name, and both names in it. */
typedef struct Place {
	LuFd dir;
	char *name, *temporary;
} Place;

static void place_clear(Place *place)
{
	lu_fd_clear(&place->dir);
	g_free(place->name);
	g_free(place->temporary);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static gboolean place_open(Place *place, const LuPath *path, const LuProcess *process)
{
	g_autofree char *folder = g_path_get_dirname(path->path);
	g_autofree char *here = lu_process_path(process, folder);

	place->dir = open(here, O_PATH | O_DIRECTORY | O_CLOEXEC);
	place->name = g_path_get_basename(path->path);
	place->temporary = g_path_get_basename(path->temporary);
	return place->dir >= 0;
}

/* glibc's faccessat asks by other rights than those in the file system where it can. */
static int check_writable(const Place *place)
{
	const int rc = (int)syscall(SYS_faccessat2, place->dir, ".", W_OK | X_OK, AT_EACCESS);

	return rc < 0 && errno != ENOSYS ? errno : 0;
}

char *lu_paths_check(GPtrArray *paths, const LuProcess *process)
{
	for (guint i = 0; i < paths->len; i++) {
		const LuPath *path = paths->pdata[i];
		G_GNUC_UNUSED g_autoptr(LuAsUser) user = lu_as_user(process);
		g_auto(Place) place = {.dir = -1};
		int err = place_open(&place, path, process) ? check_writable(&place) : errno;

		if (err)
			return g_strdup_printf("%s: user %u cannot write to the folder of %s, in "
					       "which the new name would be: %s",
					       path->what, process->uid, path->path,
					       g_strerror(err));
	}
	return NULL;
}

static gboolean stat_at(const Place *place, const char *name, struct stat *st)
{
	return !fstatat(place->dir, name, st, AT_SYMLINK_NOFOLLOW);
}

static gboolean is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* What an administrator gave to the old name (chmod, chgrp) goes to the new one, if it may. */
static void copy_mode(const Place *place, const struct stat *before, const struct stat *now)
{
	if (before->st_gid != now->st_gid &&
	    fchownat(place->dir, place->temporary, -1, before->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (before->st_mode != now->st_mode && S_ISSOCK(now->st_mode) &&
	    fchmodat(place->dir, place->temporary, before->st_mode & 07777, 0) < 0)
		return;
}

static int take(const Place *place)
{
	g_autofree char *link = g_strconcat(place->temporary, "n", NULL);
	struct stat before, now;
	int err;

	if (!stat_at(place, place->temporary, &now))
		return errno;
	if (stat_at(place, place->name, &before)) {
		if (is_same(&before, &now))
			return 0; /* done by a run before this one */
		copy_mode(place, &before, &now);
	}
	unlinkat(place->dir, link, 0);
	if (linkat(place->dir, place->temporary, place->dir, link, 0) < 0)
		return errno;
	if (!renameat(place->dir, link, place->dir, place->name))
		return 0;
	err = errno;
	unlinkat(place->dir, link, 0);
	return err;
}

void lu_paths_take(GPtrArray *paths, const LuProcess *process, GPtrArray *problems)
{
	for (guint i = 0; i < paths->len; i++) {
		const LuPath *path = paths->pdata[i];
		G_GNUC_UNUSED g_autoptr(LuAsUser) user = lu_as_user(process);
		g_auto(Place) place = {.dir = -1};
		int err = place_open(&place, path, process) ? take(&place) : errno;

		if (err)
			g_ptr_array_add(problems, g_strdup_printf("%s: %s is not renamed to %s: %s",
								  path->what, path->temporary,
								  path->path, g_strerror(err)));
	}
}

/* -------------------------------------------------------------------- guard */

static void restore(const Place *places, guint count)
{
	for (guint i = 0; i < count; i++) {
		struct stat st;

		if (places[i].dir >= 0 && !stat_at(&places[i], places[i].name, &st) &&
		    linkat(places[i].dir, places[i].temporary, places[i].dir, places[i].name, 0) <
			    0)
			continue; /* it is there again, or never will be */
	}
}

static void watch(int notify, const LuPath *path, const LuProcess *process)
{
	g_autofree char *folder = g_path_get_dirname(path->path);
	g_autofree char *here = lu_process_path(process, folder);

	inotify_add_watch(notify, here, IN_DELETE | IN_MOVED_FROM);
}

static gboolean watch_until_end(const Place *places, guint count, int notify, const LuProcess *old,
				gint64 end_us)
{
	struct pollfd fds[2] = {{.fd = notify, .events = POLLIN},
				{.fd = old->pidfd, .events = POLLIN}};
	char events[4096];

	for (;;) {
		int n = poll(fds, G_N_ELEMENTS(fds), lu_left_ms(end_us));

		if (n < 0 && errno == EINTR)
			continue;
		restore(places, count);
		if (n <= 0 || fds[1].revents)
			return n > 0;
		if (read(notify, events, sizeof(events)) < 0 && errno != EAGAIN && errno != EINTR)
			fds[0].fd = -1;
	}
}

gboolean lu_paths_guard(GPtrArray *paths, const LuProcess *process, const LuProcess *old,
			void (*ask)(gpointer opaque), gpointer opaque, gint64 end_us)
{
	g_auto(LuFd) notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	g_autofree Place *places = g_new0(Place, paths->len + 1);
	LuAsUser *self = lu_as_user(process);
	gboolean ended;

	for (guint i = 0; i < paths->len; i++) {
		places[i].dir = -1;
		place_open(&places[i], paths->pdata[i], process);
		watch(notify, paths->pdata[i], process);
	}
	lu_as_self(self);
	ask(opaque);
	self = lu_as_user(process);
	restore(places, paths->len); /* what went before this looked */
	ended = watch_until_end(places, paths->len, notify, old, end_us);
	lu_as_self(self);
	for (guint i = 0; i < paths->len; i++)
		place_clear(&places[i]);
	return ended;
}

void lu_paths_forget(GPtrArray *paths, const LuProcess *process)
{
	for (guint i = 0; i < paths->len; i++) {
		G_GNUC_UNUSED g_autoptr(LuAsUser) user = lu_as_user(process);
		g_auto(Place) place = {.dir = -1};

		if (place_open(&place, paths->pdata[i], process))
			unlinkat(place.dir, place.temporary, 0);
	}
}

gboolean lu_paths_forget_taken(GPtrArray *paths, const LuProcess *process)
{
	gboolean all = TRUE;

	for (guint i = 0; i < paths->len; i++) {
		G_GNUC_UNUSED g_autoptr(LuAsUser) user = lu_as_user(process);
		g_auto(Place) place = {.dir = -1};
		struct stat public, private;

		if (!place_open(&place, paths->pdata[i], process) ||
		    !stat_at(&place, place.temporary, &private))
			continue;
		if (stat_at(&place, place.name, &public) && is_same(&public, &private))
			unlinkat(place.dir, place.temporary, 0);
		else
			all = FALSE;
	}
	return all;
}
