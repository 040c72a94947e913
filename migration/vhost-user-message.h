/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of the vhost-user protocol, as QEMU 8.2 to 11.1 and virtiofsd speak it. */
#ifndef LM_VHOST_USER_MESSAGE_H
#define LM_VHOST_USER_MESSAGE_H

#include <glib.h>

#define LM_VHOST_USER_PAYLOAD_MAX 4096
#define LM_VHOST_USER_FDS_MAX	  8

/* In the host's byte order, as all of the protocol. */
typedef struct LmVhostUserHeader {
	guint32 request, flags, size; /* size: of the payload that follows */
} LmVhostUserHeader;

typedef struct LmVhostUserMessage {
	LmVhostUserHeader header;
	guint8 payload[LM_VHOST_USER_PAYLOAD_MAX];
	int fds[LM_VHOST_USER_FDS_MAX]; /* owned */
	guint fd_count;
} LmVhostUserMessage;

#define LM_VHOST_USER_VERSION	 (1u << 0)
#define LM_VHOST_USER_REPLY	 (1u << 2)
#define LM_VHOST_USER_NEED_REPLY (1u << 3)

typedef enum LmVhostUserRequest {
	LM_VHOST_USER_GET_FEATURES = 1,
	LM_VHOST_USER_SET_FEATURES = 2,
	LM_VHOST_USER_SET_OWNER = 3,
	LM_VHOST_USER_RESET_OWNER = 4,
	LM_VHOST_USER_SET_VRING_CALL = 13,
	LM_VHOST_USER_SET_VRING_ERR = 14,
	LM_VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	LM_VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	LM_VHOST_USER_GET_QUEUE_NUM = 17,
	LM_VHOST_USER_SET_BACKEND_REQ_FD = 21,
	LM_VHOST_USER_GET_CONFIG = 24,
	LM_VHOST_USER_RESET_DEVICE = 34,
	LM_VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	LM_VHOST_USER_SET_DEVICE_STATE_FD = 42,
	LM_VHOST_USER_CHECK_DEVICE_STATE = 43,
} LmVhostUserRequest;

/*
 * Protocol feature: memory is told region by region. A destination's device would add its regions
 * to those of the source's; without it, it tells of all at once, and replaces them.
 */
#define LM_VHOST_USER_F_CONFIGURE_MEM_SLOTS (1ull << 15)
/* And: a back end can save its state, and load another's. */
#define LM_VHOST_USER_F_DEVICE_STATE (1ull << 19)

/* In the answer to SET_DEVICE_STATE_FD: the descriptor that came with it is the one to use. */
#define LM_VHOST_USER_NO_FD (1ull << 8)

/* What becomes of a device's message that comes before its guest does. */
typedef enum LmVhostUserKind {
	LM_VHOST_USER_QUESTION, /* changes nothing: the back end answers it */
	LM_VHOST_USER_LATER,	/* needs no answer, and can as well be told later */
	LM_VHOST_USER_NEVER,	/* for a back end that is new; this one is at work */
	LM_VHOST_USER_STATE,	/* its state goes along, which it has */
	LM_VHOST_USER_FOREIGN,	/* not known here, or too early */
} LmVhostUserKind;

static inline LmVhostUserKind lm_vhost_user_kind(guint32 request)
{
	switch (request) {
	case LM_VHOST_USER_GET_FEATURES:
	case LM_VHOST_USER_GET_PROTOCOL_FEATURES:
	case LM_VHOST_USER_GET_QUEUE_NUM:
	case LM_VHOST_USER_GET_CONFIG:
	case LM_VHOST_USER_GET_MAX_MEM_SLOTS:
		return LM_VHOST_USER_QUESTION;
	case LM_VHOST_USER_SET_FEATURES:
	case LM_VHOST_USER_SET_VRING_CALL:
	case LM_VHOST_USER_SET_VRING_ERR:
	case LM_VHOST_USER_SET_PROTOCOL_FEATURES:
	case LM_VHOST_USER_SET_BACKEND_REQ_FD:
		return LM_VHOST_USER_LATER;
	case LM_VHOST_USER_SET_OWNER:
	case LM_VHOST_USER_RESET_OWNER:
	case LM_VHOST_USER_RESET_DEVICE:
		return LM_VHOST_USER_NEVER;
	case LM_VHOST_USER_SET_DEVICE_STATE_FD:
	case LM_VHOST_USER_CHECK_DEVICE_STATE:
		return LM_VHOST_USER_STATE;
	default:
		return LM_VHOST_USER_FOREIGN;
	}
}

#endif
