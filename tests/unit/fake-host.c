// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake-host.h"
#include "fault.h"
#include "pagemap.h"
#include "unstoppable.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char device_state[] = "the state of all devices";
static const char fake_hint[] = "where they are";

static int fail_if(const FakeHost *host, const char *where, GError **errp)
{
	if (!host->fail_at || strcmp(host->fail_at, where))
		return 0;
	g_set_error(errp, LM_ERROR, LM_ERROR_FAILED, "%s failed", where);
	return -EIO;
}

/* The first 64 KiB of every @step_bytes have content; a page's words tell where it is. */
static gboolean page_has_content(guint64 offset, guint64 step_bytes)
{
	return offset % step_bytes < 65536;
}

static void fill(guint8 *memory, guint64 bytes, guint64 step_bytes)
{
	for (guint64 at = 0; at < bytes; at += sizeof(guint64))
		if (page_has_content(at, step_bytes))
			*(guint64 *)(memory + at) = at * 0x9e3779b97f4a7c15u + 1;
}

static gboolean intact(const guint8 *memory, guint64 bytes, guint64 step_bytes)
{
	for (guint64 at = 0; at < bytes; at += sizeof(guint64)) {
		const gboolean full = page_has_content(at, step_bytes);
		guint64 expected = full ? at * 0x9e3779b97f4a7c15u + 1 : 0;

		if (*(const guint64 *)(memory + at) != expected)
			return FALSE;
	}
	return TRUE;
}

gboolean fake_host_intact(const FakeHost *host)
{
	return intact(host->ram, host->ram_bytes, host->step_bytes) &&
	       (!host->with_shared || intact(host->shared, host->shared_bytes, host->step_bytes));
}

static guint8 *map_memory(guint64 bytes, int fd)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	guint8 *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	g_assert(memory != MAP_FAILED);
	return memory;
}

static void make_shared(FakeHost *host)
{
	host->shared_fd = memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	g_assert(host->shared_fd >= 0 && ftruncate(host->shared_fd, host->shared_bytes) == 0);
	host->shared = map_memory(host->shared_bytes, host->shared_fd);
}

void fake_host_start(FakeHost *host)
{
	host->ram = map_memory(host->ram_bytes, -1);
	if (host->with_shared)
		make_shared(host);
	if (host->role == LM_ROLE_SOURCE) {
		fill(host->ram, host->ram_bytes, host->step_bytes);
		if (host->with_shared)
			fill(host->shared, host->shared_bytes, host->step_bytes);
	} else if (host->broken_at) {
		g_assert(mprotect(host->ram + host->broken_at, 4096, PROT_READ) == 0);
	}
}

/* ---------------------------------------------------------------- callbacks */

static LmRegion *add_region(LmInventory *inventory, const char *name, guint8 *memory, guint64 bytes,
			    int fd)
{
	LmRegion *region = lm_region_new(name);
	struct stat st;

	region->host = memory;
	region->used_bytes = region->max_bytes = bytes;
	region->page_bytes = 4096;
	region->fd = fd;
	if (fd >= 0 && fstat(fd, &st) == 0) {
		region->flags = LM_REGION_SHARED;
		region->dev = st.st_dev;
		region->ino = st.st_ino;
	}
	g_ptr_array_add(inventory->regions, region);
	return region;
}

static int describe(void *opaque, LmInventory *inventory, GError **errp)
{
	FakeHost *host = opaque;

	g_free(inventory->host_version);
	inventory->host_version = g_strdup("0.0 (made up)");
	lm_inventory_add_trait(inventory, "machine type", "", host->machine, NULL);
	add_region(inventory, "ram", host->ram, host->ram_bytes, -1);
	if (host->with_shared)
		add_region(inventory, "shared", host->shared, host->shared_bytes, host->shared_fd)
			->fd_offset_bytes = host->shared_at;
	if (host->with_disk)
		g_ptr_array_add(inventory->disks, lm_disk_new("vda", "/new", "raw", "", 0));
	return fail_if(host, "describe", errp);
}

static int move_disks(void *opaque, GPtrArray *disks, GError **errp)
{
	FakeHost *host = opaque;

	host->notes->moved_disks = disks->len;
	return fail_if(host, "move_disks", errp);
}

static int stop(void *opaque, gint64 *stop_ns, GError **errp)
{
	FakeHost *host = opaque;

	host->notes->stopped++;
	return fail_if(host, "stop", errp);
}

static void hint(void *opaque, GByteArray *to)
{
	g_byte_array_append(to, (const guint8 *)fake_hint, sizeof(fake_hint));
}

static void prepare(void *opaque, const guint8 *bytes, gsize length)
{
	FakeHost *host = opaque;

	host->notes->prepared++;
	host->notes->hinted = length == sizeof(fake_hint) && !memcmp(bytes, fake_hint, length);
}

static int save(void *opaque, LmDeviceState *state, GError **errp)
{
	FakeHost *host = opaque;
	int rc = fail_if(host, "save", errp);

	host->notes->saved++;
	if (rc < 0)
		return rc;
	state->as_hinted = host->as_hinted;
	state->fd = memfd_create("state", MFD_CLOEXEC);
	g_assert(write(state->fd, device_state, sizeof(device_state)) == sizeof(device_state));
	return 0;
}

static int resume(void *opaque, GError **errp)
{
	FakeHost *host = opaque;

	host->notes->intact = fake_host_intact(host);
	return host->notes->resumed++ ? 0 : fail_if(host, "resume", errp);
}

static void gone(void *opaque)
{
	((FakeHost *)opaque)->notes->gone++;
}

static void lost(void *opaque, const char *why)
{
	((FakeHost *)opaque)->notes->lost++;
}

static gpointer hang(gpointer data)
{
	become_unstoppable();
	return NULL;
}

static int load(void *opaque, const LmDeviceState *from, GError **errp)
{
	FakeHost *host = opaque;
	char state[sizeof(device_state)] = "";

	host->notes->loaded++;
	host->notes->as_hinted = from->as_hinted;
	if (!host->any_state) {
		g_assert(pread(from->fd, state, sizeof(state), 0) == sizeof(state));
		g_assert(!strcmp(state, device_state));
	}
	if (host->scribbles) {
		memset(host->ram, 0x55, 8192);
		memset(host->shared, 0x55, 8192);
	}
	if (host->load_hangs)
		g_thread_join(g_thread_new("hang", hang, NULL));
	return fail_if(host, "load", errp);
}

static int activate(void *opaque, GError **errp)
{
	FakeHost *host = opaque;

	host->notes->activated++;
	return fail_if(host, "activate", errp);
}

static void deactivate(void *opaque)
{
	((FakeHost *)opaque)->notes->deactivated++;
}

static void run(void *opaque)
{
	FakeHost *host = opaque;

	host->notes->ran++;
	host->notes->intact = fake_host_intact(host);
}

static int adopted(void *opaque, LmRegion *region, int fd, GError **errp)
{
	return fail_if(opaque, "adopted", errp);
}

const LmHostOps fake_host_ops = {
	.describe = describe,
	.hint = hint,
	.prepare = prepare,
	.stop = stop,
	.save = save,
	.resume = resume,
	.gone = gone,
	.lost = lost,
	.move_disks = move_disks,
	.adopted = adopted,
	.load = load,
	.activate = activate,
	.deactivate = deactivate,
	.run = run,
};

/* ------------------------------------------------------------------ a pair */

static FakeNotes *shared_notes(void)
{
	FakeNotes *notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	g_assert(notes != MAP_FAILED);
	return notes;
}

void fake_host_init(FakeHost *host, LmRole role, gboolean with_shared)
{
	*host = (FakeHost){0};
	host->role = role;
	host->machine = "made-up-1.0";
	host->ram_bytes = FAKE_RAM_BYTES;
	host->step_bytes = FAKE_STEP_BYTES;
	host->with_shared = with_shared;
	host->shared_bytes = FAKE_SHARED_BYTES;
	host->shared_fd = -1;
	host->notes = shared_notes();
	host->options.deadline_ms = 10000;
	host->options.channels = 2;
}

FakePair *fake_pair_new(gboolean with_shared)
{
	FakePair *pair = g_new0(FakePair, 1);

	lm_fault_set(NULL); /* what happened to another pair of this program does not count */
	fake_host_init(&pair->source, LM_ROLE_SOURCE, with_shared);
	fake_host_init(&pair->destination, LM_ROLE_DESTINATION, with_shared);
	return pair;
}

static void run_destination(FakePair *pair)
{
	FakeHost *host = &pair->destination;
	g_autoptr(LmSession) session = NULL;
	LmListener *listener; /* not freed: a source may still look whether its file is there */
	g_autoptr(GError) error = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fake_host_start(host);
	session = lm_session_new(LM_ROLE_DESTINATION, &fake_host_ops, host, &host->options);
	listener = lm_listen(pair->path, NULL);
	g_assert(listener);
	lm_session_run(session, lm_accept(listener, NULL), &host->notes->outcome, &error);
	if (error)
		g_strlcpy(host->notes->error, error->message, sizeof(host->notes->error));
	host->notes->finished = TRUE;
}

static gpointer run_meanwhile(gpointer data)
{
	FakePair *pair = data;

	pair->meanwhile(pair);
	return NULL;
}

int fake_connect(const char *path)
{
	for (int tries = 0; tries < 10000; tries++) {
		int fd = lm_connect(path, 1000, NULL);

		if (fd >= 0)
			return fd;
		g_usleep(1000);
	}
	g_error("the destination does not listen");
}

void fake_pair_run(FakePair *pair)
{
	FakeHost *host = &pair->source;
	GThread *thread = NULL;

	fake_host_start(host);
	/* The child makes the socket, so that it is the peer that the kernel names. */
	pair->path = g_strdup_printf("%s/lm-unit-%d", g_get_tmp_dir(), getpid());
	pair->child = fork();
	if (pair->child == 0) {
		run_destination(pair);
		_exit(0);
	}
	pair->session = lm_session_new(LM_ROLE_SOURCE, &fake_host_ops, host, &host->options);
	if (pair->meanwhile)
		thread = g_thread_new("meanwhile", run_meanwhile, pair);
	pair->rc = lm_session_run(pair->session, fake_connect(pair->path), &host->notes->outcome,
				  &pair->error);
	if (thread)
		g_thread_join(thread);
	waitpid(pair->child, NULL, WUNTRACED);
}

#define HUGE_BYTES ((gsize)2 << 20)

/* Whether memory that was only read, by a huge page if there is one, is told apart. */
static gboolean zero_pages_are_told(void)
{
	const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	guint8 *mapped = mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guint8 *huge = mapped + (HUGE_BYTES - (guintptr)mapped % HUGE_BYTES) % HUGE_BYTES;
	LmScanRange found = {0};
	LmScan scan = {
		.start = (guint64)(guintptr)huge,
		.end = (guint64)(guintptr)huge + HUGE_BYTES,
		.vec = (guint64)(guintptr)&found,
		.vec_len = 1,
		.category_inverted = LM_SCAN_IS_PFNZERO,
		.category_mask = LM_SCAN_IS_PFNZERO,
		.category_anyof_mask = LM_SCAN_IS_PRESENT,
	};
	int count;

	madvise(huge, HUGE_BYTES, MADV_HUGEPAGE);
	g_assert(*(volatile guint8 *)huge == 0);
	count = lm_scan(fd, &scan);
	munmap(mapped, 2 * HUGE_BYTES);
	close(fd);
	return count == 0;
}

gboolean fake_content_is(guint64 bytes)
{
	if (zero_pages_are_told())
		return bytes == FAKE_RAM_BYTES / 2;
	return bytes >= FAKE_RAM_BYTES / 2 && bytes <= FAKE_RAM_BYTES;
}

gboolean fake_source_intact(const FakePair *pair)
{
	return fake_host_intact(&pair->source);
}

void fake_wait_stage(FakePair *pair, LmStage stage)
{
	for (int tries = 0; tries < 10000; tries++) {
		g_auto(LmStatus) status = {0};

		lm_session_query(pair->session, &status);
		if (status.stage == stage && status.state < LM_STATE_COMPLETED)
			return;
		g_usleep(1000);
	}
	g_error("the source never came to stage %s", lm_stage_name(stage));
}

void fake_host_clear(FakeHost *host)
{
	if (host->ram)
		munmap(host->ram, host->ram_bytes);
	if (host->shared)
		munmap(host->shared, host->shared_bytes);
	if (host->shared_fd >= 0)
		close(host->shared_fd);
	munmap(host->notes, sizeof(*host->notes));
}

void fake_pair_free(FakePair *pair)
{
	kill(pair->child, SIGKILL); /* a stopped one; a zombie does not mind */
	waitpid(pair->child, NULL, 0);
	unlink(pair->path); /* a killed one leaves it */
	g_free(pair->path);
	lm_session_free(pair->session);
	g_clear_error(&pair->error);
	fake_host_clear(&pair->source);
	fake_host_clear(&pair->destination);
	g_free(pair);
}
