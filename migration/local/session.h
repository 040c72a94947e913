/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the session's files share: its state, and the table of its stages. */
#ifndef LM_LOCAL_SESSION_H
#define LM_LOCAL_SESSION_H

#include "channel.h"
#include "flip.h"
#include "flip-log.h"
#include "ledger.h"
#include "share.h"

struct LmSession {
	LmRole role;
	const LmHostOps *ops;
	void *opaque;
	LmOptions options;
	char *fault;

	int fd;		/* the socket, while lm_session_run runs */
	int cancel_fd;	/* eventfd */
	int peer_pidfd; /* -1: not known or not visible from here */
	LmWait wait;	/* for the way forward */
	LmInventory *mine;
	LmInventory *theirs;
	LmLedger *ledger;
	LmPipes pipes;
	LmFlip flip;
	LmFlipLog log[LM_CHANNELS_MAX]; /* source: of the way there, for a rescue */
	LmDeviceState state;		/* saved or received; fd -1: not yet */
	gboolean rehearse;		/* both: the VM must not run in the destination */
	GPtrArray *shares;		/* source: of LmShare; not owned */
	LmShareRun share_run;		/* source: the one under way, or the last */
	gint64 told_us;			/* source: when it last told of its progress */
	gboolean flipping;		/* the VM has begun to move */
	gboolean flip_answered;		/* source: the destination has said how it ended */
	gboolean flip_arrived;		/* source: it has read all; the pipes are at rest */
	gboolean return_asked;		/* destination: the source withdrew and wants its pages */
	LmEngine return_engine;		/* which the pages come back by; the source chooses */
	gboolean spoilt;		/* destination: its memory or devices were written */
	gboolean activated;		/* destination: it holds the disks */
	gint64 stop_ns;
	gint64 pause_us[LM_PAUSE__MAX]; /* as far as this side measures it */

	GMutex lock;	    /* guards what follows, which lm_session_query reads */
	LmStatus status;    /* regions excepted */
	GPtrArray *regions; /* of LmRegion, in the order of the wire; owned by mine */
	gint64 begin_us, stage_begin_us;
};

/*
 * One stage: what each side does, and how it takes that back. A function that is NULL has nothing
 * to do. An undo runs when its own stage or a later one failed, the last stage first, so it must
 * bear that its stage was done in part or not at all. An undo that fails ends the walk: the VM
 * does not run here again.
 */
typedef struct LmStageSteps {
	int (*forward)(LmSession *session, GError **errp);
	int (*undo)(LmSession *session, GError **errp);
} LmStageSteps;

typedef struct LmStageEntry {
	const char *name;
	LmState state;
	LmStageSteps side[2]; /* by LmRole */
} LmStageEntry;

extern const LmStageEntry lm_stage_table[LM_STAGE__MAX];

int lm_source_hello(LmSession *session, GError **errp);
int lm_source_regions(LmSession *session, GError **errp);
int lm_source_share(LmSession *session, GError **errp);
int lm_source_stop(LmSession *session, GError **errp);
int lm_source_flip(LmSession *session, GError **errp);
int lm_source_devices(LmSession *session, GError **errp);
int lm_source_load(LmSession *session, GError **errp);
int lm_source_commit(LmSession *session, GError **errp);
int lm_source_undo_stop(LmSession *session, GError **errp);
int lm_source_undo_flip(LmSession *session, GError **errp);

int lm_destination_hello(LmSession *session, GError **errp);
int lm_destination_regions(LmSession *session, GError **errp);
int lm_destination_share(LmSession *session, GError **errp);
int lm_destination_stop(LmSession *session, GError **errp);
int lm_destination_flip(LmSession *session, GError **errp);
int lm_destination_load(LmSession *session, GError **errp);
int lm_destination_commit(LmSession *session, GError **errp);
int lm_destination_undo_flip(LmSession *session, GError **errp);
int lm_destination_undo_load(LmSession *session, GError **errp);

/* Source (session-share.c): */
/* Chooses the way of each of session->mine's regions. */
int lm_source_choose_ways(LmSession *session, GError **errp);
/* With the VM stopped: shares the rest, and passes what has not been passed. */
int lm_source_share_rest(LmSession *session, GError **errp);
/* The VM runs on here: what was copied for the destination only is released. */
void lm_source_forget_copies(LmSession *session);

/* Receives the next message; a source that withdraws or gives up is an error. */
int lm_destination_next(LmSession *session, LmMessage *message, GError **errp);
/* The same, and it must be of @type. */
int lm_destination_expect(LmSession *session, LmMessageType type, LmMessage *message,
			  GError **errp);
/* The device state (state.c), from and to session->state. */
int lm_state_send(LmSession *session, GError **errp);
int lm_state_receive(LmSession *session, GError **errp);

/* The wait of an undo: with the deadline, not to be cancelled. */
LmWait lm_session_undo_wait(const LmSession *session);
/* CLOCK_MONOTONIC, which both sides share. */
gint64 lm_session_now_ns(void);
/* Makes @regions what lm_session_query shows, and the flip's. */
void lm_session_set_regions(LmSession *session, GPtrArray *regions);
/* Prepares session->flip for either direction. */
void lm_session_prepare_flip(LmSession *session, LmEngine engine, const LmWait *wait);
/* Whether any region flips. */
gboolean lm_session_flips(const LmSession *session);
/* Adds the time since @*begin_us to a part of the pause, and sets @*begin_us to now. */
void lm_session_note_pause(LmSession *session, LmPause pause, gint64 *begin_us);
/* Bytes of guest memory, of all regions that flip, whose content is in this process. */
guint64 lm_session_bytes_here(const LmSession *session);

#endif
