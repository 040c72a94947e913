// SPDX-License-Identifier: GPL-2.0-or-later
/* The destination's side: the stand-in of a back end. vhost-user.h says what it is for. */
#include "vhost-user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "local/error.h"
#include "qemu.h"
#include "vhost-user-socket.h"

/* The source's main loop may be busy for a while, as when it shares memory. */
#define ANSWER_MS 20000u
#define TELL_MS	  5000u

typedef struct StandIn {
	int number, peer, real, relay; /* see lm_vhost_user_parse */
	guint64 inode;		       /* of the socket that has the number */
	int stop_fd;		       /* eventfd: the thread ends when it has heard all */
	GThread *thread;
	gint error;	 /* a negative errno, by which the thread has ended */
	GPtrArray *told; /* of LmVhostUserMessage: what the device has told, for later */
} StandIn;

static GPtrArray *stand_ins; /* of StandIn; NULL: none */

/* ------------------------------------------------------------------ the thread */

static int accept_relay(StandIn *s)
{
	struct pollfd in = {.fd = s->relay, .events = POLLIN};
	int fd;

	if (poll(&in, 1, ANSWER_MS) == 0)
		return -ETIMEDOUT;
	fd = accept4(s->relay, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(s->relay);
	s->relay = fd;
	return 0;
}

static int answer(const StandIn *s, LmVhostUserMessage *message)
{
	const guint32 request = message->header.request;
	int rc;

	if (message->fd_count)
		return -EPROTO;
	rc = lm_vhost_user_send(s->relay, message, ANSWER_MS);
	if (rc == 0)
		rc = lm_vhost_user_receive(s->relay, message, ANSWER_MS);
	if (rc < 0)
		return rc;
	if (message->header.request != request || message->fd_count)
		return -EPROTO;
	return lm_vhost_user_send(s->peer, message, ANSWER_MS);
}

static int hear(const StandIn *s, const LmVhostUserMessage *message)
{
	if (!(message->header.flags & LM_VHOST_USER_NEED_REPLY))
		return 0;
	return lm_vhost_user_reply(s->peer, message, 0, ANSWER_MS);
}

/* Takes the descriptors. */
static int keep(const StandIn *s, LmVhostUserMessage *message)
{
	const int rc = hear(s, message);

	g_ptr_array_add(s->told, g_memdup2(message, sizeof(*message)));
	message->fd_count = 0;
	return rc;
}

static int handle(const StandIn *s, LmVhostUserMessage *message)
{
	switch (lm_vhost_user_kind(message->header.request)) {
	case LM_VHOST_USER_QUESTION:
		return answer(s, message);
	case LM_VHOST_USER_LATER:
		return keep(s, message);
	case LM_VHOST_USER_NEVER:
		return hear(s, message);
	case LM_VHOST_USER_STATE:
		return lm_vhost_user_reply_state(s->peer, message, ANSWER_MS);
	case LM_VHOST_USER_FOREIGN:
		break;
	}
	qemu.error_report("localhost-migrate: a vhost-user device sends message %u before its "
			  "guest is there",
			  message->header.request);
	return -EPROTO;
}

static int handle_next(const StandIn *s)
{
	g_autofree LmVhostUserMessage *message = g_new0(LmVhostUserMessage, 1);
	int rc = lm_vhost_user_receive(s->peer, message, ANSWER_MS);

	if (rc == 0)
		rc = handle(s, message);
	lm_vhost_user_message_clear(message);
	return rc;
}

/* A device whose stand-in has failed fails: its connection ends. */
static gpointer serve(gpointer data)
{
	StandIn *s = data;
	struct pollfd in[] = {{.fd = s->peer, .events = POLLIN},
			      {.fd = s->stop_fd, .events = POLLIN}};
	int rc = accept_relay(s);

	while (rc == 0) {
		if (poll(in, G_N_ELEMENTS(in), -1) < 0)
			continue;
		if (in[0].revents)
			rc = handle_next(s);
		else if (in[1].revents)
			return NULL;
	}
	g_atomic_int_set(&s->error, rc);
	shutdown(s->peer, SHUT_RDWR);
	return NULL;
}

/* ------------------------------------------------------------------- beginning */

static gboolean parse_numbers(const char *text, int *numbers, guint count)
{
	g_auto(GStrv) parts = g_strsplit(text, ":", -1);

	if (g_strv_length(parts) != count)
		return FALSE;
	for (guint i = 0; i < count; i++) {
		guint64 parsed;

		if (!g_ascii_string_to_unsigned(parts[i], 10, 3, 1 << 20, &parsed, NULL))
			return FALSE;
		numbers[i] = (int)parsed;
	}
	return TRUE;
}

static gboolean begin(const char *text)
{
	int numbers[4];
	StandIn *s;

	if (!parse_numbers(text, numbers, G_N_ELEMENTS(numbers)))
		return FALSE;
	s = g_new0(StandIn, 1);
	s->number = numbers[0];
	s->peer = numbers[1];
	s->real = numbers[2];
	s->relay = numbers[3];
	s->inode = lm_vhost_user_inode(s->number);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->told = g_ptr_array_new();
	s->thread = g_thread_try_new("vhost-user", serve, s, NULL);
	g_ptr_array_add(stand_ins, s);
	return s->inode && s->stop_fd >= 0 && s->thread;
}

gboolean lm_vhost_user_parse(const char *text)
{
	g_auto(GStrv) parts = g_strsplit(text, "/", -1);

	if (stand_ins)
		return FALSE;
	stand_ins = g_ptr_array_new();
	for (guint i = 0; parts[i]; i++)
		if (!begin(parts[i]))
			return FALSE;
	return stand_ins->len > 0;
}

int lm_vhost_user_check(GError **errp)
{
	for (guint i = 0; stand_ins && i < stand_ins->len; i++) {
		StandIn *s = g_ptr_array_index(stand_ins, i);
		const int rc = g_atomic_int_get(&s->error);

		if (rc < 0)
			return lm_fail_errno(errp, LM_ERROR_FAILED, -rc,
					     "the stand-in of a vhost-user back end");
		if (lm_vhost_user_inode(s->number) != s->inode)
			return lm_fail(errp, LM_ERROR_FAILED, ENOTCONN,
				       "descriptor %d is not a vhost-user device's any more",
				       s->number);
	}
	return 0;
}

/* ---------------------------------------------------------------- the exchange */

/* That it was heard, the device knows already. */
static int tell(const StandIn *s, LmVhostUserMessage *message)
{
	int rc;

	message->header.flags &= ~LM_VHOST_USER_NEED_REPLY;
	rc = lm_vhost_user_send(s->real, message, TELL_MS);
	lm_vhost_user_message_clear(message);
	g_free(message);
	return rc;
}

static int tell_all(const StandIn *s)
{
	int rc = 0;

	for (guint i = 0; i < s->told->len && rc == 0; i++)
		rc = tell(s, g_ptr_array_index(s->told, i));
	return rc;
}

static int exchange(StandIn *s)
{
	int rc;

	eventfd_write(s->stop_fd, 1);
	g_thread_join(s->thread);
	if (lm_vhost_user_inode(s->number) != s->inode)
		return -ENOTCONN;
	rc = tell_all(s);
	if (dup3(s->real, s->number, O_CLOEXEC) < 0)
		rc = -errno;
	return rc;
}

static void forget(StandIn *s)
{
	close(s->peer);
	close(s->real);
	close(s->relay);
	close(s->stop_fd);
	g_ptr_array_unref(s->told);
	g_free(s);
}

void lm_vhost_user_connect(void)
{
	for (guint i = 0; stand_ins && i < stand_ins->len; i++) {
		StandIn *s = g_ptr_array_index(stand_ins, i);
		const int rc = exchange(s);

		if (rc < 0)
			qemu.error_report("localhost-migrate: the back end of the vhost-user "
					  "device on descriptor %d: %s",
					  s->number, g_strerror(-rc));
		forget(s);
	}
	g_clear_pointer(&stand_ins, g_ptr_array_unref);
}
