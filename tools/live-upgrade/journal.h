/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run does, in a file, before it does it: so a tool that was killed and is started again
 * knows which two processes and which names it is about. What is true is asked of these; the
 * journal only says where to look.
 *
 * The journal is in a folder of the tool's own user. What the QEMU's user may write to (the
 * handover's socket) is in another one.
 */
#ifndef LIVE_UPGRADE_JOURNAL_H
#define LIVE_UPGRADE_JOURNAL_H

#include <glib.h>
#include <sys/types.h>

/* A file that was made for a disk that moves. */
typedef struct LuMadeFile {
	char *file;	  /* as QEMU sees it */
	guint64 dev, ino; /* 0: it is not known to be there yet */
} LuMadeFile;
/* Appended, and the array's. */
LuMadeFile *lu_made_files_add(GPtrArray *files, const char *file);

typedef struct LuJournal {
	char *file;
	char *step; /* the one that was begun last */
	pid_t old_pid, new_pid;
	guint64 old_start, new_start;
	char *handover;	     /* the socket, as QEMU sees it */
	char *qmp_path;	     /* of LuRunning */
	char *qmp_temporary; /* of LuPlan */
	char *from, *to;     /* versions */
	char *status;	     /* of the guest before */
	char *unit;	     /* of systemd; NULL: none */
	GPtrArray *paths;    /* of LuPath */
	char *manager;	     /* the name of LuManager; NULL: nobody manages the VM */
	char *manager_id;
	GPtrArray *records;
	GPtrArray *afterwards;
	GArray *queues;		/* see LuPlan */
	GPtrArray *connections; /* of LuConnection */
	gboolean kill_old;	/* see LuPlan */
	GPtrArray *images;	/* of LuMadeFile */
} LuJournal;

LuJournal *lu_journal_new(void);
void lu_journal_free(LuJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LuJournal, lu_journal_free)

/* /run/qemu-live-upgrade, or this user's own; made if it is missing. The caller's. */
char *lu_journal_base(GError **errp);
/* Makes such a folder, which others can pass through if root does: -1 with errno on failure. */
int lu_journal_mkdir(const char *base);
/* Of LuJournal. */
GPtrArray *lu_journal_all(const char *base);
/* All of VMs that somebody manages; of LuJournal. */
GPtrArray *lu_journal_managed(const char *base);
/* One that is about process @pid (either of the two) or the socket; NULL if there is none. */
LuJournal *lu_journal_find(const char *base, pid_t pid, const char *qmp_path);
/* Written anew as a whole, so that it is never half a file. */
gboolean lu_journal_write(const LuJournal *journal, GError **errp);
void lu_journal_remove(const LuJournal *journal);

/* For tests. */
char *lu_journal_text(const LuJournal *journal);
LuJournal *lu_journal_parse(const char *text);

#endif
