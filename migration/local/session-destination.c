// SPDX-License-Identifier: GPL-2.0-or-later
/* What the destination does in each stage, and how it takes that back. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "host-limits.h"
#include "inventory.h"
#include "region.h"
#include "session.h"

/* The source wants its pages back, and says how. */
static int note_return(LmSession *s, const LmMessage *message, GError **errp)
{
	guint64 engine;
	int rc = lm_wire_u64_decode(message->payload, message->header.length, &engine, errp);

	if (rc < 0)
		return rc;
	if (engine != LM_ENGINE_VMSPLICE && engine != LM_ENGINE_PROCESS_VM_READV)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the source wants its pages back by engine %" G_GUINT64_FORMAT,
			       engine);
	s->return_engine = engine;
	s->return_asked = TRUE;
	return 0;
}

int lm_destination_next(LmSession *s, LmMessage *message, GError **errp)
{
	g_auto(LmMessage) any = {0};
	int rc = lm_channel_receive(s->fd, &s->wait, &any, errp);

	if (rc < 0)
		return rc;
	if (any.header.type == LM_MESSAGE_RETURN) {
		rc = note_return(s, &any, errp);
		if (rc < 0)
			return rc;
		return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED, "the source took the VM back");
	}
	if (any.header.type == LM_MESSAGE_ERROR) {
		g_autoptr(GError) theirs = NULL;

		rc = lm_wire_error_decode(any.payload, any.header.length, &theirs, errp);
		if (rc < 0)
			return rc;
		g_propagate_prefixed_error(errp, g_steal_pointer(&theirs), "the source gave up: ");
		return -EREMOTEIO;
	}
	*message = any;
	memset(&any, 0, sizeof(any));
	return 0;
}

int lm_destination_expect(LmSession *s, LmMessageType type, LmMessage *message, GError **errp)
{
	g_auto(LmMessage) any = {0};
	int rc = lm_destination_next(s, &any, errp);

	if (rc < 0)
		return rc;
	if (any.header.type != type)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the source sent %s where %s was due",
			       lm_message_name(any.header.type), lm_message_name(type));
	*message = any;
	memset(&any, 0, sizeof(any));
	return 0;
}

static int send_hello(LmSession *s, GError **errp)
{
	LmWireHello hello = {.oldest_version = LM_WIRE_OLDEST,
			     .pid = getpid(),
			     .base_page_bytes = LM_BASE_PAGE_BYTES,
			     .inventory = s->mine};
	g_autoptr(GByteArray) payload = lm_wire_hello_encode(&hello);

	return lm_channel_send(s->fd, &s->wait, LM_MESSAGE_HELLO, payload, NULL, 0, errp);
}

int lm_destination_hello(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	LmWireHello hello = {0};
	int rc = lm_destination_expect(s, LM_MESSAGE_HELLO, &message, errp);

	if (rc == 0)
		rc = lm_limits_check_memory(errp);
	if (rc == 0)
		rc = lm_wire_hello_check(message.header.version, message.payload,
					 message.header.length, errp);
	if (rc == 0)
		rc = lm_wire_hello_decode(message.payload, message.header.length, &hello, errp);
	if (rc < 0)
		return rc;
	s->theirs = hello.inventory;
	s->rehearse = hello.flags & LM_WIRE_HELLO_REHEARSE;
	g_mutex_lock(&s->lock);
	s->status.rehearsal = s->rehearse;
	s->status.peer_version = g_strdup(s->theirs->host_version);
	g_mutex_unlock(&s->lock);
	if (hello.base_page_bytes != LM_BASE_PAGE_BYTES)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "base page size differs: source %u, destination %u",
			       hello.base_page_bytes, LM_BASE_PAGE_BYTES);
	if (message.fd_count != 1)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "the source's hello has %u descriptors where 1 was due",
			       message.fd_count);
	s->ledger = lm_ledger_open(message.fds[0], errp);
	if (!s->ledger)
		return -EPROTO;
	s->mine = lm_inventory_new();
	rc = s->ops->describe(s->opaque, s->mine, errp);
	if (rc == 0)
		rc = lm_inventory_compare(s->theirs, s->mine, errp);
	return rc < 0 ? rc : send_hello(s, errp);
}

/* ------------------------------------------------------------------ regions */

static int take_disks(LmSession *s, const LmMessage *message, GError **errp)
{
	g_autoptr(GPtrArray) disks = NULL;
	int rc = lm_wire_disks_decode(message->payload, message->header.length, &disks, errp);

	if (rc == 0 && !s->ops->move_disks)
		rc = lm_fail(errp, LM_ERROR_REFUSED, ENOTSUP, "disks cannot move to this host");
	if (rc == 0)
		rc = s->ops->move_disks(s->opaque, disks, errp);
	return rc < 0 ? rc
		      : lm_channel_send(s->fd, &s->wait, LM_MESSAGE_READY, NULL, NULL, 0, errp);
}

/* Before it, the disks, if there are any to move. */
static int receive_regions(LmSession *s, LmMessage *message, GError **errp)
{
	g_auto(LmMessage) first = {0};
	int rc = lm_destination_next(s, &first, errp);

	if (rc == 0 && first.header.type == LM_MESSAGE_DISKS) {
		rc = take_disks(s, &first, errp);
		return rc < 0 ? rc : lm_destination_expect(s, LM_MESSAGE_REGIONS, message, errp);
	}
	if (rc == 0 && first.header.type != LM_MESSAGE_REGIONS)
		rc = lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			     "the source sent %s where regions or disks was due",
			     lm_message_name(first.header.type));
	if (rc < 0)
		return rc;
	*message = first;
	memset(&first, 0, sizeof(first));
	return 0;
}

static int match_regions(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	g_autoptr(GPtrArray) theirs = NULL;
	g_autoptr(GPtrArray) matched = NULL;
	int rc = receive_regions(s, &message, errp);

	if (rc == 0)
		rc = lm_wire_regions_decode(message.payload, message.header.length, &theirs, errp);
	if (rc == 0)
		rc = lm_regions_match(s->mine->regions, theirs, &matched, errp);
	if (rc < 0)
		return rc;
	for (guint i = 0; i < matched->len; i++) {
		LmRegion *mine = g_ptr_array_index(matched, i);
		const LmRegion *peer = g_ptr_array_index(theirs, i);

		if (mine->used_bytes != peer->used_bytes)
			rc = s->ops->resize(s->opaque, mine, peer->used_bytes, errp);
		if (rc == 0 && mine->way == LM_WAY_FLIP) {
			lm_region_bitmap_reset(mine);
			rc = lm_region_discard(mine, errp);
		}
		if (rc < 0)
			return rc;
	}
	lm_session_set_regions(s, matched);
	return 0;
}

/* process_vm_readv needs the right to read the source: better known now than after the stop. */
static int probe_source(LmSession *s, const LmWirePipes *pipes, GError **errp)
{
	guint64 value = 0;
	struct iovec to = {&value, sizeof(value)};
	struct iovec from = {(void *)(guintptr)pipes->probe_address, sizeof(value)};

	if (pipes->engine != LM_ENGINE_PROCESS_VM_READV)
		return 0;
	if (process_vm_readv(s->status.peer_pid, &to, 1, &from, 1, 0) != sizeof(value))
		return lm_fail_errno(errp, LM_ERROR_REFUSED, errno,
				     "process_vm_readv from the source, process %d",
				     s->status.peer_pid);
	if (value != pipes->probe_value)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "process_vm_readv read another process than the source");
	return 0;
}

static gboolean reads_in_rings(const LmOptions *options)
{
	if (options->io_uring == LM_SWITCH_ON)
		return lm_io_uring_works() && lm_io_uring_reads_pipes();
	return options->io_uring == LM_SWITCH_AUTO && lm_io_uring_pays();
}

static int receive_pipes(LmSession *s, GError **errp)
{
	const gboolean in_rings = reads_in_rings(&s->options);
	g_auto(LmMessage) message = {0};
	LmWirePipes pipes;
	int rc = lm_destination_expect(s, LM_MESSAGE_PIPES, &message, errp);

	if (rc == 0)
		rc = lm_wire_pipes_decode(message.payload, message.header.length, &pipes, errp);
	if (rc < 0)
		return rc;
	if (message.fd_count != 2 * pipes.channels)
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "%u channels came with %u descriptors where %u were due",
			       pipes.channels, message.fd_count, 2 * pipes.channels);
	rc = lm_limits_check(s->regions, pipes.channels, errp);
	if (rc == 0)
		rc = probe_source(s, &pipes, errp);
	if (rc == 0 && lm_session_flips(s))
		rc = lm_flip_try_threads(pipes.channels, errp);
	if (rc == 0)
		rc = lm_pipes_adopt(&s->pipes, pipes.channels, message.fds, in_rings, errp);
	if (rc < 0)
		return rc;
	message.fd_count = 0; /* the pipes own them now */
	g_mutex_lock(&s->lock);
	s->status.channels = pipes.channels;
	s->status.engine = pipes.engine;
	s->status.io_uring = in_rings;
	g_mutex_unlock(&s->lock);
	return 0;
}

int lm_destination_regions(LmSession *s, GError **errp)
{
	g_autoptr(GByteArray) answer = NULL;
	int rc = match_regions(s, errp);

	if (rc < 0)
		return rc;
	answer = lm_wire_regions_encode(s->regions);
	rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_REGIONS, answer, NULL, 0, errp);
	if (rc == 0)
		rc = receive_pipes(s, errp);
	if (rc == 0)
		rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_READY, NULL, NULL, 0, errp);
	return rc;
}

/* --------------------------------------------------------------------- flip */

static void note_moved(LmSession *s)
{
	g_mutex_lock(&s->lock);
	s->status.flipped_bytes = s->flip.bytes;
	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);

		if (region->here)
			region->moved_bytes = lm_region_bitmap_count_bytes(region);
	}
	g_mutex_unlock(&s->lock);
}

int lm_destination_flip(LmSession *s, GError **errp)
{
	g_autoptr(GByteArray) answer = NULL;
	int rc;

	s->flipping = s->spoilt = TRUE;
	if (!lm_session_flips(s))
		return 0;
	lm_session_prepare_flip(s, s->status.engine, &s->wait);
	rc = lm_flip_receive(&s->flip, errp);
	note_moved(s);
	if (rc < 0)
		return rc;
	answer = lm_wire_u64_encode(s->flip.bytes);
	return lm_channel_send(s->fd, &s->wait, LM_MESSAGE_FLIPPED, answer, NULL, 0, errp);
}

/* Waits until the source asks for its pages; it may have other messages under way. */
static int await_return(LmSession *s, const LmWait *wait, GError **errp)
{
	gint64 end_us = g_get_monotonic_time() + wait->deadline_ms * G_GINT64_CONSTANT(1000);

	while (!s->return_asked) {
		g_auto(LmMessage) message = {0};
		int rc = lm_channel_receive(s->fd, wait, &message, errp);

		if (rc < 0)
			return rc;
		if (message.header.type == LM_MESSAGE_RETURN)
			return note_return(s, &message, errp);
		if (g_get_monotonic_time() >= end_us)
			return lm_fail(errp, LM_ERROR_TIMEOUT, ETIMEDOUT,
				       "no return message after %u ms of others",
				       wait->deadline_ms);
	}
	return 0;
}

/*
 * The source may need any time to notice that we failed (it may be saving its devices' state), and
 * it needs our memory then, whether it asks for it or takes it: a process that ends early takes
 * the pages with it. So as long as it lives there is no deadline.
 */
static LmWait patient_wait(const LmSession *s)
{
	LmWait wait = lm_session_undo_wait(s);

	if (s->peer_pidfd >= 0 && lm_session_flips(s))
		return (LmWait){.deadline_ms = G_MAXUINT, .cancel_fd = s->peer_pidfd};
	wait.deadline_ms = wait.deadline_ms > G_MAXUINT / 3 ? G_MAXUINT : 3 * wait.deadline_ms;
	return wait;
}

static int give_back(LmSession *s, GError **errp)
{
	LmWait wait = lm_session_undo_wait(s), patient = patient_wait(s);
	g_autoptr(GByteArray) answer = NULL;
	g_auto(LmMessage) bye = {0};
	int rc = await_return(s, &patient, errp);

	if (rc == 0)
		rc = lm_fault_reach(s->fault, "return", &wait, errp);
	if (rc < 0)
		return rc;
	lm_session_prepare_flip(s, s->return_engine, &wait);
	if (lm_session_flips(s))
		rc = lm_flip_send(&s->flip, errp);
	if (rc < 0)
		return rc;
	g_mutex_lock(&s->lock);
	s->status.returned_bytes = s->flip.bytes;
	g_mutex_unlock(&s->lock);
	answer = lm_wire_u64_encode(s->flip.bytes);
	rc = lm_channel_send(s->fd, &wait, LM_MESSAGE_RETURNED, answer, NULL, 0, errp);
	return rc < 0 ? rc : lm_channel_expect(s->fd, &wait, LM_MESSAGE_BYE, &bye, errp);
}

/* Our memory stays where it is until the source has read it, and ends us, or is dead. */
static void await_rescue(LmSession *s)
{
	struct pollfd source = {.fd = s->peer_pidfd, .events = POLLIN};

	shutdown(s->fd, SHUT_RDWR); /* there is nothing more to be waited for */
	while (s->peer_pidfd >= 0 && poll(&source, 1, -1) < 0 && errno == EINTR)
		;
}

int lm_destination_undo_flip(LmSession *s, GError **errp)
{
	int rc;

	if (!s->flipping)
		return 0;
	rc = give_back(s, errp);
	if (rc < 0 && lm_session_flips(s) && (!s->return_asked || lm_session_bytes_here(s)))
		await_rescue(s);
	return rc;
}

/* ------------------------------------------------------------ device state */

/*
 * From here on the source is not needed any more: a source that dies has left us everything. So
 * nothing here may fail because it cannot be told.
 */
int lm_destination_load(LmSession *s, GError **errp)
{
	gint64 begin_us = g_get_monotonic_time();
	int rc;

	rc = s->ops->load(s->opaque, &s->state, errp);
	if (rc < 0)
		return rc;
	lm_session_note_pause(s, LM_PAUSE_LOAD, &begin_us);
	if (!s->rehearse) {
		rc = s->ops->activate(s->opaque, errp);
		if (rc < 0)
			return rc;
		s->activated = TRUE;
		lm_session_note_pause(s, LM_PAUSE_ACTIVATE, &begin_us);
	}
	lm_channel_send(s->fd, &s->wait, LM_MESSAGE_READY, NULL, NULL, 0, NULL);
	return 0;
}

int lm_destination_undo_load(LmSession *s, GError **errp)
{
	if (s->activated)
		s->ops->deactivate(s->opaque);
	s->activated = FALSE;
	return 0;
}

/* The source runs on; its last word ends the rehearsal. */
static int end_rehearsal(LmSession *s, GError **errp)
{
	g_auto(LmMessage) bye = {0};

	return lm_destination_expect(s, LM_MESSAGE_BYE, &bye, errp);
}

int lm_destination_commit(LmSession *s, GError **errp)
{
	LmWireCommitted committed = {0};
	g_autoptr(GByteArray) payload = NULL;
	gint64 begin_us = g_get_monotonic_time();

	if (s->rehearse)
		return end_rehearsal(s, errp);
	if (!lm_ledger_take(s->ledger))
		return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED,
			       "the source withdrew before the commit");
	s->ops->run(s->opaque);
	committed.run_ns = lm_session_now_ns();
	lm_session_note_pause(s, LM_PAUSE_START, &begin_us);
	memcpy(committed.pause_us, &s->pause_us[LM_PAUSE_MAP], sizeof(committed.pause_us));
	payload = lm_wire_committed_encode(&committed);
	lm_channel_send(s->fd, &s->wait, LM_MESSAGE_COMMITTED, payload, NULL, 0, NULL);
	return 0;
}
