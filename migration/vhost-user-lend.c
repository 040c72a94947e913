// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The source's side of vhost-user.h: the connection of a device of this process, lent to who makes
 * the same device in another. All of it happens in the main loop with the big lock held, so no
 * device is in the middle of a message, and whose turn it is to read is never a question.
 */
#include "vhost-user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib-unix.h>

#include "local/error.h"
#include "qemu.h"
#include "vhost-user-socket.h"

/* The main loop waits for it, and with it the guest; a back end at work answers at once. */
#define REPLY_MS 2000u

typedef struct Lent {
	int fd;	       /* the device's */
	guint64 inode; /* of its connection: another one with that number is not meant */
	int relay;
	int own;   /* the connection, while the device has another; -1 */
	int other; /* and the other end of that */
	GThread *thread;
} Lent;

static GPtrArray *all;	   /* of Lent */
static guint64 late_inode; /* of a connection by which an answer is still to come; 0: none */

/* ------------------------------------------------------------------- questions */

/* 0: the message is none of these. */
static guint64 get_protocol_features(const LmVhostUserMessage *reply)
{
	guint64 features = 0;

	if (reply->header.request == LM_VHOST_USER_GET_PROTOCOL_FEATURES &&
	    reply->header.size == sizeof(features))
		memcpy(&features, reply->payload, sizeof(features));
	return features;
}

static void without_slots(LmVhostUserMessage *reply)
{
	const guint64 features =
		get_protocol_features(reply) & ~LM_VHOST_USER_F_CONFIGURE_MEM_SLOTS;

	if (features)
		memcpy(reply->payload, &features, sizeof(features));
}

/*
 * A back end that did not answer in time may do so later. The device would take that for the answer
 * to a message of its own, so it is read when it comes, and nothing is asked until then.
 */
static gboolean on_late_reply(gint fd, GIOCondition condition, gpointer data)
{
	g_autofree LmVhostUserMessage *message = g_new0(LmVhostUserMessage, 1);

	if (lm_vhost_user_inode(fd) == late_inode)
		lm_vhost_user_receive(fd, message, REPLY_MS);
	lm_vhost_user_message_clear(message);
	late_inode = 0;
	return G_SOURCE_REMOVE;
}

static int ask(int fd, LmVhostUserMessage *message)
{
	const guint32 request = message->header.request;
	int rc = late_inode ? -EBUSY : lm_vhost_user_send(fd, message, REPLY_MS);

	if (rc < 0)
		return rc;
	rc = lm_vhost_user_receive(fd, message, REPLY_MS);
	if (rc == -ETIMEDOUT) {
		late_inode = lm_vhost_user_inode(fd);
		g_unix_fd_add(fd, G_IO_IN | G_IO_HUP, on_late_reply, NULL);
	}
	if (rc == 0 && (message->header.request != request || message->fd_count))
		rc = -EPROTO;
	return rc;
}

static int pass_on(const Lent *lent, LmVhostUserMessage *message)
{
	int rc = lm_vhost_user_receive(lent->relay, message, REPLY_MS);

	if (rc < 0)
		return rc;
	if (message->fd_count ||
	    lm_vhost_user_kind(message->header.request) != LM_VHOST_USER_QUESTION)
		return -EPROTO;
	if (lm_vhost_user_inode(lent->fd) != lent->inode)
		return -ENOTCONN;
	rc = ask(lent->fd, message);
	if (rc < 0)
		return rc;
	without_slots(message);
	return lm_vhost_user_send(lent->relay, message, REPLY_MS);
}

/* A relay that has ended, or says something else, is not listened to any more. */
static gboolean on_question(gint fd, GIOCondition condition, gpointer data)
{
	g_autofree LmVhostUserMessage *message = g_new0(LmVhostUserMessage, 1);
	Lent *lent = data;
	const int rc = pass_on(lent, message);

	lm_vhost_user_message_clear(message);
	if (rc == 0)
		return G_SOURCE_CONTINUE;
	if (rc != -EPIPE)
		qemu.warn_report("localhost-migrate: a question to the vhost-user back end on "
				 "descriptor %d: %s",
				 lent->fd, g_strerror(-rc));
	close(lent->relay);
	g_ptr_array_remove(all, lent);
	g_free(lent);
	return G_SOURCE_REMOVE;
}

/* QEMU saves no device whose back end could not part with its state, though it need not do so. */
static int check_back_end(int fd, GError **errp)
{
	g_autofree LmVhostUserMessage *message = g_new0(LmVhostUserMessage, 1);
	int rc;

	message->header = (LmVhostUserHeader){.request = LM_VHOST_USER_GET_PROTOCOL_FEATURES,
					      .flags = LM_VHOST_USER_VERSION};
	rc = ask(fd, message);
	if (rc < 0)
		return lm_fail_errno(errp, LM_ERROR_REFUSED, -rc,
				     "the vhost-user back end on descriptor %d", fd);
	if (!(get_protocol_features(message) & LM_VHOST_USER_F_DEVICE_STATE))
		return lm_fail(errp, LM_ERROR_REFUSED, ENOTSUP,
			       "the vhost-user back end on descriptor %d has not the protocol "
			       "feature DEVICE_STATE, without which QEMU does not save its device",
			       fd);
	return 0;
}

int lm_vhost_user_lend(int fd, const char *path, GError **errp)
{
	const guint64 inode = lm_vhost_user_inode(fd);
	Lent *lent;
	int relay;

	if (!inode)
		return lm_fail(errp, LM_ERROR_REFUSED, ENOTSOCK,
			       "descriptor %d is no connection to a vhost-user back end", fd);
	relay = check_back_end(fd, errp);
	if (relay == 0)
		relay = lm_connect(path, REPLY_MS, errp);
	if (relay < 0)
		return relay;
	lent = g_new0(Lent, 1);
	*lent = (Lent){.fd = fd, .inode = inode, .relay = relay, .own = -1, .other = -1};
	if (!all)
		all = g_ptr_array_new();
	g_ptr_array_add(all, lent);
	g_unix_fd_add(relay, G_IO_IN | G_IO_HUP, on_question, lent);
	return 0;
}

/* ---------------------------------------------------------------------- saving */

static gpointer serve(gpointer data)
{
	g_autofree LmVhostUserMessage *message = g_new0(LmVhostUserMessage, 1);
	const Lent *lent = data;
	struct pollfd in = {.fd = lent->other, .events = POLLIN};
	int rc = 0;

	while (rc == 0) {
		if (poll(&in, 1, -1) < 0)
			continue;
		rc = lm_vhost_user_receive(lent->other, message, REPLY_MS);
		if (rc == 0 && lm_vhost_user_kind(message->header.request) != LM_VHOST_USER_STATE)
			rc = -EPROTO;
		if (rc == 0)
			rc = lm_vhost_user_reply_state(lent->other, message, REPLY_MS);
		lm_vhost_user_message_clear(message);
	}
	shutdown(lent->other, SHUT_RDWR);
	return NULL;
}

/* Where something is missing the back end says its state, which the destination refuses. */
static void hide(Lent *lent)
{
	int ends[2];

	if (lm_vhost_user_inode(lent->fd) != lent->inode ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return;
	fcntl(ends[0], F_SETFL, fcntl(lent->fd, F_GETFL) & O_NONBLOCK);
	lent->other = ends[1];
	lent->own = fcntl(lent->fd, F_DUPFD_CLOEXEC, 3);
	if (lent->own >= 0)
		lent->thread = g_thread_try_new("vhost-user", serve, lent, NULL);
	if (!lent->thread) {
		close(lent->own);
		close(lent->other);
	} else {
		dup3(ends[0], lent->fd, O_CLOEXEC); /* both are there: it cannot fail */
	}
	close(ends[0]);
}

/* The thread ends with the last of the other end. */
static void show(Lent *lent)
{
	if (!lent->thread)
		return;
	dup3(lent->own, lent->fd, O_CLOEXEC);
	g_thread_join(g_steal_pointer(&lent->thread));
	close(lent->own);
	close(lent->other);
}

void lm_vhost_user_hide(void)
{
	for (guint i = 0; all && i < all->len; i++)
		hide(g_ptr_array_index(all, i));
}

void lm_vhost_user_show(void)
{
	for (guint i = 0; all && i < all->len; i++)
		show(g_ptr_array_index(all, i));
}
