/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "neighbours.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUSY_MAX     4
#define GREEDY_MAX   2
#define GREEDY_BYTES (256ul << 20)

struct Neighbours {
	pid_t pids[BUSY_MAX + GREEDY_MAX];
	guint count;
	char text[40];
};

static void be_busy(void)
{
	for (;;)
		__asm__ volatile("");
}

static void be_greedy(void)
{
	for (;;) {
		volatile char *memory = mmap(NULL, GREEDY_BYTES, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			_exit(1);
		for (gsize at = 0; at < GREEDY_BYTES; at += 4096)
			memory[at] = 1;
		munmap((void *)memory, GREEDY_BYTES);
	}
}

static void add(Neighbours *neighbours, void (*be)(void))
{
	pid_t pid = fork();

	g_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be();
	}
	neighbours->pids[neighbours->count++] = pid;
}

static void end_all(Neighbours *neighbours)
{
	for (guint i = 0; i < neighbours->count; i++) {
		kill(neighbours->pids[i], SIGKILL);
		waitpid(neighbours->pids[i], NULL, 0);
	}
	neighbours->count = 0;
}

Neighbours *neighbours_new(void)
{
	return g_new0(Neighbours, 1);
}

void neighbours_change(Neighbours *neighbours, GRand *random)
{
	const gboolean some = g_rand_int_range(random, 0, 3) == 0;
	const gint busy = some ? g_rand_int_range(random, 0, BUSY_MAX + 1) : 0;
	const gint greedy = some ? g_rand_int_range(random, 0, GREEDY_MAX + 1) : 0;

	end_all(neighbours);
	for (gint i = 0; i < busy; i++)
		add(neighbours, be_busy);
	for (gint i = 0; i < greedy; i++)
		add(neighbours, be_greedy);
	g_snprintf(neighbours->text, sizeof(neighbours->text), "%d busy, %d greedy neighbours",
		   busy, greedy);
}

const char *neighbours_text(const Neighbours *neighbours)
{
	return neighbours->text;
}

void neighbours_free(Neighbours *neighbours)
{
	if (!neighbours)
		return;
	end_all(neighbours);
	g_free(neighbours);
}
