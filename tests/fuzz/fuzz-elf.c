/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF objects: as files, and as another process has them mapped. The linker leads reads of that
 * process's memory here: the input is what is mapped at FUZZ_ADDRESS, and behind it lie zeros
 * without end if its first byte says so.
 */
#include "fuzz.h"

#include "elf-image.h"
#include "remote.h"

#define READS_MAX 3000000u /* a hostile process must not keep the reader for ever */

static Input memory;
static gboolean endless;
static guint reads;

int __wrap_attach_remote_read(pid_t pid, guint64 address, void *buffer, gsize bytes, GError **errp);
int __wrap_attach_remote_read(pid_t pid, guint64 address, void *buffer, gsize bytes, GError **errp)
{
	const guint64 at = address - FUZZ_ADDRESS;
	gsize there;

	g_assert(++reads < READS_MAX);
	if (address < FUZZ_ADDRESS || (!endless && (at > memory.left || bytes > memory.left - at)))
		return attach_fail(errp, ATTACH_ERROR_FAILED, EFAULT, "nothing is mapped there");
	memset(buffer, 0, bytes);
	there = at < memory.left ? MIN(bytes, memory.left - at) : 0;
	if (there)
		memcpy(buffer, memory.at + at, there);
	return 0;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
	Input input = {data, size};
	g_auto(AttachImage) image = {0};
	g_autoptr(GError) error = NULL;
	g_autofree char *id = NULL;
	g_autofree guint8 *file = NULL;
	gsize bytes;
	int rc;

	endless = input_u8(&input) & 1;
	reads = 0;
	file = input_copy(&input, input.left, &bytes);
	memory = (Input){file, bytes};
	attach_elf_file_is_whole(file, bytes);
	id = attach_elf_file_build_id(file, bytes);
	rc = attach_image_open(1, FUZZ_ADDRESS, &image, &error);
	g_assert(rc == 0 ? !error : error && error->message[0]);
	if (rc == 0) {
		attach_image_symbol(&image, "dlopen");
		attach_image_symbol(&image, "qemu_version");
	}
	return 0;
}
