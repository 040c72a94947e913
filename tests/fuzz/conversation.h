/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole session against a peer that says what an input says. The input is a script of records:
 *
 *     u8 type   a message's (LmMessageType), or one of SCRIPT_...; and SCRIPT_RAW, ... flags
 *     u8 kind   of the descriptors that come with it (ScriptKind); of frames and pages: the channel
 *     u8 after  a source is told when it has said this (LmMessageType), or for a while nothing; 0:
 *               at once. A destination is told everything beforehand
 *     u16 length, then as many bytes: the payload, or what goes into the channel
 */
#ifndef LM_TESTS_FUZZ_CONVERSATION_H
#define LM_TESTS_FUZZ_CONVERSATION_H

#include "fake-host.h"
#include "fuzz.h"
#include "ledger.h"

#define SCRIPT_TYPE	   0x1f
#define SCRIPT_RAW	   0x20 /* the bytes are sent as they are, without a header */
#define SCRIPT_WRONG_COUNT 0x40 /* the header counts a descriptor more than there are */
#define SCRIPT_OLD	   0x80 /* the header has another version */
#define SCRIPT_PAGES	   29	/* so many pages (a byte) go into a channel */
#define SCRIPT_FRAMES	   30	/* the bytes go into a channel */
#define SCRIPT_TAKE	   31	/* a destination takes the ledger */

#define SCRIPT_CHANNELS	    2
#define SCRIPT_RAM_BYTES    (256u << 10)
#define SCRIPT_SHARED_BYTES (64u << 10)

typedef enum ScriptKind {
	SCRIPT_FD_NONE,
	SCRIPT_FD_LEDGER,
	SCRIPT_FD_MEMORY,
	SCRIPT_FD_PIPES,
	SCRIPT_FD_NULL,
	SCRIPT_FD_SHORT,
	SCRIPT_FD_SOCKET,
	SCRIPT_FD_DIRECTORY,
	SCRIPT_FD_WITHDRAWN, /* the ledger, after that */
	SCRIPT_FD_READ_ONLY,
	SCRIPT_FD_EVENT,
	SCRIPT_FD_PATH,
	SCRIPT_FD_MANY,
	SCRIPT_FD_ONE_PIPE, /* for all */
	SCRIPT_FD_ITSELF,   /* the socket that it comes by */
	SCRIPT_FD_UNSEALED,
	SCRIPT_FD__MAX
} ScriptKind;

typedef struct Conversation {
	FakeHost host;
	LmOutcome outcome;
	LmLedger *ledger; /* the one that both sides had, or NULL */
	LmLedger *false_ledger;
	gboolean heard_flip; /* a source has begun to give its pages away */
	guint64 open_before; /* descriptors, as bits */
	Input script;	     /* what follows is the peer's own */
	int fd;
	int feed[SCRIPT_CHANNELS], drain[SCRIPT_CHANNELS];
	int given[2 * SCRIPT_CHANNELS]; /* ends of pipes for the other side */
} Conversation;

/* Runs a real session of @role; asserts what holds for either. */
void conversation_run(Conversation *conversation, LmRole role, const guint8 *data, gsize size);
/* Asserts that no descriptor is left. */
void conversation_clear(Conversation *conversation);

#endif
