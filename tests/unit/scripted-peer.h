/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer that follows the protocol, message by message and without a session, up to the one that
 * its script names. What it says there the script may change at will; then it hangs, closes or
 * goes on. It runs in a child of the test; the real session is in the test's own process.
 */
#ifndef LM_TESTS_SCRIPTED_PEER_H
#define LM_TESTS_SCRIPTED_PEER_H

#include "channel.h"
#include "fake-host.h"
#include "ledger.h"

#define HOSTILE_DEADLINE_MS 300

typedef enum SpeechThen {
	THEN_GO_ON,
	THEN_HANG,  /* says and reads nothing more; its memory is still there */
	THEN_CLOSE, /* closes the socket, and hangs */
	THEN_EXIT,
	THEN_GIVE_BACK, /* a destination returns the pages when asked to, and never ends with it */
} SpeechThen;

/* One message that is about to be sent. */
typedef struct Speech {
	LmWireHeader header; /* length follows from the payload unless the script set it */
	GByteArray *payload;
	int fds[LM_WIRE_FDS_MAX]; /* closed when sent */
	guint fd_count;		  /* how many are attached; header.fd_count is what is said */
	gboolean keep_length;	  /* header.length is as the script wants it */
	gboolean noise;		  /* bytes that are no message are sent instead */
	gsize most_bytes;	  /* so much of header and payload is sent */
	guint times;		  /* how often it is said */
	LmLedger *ledger;	  /* the peer's, for scripts that take or withdraw */
	SpeechThen then;
} Speech;

typedef void (*Edit)(Speech *speech);

typedef struct Script {
	LmMessageType type; /* of the message that is edited; 0: none is */
	guint nth;	    /* the how manieth of its type, from 0 */
	Edit edit;
} Script;

/* Plays the other role over @fd; does not return. */
G_NORETURN void play_destination(int fd, const Script *script);
G_NORETURN void play_source(int fd, const Script *script);

/* What happened to the real side. */
typedef struct Ended {
	FakeHost host;
	FakeNotes notes;
	int rc;
	LmOutcome outcome;
	GError *error;
	gboolean intact; /* a source's memory */
	gint64 ms;
	LmStatus status;
} Ended;

/* A real session of @role against a peer that plays @script. */
void run_against(LmRole role, const Script *script, Ended *ended);
void ended_clear(Ended *ended);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ended, ended_clear)

/* Common edits. */
void say_noise(Speech *speech);
void say_another_type(Speech *speech);
void say_error(Speech *speech);
void say_wrong_length(Speech *speech);
void say_half(Speech *speech);
void say_nothing(Speech *speech);
void say_too_few_fds(Speech *speech);
void say_too_many_fds(Speech *speech);
void close_instead(Speech *speech);
void close_in_header(Speech *speech);
void exit_instead(Speech *speech);
void close_after(Speech *speech);
void be_of_the_future(Speech *speech);

/* Replaces the descriptors. */
void attach_only(Speech *speech, int fd);

#endif
