/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shares of this process: what they are made of, and what is private of each. */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "memfd.h"
#include "share-run.h"

static GMutex lock;
static GHashTable *shares; /* host address: LmShare; under lock */

/* ---------------------------------------------------------------- signals */

void lm_quiet_begin(LmQuiet *quiet)
{
	sigset_t all, pending;

	sigpending(&pending);
	quiet->had_xfsz = sigismember(&pending, SIGXFSZ) == 1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &quiet->mask);
}

void lm_quiet_end(LmQuiet *quiet)
{
	const struct timespec now = {0};
	sigset_t xfsz;

	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	while (!quiet->had_xfsz && sigtimedwait(&xfsz, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &quiet->mask, NULL);
}

/* ------------------------------------------------------------------ state */

static LmRegion *new_set(guint64 bytes)
{
	LmRegion *set = lm_region_new("");

	set->used_bytes = bytes;
	lm_region_bitmap_reset(set);
	return set;
}

/* A set of @bytes with what is in @old, which is freed. */
static LmRegion *extend_set(LmRegion *old, guint64 bytes)
{
	LmRegion *set = new_set(bytes);
	LmRange run = {0};

	while (old && lm_region_bitmap_next(old, run.offset_bytes + run.length_bytes,
					    old->used_bytes, &run))
		lm_region_bitmap_set(set, &run);
	lm_region_free(old);
	return set;
}

void lm_share_set_shared(LmShare *share, const LmRange *range)
{
	lm_region_bitmap_clear(share->private_pages, range);
	__atomic_fetch_sub(&share->private_bytes, range->length_bytes, __ATOMIC_RELAXED);
}

void lm_share_set_copied(LmShare *share, const LmRange *range)
{
	lm_region_bitmap_set(share->copied, range);
}

static void punch(LmShare *share, const LmRange *range)
{
	int ret;

	do {
		ret = fallocate(share->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				range->offset_bytes, range->length_bytes);
	} while (ret < 0 && errno == EINTR);
	lm_region_bitmap_clear(share->copied, range);
}

/* The next run of @set in @range after @run. */
static gboolean next_in(const LmRegion *set, const LmRange *range, LmRange *run)
{
	const guint64 from = MAX(range->offset_bytes, run->offset_bytes + run->length_bytes);

	return lm_region_bitmap_next(set, from, range->offset_bytes + range->length_bytes, run);
}

void lm_share_punch(LmShare *share, const LmRange *range)
{
	LmRange run = {0};

	while (next_in(share->private_pages, range, &run))
		punch(share, &run);
}

void lm_share_forget_copies(LmShare *share)
{
	const LmRange all = {0, share->bytes};
	LmRange run = {0};

	while (share->copied && next_in(share->copied, &all, &run))
		punch(share, &run);
}

guint64 lm_share_private_bytes(const LmShare *share)
{
	return __atomic_load_n(&share->private_bytes, __ATOMIC_RELAXED);
}

int lm_share_fd(const LmShare *share)
{
	return share->fd;
}

guint64 lm_share_bytes(const LmShare *share)
{
	return share->bytes;
}

/* ----------------------------------------------------------------- making */

static int refuse(const char *name, const char *what, GError **errp)
{
	return lm_fail(errp, LM_ERROR_REFUSED, EINVAL, "RAM block %s cannot be shared in place: %s",
		       name, what);
}

/* All of it is there, and is memory that a memfd can take the place of. */
static int check_private(const char *name, guint64 start, guint64 end, GError **errp)
{
	g_autoptr(GArray) mappings = lm_mappings_read(start, end, errp);

	if (!mappings)
		return -EIO;
	while (start < end) {
		const LmMapping *mapping = lm_mappings_at(mappings, start);

		if (!mapping)
			return refuse(name, "part of it is not mapped", errp);
		if (mapping->flags & LM_MAPPING_SHARED)
			return refuse(name, "part of it is shared memory already", errp);
		if (mapping->flags & LM_MAPPING_HUGETLB)
			return refuse(name, "it is in huge pages of hugetlbfs", errp);
		if (mapping->flags & LM_MAPPING_DEVICE)
			return refuse(name, "part of it is a device's memory", errp);
		start = mapping->end;
	}
	return 0;
}

static int check_arguments(const char *name, const void *host, guint64 bytes, GError **errp)
{
	if (bytes && bytes % LM_BASE_PAGE_BYTES == 0 && (guintptr)host % LM_BASE_PAGE_BYTES == 0)
		return 0;
	return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
		       "RAM block %s cannot be shared in place: %" G_GUINT64_FORMAT
		       " bytes at %p are not whole pages",
		       name, bytes, host);
}

static int create_memfd(const char *name, GError **errp)
{
	int fd = lm_memfd_new(name, "memfd-share");

	if (fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot create a memfd for RAM block %s", name);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		int err = errno;

		close(fd);
		return lm_fail_errno(errp, LM_ERROR_FAILED, err,
				     "cannot seal the memfd of RAM block %s", name);
	}
	return fd;
}

static int set_size(const char *name, int fd, guint64 bytes, GError **errp)
{
	LmQuiet quiet;
	int err;

	lm_quiet_begin(&quiet);
	err = ftruncate(fd, bytes) < 0 ? errno : 0;
	lm_quiet_end(&quiet);
	if (!err)
		return 0;
	return lm_fail_errno(errp, LM_ERROR_FAILED, err,
			     "cannot give the memfd of RAM block %s %" G_GUINT64_FORMAT " bytes",
			     name, bytes);
}

static int extend(LmShare *share, guint64 bytes, GError **errp)
{
	const LmRange more = {share->bytes, bytes - share->bytes};
	const guint64 host = (guint64)(guintptr)share->host;
	int ret = check_private(share->name, host + share->bytes, host + bytes, errp);

	if (ret < 0)
		return ret;
	ret = set_size(share->name, share->fd, bytes, errp);
	if (ret < 0)
		return ret;
	share->private_pages = extend_set(share->private_pages, bytes);
	share->copied = extend_set(share->copied, bytes);
	lm_region_bitmap_set(share->private_pages, &more);
	__atomic_fetch_add(&share->private_bytes, more.length_bytes, __ATOMIC_RELAXED);
	share->bytes = bytes;
	return 0;
}

void lm_share_begin_run(LmShare *share)
{
	g_mutex_lock(&lock);
	share->runs++;
	g_mutex_unlock(&lock);
}

void lm_share_end_run(LmShare *share)
{
	g_mutex_lock(&lock);
	share->runs--;
	g_mutex_unlock(&lock);
}

/* ---------------------------------------------------------------- finding */

static gboolean all_private(const LmShare *share, guint64 start, guint64 end)
{
	LmRange run;

	return lm_region_bitmap_next(share->private_pages, start, end, &run) &&
	       run.offset_bytes == start && run.length_bytes == end - start;
}

static gboolean none_private(const LmShare *share, guint64 start, guint64 end)
{
	LmRange run;

	return !lm_region_bitmap_next(share->private_pages, start, end, &run);
}

/*
 * Whether what is mapped at the share's address is still what it was: its memory may have been
 * unplugged, and other memory plugged there since.
 */
static gboolean is_there(const LmShare *share)
{
	const guint64 host = (guint64)(guintptr)share->host;
	g_autoptr(GArray) mappings = lm_mappings_list(host, host + share->bytes, NULL);
	guint64 offset = 0;
	struct stat st;

	if (share->runs || !mappings || fstat(share->fd, &st) < 0)
		return TRUE; /* nobody can tell just now */
	while (offset < share->bytes) {
		const LmMapping *mapping = lm_mappings_at(mappings, host + offset);
		guint64 end;

		if (!mapping)
			return FALSE;
		end = MIN(mapping->end - host, share->bytes);
		if (!(mapping->flags & LM_MAPPING_SHARED)) {
			if (!all_private(share, offset, end))
				return FALSE;
		} else if (mapping->ino != st.st_ino ||
			   mapping->offset + (host + offset - mapping->start) != offset ||
			   !none_private(share, offset, end)) {
			return FALSE;
		}
		offset = end;
	}
	return TRUE;
}

/* Whoever still points to one that is gone finds it empty; it may be made anew. */
static void clear(LmShare *share)
{
	if (share->fd >= 0)
		close(share->fd);
	lm_region_free(share->private_pages);
	lm_region_free(share->copied);
	share->private_pages = share->copied = NULL;
	share->fd = -1;
	share->bytes = 0;
	__atomic_store_n(&share->private_bytes, 0, __ATOMIC_RELAXED);
}

/* The share at @host, new or cleared if need be. Only for who holds the lock. */
static LmShare *lookup(void *host)
{
	LmShare *share;

	if (!shares)
		shares = g_hash_table_new(NULL, NULL);
	share = g_hash_table_lookup(shares, host);
	if (!share) {
		share = g_new0(LmShare, 1);
		share->host = host;
		share->fd = -1;
		g_hash_table_insert(shares, host, share);
	}
	if (share->fd >= 0 && !is_there(share))
		clear(share);
	return share;
}

LmShare *lm_share_find(const void *host)
{
	LmShare *share;

	g_mutex_lock(&lock);
	share = shares ? g_hash_table_lookup(shares, host) : NULL;
	if (share && share->fd >= 0 && !is_there(share))
		clear(share);
	if (share && share->fd < 0)
		share = NULL;
	g_mutex_unlock(&lock);
	return share;
}

static LmShare *get(const char *name, void *host, guint64 bytes, GError **errp)
{
	LmShare *share = lookup(host);

	if (share->bytes >= bytes)
		return share;
	if (share->fd >= 0)
		return extend(share, bytes, errp) < 0 ? NULL : share;
	share->fd = create_memfd(name, errp);
	g_free(share->name);
	share->name = g_strdup(name);
	if (share->fd >= 0 && extend(share, bytes, errp) == 0)
		return share;
	clear(share);
	return NULL;
}

LmShare *lm_share_get(const char *name, void *host, guint64 bytes, GError **errp)
{
	LmShare *share;

	if (check_arguments(name, host, bytes, errp) < 0)
		return NULL;
	g_mutex_lock(&lock);
	share = get(name, host, bytes, errp);
	g_mutex_unlock(&lock);
	return share;
}

int lm_share_adopt(void *host, guint64 bytes, int fd, GError **errp)
{
	int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	LmShare *share;

	if (own_fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "cannot duplicate the memfd of the RAM at %p", host);
	g_mutex_lock(&lock);
	share = lookup(host);
	clear(share);
	share->fd = own_fd;
	share->bytes = bytes;
	share->private_pages = new_set(bytes);
	share->copied = new_set(bytes);
	g_mutex_unlock(&lock);
	return 0;
}
