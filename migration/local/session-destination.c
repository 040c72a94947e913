// SPDX-License-Identifier: GPL-2.0-or-later
/* What the destination does in each stage, and how it takes that back. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "fault.h"
#include "inventory.h"
#include "region.h"
#include "session.h"

static gint64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}

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

/* Receives a message of @type; a source that withdraws instead is an error of its own. */
int lm_destination_expect(LmSession *s, LmMessageType type, LmMessage *message, GError **errp)
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

static int match_regions(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};
	g_autoptr(GPtrArray) theirs = NULL;
	g_autoptr(GPtrArray) matched = NULL;
	int rc = lm_destination_expect(s, LM_MESSAGE_REGIONS, &message, errp);

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

/* @fd is checked before it is mapped: a shorter file would be a SIGBUS later. */
static int map_passed(LmSession *s, LmRegion *region, int fd, guint64 offset_bytes, GError **errp)
{
	struct stat st;
	guint64 end_bytes;

	if (fstat(fd, &st) < 0)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "RAM block %s: fstat",
				     region->name);
	if (!S_ISREG(st.st_mode))
		return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
			       "RAM block %s: the source passed no file", region->name);
	if (!g_uint64_checked_add(&end_bytes, offset_bytes, region->used_bytes) || st.st_size < 0 ||
	    (guint64)st.st_size < end_bytes)
		return lm_fail(errp, LM_ERROR_REFUSED, EINVAL,
			       "RAM block %s: the passed file has %" G_GINT64_FORMAT
			       " bytes, needed are %" G_GUINT64_FORMAT,
			       region->name, (gint64)st.st_size, end_bytes);
	if (region->fd >= 0 && region->dev == st.st_dev && region->ino == st.st_ino &&
	    region->fd_offset_bytes == offset_bytes)
		return 0; /* the same file is mapped here already */
	if (mmap(region->host, region->used_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, offset_bytes) == MAP_FAILED)
		return lm_fail_errno(errp, LM_ERROR_FAILED, errno, "RAM block %s: mmap",
				     region->name);
	return s->ops->adopted(s->opaque, region, fd, errp);
}

/* The source's list says where each passed file's memory begins; it comes with the descriptor. */
static int receive_passed(LmSession *s, GError **errp)
{
	for (guint i = 0; i < s->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(s->regions, i);
		g_auto(LmMessage) message = {0};
		guint64 offset_bytes;
		int rc;

		if (region->way != LM_WAY_PASS)
			continue;
		rc = lm_destination_expect(s, LM_MESSAGE_PASS, &message, errp);
		if (rc == 0)
			rc = lm_wire_u64_decode(message.payload, message.header.length,
						&offset_bytes, errp);
		if (rc < 0)
			return rc;
		if (message.fd_count != 1)
			return lm_fail(errp, LM_ERROR_PROTOCOL, EPROTO,
				       "RAM block %s came with %u descriptors where 1 was due",
				       region->name, message.fd_count);
		rc = map_passed(s, region, message.fds[0], offset_bytes, errp);
		if (rc < 0)
			return rc;
	}
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

static int receive_pipes(LmSession *s, GError **errp)
{
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
	rc = probe_source(s, &pipes, errp);
	if (rc == 0)
		rc = lm_pipes_adopt(&s->pipes, pipes.channels, message.fds, errp);
	if (rc < 0)
		return rc;
	message.fd_count = 0; /* the pipes own them now */
	g_mutex_lock(&s->lock);
	s->status.channels = pipes.channels;
	s->status.engine = pipes.engine;
	s->status.io_uring = s->options.io_uring == LM_SWITCH_ON
				     ? lm_io_uring_works()
				     : s->options.io_uring == LM_SWITCH_AUTO && lm_io_uring_pays();
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
		rc = receive_passed(s, errp);
	if (rc == 0)
		rc = receive_pipes(s, errp);
	if (rc == 0)
		rc = lm_channel_send(s->fd, &s->wait, LM_MESSAGE_READY, NULL, NULL, 0, errp);
	return rc;
}

/* --------------------------------------------------------------------- flip */

int lm_destination_stop(LmSession *s, GError **errp)
{
	g_auto(LmMessage) message = {0};

	return lm_destination_expect(s, LM_MESSAGE_FLIP, &message, errp);
}

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

	lm_session_prepare_flip(s, s->status.engine, &s->wait);
	s->flipping = s->spoilt = TRUE;
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
 * The source may need a deadline of its own to notice that we failed, and it needs our memory
 * then, whether it asks for it or takes it: a process that ends early takes the pages with it.
 */
static LmWait patient_wait(const LmSession *s)
{
	LmWait wait = lm_session_undo_wait(s);

	wait.deadline_ms = wait.deadline_ms > G_MAXUINT / 3 ? G_MAXUINT : 3 * wait.deadline_ms;
	return wait;
}

int lm_destination_undo_flip(LmSession *s, GError **errp)
{
	LmWait wait = lm_session_undo_wait(s), patient = patient_wait(s);
	g_autoptr(GByteArray) answer = NULL;
	g_auto(LmMessage) bye = {0};
	int rc;

	if (!s->flipping)
		return 0;
	rc = await_return(s, &patient, errp);
	if (rc == 0)
		rc = lm_fault_reach(s->fault, "return", &wait, errp);
	if (rc < 0)
		return rc;
	lm_session_prepare_flip(s, s->return_engine, &wait);
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

/* ------------------------------------------------------------ device state */

/*
 * From here on the source is not needed any more: a source that dies has left us everything. So
 * nothing here may fail because it cannot be told.
 */
int lm_destination_load(LmSession *s, GError **errp)
{
	gint64 begin_us = g_get_monotonic_time();
	int rc;

	rc = s->ops->load(s->opaque, s->state_fd, errp);
	if (rc < 0)
		return rc;
	rc = s->ops->activate(s->opaque, errp);
	if (rc < 0)
		return rc;
	s->activated = TRUE;
	s->load_us = g_get_monotonic_time() - begin_us;
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

int lm_destination_commit(LmSession *s, GError **errp)
{
	LmWireCommitted committed = {.load_us = s->load_us};
	g_autoptr(GByteArray) payload = NULL;

	if (!lm_ledger_take(s->ledger))
		return lm_fail(errp, LM_ERROR_CANCELLED, ECANCELED,
			       "the source withdrew before the commit");
	s->ops->run(s->opaque);
	committed.run_ns = now_ns();
	payload = lm_wire_committed_encode(&committed);
	lm_channel_send(s->fd, &s->wait, LM_MESSAGE_COMMITTED, payload, NULL, 0, NULL);
	return 0;
}
