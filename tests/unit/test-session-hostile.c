// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A source and destinations that misbehave. Whatever they do, the VM is in the source afterwards,
 * as it was; unless they had taken it from the ledger, or took its pages with them when they died.
 */
#include "hostile-checks.h"

#include "region.h"

/* What a destination says, in order. */
static const struct Saying {
	const char *label;
	LmMessageType type;
	guint nth;
	gboolean stopped; /* the VM is, when this is due */
	gboolean moved;	  /* its pages have gone */
	gboolean empty;
} sayings[] = {
	{"hello", LM_MESSAGE_HELLO, 0, FALSE, FALSE, FALSE},
	{"regions", LM_MESSAGE_REGIONS, 0, FALSE, FALSE, FALSE},
	{"ready", LM_MESSAGE_READY, 0, FALSE, FALSE, TRUE},
	{"ready", LM_MESSAGE_READY, 1, FALSE, FALSE, TRUE},
	{"flipped", LM_MESSAGE_FLIPPED, 0, TRUE, TRUE, FALSE},
	{"ready", LM_MESSAGE_READY, 2, TRUE, TRUE, TRUE},
};

static void run_edit(const struct Saying *saying, Edit edit, Ended *ended)
{
	const Script script = {saying->type, saying->nth, edit};

	run_against(LM_ROLE_SOURCE, &script, ended);
}

/* @edit in place of each message; %s in @format is the message's name. */
static void check_each(const char *label, Edit edit, const char *format)
{
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		g_autofree char *text =
			format ? g_strdup_printf(format, sayings[i].label) : g_strdup("");
		g_autofree char *where =
			g_strdup_printf("%s at %s %u", label, sayings[i].label, sayings[i].nth);
		g_auto(Ended) ended = {0};

		run_edit(&sayings[i], edit, &ended);
		check_failed(where, &ended, text);
		check_here(where, &ended, sayings[i].stopped);
	}
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static void test_noise(void **state)
{
	check_each("noise", say_noise, "a message begins with 0xeeeeeeee");
}

static void test_another_type(void **state)
{
	check_each("another type", say_another_type, "the peer sent a bye message instead of %s");
}

static void test_error(void **state)
{
	check_each("error", say_error, "the script wants it");
}

static void test_too_few_fds(void **state)
{
	check_each("too few", say_too_few_fds, "%s message came with 0 descriptors, and says 1");
}

static void test_too_many_fds(void **state)
{
	check_each("too many", say_too_many_fds, "%s message came with 3 descriptors, and says 0");
}

static void test_half(void **state)
{
	check_each("half", say_half,
		   "timed out after " G_STRINGIFY(
			   HOSTILE_DEADLINE_MS) " ms waiting for the peer's %s message");
}

static void test_silence(void **state)
{
	check_each("silence", say_nothing,
		   "timed out after " G_STRINGIFY(
			   HOSTILE_DEADLINE_MS) " ms waiting for the peer's %s message");
}

static void test_wrong_length(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		g_auto(Ended) ended = {0};

		run_edit(&sayings[i], say_wrong_length, &ended);
		check_failed(sayings[i].label, &ended,
			     sayings[i].empty ? "ready message has 1 bytes, not 0" : "bad ");
		check_here(sayings[i].label, &ended, sayings[i].stopped);
	}
}

/* The socket is closed, the process is there: its memory can be read. */
static void test_closes(void **state)
{
	check_each("closes", close_instead, "");
	check_each("closes in the header", close_in_header, "");
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		g_auto(Ended) ended = {0};

		run_edit(&sayings[i], close_after, &ended);
		check_failed(sayings[i].label, &ended, "");
		/* After ready, the VM is stopped before the closed socket can be seen. */
		check_here(sayings[i].label, &ended, ended.notes.stopped);
		CHECK(sayings[i].label, &ended, ended.notes.stopped == (i >= 3));
	}
}

/* The process ends, and takes with it the pages that it had read. */
static void test_exits(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		g_auto(Ended) ended = {0};

		run_edit(&sayings[i], exit_instead, &ended);
		check_failed(sayings[i].label, &ended, "");
		if (!sayings[i].moved) {
			check_here(sayings[i].label, &ended, sayings[i].stopped);
			continue;
		}
		CHECK(sayings[i].label, &ended, ended.outcome == LM_OUTCOME_LOST);
		CHECK(sayings[i].label, &ended, ended.notes.lost == 1 && !ended.notes.resumed);
		CHECK(sayings[i].label, &ended, fake_content_is(ended.status.lost_bytes));
		check_failed(sayings[i].label, &ended, "bytes of guest memory are lost");
	}
}

/* ------------------------------------------------------- particular answers */

static void future(Speech *speech)
{
	be_of_the_future(speech);
}

static void unknown_block(Speech *speech)
{
	speech->payload->data[8] = 'R'; /* "ram" is the first name */
	speech->then = THEN_HANG;
}

static void another_size(Speech *speech)
{
	speech->payload->data[4 + 4 + 3 + 2] -= 1; /* its used size, by 64 KiB */
	speech->then = THEN_HANG;
}

/* Decodes the list, lets @edit change it, and encodes it again. */
static void edit_list(Speech *speech, void (*edit)(GPtrArray *regions))
{
	GPtrArray *regions = NULL;

	g_assert(!lm_wire_regions_decode(speech->payload->data, speech->payload->len, &regions,
					 NULL));
	edit(regions);
	g_byte_array_unref(speech->payload);
	speech->payload = lm_wire_regions_encode(regions);
	g_ptr_array_unref(regions);
	speech->then = THEN_HANG;
}

static void drop_last(GPtrArray *regions)
{
	g_ptr_array_remove_index(regions, regions->len - 1);
}

static void pass_ram(GPtrArray *regions)
{
	((LmRegion *)g_ptr_array_index(regions, 0))->way = LM_WAY_PASS;
}

static void flip_shared(GPtrArray *regions)
{
	((LmRegion *)g_ptr_array_index(regions, 1))->way = LM_WAY_FLIP;
}

static void too_short_list(Speech *speech)
{
	edit_list(speech, drop_last);
}

static void wants_fd_of_ram(Speech *speech)
{
	edit_list(speech, pass_ram);
}

static void wants_pages_of_shared(Speech *speech)
{
	edit_list(speech, flip_shared);
}

static void wrong_sum(Speech *speech)
{
	speech->payload->data[1] ^= 0x10; /* one page more or less */
	speech->then = THEN_HANG;
}

static void talks_on(Speech *speech)
{
	speech->times = 1000 * 1000;
}

/* Gives all back, but never comes to say so. */
static void never_returned(Speech *speech)
{
	say_noise(speech);
	speech->then = THEN_GIVE_BACK;
}

static const struct {
	const char *label;
	Script script;
	gboolean stopped;
	const char *text;
} answers[] = {
	{"future",
	 {LM_MESSAGE_HELLO, 0, future},
	 FALSE,
	 "the peer speaks protocol versions 99 to 99, this process 3 to 3"},
	{"unknown block",
	 {LM_MESSAGE_REGIONS, 0, unknown_block},
	 FALSE,
	 "answered RAM block ram (25165824 bytes) with Ram (25165824 bytes)"},
	{"another size", {LM_MESSAGE_REGIONS, 0, another_size}, FALSE, "answered RAM block ram"},
	{"too short",
	 {LM_MESSAGE_REGIONS, 0, too_short_list},
	 FALSE,
	 "the destination answered 2 RAM blocks with 1"},
	{"pass ram",
	 {LM_MESSAGE_REGIONS, 0, wants_fd_of_ram},
	 FALSE,
	 "wants RAM block ram to pass, which is to flip"},
	{"flip shared",
	 {LM_MESSAGE_REGIONS, 0, wants_pages_of_shared},
	 FALSE,
	 "wants RAM block shared to flip, which is to pass"},
	{"wrong sum",
	 {LM_MESSAGE_FLIPPED, 0, wrong_sum},
	 TRUE,
	 "sent 12582912 bytes of pages, 12587008 arrived"},
	{"talks on",
	 {LM_MESSAGE_READY, 2, talks_on},
	 TRUE,
	 "the peer sent a ready message instead of committed"},
	{"never returned",
	 {LM_MESSAGE_READY, 2, never_returned},
	 TRUE,
	 "a message begins with 0xeeeeeeee"},
};

static void test_answers(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(answers); i++) {
		g_auto(Ended) ended = {0};

		run_against(LM_ROLE_SOURCE, &answers[i].script, &ended);
		check_failed(answers[i].label, &ended, answers[i].text);
		check_here(answers[i].label, &ended, answers[i].stopped);
	}
}

/* --------------------------------------------------------------- the ledger */

static void take(Speech *speech)
{
	g_assert(lm_ledger_take(speech->ledger));
}

static void take_and_say_half(Speech *speech)
{
	take(speech);
	say_half(speech);
}

static void take_and_shorten(Speech *speech)
{
	take(speech);
	say_wrong_length(speech);
}

static void take_and_close(Speech *speech)
{
	take(speech);
	close_instead(speech);
}

static void take_and_exit(Speech *speech)
{
	take(speech);
	exit_instead(speech);
}

static void take_and_complain(Speech *speech)
{
	take(speech);
	say_error(speech);
}

/* A time that cannot be subtracted. */
static void take_long_ago(Speech *speech)
{
	take(speech);
	memset(speech->payload->data, 0, 7);
	speech->payload->data[7] = 0x80;
}

/* Whatever it says: it has taken the VM. */
static void test_taken(void **state)
{
	static const Edit edits[] = {take,	     take_and_say_half, take_and_shorten,
				     take_and_close, take_and_exit,	take_and_complain,
				     take_long_ago};

	for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
		const Script script = {LM_MESSAGE_COMMITTED, 0, edits[i]};
		g_auto(Ended) ended = {0};

		run_against(LM_ROLE_SOURCE, &script, &ended);
		CHECK("taken", &ended, ended.rc == 0 && !ended.error);
		CHECK("taken", &ended, ended.outcome == LM_OUTCOME_GONE);
		CHECK("taken", &ended, ended.notes.gone == 1 && !ended.notes.resumed);
		CHECK("taken", &ended, ended.status.state == LM_STATE_COMPLETED);
		CHECK("taken", &ended, ended.status.downtime_us >= -1);
	}
}

static void say_and_hang(Speech *speech)
{
	speech->then = THEN_HANG;
}

/* Whatever it says: it has not. */
static void test_not_taken(void **state)
{
	static const struct {
		Edit edit;
		const char *text;
	} edits[] = {
		{say_and_hang, "says that it runs the VM, but has not taken it"},
		{say_half, "timed out"},
		{say_wrong_length, "bad committed message"},
		{say_error, "the script wants it"},
		{close_instead, "gone"},
	};

	for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
		const Script script = {LM_MESSAGE_COMMITTED, 0, edits[i].edit};
		g_auto(Ended) ended = {0};

		run_against(LM_ROLE_SOURCE, &script, &ended);
		check_failed("not taken", &ended, edits[i].text);
		check_here("not taken", &ended, TRUE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_noise),	TEST(test_another_type), TEST(test_error),
		TEST(test_too_few_fds), TEST(test_too_many_fds), TEST(test_half),
		TEST(test_silence),	TEST(test_wrong_length), TEST(test_closes),
		TEST(test_exits),	TEST(test_answers),	 TEST(test_taken),
		TEST(test_not_taken),
	};

	return cmocka_run_group_tests_name("session-hostile", tests, NULL, NULL);
}
