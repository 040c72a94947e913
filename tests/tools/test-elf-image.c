// SPDX-License-Identifier: GPL-2.0-or-later
/* ELF objects in memory: this process is the one that is looked at. */
#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "elf-image.h"
#include "made-elf.h"

#define ZEROS_BYTES	 (1ull << 30) /* read word by word, minutes */
#define PATIENCE_SECONDS 20

static void test_symbol(void **state)
{
	g_auto(AttachImage) image = {0};
	g_autofree MadeElf *elf = g_new(MadeElf, 1);

	made_elf(elf, FALSE);
	assert_int_equal(attach_image_open(getpid(), (guintptr)elf, &image, NULL), 0);
	assert_int_equal(attach_image_symbol(&image, "dlopen"), (guintptr)elf + MADE_ELF_VALUE);
	assert_int_equal(attach_image_symbol(&image, "dlclose"), 0);
	assert_string_equal(image.build_id, "abababababababab");
}

/* Whoever is looked at may have mapped what it likes. */
static void test_chain_without_end(void **state)
{
	g_auto(AttachImage) image = {0};
	guint8 *zeros = mmap(NULL, ZEROS_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(zeros != MAP_FAILED);
	made_elf((MadeElf *)zeros, TRUE);
	/* What follows the chain must not end it either. */
	memset(&((MadeElf *)zeros)->symbols, 0,
	       sizeof(MadeElf) - G_STRUCT_OFFSET(MadeElf, symbols));
	assert_int_equal(attach_image_open(getpid(), (guintptr)zeros, &image, NULL), 0);
	alarm(PATIENCE_SECONDS);
	assert_int_equal(attach_image_symbol(&image, "dlopen"), 0);
	alarm(0);
	munmap(zeros, ZEROS_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_symbol),
		TEST(test_chain_without_end),
	};

	return cmocka_run_group_tests_name("tool-elf-image", tests, NULL, NULL);
}
