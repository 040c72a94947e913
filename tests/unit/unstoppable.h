/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef LM_TESTS_UNSTOPPABLE_H
#define LM_TESTS_UNSTOPPABLE_H

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A thread that waits for its vfork cannot be stopped, only killed. */
static inline void become_unstoppable(void)
{
	if (vfork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

#endif
