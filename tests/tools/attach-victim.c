// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach-victim.h"
#include "proc.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * victim_call(before, after, avx): loads all registers, makes the system call, stores them. rcx
 * and r11 are the system call's own.
 */
void victim_call(const VictimImage *before, VictimImage *after, guint64 avx);

#define EACH_VECTOR(X)                                                                             \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_XMM(n)  "movdqu 248+32*" #n "(%rax), %xmm" #n "\n"
#define STORE_XMM(n) "movdqu %xmm" #n ", 248+32*" #n "(%rcx)\n"
#define LOAD_YMM(n)  "vmovdqu 248+32*" #n "(%rax), %ymm" #n "\n"
#define STORE_YMM(n) "vmovdqu %ymm" #n ", 248+32*" #n "(%rcx)\n"
#define EACH_RED(X)                                                                                \
	X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_RED(n)  "mov 104+8*" #n "(%rax), %rcx\n mov %rcx, -128+8*" #n "(%rsp)\n"
#define STORE_RED(n) "mov -128+8*" #n "(%rsp), %rax\n mov %rax, 104+8*" #n "(%rcx)\n"

G_STATIC_ASSERT(offsetof(VictimImage, red_zone) == 104);
G_STATIC_ASSERT(offsetof(VictimImage, mxcsr) == 232);
G_STATIC_ASSERT(offsetof(VictimImage, vector) == 248);

/* clang-format off */
__asm__(".text\n.globl victim_call\n.type victim_call, @function\nvictim_call:\n"
	"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"push %rdx\n push %rsi\n"
	"mov %rdi, %rax\n"
	"test %rdx, %rdx\n jz 1f\n" EACH_VECTOR(LOAD_YMM) "jmp 2f\n"
	"1:" EACH_VECTOR(LOAD_XMM)
	"2:" EACH_RED(LOAD_RED)
	"ldmxcsr 232(%rax)\n"
	"mov 8(%rax), %rbx\n mov 16(%rax), %rbp\n mov 24(%rax), %r12\n mov 32(%rax), %r13\n"
	"mov 40(%rax), %r14\n mov 48(%rax), %r15\n mov 56(%rax), %rdi\n mov 64(%rax), %rsi\n"
	"mov 72(%rax), %rdx\n mov 80(%rax), %r10\n mov 88(%rax), %r8\n mov 96(%rax), %r9\n"
	"mov 0(%rax), %rax\n"
	"stc\n"
	"syscall\n"
	"mov 0(%rsp), %rcx\n"
	"mov %rax, 0(%rcx)\n setc 240(%rcx)\n"
	"mov %rbx, 8(%rcx)\n mov %rbp, 16(%rcx)\n mov %r12, 24(%rcx)\n mov %r13, 32(%rcx)\n"
	"mov %r14, 40(%rcx)\n mov %r15, 48(%rcx)\n mov %rdi, 56(%rcx)\n mov %rsi, 64(%rcx)\n"
	"mov %rdx, 72(%rcx)\n mov %r10, 80(%rcx)\n mov %r8, 88(%rcx)\n mov %r9, 96(%rcx)\n"
	"stmxcsr 232(%rcx)\n"
	EACH_RED(STORE_RED)
	"cmpq $0, 8(%rsp)\n jz 1f\n" EACH_VECTOR(STORE_YMM) "jmp 2f\n"
	"1:" EACH_VECTOR(STORE_XMM)
	"2: pop %rsi\n pop %rdx\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
	"ret\n.size victim_call, .-victim_call\n");
/* clang-format on */

#define WORK 'w' /* a byte after which it waits for another one, not in a poll */

static VictimReport *report; /* in the victim */

/* ------------------------------------------------------- functions to be called */

guint64 victim_add_and_spoil(guint64 a, guint64 b, guint64 c)
{
	static const guint64 ones[4] = {~0ull, ~0ull, ~0ull, ~0ull};
	const guint32 mxcsr = 0x1fbf;

	errno = ENOTTY;
	__asm__ volatile("movdqu (%0), %%xmm0\n movdqu (%0), %%xmm7\n movdqu (%0), %%xmm15\n"
			 "ldmxcsr %1"
			 :
			 : "r"(ones), "m"(mxcsr)
			 : "xmm0", "xmm7", "xmm15");
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vmovdqu (%0), %%ymm1\n vmovdqu (%0), %%ymm14"
				 :
				 : "r"(ones)
				 : "xmm1", "xmm14");
	return a + b + c;
}

guint64 victim_raise(guint64 signal)
{
	return (guint64)kill(getpid(), (int)signal);
}

guint64 victim_crash(void)
{
	static volatile int *volatile nowhere = (volatile int *)8;

	*nowhere = 1;
	return 0;
}

guint64 victim_sleep_ms(guint64 ms)
{
	struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	return (guint64)nanosleep(&time, NULL);
}

/* ----------------------------------------------------------------- the process */

static void count_signal(int signal)
{
	g_atomic_int_inc(&report->signals);
}

static void differ(const char *what)
{
	if (!g_atomic_int_add(&report->differences, 1))
		g_strlcpy(report->what, what, sizeof(report->what));
}

static void compare(const VictimImage *before, const VictimImage *after, gboolean avx)
{
	if (memcmp(before->general, after->general, sizeof(before->general)))
		differ("general registers");
	if (memcmp(before->red_zone, after->red_zone, sizeof(before->red_zone)))
		differ("red zone");
	if (before->mxcsr != after->mxcsr)
		differ("mxcsr");
	if (after->carry != 1)
		differ("flags");
	for (guint i = 0; i < G_N_ELEMENTS(before->vector); i++)
		if (memcmp(before->vector[i], after->vector[i], avx ? 32 : 16))
			differ("vector registers");
}

static void fill(VictimImage *image, guint8 round)
{
	memset(image, 0, sizeof(*image));
	for (guint i = 0; i < sizeof(image->vector); i++)
		((guint8 *)image->vector)[i] = (guint8)(i * 7 + round);
	for (guint i = 0; i < G_N_ELEMENTS(image->general); i++)
		image->general[i] = 0x1111111111111111u * (i + 1) + round;
	for (guint i = 0; i < G_N_ELEMENTS(image->red_zone); i++)
		image->red_zone[i] = 0x0123456789abcdefu * (i + 1) + round;
	image->mxcsr = 0x7f80 & ~0x2000; /* another rounding than at a start */
}

static void one_round(int wake, VictimWay way, guint8 round)
{
	struct pollfd *fds = &(struct pollfd){.fd = wake, .events = POLLIN};
	gboolean avx = __builtin_cpu_supports("avx");
	sigset_t mask, mask_after;
	stack_t stack = {0};
	VictimImage before, after;
	char byte;

	fill(&before, round);
	before.result = way == VICTIM_PPOLL ? SYS_ppoll : SYS_poll;
	before.general[6] = (guint64)fds;
	before.general[7] = 1;
	before.general[8] = way == VICTIM_PPOLL ? 0 : 60000;
	if (way == VICTIM_PPOLL)
		before.general[9] = 0;
	after = before;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	errno = 77;
	victim_call(&before, &after, avx);
	if (errno != 77)
		differ("errno");
	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	if (memcmp(&mask, &mask_after, 8))
		differ("signal mask");
	sigaltstack(NULL, &stack);
	if (stack.ss_size != 65536 || stack.ss_flags)
		differ("alternate stack");
	compare(&before, &after, avx);
	if ((gint64)after.result == -EINTR)
		g_atomic_int_inc(&report->interrupted);
	else if (after.result != 1)
		differ("result of the system call");
	else if (read(wake, &byte, 1) != 1)
		_exit(3);
	else if (byte == WORK && read(wake, &byte, 1) != 1 && errno != EINTR)
		_exit(3);
	g_atomic_int_inc(&report->rounds);
}

static G_GNUC_NORETURN void be_victim(int wake, VictimWay way)
{
	static const int counted[] = {SIGUSR1, SIGABRT, SIGSEGV, SIGTRAP};
	static guint8 alternate[65536];
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
	struct sigaction action = {.sa_handler = count_signal};
	sigset_t mask;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaltstack(&stack, NULL);
	for (guint i = 0; i < G_N_ELEMENTS(counted); i++)
		sigaction(counted[i], &action, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	for (guint8 round = 0;; round++)
		one_round(wake, way, round);
}

/* ------------------------------------------------------------------- outside */

Victim victim_start(VictimWay way)
{
	Victim victim = {0};
	int ends[2];

	victim.report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	g_assert_true(victim.report != MAP_FAILED && pipe(ends) == 0);
	victim.pid = fork();
	if (!victim.pid) {
		report = victim.report;
		be_victim(ends[0], way);
	}
	close(ends[0]);
	victim.wake = ends[1];
	return victim;
}

static gboolean sleeps_in(const Victim *victim, int one, int other)
{
	for (guint i = 0; i < 20000; i++) {
		int number = attach_proc_syscall(victim->pid);

		if (number == one || number == other)
			return TRUE;
		g_usleep(500);
	}
	return FALSE;
}

gboolean victim_sleeps(const Victim *victim)
{
	return sleeps_in(victim, SYS_ppoll, SYS_poll);
}

gboolean victim_work(const Victim *victim)
{
	return write(victim->wake, &(char){WORK}, 1) == 1 && sleeps_in(victim, SYS_read, SYS_read);
}

gboolean victim_round(Victim *victim)
{
	gint rounds;

	if (!victim_sleeps(victim))
		return FALSE;
	rounds = g_atomic_int_get(&victim->report->rounds);
	if (write(victim->wake, "", 1) != 1)
		return FALSE;
	for (guint i = 0; i < 20000; i++) {
		if (g_atomic_int_get(&victim->report->rounds) > rounds)
			return TRUE;
		g_usleep(500);
	}
	return FALSE;
}

void victim_stop(Victim *victim)
{
	kill(victim->pid, SIGKILL);
	while (waitpid(victim->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(victim->wake);
	munmap(victim->report, 4096);
}
