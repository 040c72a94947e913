/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All ways in which a flip is interrupted, and that no page is lost or in two processes then. */
#include "flip-pair.h"

#define FROZEN 1000u /* a deadline that a busy machine keeps */

typedef struct Interruption {
	Pair *pair;
	int frames; /* atomic; so many are sent before */
	int cancel_fd;
	void (*act)(struct Interruption *interruption);
} Interruption;

static void between_frames(void *opaque)
{
	Interruption *interruption = opaque;
	int left = g_atomic_int_add(&interruption->frames, -1) - 1;

	if (left == 0)
		interruption->act(interruption);
	if (left <= 0)
		g_usleep(40000); /* time for the supervisor to see it */
}

static void act_cancel(Interruption *interruption)
{
	guint64 one = 1;

	assert_int_equal(write(interruption->cancel_fd, &one, sizeof(one)), sizeof(one));
}

static void act_speak(Interruption *interruption)
{
	assert_int_equal(write(interruption->pair->peer_end, "x", 1), 1);
}

static void act_kill(Interruption *interruption)
{
	kill(interruption->pair->child, SIGKILL);
}

static void act_freeze(Interruption *interruption)
{
	kill(interruption->pair->child, SIGSTOP);
}

static void act_freeze_and_cancel(Interruption *interruption)
{
	act_freeze(interruption);
	act_cancel(interruption);
}

static void interrupt(Pair *pair, Interruption *interruption,
		      void (*act)(Interruption *interruption))
{
	*interruption = (Interruption){
		.pair = pair,
		.frames = 9,
		.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.act = act,
	};
	pair->flip.wait.cancel_fd = interruption->cancel_fd;
	pair->flip.between_frames = between_frames;
	pair->flip.opaque = interruption;
}

static void end_interruption(Pair *pair, Interruption *interruption)
{
	close(interruption->cancel_fd);
	pair->flip.wait.cancel_fd = -1;
	pair->flip.between_frames = NULL;
}

static const Setup interrupted_setups[] = {
	{LM_ENGINE_VMSPLICE, FALSE, 1},
	{LM_ENGINE_VMSPLICE, TRUE, 3},
	{LM_ENGINE_PROCESS_VM_READV, FALSE, 1},
	{LM_ENGINE_PROCESS_VM_READV, TRUE, 3},
};

/* Ended in order: each page is in one process, and all come back. */
static void ends_in_order(const Setup *setup, void (*act)(Interruption *), int ret, int code,
			  const char *message)
{
	guint fds = count_entries("/proc/self/fd"), tasks = count_entries("/proc/self/task");
	Interruption interruption;
	Reply sent, received;
	guint64 bytes, left;
	Pair pair;

	start_mixed(&pair, setup, DEADLINE);
	bytes = bytes_here(&pair);
	interrupt(&pair, &interruption, act);
	tell(&pair, 'R');
	sent = send_from_here(&pair);
	received = answer(&pair);
	end_interruption(&pair, &interruption);
	assert_int_equal(sent.ret, ret);
	assert_int_equal(sent.code, code);
	assert_string_equal(sent.message, message);
	assert_string_equal(received.message, "");
	left = bytes_here(&pair);
	assert_true(left > 0 && left < bytes && sent.bytes == bytes - left);
	assert_int_equal(received.bytes, sent.bytes);
	assert_int_equal(ask(&pair, 'H'), sent.bytes);
	assert_int_equal(bytes_populated(&pair), left);
	assert_int_equal(pages_wrong(&pair), 0);
	assert_int_equal(ask(&pair, 'W'), 0);
	back(&pair, received.bytes);
	assert_all_here(&pair, bytes);
	end_pair(&pair);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(count_entries("/proc/self/task"), tasks);
}

static void cancelled_in_the_middle(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(interrupted_setups); i++)
		ends_in_order(&interrupted_setups[i], act_cancel, -ECANCELED, LM_ERROR_CANCELLED,
			      "cancelled");
}

static void peer_speaks_in_the_middle(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(interrupted_setups); i++)
		ends_in_order(&interrupted_setups[i], act_speak, -EINTR, LM_ERROR_PEER,
			      "interrupted");
}

/*
 * Ended at once: what still has its bit is whole, and all the rest is gone. A run that was
 * cancelled may end in order even so, if the pipes have room for END.
 */
static void ends_at_once(const Setup *setup, guint deadline_ms, void (*act)(Interruption *),
			 int ret, int code)
{
	guint fds = count_entries("/proc/self/fd"), tasks = count_entries("/proc/self/task");
	gint64 begin_us;
	guint took_ms;
	Interruption interruption;
	guint64 bytes, left;
	Reply sent;
	Pair pair;

	start_mixed(&pair, setup, deadline_ms);
	close(pair.peer_end);
	pair.peer_end = -1;
	bytes = bytes_here(&pair);
	interrupt(&pair, &interruption, act);
	tell(&pair, 'R');
	begin_us = g_get_monotonic_time();
	sent = send_from_here(&pair);
	took_ms = (g_get_monotonic_time() - begin_us) / 1000;
	end_interruption(&pair, &interruption);
	if (act != act_freeze_and_cancel || sent.ret != -ECANCELED) {
		assert_int_equal(sent.ret, ret);
		assert_int_equal(sent.code, code);
		assert_true(ret != -ETIMEDOUT || took_ms >= deadline_ms);
	}
	assert_true(took_ms < deadline_ms + 4000);
	left = bytes_here(&pair);
	assert_true(left > 0 && left < bytes);
	assert_int_equal(bytes_populated(&pair), left);
	assert_int_equal(pages_wrong(&pair), 0);
	assert_int_equal(sent.bytes, bytes - left);
	end_pair(&pair);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_int_equal(count_entries("/proc/self/task"), tasks);
}

static void receiver_is_killed(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(interrupted_setups); i++)
		ends_at_once(&interrupted_setups[i], DEADLINE, act_kill, -EPIPE, LM_ERROR_GONE);
}

static void receiver_freezes(void **state)
{
	for (guint i = 0; i < G_N_ELEMENTS(interrupted_setups); i++)
		ends_at_once(&interrupted_setups[i], FROZEN, act_freeze, -ETIMEDOUT,
			     LM_ERROR_TIMEOUT);
}

static void cancelled_while_the_receiver_is_frozen(void **state)
{
	for (guint i = 0; i < 2; i++)
		ends_at_once(&interrupted_setups[i], FROZEN, act_freeze_and_cancel, -ETIMEDOUT,
			     LM_ERROR_TIMEOUT);
}

/* Nobody reads at all: a frame is in the pipe in part, and nothing has left. */
static void receiver_never_reads(void **state)
{
	Reply sent;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", 8 * MIB, full, 0, 0);
	start_pair(&pair, 2, LM_ENGINE_VMSPLICE, FALSE, 200, FALSE);
	fill_pair(&pair);
	sent = send_from_here(&pair);
	assert_int_equal(sent.ret, -ETIMEDOUT);
	assert_int_equal(sent.bytes, 0);
	assert_string_equal(sent.message, "no page moved for 200 ms: the peer does not read");
	assert_int_equal(bytes_here(&pair), 8 * MIB);
	assert_int_equal(pages_wrong(&pair), 0);
	end_pair(&pair);
}

static void sender_never_sends(void **state)
{
	Reply received;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", MIB, full, 0, 0);
	start_pair(&pair, 2, LM_ENGINE_VMSPLICE, TRUE, 100, FALSE);
	received = receive_here(&pair);
	assert_int_equal(received.ret, -ETIMEDOUT);
	assert_string_equal(received.message, "no page moved for 100 ms: the peer does not send");
	end_pair(&pair);
}

static void cancelled_while_receiving(void **state)
{
	Interruption interruption;
	Reply received;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", MIB, full, 0, 0);
	start_pair(&pair, 2, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	interrupt(&pair, &interruption, act_cancel);
	act_cancel(&interruption);
	received = receive_here(&pair);
	assert_int_equal(received.ret, -ECANCELED);
	assert_int_equal(received.code, LM_ERROR_CANCELLED);
	end_interruption(&pair, &interruption);
	end_pair(&pair);
}

static gpointer kill_later(gpointer opaque)
{
	Pair *pair = opaque;

	g_usleep(50000);
	kill(pair->child, SIGKILL);
	return NULL;
}

static void sender_is_killed(void **state)
{
	Reply received;
	GThread *thread;
	Pair pair;

	init_pair(&pair);
	add_region(&pair, "ram", MIB, full, 0, 0);
	start_pair(&pair, 2, LM_ENGINE_VMSPLICE, FALSE, DEADLINE, FALSE);
	thread = g_thread_new("killer", kill_later, &pair);
	received = receive_here(&pair);
	g_thread_join(thread);
	assert_int_equal(received.ret, -EPIPE);
	assert_int_equal(received.code, LM_ERROR_GONE);
	end_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancelled_in_the_middle),
		cmocka_unit_test(peer_speaks_in_the_middle),
		cmocka_unit_test(receiver_is_killed),
		cmocka_unit_test(receiver_freezes),
		cmocka_unit_test(cancelled_while_the_receiver_is_frozen),
		cmocka_unit_test(receiver_never_reads),
		cmocka_unit_test(sender_never_sends),
		cmocka_unit_test(cancelled_while_receiving),
		cmocka_unit_test(sender_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
