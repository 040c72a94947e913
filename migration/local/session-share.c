// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which way each RAM block of the source goes, and the sharing of those that become memfds: live
 * in a stage of its own, while the VM runs; the rest, or all of it, when the VM is stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "session.h"

#define TELL_EVERY_US (100 * 1000)

/* --------------------------------------------------------------------- ways */

/* hugetlbfs has no memfd that small pages could be moved to; a named file holds the memory
 * already, and would hold it twice. */
static gboolean can_share(const LmRegion *region)
{
	return region->page_bytes == LM_WIRE_PAGE_BYTES_MIN &&
	       !(region->flags & LM_REGION_NAMED_FILE);
}

/* QEMU does not know that this block is a memfd by now. */
static void pass_share(LmRegion *region)
{
	struct stat st;

	region->way = LM_WAY_PASS;
	region->fd = lm_share_fd(region->share);
	region->fd_offset_bytes = 0;
	if (fstat(region->fd, &st) == 0) {
		region->dev = st.st_dev;
		region->ino = st.st_ino;
	}
}

static int choose_way(LmSession *s, LmRegion *region, GError **errp)
{
	region->share = lm_share_find(region->host);
	if (region->share && lm_share_private_bytes(region->share) == 0 &&
	    lm_share_bytes(region->share) >= region->used_bytes) {
		pass_share(region);
	} else if (region->flags & LM_REGION_SHARED) {
		region->way = LM_WAY_PASS;
	} else if (region->share || (s->options.ram == LM_WAY_SHARE && can_share(region))) {
		/* What is shared in part cannot be flipped any more. */
		region->way = LM_WAY_SHARE;
	} else if (s->rehearse) {
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "a rehearsal needs shared RAM, and RAM block %s %s", region->name,
			       can_share(region) ? "is private (ask for ram: share)"
						 : "cannot be shared (a file, or huge pages)");
	} else {
		region->way = LM_WAY_FLIP;
	}
	return 0;
}

int lm_source_choose_ways(LmSession *s, GError **errp)
{
	for (guint i = 0; i < s->mine->regions->len; i++) {
		int rc = choose_way(s, g_ptr_array_index(s->mine->regions, i), errp);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ------------------------------------------------------------------ passing */

/* In a rehearsal the destination gets a descriptor that the kernel lets it only read. */
static int open_to_pass(const LmSession *s, const LmRegion *region, GError **errp)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", region->fd);
	int fd = s->rehearse ? open(path, O_RDONLY | O_CLOEXEC)
			     : fcntl(region->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno,
				     "RAM block %s: a descriptor to pass", region->name);
	return fd;
}

static int pass(LmSession *s, guint index, GError **errp)
{
	LmRegion *region = g_ptr_array_index(s->regions, index);
	LmWirePass what = {.region = index, .offset_bytes = region->fd_offset_bytes};
	g_autoptr(GByteArray) payload = lm_wire_pass_encode(&what);
	int fd = open_to_pass(s, region, errp), rc;

	if (fd < 0)
		return fd;
	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_PASS, payload, &fd, 1, errp);
	close(fd);
	region->passed = rc == 0;
	return rc;
}

/* @all: also those of which something is private, for their memfd is whole all the same. */
static int pass_regions(LmSession *s, gboolean all, GError **errp)
{
	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);
		int rc;

		if (region->way == LM_WAY_FLIP || region->passed)
			continue;
		if (region->way == LM_WAY_SHARE) {
			if (!all && lm_share_private_bytes(region->share))
				continue;
			region->fd = lm_share_fd(region->share);
			region->fd_offset_bytes = 0;
		}
		rc = pass(s, i, errp);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ------------------------------------------------------------------ sharing */

static int get_shares(LmSession *s, GError **errp)
{
	g_autoptr(GPtrArray) shares = g_ptr_array_new();

	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->way != LM_WAY_SHARE)
			continue;
		region->share = lm_share_get(region->name, region->host, region->max_bytes, errp);
		if (!region->share)
			return -EIO;
		g_ptr_array_add(shares, region->share);
	}
	s->shares = g_steal_pointer(&shares);
	return 0;
}

/* The destination has nothing to say while we share, unless it fails. */
static int hear_peer(LmSession *s, GError **errp)
{
	struct pollfd ready = {.fd = s->fd, .events = POLLIN | POLLRDHUP};
	g_auto(LmMessage) message = {0};

	if (poll(&ready, 1, 0) <= 0)
		return 0;
	return lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_FLIPPED, &message, errp) < 0
		       ? -EREMOTEIO
		       : lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				 "the destination sent flipped before there was anything to flip");
}

/* It must not take a long conversion for a source that hangs. */
static int tell_progress(LmSession *s, GError **errp)
{
	gint64 now_us = g_get_monotonic_time();
	g_autoptr(GByteArray) payload = NULL;

	if (now_us - s->told_us < TELL_EVERY_US)
		return 0;
	s->told_us = now_us;
	payload = lm_wire_u64_encode(__atomic_load_n(&s->share_run.done_bytes, __ATOMIC_RELAXED));
	return lm_channel_send(s->fd, &s->wait, LM_MESSAGE_PROGRESS, payload, NULL, 0, errp);
}

static int between_chunks(void *opaque, GError **errp)
{
	LmSession *s = opaque;
	int rc = lm_fault_reach(s->fault, "chunk", &s->wait, errp);

	if (rc == 0)
		rc = hear_peer(s, errp);
	return rc < 0 ? rc : tell_progress(s, errp);
}

static gboolean check_live(LmSession *s)
{
	g_autoptr(GError) why = NULL;
	gboolean live = s->options.live && lm_share_live_works(&why) == 0;

	g_mutex_lock(&s->lock);
	s->status.share.asked = TRUE;
	s->status.share.live = live;
	s->status.share.why_not_live = why ? g_strdup(why->message) : NULL;
	g_mutex_unlock(&s->lock);
	return live;
}

/* The VM is stopped only for a destination that has mapped what there is, and is prepared. */
static int await_prepared(LmSession *s, GError **errp)
{
	g_auto(LmMessage) ready = {0};
	g_autoptr(GByteArray) hint = g_byte_array_new();
	int rc;

	if (s->ops->hint)
		s->ops->hint(s->opaque, hint);
	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_SHARED, hint, NULL, 0, errp);

	return rc < 0 ? rc : lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_READY, &ready, errp);
}

int lm_source_share(LmSession *s, GError **errp)
{
	int rc = get_shares(s, errp);

	g_mutex_lock(&s->lock);
	s->share_run = (LmShareRun){.shares = s->shares,
				    .max_stall_us = s->options.max_stall_us,
				    .bandwidth = s->options.bandwidth,
				    .between_chunks = between_chunks,
				    .opaque = s,
				    .cancel_fd = s->cancel_fd};
	g_mutex_unlock(&s->lock);
	if (rc == 0 && s->shares->len && check_live(s))
		rc = lm_share_live(&s->share_run, errp);
	if (rc == 0)
		rc = pass_regions(s, FALSE, errp);
	return rc < 0 ? rc : await_prepared(s, errp);
}

static guint64 private_bytes(const LmSession *s)
{
	guint64 bytes = 0;

	for (guint i = 0; i < s->shares->len; i++)
		bytes += lm_share_private_bytes(g_ptr_array_index(s->shares, i));
	return bytes;
}

int lm_source_share_rest(LmSession *s, GError **errp)
{
	int rc = 0;

	if (private_bytes(s))
		rc = lm_share_stopped(&s->share_run, s->options.channels, errp);
	g_mutex_lock(&s->lock);
	s->status.share.private_bytes = private_bytes(s);
	g_mutex_unlock(&s->lock);
	return rc < 0 ? rc : pass_regions(s, TRUE, errp);
}

void lm_source_forget_copies(LmSession *s)
{
	for (guint i = 0; s->shares && i < s->shares->len; i++)
		lm_share_forget_copies(g_ptr_array_index(s->shares, i));
}
