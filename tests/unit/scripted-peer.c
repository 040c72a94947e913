// SPDX-License-Identifier: GPL-2.0-or-later
#include "scripted-peer.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "flip.h"
#include "populated.h"
#include "region.h"

typedef struct Peer {
	int fd;
	const Script *script;
	guint said[LM_MESSAGE__MAX];
	LmLedger *ledger;
	GPtrArray *regions;
	LmPipes pipes;
	FakeHost host; /* a source's memory and device state */
} Peer;

static const LmWait patient = {.deadline_ms = 20000, .cancel_fd = -1};

/* ---------------------------------------------------------------- speaking */

/* A destination with the source's pages waits for as long as that lives: not for ever. */
static gboolean hangs_for_a_while;

static G_NORETURN void hang(void)
{
	if (hangs_for_a_while) {
		g_usleep(2 * HOSTILE_DEADLINE_MS * 1000);
		_exit(0);
	}
	for (;;)
		pause();
}

static void send_some(int fd, const guint8 *bytes, gsize length, const int *fds, guint fd_count)
{
	union {
		char bytes[CMSG_SPACE(LM_WIRE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = ""};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
	}
	/* The other side may have given up already. */
	if (length && sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		hang();
}

static void utter(int fd, Speech *speech)
{
	guint8 header[LM_WIRE_HEADER_BYTES];
	gsize rest = speech->most_bytes - MIN(speech->most_bytes, sizeof(header));

	if (!speech->keep_length)
		speech->header.length = speech->payload->len;
	lm_wire_header_encode(header, &speech->header);
	if (speech->noise)
		memset(header, 0xee, sizeof(header));
	for (guint i = 0; i < speech->times; i++) {
		send_some(fd, header, MIN(sizeof(header), speech->most_bytes), speech->fds,
			  speech->fd_count);
		send_some(fd, speech->payload->data, MIN(rest, speech->payload->len), NULL, 0);
	}
}

static LmFlip make_flip(Peer *peer)
{
	return (LmFlip){.regions = peer->regions,
			.pipes = &peer->pipes,
			.engine = LM_ENGINE_VMSPLICE,
			.peer_fd = peer->fd,
			.wait = patient};
}

/* Sends the pages, and then any message but the one that says so. */
static G_NORETURN void give_back(Peer *peer)
{
	LmFlip flip = make_flip(peer);
	LmMessageType heard = 0;

	while (heard != LM_MESSAGE_RETURN) {
		g_auto(LmMessage) message = {0};

		if (lm_channel_receive(peer->fd, &patient, &message, NULL) < 0)
			hang();
		heard = message.header.type;
		if (heard == LM_MESSAGE_RETURN)
			flip.engine = message.payload[0]; /* a little-endian number */
	}
	lm_flip_send(&flip, NULL);
	while (lm_channel_send(peer->fd, &patient, LM_MESSAGE_READY, NULL, NULL, 0, NULL) == 0)
		g_usleep(20000);
	hang();
}

/* Takes @payload; the descriptors stay the caller's. */
static void say(Peer *peer, LmMessageType type, GByteArray *payload, const int *fds, guint fd_count)
{
	Speech speech = {.header = {LM_WIRE_VERSION, type, 0, fd_count},
			 .payload = payload ? payload : g_byte_array_new(),
			 .fd_count = fd_count,
			 .most_bytes = G_MAXSIZE,
			 .times = 1,
			 .ledger = peer->ledger};

	for (guint i = 0; i < fd_count; i++)
		speech.fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	if (peer->script->type == type && peer->script->nth == peer->said[type])
		peer->script->edit(&speech);
	peer->said[type]++;
	utter(peer->fd, &speech);
	for (guint i = 0; i < speech.fd_count; i++)
		close(speech.fds[i]);
	g_byte_array_unref(speech.payload);
	if (speech.then == THEN_EXIT)
		_exit(0);
	if (speech.then == THEN_GIVE_BACK)
		give_back(peer);
	if (speech.then == THEN_CLOSE)
		close(peer->fd);
	if (speech.then != THEN_GO_ON)
		hang();
}

/* The next message, which has to be of @type; from a side that has given up there is none. */
static void hear(Peer *peer, LmMessageType type, LmMessage *message)
{
	if (lm_channel_receive(peer->fd, &patient, message, NULL) < 0 ||
	    message->header.type != type)
		hang();
}

static void hear_only(Peer *peer, LmMessageType type)
{
	g_auto(LmMessage) message = {0};

	hear(peer, type, &message);
}

static GByteArray *encode_hello(void)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmWireHello hello = {.oldest_version = LM_WIRE_OLDEST,
				   .pid = getpid(),
				   .base_page_bytes = LM_BASE_PAGE_BYTES,
				   .inventory = inventory};

	lm_inventory_add_trait(inventory, "machine type", "", "made-up-1.0", NULL);
	return lm_wire_hello_encode(&hello);
}

/* ------------------------------------------------------------- destination */

static void destination_hello(Peer *peer)
{
	g_auto(LmMessage) message = {0};

	hear(peer, LM_MESSAGE_HELLO, &message);
	peer->ledger = lm_ledger_open(message.fds[0], NULL);
	g_assert(peer->ledger);
	say(peer, LM_MESSAGE_HELLO, encode_hello(), NULL, 0);
}

static void destination_regions(Peer *peer)
{
	g_auto(LmMessage) list = {0}, pipes = {0};

	hear(peer, LM_MESSAGE_REGIONS, &list);
	g_assert(!lm_wire_regions_decode(list.payload, list.header.length, &peer->regions, NULL));
	for (guint i = 0; i < peer->regions->len; i++) {
		LmRegion *region = g_ptr_array_index(peer->regions, i);

		region->host = mmap(NULL, region->used_bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		g_assert(region->host != MAP_FAILED);
		lm_region_bitmap_reset(region);
	}
	say(peer, LM_MESSAGE_REGIONS, lm_wire_regions_encode(peer->regions), NULL, 0);
	hear(peer, LM_MESSAGE_PIPES, &pipes);
	g_assert(!lm_pipes_adopt(&peer->pipes, pipes.fd_count / 2, pipes.fds, FALSE, NULL));
	pipes.fd_count = 0;
	say(peer, LM_MESSAGE_READY, NULL, NULL, 0);
}

static void destination_flip(Peer *peer)
{
	LmFlip flip = make_flip(peer);

	hear_only(peer, LM_MESSAGE_PASS);
	hear_only(peer, LM_MESSAGE_SHARED);
	say(peer, LM_MESSAGE_READY, NULL, NULL, 0);
	hear_only(peer, LM_MESSAGE_FLIP);
	if (lm_flip_receive(&flip, NULL) < 0)
		hang();
	say(peer, LM_MESSAGE_FLIPPED, lm_wire_u64_encode(flip.bytes), NULL, 0);
}

static void destination_state(Peer *peer)
{
	hear_only(peer, LM_MESSAGE_STATE);
	hear_only(peer, LM_MESSAGE_DATA);
	say(peer, LM_MESSAGE_READY, NULL, NULL, 0);
}

void play_destination(int fd, const Script *script)
{
	const LmWireCommitted committed = {g_get_monotonic_time() * 1000 + 1000000000, {1}};
	Peer peer = {.fd = fd, .script = script};

	destination_hello(&peer);
	destination_regions(&peer);
	destination_flip(&peer);
	destination_state(&peer);
	if (script->type != LM_MESSAGE_COMMITTED)
		lm_ledger_take(peer.ledger); /* else it is the script's */
	say(&peer, LM_MESSAGE_COMMITTED, lm_wire_committed_encode(&committed), NULL, 0);
	hang();
}

/* ------------------------------------------------------------------ source */

static void source_hello(Peer *peer)
{
	int fd;

	peer->ledger = lm_ledger_new(NULL);
	g_assert(peer->ledger);
	fd = lm_ledger_fd(peer->ledger);
	say(peer, LM_MESSAGE_HELLO, encode_hello(), &fd, 1);
	hear_only(peer, LM_MESSAGE_HELLO);
}

static void source_regions(Peer *peer)
{
	g_autoptr(LmInventory) inventory = lm_inventory_new();
	const LmWirePipes pipes = {.channels = 2, .engine = LM_ENGINE_VMSPLICE};
	int fds[4];

	g_assert(!fake_host_ops.describe(&peer->host, inventory, NULL));
	peer->regions = g_ptr_array_ref(inventory->regions);
	((LmRegion *)g_ptr_array_index(peer->regions, 1))->way = LM_WAY_PASS;
	say(peer, LM_MESSAGE_REGIONS, lm_wire_regions_encode(peer->regions), NULL, 0);
	hear_only(peer, LM_MESSAGE_REGIONS);
	g_assert(!lm_pipes_open(&peer->pipes, pipes.channels, fds, NULL));
	say(peer, LM_MESSAGE_PIPES, lm_wire_pipes_encode(&pipes), fds, G_N_ELEMENTS(fds));
	for (guint i = 0; i < G_N_ELEMENTS(fds); i++)
		close(fds[i]);
	hear_only(peer, LM_MESSAGE_READY);
}

static void source_flip(Peer *peer)
{
	const LmWirePass pass = {.region = 1};
	LmFlip flip = make_flip(peer);

	say(peer, LM_MESSAGE_PASS, lm_wire_pass_encode(&pass), &peer->host.shared_fd, 1);
	say(peer, LM_MESSAGE_PROGRESS, lm_wire_u64_encode(0), NULL, 0);
	say(peer, LM_MESSAGE_SHARED, NULL, NULL, 0);
	hear_only(peer, LM_MESSAGE_READY);
	say(peer, LM_MESSAGE_FLIP, NULL, NULL, 0);
	g_assert(!lm_populated_scan(g_ptr_array_index(peer->regions, 0), LM_POPULATED_AUTO, NULL));
	if (lm_flip_send(&flip, NULL) < 0)
		hang();
	hear_only(peer, LM_MESSAGE_FLIPPED);
}

/* In two parts, so that one can be followed by none. */
static void source_state(Peer *peer)
{
	LmWireState state = {0};
	guint8 bytes[256];
	LmDeviceState saved = {.fd = -1};

	g_assert(!fake_host_ops.save(&peer->host, &saved, NULL));
	state.bytes = pread(saved.fd, bytes, sizeof(bytes), 0);
	state.crc = crc32(0, bytes, state.bytes);
	say(peer, LM_MESSAGE_STATE, lm_wire_state_encode(&state), NULL, 0);
	for (gsize at = 0; at < state.bytes; at += 16) {
		GByteArray *part = g_byte_array_new();

		g_byte_array_append(part, bytes + at, MIN(16, state.bytes - at));
		say(peer, LM_MESSAGE_DATA, part, NULL, 0);
	}
	hear_only(peer, LM_MESSAGE_READY);
	hear_only(peer, LM_MESSAGE_COMMITTED);
}

void play_source(int fd, const Script *script)
{
	Peer peer = {.fd = fd, .script = script};

	fake_host_init(&peer.host, LM_ROLE_SOURCE, TRUE);
	fake_host_start(&peer.host);
	source_hello(&peer);
	source_regions(&peer);
	source_flip(&peer);
	source_state(&peer);
	hang();
}

/* ---------------------------------------------------------------- the real */

/* A destination listens, a source connects: the child is the other. */
static int meet(LmRole role, const char *path, LmListener *listener, const Script *script,
		pid_t *child)
{
	*child = fork();
	if (*child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hangs_for_a_while = role == LM_ROLE_DESTINATION;
		if (role == LM_ROLE_DESTINATION)
			play_source(fake_connect(path), script);
		listener = lm_listen(path, NULL);
		play_destination(lm_accept(listener, NULL), script);
	}
	return listener ? lm_accept(listener, NULL) : fake_connect(path);
}

void run_against(LmRole role, const Script *script, Ended *ended)
{
	g_autofree char *path = g_strdup_printf("%s/lm-hostile-%d", g_get_tmp_dir(), getpid());
	g_autoptr(LmListener) listener = role == LM_ROLE_DESTINATION ? lm_listen(path, NULL) : NULL;
	g_autoptr(LmSession) session = NULL;
	gint64 begin_us;
	pid_t child;
	int fd = meet(role, path, listener, script, &child);

	g_assert(fd >= 0);
	fake_host_init(&ended->host, role, TRUE);
	fake_host_start(&ended->host);
	ended->host.options.deadline_ms = HOSTILE_DEADLINE_MS;
	session = lm_session_new(role, &fake_host_ops, &ended->host, &ended->host.options);
	begin_us = g_get_monotonic_time();
	ended->rc = lm_session_run(session, fd, &ended->outcome, &ended->error);
	ended->ms = (g_get_monotonic_time() - begin_us) / 1000;
	lm_session_query(session, &ended->status);
	ended->notes = *ended->host.notes;
	ended->intact = role == LM_ROLE_SOURCE && fake_host_intact(&ended->host);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	unlink(path); /* a killed listener leaves it */
}

void ended_clear(Ended *ended)
{
	fake_host_clear(&ended->host);
	g_clear_error(&ended->error);
	lm_status_clear(&ended->status);
}

/* ------------------------------------------------------------ common edits */

void say_noise(Speech *speech)
{
	speech->noise = TRUE;
	speech->then = THEN_HANG;
}

void say_another_type(Speech *speech)
{
	speech->header.type = LM_MESSAGE_BYE;
	g_byte_array_set_size(speech->payload, 0);
	speech->then = THEN_HANG;
}

void say_error(Speech *speech)
{
	g_autoptr(GError) error = g_error_new(LM_ERROR, LM_ERROR_FAILED, "the script wants it");

	g_byte_array_unref(speech->payload);
	speech->payload = lm_wire_error_encode(error);
	speech->header.type = LM_MESSAGE_ERROR;
	speech->then = THEN_HANG;
}

/* A byte is missing, or one is there where none should be. */
void say_wrong_length(Speech *speech)
{
	guint length = speech->payload->len;

	g_byte_array_set_size(speech->payload, length ? length - 1 : 1);
	speech->payload->data[speech->payload->len - 1] = 0;
	speech->then = THEN_HANG;
}

void say_half(Speech *speech)
{
	speech->most_bytes = (LM_WIRE_HEADER_BYTES + speech->payload->len) / 2;
	speech->then = THEN_HANG;
}

void say_nothing(Speech *speech)
{
	speech->most_bytes = 0;
	speech->then = THEN_HANG;
}

/* The header counts one more than there are. */
void say_too_few_fds(Speech *speech)
{
	speech->header.fd_count++;
	speech->then = THEN_HANG;
}

/* There are more than the header counts. */
void say_too_many_fds(Speech *speech)
{
	for (guint i = 0; i < 3; i++)
		speech->fds[speech->fd_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	speech->then = THEN_HANG;
}

void close_instead(Speech *speech)
{
	speech->most_bytes = 0;
	speech->then = THEN_CLOSE;
}

void close_in_header(Speech *speech)
{
	speech->most_bytes = LM_WIRE_HEADER_BYTES / 2;
	speech->then = THEN_CLOSE;
}

void exit_instead(Speech *speech)
{
	speech->most_bytes = 0;
	speech->then = THEN_EXIT;
}

void close_after(Speech *speech)
{
	speech->then = THEN_CLOSE;
}

/* Of a hello: speaks versions 99 to 99, in which there may be anything. */
void be_of_the_future(Speech *speech)
{
	speech->header.version = 99;
	g_byte_array_set_size(speech->payload, 5);
	memcpy(speech->payload->data, "\x63\0???", 5);
	speech->then = THEN_HANG;
}

void attach_only(Speech *speech, int fd)
{
	g_assert(fd >= 0);
	for (guint i = 0; i < speech->fd_count; i++)
		close(speech->fds[i]);
	speech->fds[0] = fd;
	speech->header.fd_count = speech->fd_count = 1;
}
