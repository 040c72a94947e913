// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How the destination takes memory that is passed: each block's descriptor is checked and mapped
 * over the block's own memory, at its address. What comes while the source shares is mapped while
 * the guest still runs there; what is left comes after the stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "error.h"
#include "session.h"

/* @fd is checked before it is mapped: a shorter file would be a SIGBUS later. */
static int check_file(const LmRegion *region, int fd, guint64 offset_bytes, struct stat *st,
		      GError **errp)
{
	/* Before the size: what cannot shrink keeps it. */
	const int seals = fcntl(fd, F_GET_SEALS);
	guint64 end_bytes;

	if (fstat(fd, st) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "RAM block %s: fstat",
				     region->name);
	if (!S_ISREG(st->st_mode))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "RAM block %s: the source passed no file", region->name);
	if (!g_uint64_checked_add(&end_bytes, offset_bytes, region->used_bytes) ||
	    st->st_size < 0 || (guint64)st->st_size < end_bytes)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "RAM block %s: the passed file has %" G_GINT64_FORMAT
			       " bytes, needed are %" G_GUINT64_FORMAT,
			       region->name, (gint64)st->st_size, end_bytes);
	if (offset_bytes && !(region->flags & LM_REGION_SHARED))
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "RAM block %s begins at %" G_GUINT64_FORMAT
			       " of its file on the source, and is private on the destination",
			       region->name, offset_bytes);
	/* The host's record of where the block begins in its file cannot be changed. */
	if ((region->flags & LM_REGION_SHARED) && offset_bytes != region->fd_offset_bytes)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "RAM block %s begins at %" G_GUINT64_FORMAT
			       " of its file on the source, and at %" G_GUINT64_FORMAT
			       " on the destination",
			       region->name, offset_bytes, region->fd_offset_bytes);
	if (region->way == LM_WAY_SHARE && (seals < 0 || !(seals & F_SEAL_SHRINK)))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "RAM block %s: the passed file is no memfd that cannot shrink",
			       region->name);
	return 0;
}

static guint64 page_bytes_of(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (guint64)fs.f_bsize
								     : LM_WIRE_PAGE_BYTES_MIN;
}

/* What mmap would take, and the guest then trip over; or refuse with no word on which it was. */
static int check_use(const LmRegion *region, int fd, gboolean only_read, GError **errp)
{
	const int access = fcntl(fd, F_GETFL) & O_ACCMODE;
	const guint64 page_bytes = page_bytes_of(fd);

	if (access == O_WRONLY || (access == O_RDONLY && !only_read))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "RAM block %s: the passed file is open for %s only", region->name,
			       access == O_WRONLY ? "writing" : "reading");
	if (page_bytes != region->page_bytes)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "RAM block %s: the passed file has pages of %" G_GUINT64_FORMAT
			       " bytes, the block's have %" G_GUINT64_FORMAT,
			       region->name, page_bytes, region->page_bytes);
	return 0;
}

/* Of a block that may grow, all that the file has is mapped. */
static guint64 bytes_to_map(const LmRegion *region, const struct stat *st, guint64 offset_bytes)
{
	guint64 bytes = MIN(region->max_bytes, (guint64)st->st_size - offset_bytes);

	return MAX(region->used_bytes, bytes / LM_WIRE_PAGE_BYTES_MIN * LM_WIRE_PAGE_BYTES_MIN);
}

static int map_file(LmSession *s, LmRegion *region, int fd, guint64 offset_bytes, GError **errp)
{
	const int sharing = s->rehearse ? MAP_PRIVATE : MAP_SHARED;
	struct stat st;
	guint64 bytes;
	int rc = check_file(region, fd, offset_bytes, &st, errp);

	if (rc == 0)
		rc = check_use(region, fd, s->rehearse, errp);
	if (rc < 0)
		return rc;
	if (!s->rehearse && (region->flags & LM_REGION_SHARED) && region->dev == st.st_dev &&
	    region->ino == st.st_ino)
		return 0; /* the same file is mapped here already */
	bytes = bytes_to_map(region, &st, offset_bytes);
	if (mmap(region->host, bytes, PROT_READ | PROT_WRITE, sharing | MAP_FIXED, fd,
		 offset_bytes) == MAP_FAILED)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "RAM block %s: mmap",
				     region->name);
	/*
	 * Another source might flip into it what is no longer private, and no longer empty; and
	 * after a rehearsal, what is mapped is no longer the file that the block's record names.
	 */
	s->spoilt |= s->rehearse || !(region->flags & LM_REGION_SHARED);
	if (s->rehearse)
		return 0;
	/* QEMU has no descriptor of the block as it is now; who hands it on finds it here. */
	if (!(region->flags & LM_REGION_SHARED) || region->fd < 0) {
		rc = lm_share_adopt(region->host, bytes, fd, errp);
		if (rc < 0)
			return rc;
	}
	return s->ops->adopted(s->opaque, region, fd, errp);
}

static int take_pass(LmSession *s, const LmMessage *message, gboolean in_pause, GError **errp)
{
	gint64 begin_us = g_get_monotonic_time();
	LmWirePass what;
	LmRegion *region;
	int rc = lm_wire_pass_decode(message->payload, message->header.length, &what, errp);

	if (rc < 0)
		return rc;
	if (what.region >= s->regions->len)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the source passed RAM block %u of %u", what.region,
			       s->regions->len);
	region = g_ptr_array_index(s->regions, what.region);
	if (region->way == LM_WAY_FLIP || region->passed)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO, "the source passed RAM block %s %s",
			       region->name, region->passed ? "twice" : "instead of flipping it");
	if (message->fd_count != 1)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "RAM block %s came with %u descriptors where 1 was due",
			       region->name, message->fd_count);
	rc = map_file(s, region, message->fds[0], what.offset_bytes, errp);
	region->passed = rc == 0;
	if (in_pause)
		lm_session_note_pause(s, LM_PAUSE_MAP, &begin_us);
	return rc;
}

/* Takes what is passed, until a message of @last comes, which is @message then. */
static int take_passes(LmSession *s, LmMessageType last, LmMessage *message, GError **errp)
{
	int rc = 0;

	while (rc == 0) {
		LmMessageType type;

		lm_message_clear(message);
		rc = lm_destination_next(s, message, errp);
		if (rc < 0)
			return rc;
		type = message->header.type;
		if (type == last)
			return 0;
		if (type == LM_MESSAGE_PASS)
			rc = take_pass(s, message, last == LM_MESSAGE_FLIP, errp);
		else if (type != LM_MESSAGE_PROGRESS)
			rc = lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				     "the source sent %s where pass or %s was due",
				     lm_message_name(type), lm_message_name(last));
	}
	return rc;
}

int lm_destination_share(LmSession *s, GError **errp)
{
	g_auto(LmMessage) shared = {0};
	int rc = take_passes(s, LM_MESSAGE_SHARED, &shared, errp);

	if (rc < 0)
		return rc;
	if (shared.header.length > LM_HINT_BYTES_MAX)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "a hint of %u bytes is over the limit of %u", shared.header.length,
			       LM_HINT_BYTES_MAX);
	if (s->ops->prepare)
		s->ops->prepare(s->opaque, shared.payload, shared.header.length);
	return lm_channel_send(s->fd, &s->wait, LM_MESSAGE_READY, NULL, NULL, 0, errp);
}

int lm_destination_stop(LmSession *s, GError **errp)
{
	g_auto(LmMessage) flip = {0};
	int rc = take_passes(s, LM_MESSAGE_FLIP, &flip, errp);

	if (rc < 0)
		return rc;
	for (guint i = 0; i < s->regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->way != LM_WAY_FLIP && !region->passed)
			return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				       "the source has not passed RAM block %s", region->name);
	}
	return 0;
}
