/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reader of page maps, with made-up answers of the kernel: the linker leads its ioctl and pread
 * here. An input: a byte of how; then, for each question, what the answer says. A kernel that
 * answers nonsense may cost the migration, never the VM.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "pagemap.h"
#include "populated.h"
#include "region.h"

#define PAGE	      4096u
#define REGION_PAGES  300
#define QUESTIONS_MAX 100 /* a reader that gets nowhere must have stopped long before */

static Input input;
static guint questions;

int __wrap_ioctl(int fd, unsigned long request, ...);
ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset);

/* Near the region: in 64 bits nothing would ever hit it. */
static guint64 made_up_address(guint64 start)
{
	const gint16 page = (gint16)input_u16(&input);
	const guint64 far = page & 0x4000 ? G_MAXUINT64 / 2 : 0;

	return start + far + (gint64)(page & ~0x4000) * (page & 0x2000 ? 1 : (gint64)PAGE);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	LmScanRange *found;
	va_list args;
	LmScan *scan;
	gint8 count;

	va_start(args, request);
	scan = va_arg(args, LmScan *);
	va_end(args);
	g_assert(++questions < QUESTIONS_MAX);
	count = (gint8)input_u8(&input);
	if (count < 0) {
		/* A kernel that is interrupted for ever is none. */
		errno = -count == EINTR && questions > 8 ? EIO : -count;
		return -1;
	}
	found = (LmScanRange *)(guintptr)scan->vec;
	for (gint8 i = 0; i < count; i++)
		found[i] = (LmScanRange){made_up_address(scan->start), made_up_address(scan->start),
					 input_u8(&input)};
	scan->walk_end = input_u8(&input) ? made_up_address(scan->start) : scan->end;
	return count == G_MAXINT8 ? G_MAXINT : count;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset)
{
	gsize some = input_u16(&input) % (bytes + 1);
	guint64 *entry = buffer;

	g_assert(++questions < QUESTIONS_MAX);
	if (!some && input_u8(&input)) {
		errno = EIO;
		return -1;
	}
	for (gsize i = 0; i < some / sizeof(*entry); i++)
		entry[i] = (guint64)input_u8(&input) << 56;
	return (ssize_t)some;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	static guint8 *host;
	g_autoptr(GError) error = NULL;
	LmRegion *region = lm_region_new("ram");
	guint8 how;
	int ret;

	if (!host)
		host = fuzz_map(REGION_PAGES * PAGE);
	input = (Input){data, size};
	questions = 0;
	how = input_u8(&input);
	region->host = host;
	region->used_bytes = region->max_bytes = REGION_PAGES * PAGE;
	region->fd = how & 4 ? 0 : -1;
	region->flags = (how & 8 ? LM_REGION_SHARED : 0) | (how & 16 ? LM_REGION_NAMED_FILE : 0);
	ret = lm_populated_scan(region, how % 3, &error);
	g_assert(ret == 0 ? !error : error && error->message[0]);
	if (ret == 0)
		g_assert(region->populated_bytes + region->skipped_bytes == region->used_bytes);
	else
		g_assert(lm_region_bitmap_count_bytes(region) == 0);
	lm_region_free(region);
	return 0;
}
