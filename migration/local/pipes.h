/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pipes: each channel has two, one for either direction, so that pages can come back and
 * acknowledgements go against the stream.
 *
 *        source                          destination
 *      tx ────────────── pipe ──────────────▶ rx
 *      rx ◀───────────── pipe ────────────── tx
 */
#ifndef LM_LOCAL_PIPES_H
#define LM_LOCAL_PIPES_H

#include <migration/localhost.h>

typedef struct LmPipePair {
	int tx, rx; /* non-blocking, close-on-exec; -1: none */
	/* The source only: a second read end of its tx pipe, from which it takes back what a hung
	 * or dead destination has not read; -1 on the destination. */
	int tx_back;
} LmPipePair;

typedef struct LmPipes {
	guint count;
	LmPipePair pair[LM_CHANNELS_MAX];
} LmPipes;

#define LM_PIPES_INIT                                                                              \
	{                                                                                          \
		0                                                                                  \
	}
#define LM_PIPE_BYTES (1u << 20)

/*
 * Opens @count channels. The peer's ends are in @peer_fds, 2 * count of them (its rx, its tx, per
 * channel), which are the caller's to send and close. Pipes are LM_PIPE_BYTES where the kernel
 * allows (pipe-max-size, pipe-user-pages-soft), as large as it allows otherwise.
 */
int lm_pipes_open(LmPipes *pipes, guint count, int *peer_fds, GError **errp);
/*
 * Takes 2 * count received descriptors on success; refuses (-EINVAL) what is no pipe, or not open
 * in the direction it should be. They are opened anew, non-blocking, where /proc allows: the peer
 * shares the flags of those that it sent, and could make them blocking again. @keep_read_ends is
 * for reads in a ring, each of which says for itself that it does not wait (RWF_NOWAIT), which the
 * kernel refuses for a pipe that was opened by a name.
 */
int lm_pipes_adopt(LmPipes *pipes, guint count, const int *fds, gboolean keep_read_ends,
		   GError **errp);
void lm_pipes_close(LmPipes *pipes);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LmPipes, lm_pipes_close)

/* How many channels suit this host: the processors this process may run on, at least 1, at
 * most 4. */
guint lm_pipes_default_count(void);

#endif
