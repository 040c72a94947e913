// SPDX-License-Identifier: GPL-2.0-or-later
#include "as-user.h"

#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The system call itself: the library's sets them for all threads. */
static void set_groups(const GArray *groups)
{
	if (!geteuid() && syscall(SYS_setgroups, groups->len, groups->data) < 0)
		return; /* in a user namespace that forbids it: what then is missing is refused */
}

LuAsUser *lu_as_user(const LuProcess *process)
{
	LuAsUser *self = g_array_new(FALSE, FALSE, sizeof(gid_t));

	g_array_set_size(self, (guint)MAX(getgroups(0, NULL), 0));
	g_array_set_size(self, (guint)MAX(getgroups((int)self->len, (gid_t *)self->data), 0));
	set_groups(process->groups);
	setfsgid(process->gid);
	setfsuid(process->uid);
	return self;
}

void lu_as_self(LuAsUser *self)
{
	setfsuid(geteuid());
	setfsgid(getegid());
	set_groups(self);
	g_array_unref(self);
}
