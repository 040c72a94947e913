/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Share: private memory of this process becomes a memfd, in place, while threads of it (a guest's
 * vCPUs, the kernel's I/O on its behalf) go on reading and writing it. The theory of operation is
 * in share-live.c.
 *
 * What became shared stays so for the life of the process: whoever maps the memfd as well has the
 * memory without a copy.
 */
#ifndef LM_LOCAL_SHARE_H
#define LM_LOCAL_SHARE_H

#include <migration/localhost.h>
#include "times.h"
#include "wait.h"

/*
 * A range of this process's memory and the memfd that it becomes. There is at most one of a host
 * address, and it lives until the process ends: a later session finds it and goes on with it. If
 * its memory is gone (unplugged, and perhaps other memory plugged there since), it is found no
 * more, its memfd is closed, and it has 0 bytes until lm_share_get or lm_share_adopt makes it anew.
 */
typedef struct LmShare LmShare;

/* The share that begins at @host; NULL if there is none. From any thread. */
LmShare *lm_share_find(const void *host);
/*
 * A new one, all of it still private: a memfd (close-on-exec, sealed with F_SEAL_SHRINK) called
 * @name of @bytes (a multiple of 4 KiB), which are mapped private at @host. If there is one
 * already it is returned; if that is shorter, it is extended by what is private after it. Refuses
 * (LM_ERROR_REFUSED) what is not mapped, shared, or in huge pages of hugetlbfs.
 */
LmShare *lm_share_get(const char *name, void *host, guint64 bytes, GError **errp);
/* Tells that [@host, @host + @bytes) maps @fd from 0 on, shared: nothing is private. Duplicates
 * @fd. A share that was there at @host is replaced. */
int lm_share_adopt(void *host, guint64 bytes, int fd, GError **errp);

int lm_share_fd(const LmShare *share); /* the share's */
guint64 lm_share_bytes(const LmShare *share);
/* What is not the memfd's yet; 0: done. A hole is the memfd's as soon as it maps it. */
guint64 lm_share_private_bytes(const LmShare *share);

typedef struct LmShareRun {
	/* In: */
	GPtrArray *shares;  /* of LmShare; not owned */
	guint max_stall_us; /* aim: no thread waits for longer for one chunk; 0: the default */
	guint64 bandwidth;  /* bytes a second of content; 0: no limit */
	/* Between two chunks, in the caller's thread, while live at least every 50 ms; stops the
	 * run if it is not 0. May be NULL. */
	int (*between_chunks)(void *opaque, GError **errp);
	void *opaque;
	int cancel_fd; /* readable: -ECANCELED at the next chunk; -1: none */
	/* Out, readable from any thread at any time: */
	guint64 done_bytes;  /* content that was copied into memfds by this run; __atomic */
	guint64 hole_bytes;  /* of which nothing was to be copied; __atomic */
	guint64 huge_bytes;  /* of done_bytes: in huge pages of the memfd; __atomic */
	LmTimes chunk_times; /* for how long a thread that touched it would have waited */
} LmShareRun;

/*
 * Whether memory can be shared while threads write it: 0, or -errno and a reason that names what is
 * missing (UFFDIO_MOVE: Linux 6.8; userfaultfd for faults of the kernel too: CAP_SYS_PTRACE,
 * vm.unprivileged_userfaultfd or /dev/userfaultfd), or the file that is open for direct I/O on a
 * file system where that is not known to pin memory (NFS).
 */
int lm_share_live_works(GError **errp);
/*
 * While everything runs. Returns 0 if all that can move has moved: pages that the kernel holds on
 * to (I/O under way for longer than a second of retries, registered buffers), and memory that is
 * private over a file, are left private. On an error or a cancel each byte is where it was, or in
 * the memfd and mapped.
 */
int lm_share_live(LmShareRun *run, GError **errp);
/*
 * While nobody writes (the VM is stopped and its I/O drained): the rest, with @threads threads. A
 * chunk whose pages the kernel still holds on to is copied into the memfd and stays private here,
 * so that what the kernel writes later goes where this process reads it: then the memfd is whole,
 * but only until the VM runs on, and lm_share_private_bytes is not 0.
 */
int lm_share_stopped(LmShareRun *run, guint threads, GError **errp);
/* The VM runs on here: what lm_share_stopped copied of private chunks is released again. */
void lm_share_forget_copies(LmShare *share);

#endif
