// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The words on a shadow stack, with a thread that is made up here: its memory, its pointer, and
 * what processor and kernel do with them (Intel's manual, volume 1, chapter 17; Linux 6.6,
 * arch/x86/kernel/shstk.c). No machine with one is needed, nor was there one.
 */
#include "shadow-stack.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define PID	   42
#define SHSTK_SET  0x204
#define WORDS	   16
#define BASE	   G_GUINT64_CONSTANT(0x7f0000001000)
#define AT_START   (BASE + (WORDS - 4) * 8) /* four callers are on it */
#define TRAMPOLINE G_GUINT64_CONSTANT(0x555555554000)
#define NOT_CODE   (G_GUINT64_CONSTANT(1) << 63)
#define CALLER(i)  (G_GUINT64_CONSTANT(0x555555560000) + (i))

static struct {
	guint64 words[WORDS];
	guint64 pointer;
	gssize get_fails, poke_fails, set_fails; /* -errno */
	gssize bytes;				 /* that are read */
	guint pokes, sets;
} thread;

/* ------------------------------------------------ what ptrace does for arch.c */

gssize attach_regset_get(pid_t pid, int set, void *buffer, gsize bytes)
{
	assert_int_equal(pid, PID);
	assert_int_equal(set, SHSTK_SET);
	assert_int_equal(bytes, sizeof(thread.pointer));
	if (thread.get_fails)
		return thread.get_fails;
	memcpy(buffer, &thread.pointer, bytes);
	return thread.bytes;
}

gssize attach_regset_set(pid_t pid, int set, const void *buffer, gsize bytes)
{
	assert_int_equal(pid, PID);
	assert_int_equal(set, SHSTK_SET);
	assert_int_equal(bytes, sizeof(thread.pointer));
	thread.sets++;
	if (thread.set_fails)
		return thread.set_fails;
	memcpy(&thread.pointer, buffer, bytes);
	assert_int_equal(thread.pointer % 8, 0);
	return (gssize)bytes;
}

static guint64 *word(guint64 address)
{
	assert_int_equal(address % 8, 0);
	assert_in_range(address, BASE, BASE + (WORDS - 1) * 8);
	return &thread.words[(address - BASE) / 8];
}

int attach_poke(pid_t pid, guint64 address, guint64 value)
{
	assert_int_equal(pid, PID);
	assert_true(address < AT_START); /* what callers have is never touched */
	thread.pokes++;
	if (thread.poke_fails)
		return (int)thread.poke_fails;
	*word(address) = value;
	return 0;
}

/* ----------------------------------------- what the processor and the kernel do */

static void call_instruction(guint64 return_address)
{
	thread.pointer -= 8;
	*word(thread.pointer) = return_address;
}

/* FALSE: a control protection fault. */
static gboolean return_instruction(guint64 return_address)
{
	if (*word(thread.pointer) != return_address)
		return FALSE;
	thread.pointer += 8;
	return TRUE;
}

static void signal_begins(guint64 restorer)
{
	guint64 before = thread.pointer;

	thread.pointer -= 8;
	*word(thread.pointer) = before | NOT_CODE;
	call_instruction(restorer);
}

/* FALSE: the kernel ends the process. */
static gboolean rt_sigreturn(void)
{
	guint64 token = *word(thread.pointer);

	if (!(token & NOT_CODE) || (token & ~NOT_CODE) % 8)
		return FALSE;
	thread.pointer = token & ~NOT_CODE;
	return TRUE;
}

/* -------------------------------------------------------------------- the tests */

static int setup(void **state)
{
	memset(&thread, 0, sizeof(thread));
	for (guint i = 0; i < 4; i++)
		thread.words[WORDS - 4 + i] = CALLER(i);
	thread.pointer = AT_START;
	thread.bytes = sizeof(thread.pointer);
	return 0;
}

static void read_stack(AttachState *state)
{
	g_autoptr(GError) error = NULL;

	assert_int_equal(attach_arch_read_shadow_stack(PID, state, &error), 0);
	assert_null(error);
}

static void set_stack(const AttachState *state, AttachPlace place)
{
	g_autoptr(GError) error = NULL;

	assert_int_equal(attach_arch_set_shadow_stack(PID, state, TRAMPOLINE, place, &error), 0);
	assert_null(error);
}

static void assert_as_before(void)
{
	assert_int_equal(thread.pointer, AT_START);
	for (guint i = 0; i < 4; i++)
		assert_true(return_instruction(CALLER(i)));
}

/* A function that calls another, and is interrupted there by a signal with a handler. */
static void run_function(void)
{
	call_instruction(CALLER(10));
	signal_begins(CALLER(11));
	call_instruction(CALLER(12));
	assert_true(return_instruction(CALLER(12)));
	assert_true(return_instruction(CALLER(11)));
	assert_true(rt_sigreturn());
	assert_true(return_instruction(CALLER(10)));
	assert_true(return_instruction(TRAMPOLINE));
}

static void test_calls(void **unused)
{
	AttachState state = {0};

	read_stack(&state);
	assert_int_equal(state.shadow_stack, AT_START);
	for (guint i = 0; i < 3; i++) {
		set_stack(&state, ATTACH_AT_FUNCTION);
		run_function();
		assert_int_equal(thread.pointer, AT_START - 8);
	}
	assert_true(rt_sigreturn());
	assert_as_before();
}

/* The function is left where it is. */
static void test_crash(void **unused)
{
	AttachState state = {0};

	read_stack(&state);
	set_stack(&state, ATTACH_AT_FUNCTION);
	call_instruction(CALLER(10));
	call_instruction(CALLER(11));
	set_stack(&state, ATTACH_AT_TRAMPOLINE);
	assert_true(rt_sigreturn());
	assert_as_before();
}

/* The registers could not be set. */
static void test_put_back(void **unused)
{
	AttachState state = {0};

	read_stack(&state);
	set_stack(&state, ATTACH_AT_FUNCTION);
	set_stack(&state, ATTACH_AT_POLL);
	assert_as_before();
}

/* A thread whose pointer is left alone must fail here: the model above can tell. */
static void test_model_tells(void **unused)
{
	assert_false(return_instruction(TRAMPOLINE));
	assert_false(rt_sigreturn());
	assert_as_before();
}

/* A kernel that does not know it, and a thread that has none. */
static void test_absent(void **unused)
{
	static const int errors[] = {-EINVAL, -ENODEV};

	for (guint i = 0; i < G_N_ELEMENTS(errors); i++) {
		AttachState state = {.shadow_stack = 1};

		thread.get_fails = errors[i];
		read_stack(&state);
		assert_int_equal(state.shadow_stack, 0);
		set_stack(&state, ATTACH_AT_FUNCTION);
		assert_int_equal(thread.pokes + thread.sets, 0);
		assert_int_equal(thread.pointer, AT_START);
	}
}

static void test_not_readable(void **unused)
{
	g_autoptr(GError) error = NULL;
	AttachState state = {0};

	thread.get_fails = -EIO;
	assert_int_equal(attach_arch_read_shadow_stack(PID, &state, &error), -EIO);
	assert_non_null(strstr(error->message, "shadow stack's pointer of process 42"));
	g_clear_error(&error);
	thread.get_fails = 0;
	thread.bytes = 4;
	assert_int_equal(attach_arch_read_shadow_stack(PID, &state, &error), -EIO);
	assert_int_equal(state.shadow_stack, 0);
}

static void test_no_place(void **unused)
{
	static const guint64 pointers[] = {AT_START + 4, 16, AT_START | NOT_CODE};

	for (guint i = 0; i < G_N_ELEMENTS(pointers); i++) {
		g_autoptr(GError) error = NULL;
		AttachState state = {0};

		thread.pointer = pointers[i];
		assert_int_equal(attach_arch_read_shadow_stack(PID, &state, &error), -EINVAL);
		assert_true(g_error_matches(error, ATTACH_ERROR, ATTACH_ERROR_STATE));
		assert_int_equal(state.shadow_stack, 0);
	}
}

static void test_not_writable(void **unused)
{
	g_autoptr(GError) error = NULL;
	AttachState state = {0};

	read_stack(&state);
	thread.poke_fails = -EIO;
	assert_int_equal(
		attach_arch_set_shadow_stack(PID, &state, TRAMPOLINE, ATTACH_AT_FUNCTION, &error),
		-EIO);
	assert_non_null(strstr(error->message, "write to the shadow stack of process 42"));
	assert_int_equal(thread.sets, 0);
	assert_as_before();
}

static void test_pointer_not_set(void **unused)
{
	g_autoptr(GError) error = NULL;
	AttachState state = {0};

	read_stack(&state);
	thread.set_fails = -EIO;
	assert_int_equal(
		attach_arch_set_shadow_stack(PID, &state, TRAMPOLINE, ATTACH_AT_FUNCTION, &error),
		-EIO);
	assert_non_null(strstr(error->message, "set the shadow stack's pointer of process 42"));
	assert_as_before();
}

#define EACH(function) cmocka_unit_test_setup(function, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_calls),	EACH(test_crash),	 EACH(test_put_back),
		EACH(test_model_tells), EACH(test_absent),	 EACH(test_not_readable),
		EACH(test_no_place),	EACH(test_not_writable), EACH(test_pointer_not_set),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
