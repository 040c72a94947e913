/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends are in this process, so nothing is killed: a session never takes itself for the peer
 * that it may end. A destination's peer has said everything before the session starts, and hangs up
 * when all of it was read; a source's is a thread, which answers.
 */
#include "conversation.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "share.h"
#include "wire.h"

#define DEADLINE_MS   8 /* of the session */
#define HEAR_MS	      4 /* of the peer */
#define QUIET_POLLS   3
#define QUIET_POLL_US 50
#define FDS_SEEN      64
#define SCRIPT_FDS    70 /* more than a message may have */
#define PAGE	      4096u

static const LmWait hear_wait = {.deadline_ms = HEAR_MS, .cancel_fd = -1};

/* ------------------------------------------------------------- descriptors */

static int make_memfd(guint64 bytes, int seals)
{
	const int fd = memfd_create("script", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	g_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

static int make_read_only(void)
{
	const int fd = make_memfd(SCRIPT_RAM_BYTES, F_SEAL_SHRINK);
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
	const int again = open(path, O_RDONLY | O_CLOEXEC);

	close(fd);
	return again;
}

static guint take_ledger(Conversation *c, gboolean withdrawn, int *fds)
{
	/* To a source this is a descriptor like any other: the ledger is its own. */
	LmLedger **ledger = c->host.role == LM_ROLE_SOURCE ? &c->false_ledger : &c->ledger;

	if (!*ledger)
		*ledger = lm_ledger_new(NULL);
	if (withdrawn)
		lm_ledger_withdraw(*ledger);
	fds[0] = dup(lm_ledger_fd(*ledger));
	return 1;
}

static guint take_pipes(const Conversation *c, gboolean one, int *fds)
{
	for (guint i = 0; i < 2 * SCRIPT_CHANNELS; i++)
		fds[i] = dup(c->given[one ? i % 2 : i]);
	return 2 * SCRIPT_CHANNELS;
}

static guint take_many(int *fds)
{
	for (guint i = 0; i < SCRIPT_FDS; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return SCRIPT_FDS;
}

static int make_one(const Conversation *c, guint kind)
{
	switch (kind) {
	case SCRIPT_FD_MEMORY:
		return make_memfd(SCRIPT_RAM_BYTES, F_SEAL_SHRINK);
	case SCRIPT_FD_UNSEALED:
		return make_memfd(SCRIPT_RAM_BYTES, 0);
	case SCRIPT_FD_SHORT:
		return make_memfd(SCRIPT_SHARED_BYTES - 1, F_SEAL_SHRINK);
	case SCRIPT_FD_READ_ONLY:
		return make_read_only();
	case SCRIPT_FD_SOCKET:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case SCRIPT_FD_DIRECTORY:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case SCRIPT_FD_EVENT:
		return eventfd(0, EFD_CLOEXEC);
	case SCRIPT_FD_PATH:
		return open("/dev/null", O_PATH | O_CLOEXEC);
	case SCRIPT_FD_ITSELF:
		return dup(c->fd);
	default:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	}
}

static guint make_fds(Conversation *c, guint kind, int fds[SCRIPT_FDS])
{
	switch (kind) {
	case SCRIPT_FD_NONE:
		return 0;
	case SCRIPT_FD_LEDGER:
	case SCRIPT_FD_WITHDRAWN:
		return take_ledger(c, kind == SCRIPT_FD_WITHDRAWN, fds);
	case SCRIPT_FD_PIPES:
	case SCRIPT_FD_ONE_PIPE:
		return take_pipes(c, kind == SCRIPT_FD_ONE_PIPE, fds);
	case SCRIPT_FD_MANY:
		return take_many(fds);
	default:
		fds[0] = make_one(c, kind);
		return 1;
	}
}

/* ---------------------------------------------------------------- speaking */

static void send_bytes(int fd, const guint8 *bytes, gsize length, const int *fds, guint count)
{
	union {
		char bytes[CMSG_SPACE(SCRIPT_FDS * sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = ""};
	struct iovec iov = {(void *)bytes, length};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
	}
	/* The other side may have given up, or has no room: that is a script that ends. */
	if (length && sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void say(Conversation *c, guint8 type, guint8 kind, const guint8 *bytes, guint16 length)
{
	guint8 encoded[LM_WIRE_HEADER_BYTES];
	int fds[SCRIPT_FDS];
	const guint count = make_fds(c, kind % SCRIPT_FD__MAX, fds);
	const LmWireHeader header = {
		.version = type & SCRIPT_OLD ? 1 : LM_WIRE_VERSION,
		.type = type & SCRIPT_TYPE,
		.length = length,
		.fd_count = count + (type & SCRIPT_WRONG_COUNT ? 1 : 0),
	};

	lm_wire_header_encode(encoded, &header);
	if (!(type & SCRIPT_RAW))
		send_bytes(c->fd, encoded, sizeof(encoded), fds, count);
	send_bytes(c->fd, bytes, length, fds, type & SCRIPT_RAW ? count : 0);
	for (guint i = 0; i < count; i++)
		close(fds[i]);
}

static void feed(int fd, gboolean pages, const guint8 *bytes, guint16 length)
{
	static const guint8 page[PAGE] = {0x5a};

	/* A pipe that is full, or closed: the rest is cut. */
	for (guint n = pages && length ? bytes[0] : 0; n; n--)
		if (write(fd, page, sizeof(page)) < 0)
			return;
	if (!pages && length && write(fd, bytes, length) < 0)
		return;
}

/* --------------------------------------------------------------- listening */

/* All that a channel brings, until its END frame, which are its last bytes. */
static void drain(int fd)
{
	static const guint8 magic[] = {'Q', 'L', 'M', 'F'};
	g_autofree guint8 *bytes = g_malloc(1 << 20);
	gsize have = 0;

	for (guint tries = 0; tries < 100;) {
		const gssize n = read(fd, bytes + have, (1 << 20) - have);

		if (n == 0 || have == 1 << 20)
			return;
		if (n < 0) {
			tries++;
			g_usleep(QUIET_POLL_US);
			continue;
		}
		have += n;
		if (have >= LM_FRAME_HEADER_BYTES &&
		    !memcmp(bytes + have - LM_FRAME_HEADER_BYTES, magic, sizeof(magic)) &&
		    bytes[have - LM_FRAME_HEADER_BYTES + 12] == LM_FRAME_END)
			return;
	}
}

/* A source's pipes: what we read from, and what we write to, for each channel. */
static void keep_pipes(Conversation *c, LmMessage *message)
{
	for (guint i = 0; i < message->fd_count / 2 && i < SCRIPT_CHANNELS; i++) {
		if (c->drain[i] >= 0)
			return;
		c->drain[i] = lm_message_take_fd(message, 2 * i);
		c->feed[i] = lm_message_take_fd(message, 2 * i + 1);
		fcntl(c->drain[i], F_SETFL, O_NONBLOCK);
		fcntl(c->feed[i], F_SETFL, O_NONBLOCK);
	}
}

static void hear(Conversation *c, guint type)
{
	guint heard = 0;

	while (heard != type) {
		g_auto(LmMessage) message = {0};

		if (lm_channel_receive(c->fd, &hear_wait, &message, NULL) < 0)
			return;
		heard = message.header.type;
		if (heard == LM_MESSAGE_HELLO && !c->ledger && message.fd_count)
			c->ledger = lm_ledger_open(message.fds[0], NULL);
		if (heard == LM_MESSAGE_PIPES)
			keep_pipes(c, &message);
		c->heard_flip |= heard == LM_MESSAGE_FLIP;
	}
	for (guint i = 0; type == LM_MESSAGE_FLIP && i < SCRIPT_CHANNELS; i++)
		drain(c->drain[i]);
}

/* ----------------------------------------------------------------- the peer */

static void play(Conversation *c, gboolean listens)
{
	Input *script = &c->script;

	while (script->left) {
		const guint8 type = input_u8(script), kind = input_u8(script);
		const guint8 after = input_u8(script);
		const guint16 wanted = input_u16(script), length = MIN(wanted, script->left);
		const guint8 *bytes = input_bytes(script, length);
		const int channel = c->feed[kind % SCRIPT_CHANNELS];

		if (listens && after)
			hear(c, after % LM_MESSAGE__MAX);
		if ((type & SCRIPT_TYPE) == SCRIPT_TAKE) {
			if (listens && c->ledger)
				lm_ledger_take(c->ledger);
		} else if ((type & SCRIPT_TYPE) >= SCRIPT_PAGES) {
			feed(channel, (type & SCRIPT_TYPE) == SCRIPT_PAGES, bytes, length);
		} else {
			say(c, type, kind, bytes, length);
		}
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static gpointer play_destination(gpointer data)
{
	Conversation *c = data;

	play(c, TRUE);
	close_fd(&c->fd);
	for (guint i = 0; i < SCRIPT_CHANNELS; i++) {
		close_fd(&c->feed[i]);
		close_fd(&c->drain[i]);
	}
	return NULL;
}

/* What of all that was said is not read yet. */
static gboolean is_unread(const Conversation *c)
{
	int bytes = 0;

	if (ioctl(c->fd, SIOCOUTQ, &bytes) == 0 && bytes)
		return TRUE;
	for (guint i = 0; i < SCRIPT_CHANNELS; i++)
		if (ioctl(c->given[2 * i], FIONREAD, &bytes) == 0 && bytes)
			return TRUE;
	return FALSE;
}

static gpointer hang_up_when_read(gpointer data)
{
	Conversation *c = data;
	guint quiet = 0;

	for (guint us = 0; quiet < QUIET_POLLS && us < DEADLINE_MS * 1000; us += QUIET_POLL_US) {
		quiet = is_unread(c) ? 0 : quiet + 1;
		g_usleep(QUIET_POLL_US);
	}
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void open_pipes(Conversation *c)
{
	for (guint i = 0; i < SCRIPT_CHANNELS; i++) {
		int there[2], back[2];

		g_assert(pipe2(there, O_CLOEXEC | O_NONBLOCK) == 0);
		g_assert(pipe2(back, O_CLOEXEC | O_NONBLOCK) == 0);
		c->given[2 * i] = there[0];
		c->feed[i] = there[1];
		c->drain[i] = back[0];
		c->given[2 * i + 1] = back[1];
	}
}

/* --------------------------------------------------------------------- run */

static guint64 open_fds(void)
{
	guint64 open = 0;

	for (int fd = 0; fd < FDS_SEEN; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open |= 1ull << fd;
	return open;
}

static void start_host(Conversation *c, LmRole role)
{
	fake_host_init(&c->host, role, TRUE);
	c->host.ram_bytes = SCRIPT_RAM_BYTES;
	c->host.shared_bytes = SCRIPT_SHARED_BYTES;
	c->host.any_state = TRUE;
	c->host.options.deadline_ms = DEADLINE_MS;
	c->host.options.channels = SCRIPT_CHANNELS;
	fake_host_start(&c->host);
}

static int run_session(Conversation *c, int fd, GError **errp)
{
	g_autoptr(LmSession) session =
		lm_session_new(c->host.role, &fake_host_ops, &c->host, &c->host.options);

	return lm_session_run(session, fd, &c->outcome, errp);
}

static void close_all(Conversation *c)
{
	close_fd(&c->fd);
	for (guint i = 0; i < SCRIPT_CHANNELS; i++) {
		close_fd(&c->feed[i]);
		close_fd(&c->drain[i]);
	}
	for (guint i = 0; i < G_N_ELEMENTS(c->given); i++)
		close_fd(&c->given[i]);
}

/* Its memory goes, and then whatever the session has noted of it. */
static void stop_host(Conversation *c)
{
	guint8 *ram = c->host.ram, *shared = c->host.shared;
	FakeNotes *notes = g_memdup2(c->host.notes, sizeof(*notes));

	fake_host_clear(&c->host);
	c->host.notes = notes;
	lm_share_find(ram);
	lm_share_find(shared);
}

void conversation_run(Conversation *c, LmRole role, const guint8 *data, gsize size)
{
	const gboolean is_source = role == LM_ROLE_SOURCE;
	g_autoptr(GError) error = NULL;
	GThread *peer;
	int ends[2], rc;

	*c = (Conversation){.script = {data, size}, .open_before = open_fds()};
	signal(SIGPIPE, SIG_IGN); /* as QEMU has it */
	memset(c->feed, -1, sizeof(c->feed));
	memset(c->drain, -1, sizeof(c->drain));
	memset(c->given, -1, sizeof(c->given));
	g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	c->fd = ends[1];
	start_host(c, role);
	if (!is_source) {
		open_pipes(c);
		play(c, FALSE);
		for (guint i = 0; i < SCRIPT_CHANNELS; i++)
			close_fd(&c->feed[i]);
	}
	peer = g_thread_new("peer", is_source ? play_destination : hang_up_when_read, c);
	rc = run_session(c, ends[0], &error);
	g_thread_join(peer);
	g_assert(rc == 0 ? !error : error && error->message[0]);
	close_all(c);
	c->host.notes->intact = fake_host_intact(&c->host);
	stop_host(c);
}

void conversation_clear(Conversation *c)
{
	g_clear_pointer(&c->ledger, lm_ledger_free);
	g_clear_pointer(&c->false_ledger, lm_ledger_free);
	g_assert(open_fds() == c->open_before);
	g_free(c->host.notes);
}
