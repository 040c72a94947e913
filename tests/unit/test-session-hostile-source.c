// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A destination and sources that misbehave. It never runs the VM without having taken it from the
 * ledger, lets go of the disks, and can wait for another source unless its memory was written.
 */
#include "hostile-checks.h"

/* What a source says, in order. */
static const struct Saying {
	LmMessageType type;
	guint nth;
	guint fds;
	gboolean spoilt; /* the destination is, when this is due */
	const char *due; /* what is, if not only this */
} sayings[] = {
	{LM_MESSAGE_HELLO, 0, 1, FALSE, NULL},
	{LM_MESSAGE_REGIONS, 0, 0, FALSE, "regions or disks"},
	{LM_MESSAGE_PIPES, 0, 4, FALSE, NULL},
	{LM_MESSAGE_PASS, 0, 1, FALSE, "pass or shared"},
	{LM_MESSAGE_SHARED, 0, 0, FALSE, "pass or shared"},
	{LM_MESSAGE_FLIP, 0, 0, FALSE, "pass or flip"},
	{LM_MESSAGE_STATE, 0, 0, TRUE, NULL},
	{LM_MESSAGE_DATA, 0, 0, TRUE, NULL},
	{LM_MESSAGE_DATA, 1, 0, TRUE, NULL},
};

typedef char *(*TextOf)(const struct Saying *saying);

/* @edit in place of each message. */
static void check_each(const char *label, Edit edit, TextOf text_of)
{
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		const Script script = {sayings[i].type, sayings[i].nth, edit};
		g_autofree char *text = text_of(&sayings[i]);
		g_autofree char *where =
			g_strdup_printf("%s at %s", label, lm_message_name(sayings[i].type));

		check_destination(where, &script, sayings[i].spoilt, text);
	}
}

static char *text_of_noise(const struct Saying *saying)
{
	return g_strdup("a message begins with 0xeeeeeeee");
}

static void test_noise(void **state)
{
	check_each("noise", say_noise, text_of_noise);
}

/* A bye with the descriptors of what it stands for. */
static char *text_of_another(const struct Saying *saying)
{
	return g_strdup_printf("the source sent bye where %s was due",
			       saying->due ? saying->due : lm_message_name(saying->type));
}

static void test_another_type(void **state)
{
	check_each("another type", say_another_type, text_of_another);
}

static char *text_of_error(const struct Saying *saying)
{
	return g_strdup("the source gave up: the script wants it");
}

static void test_error(void **state)
{
	check_each("error", say_error, text_of_error);
}

static char *text_of_too_few(const struct Saying *saying)
{
	return g_strdup_printf("%s message came with %u descriptors, and says %u",
			       lm_message_name(saying->type), saying->fds, saying->fds + 1);
}

static void test_too_few_fds(void **state)
{
	check_each("too few", say_too_few_fds, text_of_too_few);
}

static char *text_of_too_many(const struct Saying *saying)
{
	return g_strdup_printf("%s message came with %u descriptors, and says %u",
			       lm_message_name(saying->type), saying->fds + 3, saying->fds);
}

static void test_too_many_fds(void **state)
{
	check_each("too many", say_too_many_fds, text_of_too_many);
}

static char *text_of_silence(const struct Saying *saying)
{
	return g_strdup("timed out after " G_STRINGIFY(
		HOSTILE_DEADLINE_MS) " ms waiting for a message of the peer");
}

static void test_silence(void **state)
{
	check_each("silence", say_nothing, text_of_silence);
	check_each("half", say_half, text_of_silence);
}

static char *text_of_close(const struct Saying *saying)
{
	return g_strdup("the peer is gone");
}

static void test_closes(void **state)
{
	check_each("closes", close_instead, text_of_close);
	check_each("closes in the header", close_in_header, text_of_close);
	check_each("exits", exit_instead, text_of_close);
}

static void test_closes_after(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(sayings); i++) {
		const Script script = {sayings[i].type, sayings[i].nth, close_after};
		g_auto(Ended) ended = {0};

		run_against(LM_ROLE_DESTINATION, &script, &ended);
		if (i + 1 == G_N_ELEMENTS(sayings)) {
			/* It has the whole VM, and needs no source. */
			CHECK("last", &ended, ended.rc == 0 && ended.outcome == LM_OUTCOME_TAKEN);
			CHECK("last", &ended, ended.notes.ran == 1 && ended.notes.intact);
			continue;
		}
		check_failed(lm_message_name(sayings[i].type), &ended, "");
		check_not_taken(lm_message_name(sayings[i].type), &ended,
				outcome_of(i >= 5)); /* from flip on */
	}
}

/* Descriptors that nobody asked for, counted right, do no harm. */
static void more_than_asked(Speech *speech)
{
	say_too_many_fds(speech);
	speech->header.fd_count = speech->fd_count;
	speech->then = THEN_GO_ON;
}

static void nothing(Speech *speech)
{
}

static void test_runs(void **state)
{
	static const Script scripts[] = {{LM_MESSAGE_HELLO, 0, nothing},
					 {LM_MESSAGE_REGIONS, 0, more_than_asked},
					 {LM_MESSAGE_FLIP, 0, more_than_asked},
					 {LM_MESSAGE_STATE, 0, more_than_asked},
					 {LM_MESSAGE_DATA, 0, more_than_asked}};

	for (guint i = 0; i < G_N_ELEMENTS(scripts); i++) {
		g_auto(Ended) ended = {0};

		run_against(LM_ROLE_DESTINATION, &scripts[i], &ended);
		CHECK("runs", &ended, ended.rc == 0 && ended.outcome == LM_OUTCOME_TAKEN);
		CHECK("runs", &ended, ended.notes.ran == 1 && ended.notes.intact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_noise),	TEST(test_another_type), TEST(test_error),
		TEST(test_too_few_fds), TEST(test_too_many_fds), TEST(test_silence),
		TEST(test_closes),	TEST(test_closes_after), TEST(test_runs),
	};

	return cmocka_run_group_tests_name("session-hostile-source", tests, NULL, NULL);
}
