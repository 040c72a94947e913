/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which pages have content, by both of the kernel's interfaces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hugetlb-pool.h"
#include "populated.h"
#include "region.h"

#define PAGE  4096u
#define PAGES 5000u

static LmRegion *map(guint64 bytes, int flags, int fd)
{
	LmRegion *region = lm_region_new("ram");

	region->host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
	assert_true(region->host != MAP_FAILED);
	region->used_bytes = region->max_bytes = bytes;
	region->fd = fd;
	return region;
}

static void unmap(LmRegion *region)
{
	munmap(region->host, region->used_bytes);
	lm_region_free(region);
}

static gboolean is_here(const LmRegion *region, guint64 page)
{
	LmRange one = {page * PAGE, PAGE};

	return lm_region_bitmap_any(region, &one);
}

static gboolean scan_works(void)
{
	LmRegion *region = map(PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	gboolean works = lm_populated_scan(region, LM_POPULATED_SCAN, NULL) == 0;

	unmap(region);
	return works;
}

typedef void (*Check)(LmPopulatedBy by);

static void each(Check check)
{
	if (scan_works())
		check(LM_POPULATED_SCAN);
	check(LM_POPULATED_AUTO);
	check(LM_POPULATED_PAGEMAP);
}

/* Every third page: more ranges than one call returns. */
static void check_sparse(LmPopulatedBy by)
{
	LmRegion *region = map(PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(region->host, region->used_bytes, MADV_NOHUGEPAGE);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(lm_populated_scan(region, by, NULL), 0);
		assert_int_equal(region->populated_bytes, round ? (PAGES + 2) / 3 * PAGE : 0);
		assert_int_equal(region->skipped_bytes,
				 region->used_bytes - region->populated_bytes);
		assert_int_equal(lm_region_bitmap_count_bytes(region), region->populated_bytes);
		for (guint64 page = 0; page < PAGES; page++)
			assert_int_equal(is_here(region, page), round && page % 3 == 0);
		for (guint64 page = 0; page < PAGES; page += 3)
			region->host[page * PAGE] = 1;
	}
	unmap(region);
}

static void sparse_pages(void **state)
{
	each(check_sparse);
}

static void check_huge(LmPopulatedBy by)
{
	LmRegion *region = map(16 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(region->host, region->used_bytes, MADV_HUGEPAGE);
	memset(region->host, 1, region->used_bytes);
	assert_int_equal(lm_populated_scan(region, by, NULL), 0);
	assert_int_equal(region->populated_bytes, region->used_bytes);
	unmap(region);
}

static void huge_pages(void **state)
{
	each(check_huge);
}

static void pages_that_were_only_read(void **state)
{
	LmRegion *region = map(64 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	volatile guint8 *host = region->host;

	madvise(region->host, region->used_bytes, MADV_NOHUGEPAGE);
	for (guint64 page = 0; page < 64; page++)
		(void)host[page * PAGE];
	host[5 * PAGE] = 1;
	if (scan_works()) {
		assert_int_equal(lm_populated_scan(region, LM_POPULATED_AUTO, NULL), 0);
		assert_int_equal(region->populated_bytes, PAGE);
		assert_true(is_here(region, 5));
	}
	assert_int_equal(lm_populated_scan(region, LM_POPULATED_PAGEMAP, NULL), 0);
	assert_true(is_here(region, 5)); /* and the others may be */
	unmap(region);
}

static void check_file(LmPopulatedBy by)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	volatile guint8 *host;
	LmRegion *region;

	assert_int_equal(ftruncate(fd, 16 * PAGE), 0);
	assert_int_equal(pwrite(fd, "x", 1, 2 * PAGE), 1);
	region = map(16 * PAGE, MAP_PRIVATE, fd);
	host = region->host;
	(void)host[2 * PAGE]; /* the file's page */
	host[7 * PAGE] = 1;   /* a page of our own */
	assert_int_equal(lm_populated_scan(region, by, NULL), 0);
	assert_int_equal(region->populated_bytes, PAGE);
	assert_true(is_here(region, 7));
	region->flags = LM_REGION_NAMED_FILE;
	assert_int_equal(lm_populated_scan(region, by, NULL), 0);
	assert_int_equal(region->populated_bytes, 16 * PAGE);
	assert_int_equal(region->skipped_bytes, 0);
	unmap(region);
	close(fd);
}

static void private_over_a_file(void **state)
{
	each(check_file);
}

static void check_hugetlb(LmPopulatedBy by)
{
	LmRegion *region = map(4 << 21, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);

	region->page_bytes = 1 << 21;
	region->host[(1 << 21) + 77] = 1;
	region->host[3 << 21] = 1;
	assert_int_equal(lm_populated_scan(region, by, NULL), 0);
	assert_int_equal(region->populated_bytes, 2 << 21);
	assert_false(is_here(region, 511));
	assert_true(is_here(region, 512) && is_here(region, 1023));
	assert_false(is_here(region, 1024));
	unmap(region);
}

static void hugetlb_pages(void **state)
{
	if (set_pool(4))
		each(check_hugetlb);
}

static void an_empty_region(void **state)
{
	g_autoptr(LmRegion) region = lm_region_new("ram");

	assert_int_equal(lm_populated_scan(region, LM_POPULATED_AUTO, NULL), 0);
	assert_int_equal(region->populated_bytes, 0);
}

/* The page map says that nothing is there; PAGEMAP_SCAN and it agree on a hole. */
static void unmapped_memory_has_no_content(void **state)
{
	LmRegion *region = map(8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memset(region->host, 1, 8 * PAGE);
	munmap(region->host + 2 * PAGE, 3 * PAGE);
	assert_int_equal(lm_populated_scan(region, LM_POPULATED_AUTO, NULL), 0);
	assert_int_equal(region->populated_bytes, 5 * PAGE);
	unmap(region);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_pages),
		cmocka_unit_test(huge_pages),
		cmocka_unit_test(pages_that_were_only_read),
		cmocka_unit_test(private_over_a_file),
		cmocka_unit_test_setup_teardown(hugetlb_pages, take_pool, give_pool_back),
		cmocka_unit_test(an_empty_region),
		cmocka_unit_test(unmapped_memory_has_no_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
