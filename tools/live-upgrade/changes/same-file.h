/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LIVE_UPGRADE_CHANGES_SAME_FILE_H
#define LIVE_UPGRADE_CHANGES_SAME_FILE_H

#include "running.h"

/* Two names of the running process's lead to one file, or are one where they are no files. */
gboolean lu_same_file(const LuRunning *running, const char *a, const char *b);

#endif
