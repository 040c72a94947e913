/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must hold of a real session whose peer misbehaved. */
#ifndef LM_TESTS_HOSTILE_CHECKS_H
#define LM_TESTS_HOSTILE_CHECKS_H

#include "test-util.h"

#include "scripted-peer.h"

/* Tells which case it was, for there are many in one test. */
#define CHECK(label, ended, condition)                                                             \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("%s: not so: %s (rc %d, outcome %d, %d ms, error: %s)", label,    \
				 #condition, (ended)->rc, (int)(ended)->outcome, (int)(ended)->ms, \
				 (ended)->error ? (ended)->error->message : "none");               \
	} while (0)

/* One line, of the transport, with @part in it; within a few deadlines. */
static inline void check_failed(const char *label, const Ended *ended, const char *part)
{
	CHECK(label, ended, ended->rc < 0);
	CHECK(label, ended, ended->error != NULL);
	CHECK(label, ended, ended->error->domain == LM_ERROR);
	CHECK(label, ended, !strchr(ended->error->message, '\n'));
	CHECK(label, ended, !g_str_has_suffix(ended->error->message, "."));
	CHECK(label, ended, g_strstr_len(ended->error->message, -1, part));
	/* A few deadlines, and what a busy machine adds. */
	CHECK(label, ended, ended->ms < 8 * HOSTILE_DEADLINE_MS + 2000);
	if (ended->error->code == LM_ERROR_CANCELLED) {
		CHECK(label, ended, ended->status.state == LM_STATE_CANCELLED);
	} else {
		CHECK(label, ended, ended->status.state == LM_STATE_FAILED);
		assert_string_equal(ended->status.error, ended->error->message);
	}
}

/* A source has the VM, and it is as it was. */
static inline void check_here(const char *label, const Ended *ended, gboolean was_stopped)
{
	CHECK(label, ended, ended->outcome == LM_OUTCOME_HERE);
	CHECK(label, ended, ended->intact);
	CHECK(label, ended, ended->notes.stopped == was_stopped);
	CHECK(label, ended, ended->notes.resumed == was_stopped);
	CHECK(label, ended, ended->notes.gone + ended->notes.lost == 0);
	CHECK(label, ended, ended->status.lost_bytes == 0);
	if (was_stopped)
		CHECK(label, ended, ended->notes.intact); /* already when it was resumed */
}

/* A destination has let go of everything, and never ran. */
static inline void check_not_taken(const char *label, const Ended *ended, LmOutcome outcome)
{
	CHECK(label, ended, ended->outcome == outcome);
	CHECK(label, ended, ended->notes.ran == 0);
	CHECK(label, ended, ended->notes.activated == ended->notes.deactivated);
}

static inline LmOutcome outcome_of(gboolean spoilt)
{
	return spoilt ? LM_OUTCOME_SPOILT : LM_OUTCOME_UNTOUCHED;
}

static inline void check_destination(const char *label, const Script *script, gboolean spoilt,
				     const char *text)
{
	g_auto(Ended) ended = {0};

	run_against(LM_ROLE_DESTINATION, script, &ended);
	check_failed(label, &ended, text);
	check_not_taken(label, &ended, outcome_of(spoilt));
}

#endif
