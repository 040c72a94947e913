/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process to be attached to that knows what it is: it sleeps in ppoll or poll with a value of
 * its own in each register, and compares all of them when that returns.
 */
#ifndef TESTS_TOOLS_ATTACH_VICTIM_H
#define TESTS_TOOLS_ATTACH_VICTIM_H

#include <glib.h>
#include <sys/types.h>

/* What a thread has around a system call. The assembler knows the layout. */
typedef struct VictimImage {
	guint64 result;	     /* rax: the number before, the result after */
	guint64 general[12]; /* rbx rbp r12 r13 r14 r15 rdi rsi rdx r10 r8 r9 */
	guint64 red_zone[16];
	guint64 mxcsr, carry;
	guint8 vector[16][32]; /* ymm0 to 15; the upper halves only where there is AVX */
} VictimImage;

/* Shared with the process. */
typedef struct VictimReport {
	gint rounds;	  /* of ppoll or poll that returned */
	gint interrupted; /* of these, with EINTR */
	gint signals;	  /* SIGUSR1, SIGABRT, SIGSEGV and SIGTRAP that arrived */
	gint differences; /* registers, errno, mask or stacks that were not as before */
	char what[64];	  /* the first of them */
} VictimReport;

typedef struct Victim {
	pid_t pid;
	int wake; /* a byte ends its ppoll */
	VictimReport *report;
} Victim;

typedef enum VictimWay {
	VICTIM_PPOLL, /* without a timeout */
	VICTIM_POLL,  /* with one of a minute */
} VictimWay;

Victim victim_start(VictimWay way);
void victim_stop(Victim *victim);
/* Ends one system call, and waits until it was compared. FALSE: it did not go on. */
gboolean victim_round(Victim *victim);
/* Waits until it sleeps in its system call. */
gboolean victim_sleeps(const Victim *victim);
/* Makes it sleep elsewhere, until a signal or a byte comes. */
gboolean victim_work(const Victim *victim);

/* Functions to be called in it. */
guint64 victim_add_and_spoil(guint64 a, guint64 b, guint64 c); /* changes all that it may */
guint64 victim_raise(guint64 signal);
guint64 victim_crash(void);
guint64 victim_sleep_ms(guint64 ms);

#endif
