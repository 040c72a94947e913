/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What no kernel should answer when it is asked which pages have content: the linker leads the
 * ioctl here. It ends in an error, or in the page map's answer; not in a QEMU that is gone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "pagemap.h"
#include "populated.h"
#include "region.h"

#define PAGE  4096u
#define BYTES (16ull * PAGE)

/* An answer, from the beginning of the memory on. */
static struct {
	gint64 start, end;
	int count;
	gint64 walk_end;
} answer;
static guint64 host;

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	LmScan *asked;

	va_start(args, request);
	asked = va_arg(args, LmScan *);
	va_end(args);
	*(LmScanRange *)(guintptr)asked->vec =
		(LmScanRange){host + answer.start, host + answer.end, 0};
	asked->walk_end = host + answer.walk_end;
	return answer.count;
}

static LmRegion *map(void)
{
	LmRegion *region = lm_region_new("ram");

	region->host =
		mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(region->host != MAP_FAILED);
	region->host[2 * PAGE] = 1;
	region->used_bytes = region->max_bytes = BYTES;
	host = (guintptr)region->host;
	return region;
}

static void unmap(LmRegion *region)
{
	munmap(region->host, BYTES);
	lm_region_free(region);
}

static void refuse(const char *label, gint64 start, gint64 end, int count, gint64 walk_end)
{
	LmRegion *region = map();
	g_autoptr(GError) error = NULL;

	answer.start = start;
	answer.end = end;
	answer.count = count;
	answer.walk_end = walk_end;
	if (lm_populated_scan(region, LM_POPULATED_SCAN, &error) != -EIO || !error)
		fail_msg("%s: was believed", label);
	assert_int_equal(lm_region_bitmap_count_bytes(region), 0);
	/* The page map is asked instead. */
	assert_int_equal(lm_populated_scan(region, LM_POPULATED_AUTO, NULL), 0);
	assert_int_equal(region->populated_bytes, PAGE);
	unmap(region);
}

static void test_refused(void **state)
{
	refuse("a page before", -(gint64)PAGE, PAGE, 1, BYTES);
	refuse("a page behind", BYTES - PAGE, BYTES + PAGE, 1, BYTES);
	refuse("all behind", BYTES + PAGE, BYTES + 2 * PAGE, 1, BYTES);
	refuse("turned round", 2 * PAGE, PAGE, 1, BYTES);
	refuse("half a page", PAGE, PAGE + PAGE / 2, 1, BYTES);
	refuse("beside the pages", 8, PAGE + 8, 1, BYTES);
	refuse("more than was asked for", 0, PAGE, 1025, BYTES);
	refuse("no step further", 0, PAGE, 1, 0);
	refuse("a step back", 0, PAGE, 1, -(gint64)PAGE);
}

static void test_at_the_bounds(void **state)
{
	LmRegion *region = map();

	answer.start = 0;
	answer.end = answer.walk_end = BYTES;
	answer.count = 1;
	assert_int_equal(lm_populated_scan(region, LM_POPULATED_SCAN, NULL), 0);
	assert_int_equal(region->populated_bytes, BYTES);
	unmap(region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_at_the_bounds),
	};

	return cmocka_run_group_tests_name("populated-nonsense", tests, NULL, NULL);
}
