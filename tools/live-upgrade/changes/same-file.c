// SPDX-License-Identifier: GPL-2.0-or-later
#include "same-file.h"

#include <string.h>

static gboolean stat_of(const LuRunning *running, const char *name, struct stat *st)
{
	g_autofree char *absolute = g_canonicalize_filename(name, running->cwd);
	g_autofree char *here = lu_process_path(running->process, absolute);

	return !stat(here, st);
}

gboolean lu_same_file(const LuRunning *running, const char *a, const char *b)
{
	struct stat of_a, of_b;

	if (!a || !b || !strcmp(a, b))
		return a == b || (a && b);
	return stat_of(running, a, &of_a) && stat_of(running, b, &of_b) &&
	       of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev;
}
