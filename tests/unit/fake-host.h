/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A made-up host for sessions: some memory with a pattern in it, and a note of which callbacks
 * were called. The source is this process, the destination a child of it.
 */
#ifndef LM_TESTS_FAKE_HOST_H
#define LM_TESTS_FAKE_HOST_H

#include <sys/types.h>

#include <migration/localhost.h>

#define FAKE_RAM_BYTES	  (24u << 20)
#define FAKE_SHARED_BYTES (4u << 20)
#define FAKE_STEP_BYTES	  (128u << 10)

/* Which callbacks ran, and how it ended; in memory that both processes share. */
typedef struct FakeNotes {
	int stopped, saved, resumed, gone, lost;
	int moved_disks; /* as many as the source named */
	int prepared, loaded, activated, deactivated, ran;
	int hinted;    /* prepare got what hint gave */
	int as_hinted; /* load was told so */
	int intact;    /* the memory was checked and is as it was */
	int finished;
	LmOutcome outcome;
	char error[512];
} FakeNotes;

typedef struct FakeHost {
	LmRole role;
	const char *fail_at; /* the name of a callback, or NULL; resume fails the first time */
	const char *machine; /* a trait */
	guint64 ram_bytes;
	guint64 step_bytes;   /* the first 64 KiB of as many have content */
	guint64 broken_at;    /* destination: this page of the RAM cannot be written; 0: all can */
	gboolean with_disk;   /* source: it shall move */
	gboolean with_shared; /* a second block, shared ... */
	guint64 shared_bytes; /* ... of so many bytes; FAKE_SHARED_BYTES unless set */
	guint64 shared_at;    /* destination: where it says that block begins in its file */
	gboolean scribbles;   /* destination: loading writes into the memory */
	gboolean as_hinted;   /* source: saving says so */
	gboolean load_hangs;  /* destination: for good, with a thread that cannot be stopped */
	gboolean any_state;   /* destination: whatever the device state is, it is loaded */
	guint8 *ram, *shared;
	int shared_fd;
	FakeNotes *notes;
	LmOptions options;
} FakeHost;

/* Both sides of a handover; options and failures are set before fake_pair_run. */
typedef struct FakePair {
	FakeHost source, destination;
	char *path; /* of the socket */
	pid_t child;
	LmSession *session; /* the source's, while and after it ran */
	/* Called in a thread of the source's process while the session runs; may be NULL. */
	void (*meanwhile)(struct FakePair *pair);
	int rc;
	GError *error;
} FakePair;

extern const LmHostOps fake_host_ops;
void fake_host_init(FakeHost *host, LmRole role, gboolean with_shared);
/* Maps the memory, and fills a source's. */
void fake_host_start(FakeHost *host);
gboolean fake_host_intact(const FakeHost *host);
void fake_host_clear(FakeHost *host);
/* Tries until somebody listens at @path. */
int fake_connect(const char *path);

FakePair *fake_pair_new(gboolean with_shared);
/* Runs both; the destination has ended when it returns, or is stopped (SIGSTOP). */
void fake_pair_run(FakePair *pair);
void fake_pair_free(FakePair *pair);
/* Whether the source's memory is as it was filled. */
gboolean fake_source_intact(const FakePair *pair);
/*
 * Whether @bytes are what has content in a filled source: half of it. Where the kernel does not
 * tell them apart (6.1: any, 6.12: huge ones), pages that were only read count as well.
 */
gboolean fake_content_is(guint64 bytes);
/* Waits until the source's session is in @stage. */
void fake_wait_stage(FakePair *pair, LmStage stage);

#endif
