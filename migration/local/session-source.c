// SPDX-License-Identifier: GPL-2.0-or-later
/* What the source does in each stage, and how it takes that back. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "host-limits.h"
#include "inventory.h"
#include "keep.h"
#include "populated.h"
#include "region.h"
#include "rescue.h"
#include "session.h"

#define REHEARSAL_STOP_MS 2000u

/* -------------------------------------------------------------------- hello */

static int send_hello(LmSession *s, GError **errp)
{
	LmWireHello hello = {.oldest_version = LM_WIRE_OLDEST,
			     .pid = getpid(),
			     .base_page_bytes = LM_BASE_PAGE_BYTES,
			     .flags = s->rehearse ? LM_WIRE_HELLO_REHEARSE : 0,
			     .inventory = s->mine};
	g_autoptr(GByteArray) payload = lm_wire_hello_encode(&hello);
	int fd = lm_ledger_fd(s->ledger);

	return lm_channel_send(s->fd, &s->wait, LM_MESSAGE_HELLO, payload, &fd, 1, errp);
}

int lm_source_hello(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	LmWireHello hello = {0};
	int rc;

	s->mine = lm_inventory_new();
	rc = s->ops->describe(s->opaque, s->mine, errp);
	if (rc < 0)
		return rc;
	rc = lm_source_choose_ways(s, errp);
	if (rc < 0)
		return rc;
	s->ledger = lm_ledger_new(errp);
	if (!s->ledger)
		return -ENOMEM;
	rc = send_hello(s, errp);
	if (rc == 0)
		rc = lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_HELLO, &message, errp);
	if (rc == 0)
		rc = lm_wire_hello_check(message.header.version, message.payload,
					 message.header.length, errp);
	if (rc == 0)
		rc = lm_wire_hello_decode(message.payload, message.header.length, &hello, errp);
	if (rc < 0)
		return rc;
	s->theirs = hello.inventory;
	g_mutex_lock(&s->lock);
	s->status.peer_version = g_strdup(s->theirs->host_version);
	g_mutex_unlock(&s->lock);
	return lm_inventory_compare(s->mine, s->theirs, errp);
}

/* ------------------------------------------------------------------ regions */

/* The destination answers our list with its own, in our order and with our ways. */
static int agree_on_regions(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	g_autoptr(GPtrArray) theirs = NULL;
	g_autoptr(GByteArray) payload = lm_wire_regions_encode(s->regions);
	int rc;

	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_REGIONS, payload, NULL, 0, errp);
	if (rc == 0)
		rc = lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_REGIONS, &message, errp);
	if (rc == 0)
		rc = lm_wire_regions_decode(message.payload, message.header.length, &theirs, errp);
	if (rc < 0)
		return rc;
	if (theirs->len != s->regions->len)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the destination answered %u RAM blocks with %u", s->regions->len,
			       theirs->len);
	for (guint i = 0; i < theirs->len; i++) {
		LmRegion *mine = g_ptr_array_index(s->regions, i);
		const LmRegion *peer = g_ptr_array_index(theirs, i);

		if (strcmp(mine->name, peer->name) || mine->used_bytes != peer->used_bytes)
			return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				       "the destination answered RAM block %s (%" G_GUINT64_FORMAT
				       " bytes) with %s (%" G_GUINT64_FORMAT " bytes)",
				       mine->name, mine->used_bytes, peer->name, peer->used_bytes);
		if (peer->way != mine->way)
			return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				       "the destination wants RAM block %s to %s, which is to %s",
				       mine->name, lm_way_name(peer->way), lm_way_name(mine->way));
		mine->peer_address = (guintptr)peer->host;
	}
	return 0;
}

static LmEngine choose_engine(const LmOptions *options)
{
	if (options->engine != LM_ENGINE_AUTO)
		return options->engine;
	return lm_vmsplice_takes_references() ? LM_ENGINE_VMSPLICE : LM_ENGINE_PROCESS_VM_READV;
}

static int send_pipes(LmSession *s, LmEngine engine, GError **errp)
{
	int fds[2 * LM_CHANNELS_MAX];
	guint64 probe = ((guint64)g_random_int() << 32) | g_random_int();
	LmWirePipes pipes = {.channels = s->options.channels,
			     .engine = engine,
			     .probe_address = (guintptr)&probe,
			     .probe_value = probe};
	g_autoptr(GByteArray) payload = NULL;
	g_auto(LmMessage) ready = {0};
	int rc = lm_pipes_open(&s->pipes, pipes.channels, fds, errp);

	if (rc < 0)
		return rc;
	payload = lm_wire_pipes_encode(&pipes);
	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_PIPES, payload, fds, 2 * pipes.channels,
			     errp);
	for (guint i = 0; i < 2 * pipes.channels; i++)
		close(fds[i]);
	/* The probe's address must hold until the answer. */
	return rc < 0 ? rc : lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_READY, &ready, errp);
}

static void note_transport(LmSession *s, LmEngine engine)
{
	g_mutex_lock(&s->lock);
	s->status.channels = s->options.channels;
	s->status.engine = engine;
	s->status.io_uring = s->options.io_uring == LM_SWITCH_ON
				     ? lm_io_uring_works()
				     : s->options.io_uring == LM_SWITCH_AUTO && lm_io_uring_pays();
	g_mutex_unlock(&s->lock);
}

/* Checked over there, and prepared, before the list of regions: the VM runs on meanwhile. */
static int ask_for_disks(LmSession *s, GError **errp)
{
	g_auto(LmMessage) ready = {0};
	g_autoptr(GByteArray) payload = NULL;
	int rc;

	if (!s->mine->disks->len)
		return 0;
	payload = lm_wire_disks_encode(s->mine->disks);
	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_DISKS, payload, NULL, 0, errp);
	return rc < 0 ? rc : lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_READY, &ready, errp);
}

int lm_source_regions(LmSession *s, GError **errp)
{
	LmEngine engine = choose_engine(&s->options);
	int rc;

	lm_session_set_regions(s, s->mine->regions);
	rc = ask_for_disks(s, errp);
	if (rc == 0)
		rc = agree_on_regions(s, errp);
	if (rc == 0)
		rc = lm_limits_check(s->regions, s->options.channels, errp);
	if (rc == 0)
		rc = lm_memory_groups_check(s->status.peer_pid, s->regions, errp);
	if (rc == 0 && lm_session_flips(s))
		rc = lm_flip_try_threads(s->options.channels, errp);
	if (rc == 0)
		rc = send_pipes(s, engine, errp);
	if (rc == 0)
		note_transport(s, engine);
	return rc;
}

/* --------------------------------------------------------------- stop, flip */

int lm_source_stop(LmSession *s, GError **errp)
{
	gint64 stop_ns = lm_session_now_ns(), begin_us;
	int rc = s->ops->stop(s->opaque, &stop_ns, errp);

	if (rc == 0 || !g_error_matches(*errp, LM_ERROR, LM_ERROR_REFUSED))
		s->stop_ns = stop_ns;
	begin_us = stop_ns / 1000;
	lm_session_note_pause(s, LM_PAUSE_STOP, &begin_us);
	return rc;
}

/*
 * A destination that could not let go of a disk is of no use any more; what it has of the VM, it
 * has given back. When it has ended, nobody holds a lock of an image.
 */
static int resume(LmSession *s, GError **errp)
{
	g_autoptr(GError) why = NULL;
	int rc = s->ops->resume(s->opaque, &why);

	if (rc < 0 && s->flipping && lm_rescue_end_destination(s, NULL) == 0)
		return s->ops->resume(s->opaque, errp);
	if (rc < 0)
		g_propagate_error(errp, g_steal_pointer(&why));
	return rc;
}

int lm_source_undo_stop(LmSession *s, GError **errp)
{
	int rc;

	if (!s->stop_ns)
		return 0;
	rc = resume(s, errp);
	g_mutex_lock(&s->lock);
	s->status.downtime_us = (lm_session_now_ns() - s->stop_ns) / 1000;
	g_mutex_unlock(&s->lock);
	return rc;
}

static int scan_regions(LmSession *s, GError **errp)
{
	guint64 populated_bytes = 0, skipped_bytes = 0;

	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);
		int rc;

		if (region->way != LM_WAY_FLIP)
			continue;
		rc = lm_populated_scan(region, LM_POPULATED_AUTO, errp);
		if (rc < 0)
			return rc;
		region->populated = lm_region_bitmap_copy(region);
		populated_bytes += region->populated_bytes;
		skipped_bytes += region->skipped_bytes;
	}
	g_mutex_lock(&s->lock);
	s->status.populated_bytes = populated_bytes;
	s->status.skipped_bytes = skipped_bytes;
	g_mutex_unlock(&s->lock);
	return 0;
}

/* After pages moved, in whichever direction: what is where. */
static void note_moved(LmSession *s)
{
	g_mutex_lock(&s->lock);
	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->here)
			region->moved_bytes =
				region->populated_bytes - lm_region_bitmap_count_bytes(region);
	}
	g_mutex_unlock(&s->lock);
}

/* What else the destination says: it did not read all, and how much it did is for lm_rescue. */
static int await_flipped(LmSession *s, const LmWait *wait, LmMessage *message, GError **errp)
{
	int rc = lm_channel_expect(s->fd, wait, LM_MESSAGE_FLIPPED, message, errp);

	s->flip_answered = rc != -ECANCELED;
	s->flip_arrived = rc == 0;
	return rc;
}

int lm_source_flip(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	guint64 received_bytes;
	int rc = lm_source_share_rest(s, errp);

	if (rc == 0)
		rc = scan_regions(s, errp);
	if (rc == 0)
		rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_FLIP, NULL, NULL, 0, errp);
	if (rc < 0)
		return rc;
	s->flipping = TRUE;
	s->flip_answered = s->flip_arrived = !lm_session_flips(s);
	if (s->flip_arrived)
		return 0;
	lm_keep_small(s->regions);
	lm_session_prepare_flip(s, s->status.engine, &s->wait);
	s->flip.log = s->log;
	rc = lm_flip_send(&s->flip, errp);
	note_moved(s);
	g_mutex_lock(&s->lock);
	s->status.flipped_bytes = s->flip.bytes;
	g_mutex_unlock(&s->lock);
	if (rc == -EINTR) { /* the destination has something to say */
		g_clear_error(errp);
	} else if (rc < 0) {
		s->flip_answered = rc == -ETIMEDOUT || rc == -EPIPE;
		return rc;
	}
	rc = await_flipped(s, &s->wait, &message, errp);
	if (rc == 0)
		rc = lm_wire_u64_decode(message.payload, message.header.length, &received_bytes,
					errp);
	if (rc < 0)
		return rc;
	if (received_bytes != s->flip.bytes || lm_session_bytes_here(s) != 0)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "sent %" G_GUINT64_FORMAT " bytes of pages, %" G_GUINT64_FORMAT
			       " arrived",
			       s->flip.bytes, received_bytes);
	return 0;
}

/* ------------------------------------------------------- taking pages back */

static int await_returned(LmSession *s, const LmWait *wait, GError **errp)
{
	gint64 end_us = g_get_monotonic_time() + wait->deadline_ms * G_GINT64_CONSTANT(1000);

	while (g_get_monotonic_time() < end_us) {
		g_auto(LmMessage) message = {0};
		int rc = lm_channel_receive(s->fd, wait, &message, errp);

		if (rc < 0 || message.header.type == LM_MESSAGE_RETURNED)
			return rc;
		/* What the destination had sent before it read our request does not matter. */
	}
	return lm_fail(errp, LM_ERROR_TIMEOUT, ETIMEDOUT,
		       "no returned message after %u ms of others", wait->deadline_ms);
}

static gboolean peer_is_readable(const LmSession *s)
{
	guint8 byte;
	struct iovec to = {&byte, 1};

	for (guint i = 0; i < s->regions->len; i++) {
		const LmRegion *region = g_ptr_array_index(s->regions, i);
		struct iovec from = {(void *)(guintptr)region->peer_address, 1};

		if (region->way == LM_WAY_FLIP)
			return process_vm_readv(s->status.peer_pid, &to, 1, &from, 1, 0) == 1;
	}
	return FALSE;
}

/*
 * Pages that come back by process_vm_readv are released by the destination when we have them, so
 * one that hangs half way can still be robbed (rescue.c). Through pipes they would be cut in two.
 */
static LmEngine choose_return_engine(const LmSession *s)
{
	return peer_is_readable(s) ? LM_ENGINE_PROCESS_VM_READV : LM_ENGINE_VMSPLICE;
}

static int ask_for_pages(LmSession *s, const LmWait *wait, GError **errp)
{
	g_autoptr(GByteArray) payload = NULL;
	int rc;

	if (!s->flip_answered) {
		g_auto(LmMessage) message = {0};

		await_flipped(s, wait, &message, NULL);
	}
	if (!s->flip_arrived)
		return lm_fail(errp, LM_ERROR_FAILED, EIO, "it did not read all of it");
	s->return_engine = choose_return_engine(s);
	payload = lm_wire_u64_encode(s->return_engine);
	rc = lm_channel_send(s->fd, wait, LM_MESSAGE_RETURN, payload, NULL, 0, errp);
	if (rc < 0)
		return rc;
	lm_session_prepare_flip(s, s->return_engine, wait);
	if (lm_session_flips(s))
		rc = lm_flip_receive(&s->flip, errp);
	g_mutex_lock(&s->lock);
	s->status.returned_bytes += s->flip.bytes;
	g_mutex_unlock(&s->lock);
	if (rc == 0)
		rc = await_returned(s, wait, errp);
	if (rc == 0)
		lm_channel_send(s->fd, wait, LM_MESSAGE_BYE, NULL, NULL, 0, NULL);
	return rc;
}

/*
 * The ledger says WITHDRAWN. Whatever the destination did with the VM, it gives back: its pages
 * and its disks. From one that does not answer, or that failed with pages still in the pipes, they
 * are taken (rescue.c), and it is ended; pages that are not here then are lost.
 */
int lm_source_undo_flip(LmSession *s, GError **errp)
{
	LmWait wait = lm_session_undo_wait(s);
	g_autoptr(GError) why = NULL;
	guint64 missing_bytes;
	int rc;

	/* In a rehearsal the destination has nothing of ours but a view of it. */
	if (!s->flipping || s->rehearse) {
		lm_source_forget_copies(s);
		return 0;
	}
	rc = ask_for_pages(s, &wait, &why);
	if (rc < 0) {
		if (lm_session_flips(s) && s->return_engine != LM_ENGINE_VMSPLICE)
			lm_rescue(s, NULL);
		rc = lm_rescue_end_destination(s, errp);
		lm_keep_restore(s->regions);
	}
	note_moved(s);
	if (rc < 0)
		return rc;
	lm_source_forget_copies(s);
	missing_bytes = s->status.populated_bytes - lm_session_bytes_here(s);
	if (!missing_bytes)
		return 0;
	g_mutex_lock(&s->lock);
	s->status.lost_bytes = missing_bytes;
	g_mutex_unlock(&s->lock);
	return lm_fail(errp, LM_ERROR_LOST, EIO,
		       "%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
		       " bytes of guest memory are lost with the destination%s%s",
		       missing_bytes, s->status.populated_bytes, why ? ": " : "",
		       why ? why->message : "");
}

/* ------------------------------------------------------------ device state */

int lm_source_devices(LmSession *s, GError **errp)
{
	gint64 begin_us = g_get_monotonic_time();
	int rc = s->ops->save(s->opaque, &s->state, errp);

	lm_session_note_pause(s, LM_PAUSE_SAVE, &begin_us);
	if (rc == 0)
		rc = lm_state_send(s, errp);
	lm_session_note_pause(s, LM_PAUSE_SEND, &begin_us);
	return rc;
}

int lm_source_load(LmSession *s, GError **errp)
{
	g_auto(LmMessage) ready = {0};
	LmWait wait = s->wait;

	/* A rehearsal must not keep the VM stopped for longer than the real thing would. */
	if (s->rehearse)
		wait.deadline_ms = MIN(wait.deadline_ms, REHEARSAL_STOP_MS);
	return lm_channel_expect(s->fd, &wait, LM_MESSAGE_READY, &ready, errp);
}

int lm_source_commit(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	LmWireCommitted committed;
	int rc;

	if (s->rehearse)
		return 0;
	rc = lm_channel_expect(s->fd, &s->wait, LM_MESSAGE_COMMITTED, &message, errp);

	if (rc == 0)
		rc = lm_wire_committed_decode(message.payload, message.header.length, &committed,
					      errp);
	if (rc < 0)
		return rc;
	/* Its word alone would leave the VM to nobody. */
	if (lm_ledger_read(s->ledger) != LM_LEDGER_TAKEN)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the destination says that it runs the VM, but has not taken it");
	if (committed.run_ns < s->stop_ns)
		committed.run_ns = lm_session_now_ns(); /* no such time: it is only shown */
	g_mutex_lock(&s->lock);
	s->status.downtime_us = (committed.run_ns - s->stop_ns) / 1000;
	memcpy(&s->status.pause_us[LM_PAUSE_MAP], committed.pause_us, sizeof(committed.pause_us));
	g_mutex_unlock(&s->lock);
	return 0;
}
