/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receiver of pages, with its pipes and threads. An input: a byte of how (below), then parts:
 * u8 channel and kind, u16 length, bytes. A part goes into its channel's pipe as it is; or so many
 * pages go there. Afterwards the pipes are closed. Whatever came, nothing may be written outside of
 * the blocks that flip, and the bitmap must say what came.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flip.h"
#include "region.h"

#define PAGE	    4096u
#define CHANNELS    2
#define RAM_BYTES   (LM_WINDOW_BYTES + 4 * PAGE)
#define PIPE_BYTES  (512u << 10)
#define PAGES_MAX   100
#define DEADLINE_MS 5

enum {
	HOW_READV = 1,
	HOW_RING = 2,
	HOW_HUGE = 4,
	HOW_TWO = 8,
	HOW_UNWRITABLE = 16,
	HOW_NO_ACK = 32
};

typedef struct Run {
	GPtrArray *regions;
	LmPipes pipes;
	int feed[CHANNELS], acks[CHANNELS];
	int peer[2];
	LmFlip flip;
} Run;

static guint8 *guard; /* a page behind the block that flips */

static LmRegion *add_region(Run *run, const char *name, LmWay way, guint8 *host, guint64 bytes)
{
	LmRegion *region = lm_region_new(name);

	region->host = host;
	region->used_bytes = region->max_bytes = bytes;
	region->way = way;
	lm_region_bitmap_reset(region);
	g_ptr_array_add(run->regions, region);
	return region;
}

static guint8 *map_ram(void)
{
	guint8 *ram = mmap(NULL, RAM_BYTES + PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	g_assert(ram != MAP_FAILED);
	guard = ram + RAM_BYTES;
	return ram;
}

static void open_channel(Run *run, guint i)
{
	int there[2], back[2];

	g_assert(pipe2(there, O_CLOEXEC | O_NONBLOCK) == 0);
	g_assert(pipe2(back, O_CLOEXEC | O_NONBLOCK) == 0);
	fcntl(there[1], F_SETPIPE_SZ, PIPE_BYTES);
	run->feed[i] = there[1];
	run->acks[i] = back[0];
	run->pipes.pair[i] = (LmPipePair){.rx = there[0], .tx = back[1], .tx_back = -1};
}

static void begin(Run *run, guint8 how, guint8 *ram)
{
	LmRegion *region;

	run->regions = g_ptr_array_new_with_free_func((GDestroyNotify)lm_region_free);
	region = add_region(run, "ram", LM_WAY_FLIP, ram, RAM_BYTES);
	if (how & HOW_HUGE) /* no such pages are needed to walk the code for them */
		region->page_bytes = LM_WINDOW_BYTES;
	add_region(run, "passed", LM_WAY_PASS, NULL, PAGE);
	mprotect(ram, PAGE, how & HOW_UNWRITABLE ? PROT_READ : PROT_READ | PROT_WRITE);
	run->pipes.count = how & HOW_TWO ? 2 : 1;
	for (guint i = 0; i < run->pipes.count; i++)
		open_channel(run, i);
	if (how & HOW_NO_ACK) {
		close(run->acks[0]);
		run->acks[0] = -1;
	}
	g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, run->peer) == 0);
	run->flip = (LmFlip){
		.regions = run->regions,
		.pipes = &run->pipes,
		.engine = how & HOW_READV ? LM_ENGINE_PROCESS_VM_READV : LM_ENGINE_VMSPLICE,
		.io_uring = (how & HOW_RING) != 0,
		.peer_pid = getpid(),
		.peer_fd = run->peer[0],
		.wait = {.deadline_ms = DEADLINE_MS, .cancel_fd = -1},
	};
}

static void put(int fd, const void *bytes, gsize length)
{
	/* What does not fit is cut; that is an input, too. */
	if (length && write(fd, bytes, length) < 0)
		return;
}

static void feed(Run *run, Input *input)
{
	static const guint8 page[PAGE] = {0xa5};

	while (input->left) {
		const guint8 kind = input_u8(input);
		const int fd = run->feed[kind % run->pipes.count];
		guint count = input_u16(input);

		if (kind & 0x80) {
			for (count = MIN(count, PAGES_MAX); count; count--)
				put(fd, page, sizeof(page));
		} else {
			count = MIN(count, input->left);
			put(fd, input_bytes(input, count), count);
		}
	}
	for (guint i = 0; i < run->pipes.count; i++)
		close(run->feed[i]);
}

static void end(Run *run)
{
	for (guint i = 0; i < run->pipes.count; i++) {
		close(run->pipes.pair[i].rx);
		close(run->pipes.pair[i].tx);
		if (run->acks[i] >= 0)
			close(run->acks[i]);
	}
	close(run->peer[0]);
	close(run->peer[1]);
	g_ptr_array_unref(run->regions);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	static guint8 *ram;
	Input input = {data, size};
	Run run = {0};
	g_autoptr(GError) error = NULL;
	int ret;

	if (!ram) {
		signal(SIGPIPE, SIG_IGN); /* as QEMU has it */
		ram = map_ram();
		fuzz_map(RAM_BYTES);
	}
	begin(&run, input_u8(&input), ram);
	feed(&run, &input);
	ret = lm_flip_receive(&run.flip, &error);
	g_assert(ret == 0 ? !error : error && error->message[0]);
	g_assert(lm_region_bitmap_count_bytes(g_ptr_array_index(run.regions, 0)) == run.flip.bytes);
	g_assert(lm_region_bitmap_count_bytes(g_ptr_array_index(run.regions, 1)) == 0);
	g_assert(guard[0] == 0 && guard[PAGE - 1] == 0);
	end(&run);
	return 0;
}
