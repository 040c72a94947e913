// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which program a process runs. The file is read through /proc/PID/exe, which is the one that was
 * started, also if it was deleted or replaced since; symbols are those in memory.
 */
#include "check.h"
#include "elf-image.h"
#include "migration/qemu.h"
#include "migration/tested-versions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#define VERSION_MARK "QEMU emulator version "
#define DELETED	     " (deleted)"

/* All that the plugin needs. */
static const char *const required_symbols[] = {
#define NAME_REQUIRED(type, name, arguments) #name,
#define NAME_OPTIONAL(type, name, arguments)
#define NAME_VARIABLE(type, name) #name,
	LM_QEMU_SYMBOLS(NAME_REQUIRED, NAME_OPTIONAL, NAME_VARIABLE)};

/* --------------------------------------------------------------- executable */

static int check_header(pid_t pid, const AttachFacts *facts, GMappedFile *file, GError **errp)
{
	g_autofree char *what = NULL;
	Elf64_Ehdr header = {0};

	memcpy(&header, g_mapped_file_get_contents(file),
	       MIN(sizeof(header), g_mapped_file_get_length(file)));
	if (attach_elf_is_native(&header, &what))
		return 0;
	return attach_fail(errp, ATTACH_ERROR_ARCHITECTURE, ENOEXEC, "process %d (%s) is %s",
			   (int)pid, facts->executable, what);
}

static const AttachMapping *find_executable(pid_t pid, const GPtrArray *maps)
{
	g_autofree char *path = attach_proc_path(pid, "exe"), *link = NULL;
	const AttachMapping *mapping;
	struct stat st;
	guint i = 0;

	if (stat(path, &st) < 0)
		return NULL;
	while ((mapping = attach_proc_next_file(maps, &i)))
		if (mapping->ino == st.st_ino && mapping->dev == st.st_dev)
			return mapping;
	/* On some file systems (btrfs, overlayfs) maps has another device than stat. */
	for (i = 0; (mapping = attach_proc_next_file(maps, &i));)
		if (mapping->ino == st.st_ino)
			return mapping;
	/* On an overlay of two file systems it has another inode too: only the names are alike. */
	link = attach_proc_link(pid, "exe");
	for (i = 0; (mapping = attach_proc_next_file(maps, &i));)
		if (!g_strcmp0(mapping->path, link))
			return mapping;
	return NULL;
}

static int check_symbols(pid_t pid, const AttachFacts *facts, const GPtrArray *maps, GError **errp)
{
	const AttachMapping *mapping = find_executable(pid, maps);
	g_auto(AttachImage) image = {0};
	int rc;

	if (!mapping)
		return attach_fail(errp, ATTACH_ERROR_NOT_QEMU, ENOEXEC,
				   "process %d (%s) does not have its program mapped", (int)pid,
				   facts->executable);
	rc = attach_image_open(pid, mapping->start, &image, errp);
	if (rc < 0)
		return rc;
	if (!image.interpreted)
		return attach_fail(
			errp, ATTACH_ERROR_ARCHITECTURE, ENOEXEC,
			"process %d (%s) is a static program, which cannot load a plugin", (int)pid,
			facts->executable);
	for (gsize i = 0; i < G_N_ELEMENTS(required_symbols); i++)
		if (!attach_image_symbol(&image, required_symbols[i]))
			return attach_fail(
				errp, ATTACH_ERROR_NOT_QEMU, ENOEXEC,
				"process %d (%s) is no QEMU that the plugin can work in: it "
				"does not export %s",
				(int)pid, facts->executable, required_symbols[i]);
	return 0;
}

/* ------------------------------------------------------------------ version */

static gboolean is_tested(int major, int minor)
{
#define ROW(tested_major, tested_minor, plugin)                                                    \
	if (major == (tested_major) && minor == (tested_minor))                                    \
		return TRUE;
	LM_TESTED_VERSIONS(ROW)
#undef ROW
	return FALSE;
}

/* What --version would print is in the program as one string. */
static void find_version(GMappedFile *file, AttachFacts *facts)
{
	const char *data = g_mapped_file_get_contents(file);
	gsize bytes = g_mapped_file_get_length(file);
	const char *at = memmem(data, bytes, VERSION_MARK, strlen(VERSION_MARK));
	int major, minor;
	gsize length;

	if (!at)
		return;
	at += strlen(VERSION_MARK);
	for (length = 0; at + length < data + bytes && g_ascii_isprint(at[length]); length++)
		;
	facts->version = g_strndup(at, length);
	facts->tested =
		sscanf(facts->version, "%d.%d", &major, &minor) == 2 && is_tested(major, minor);
}

static int check_version(pid_t pid, const AttachFacts *facts, AttachFlags flags, GError **errp)
{
	g_autoptr(GString) tested = g_string_new(NULL);

	if (facts->tested || flags & ATTACH_ALLOW_UNTESTED)
		return 0;
#define ROW(major, minor, plugin)                                                                  \
	g_string_append_printf(tested, "%s%d.%d", tested->len ? ", " : "", major, minor);
	LM_TESTED_VERSIONS(ROW)
#undef ROW
	return attach_fail(errp, ATTACH_ERROR_VERSION, EOPNOTSUPP,
			   "process %d is QEMU %s, which is not among the tested versions (%s)",
			   (int)pid, facts->version ? facts->version : "of unknown version",
			   tested->str);
}

int attach_check_program(pid_t pid, const GPtrArray *maps, AttachFlags flags, AttachFacts *facts,
			 AttachTarget *target, GError **errp)
{
	g_autofree char *path = attach_proc_path(pid, "exe");
	g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, NULL);
	int rc;

	if (!file || !g_mapped_file_get_length(file))
		return attach_fail(errp, ATTACH_ERROR_NO_RIGHT, EACCES,
				   "the program of process %d (%s) cannot be read", (int)pid,
				   facts->executable);
	rc = check_header(pid, facts, file, errp);
	if (rc == 0)
		rc = check_symbols(pid, facts, maps, errp);
	if (rc < 0)
		return rc;
	find_version(file, facts);
	target->entry = attach_proc_auxv(pid, AT_ENTRY);
	return check_version(pid, facts, flags, errp);
}

/* --------------------------------------------------------------------- libc */

static gboolean is_libc(const AttachMapping *mapping)
{
	g_autofree char *name = g_path_get_basename(mapping->path);

	return g_str_has_prefix(name, "libc.so") || g_str_has_prefix(name, "libc-") ||
	       g_str_has_prefix(name, "ld-musl-");
}

static gboolean find_functions(const AttachImage *libc, AttachTarget *target)
{
	target->dlopen = attach_image_symbol(libc, "dlopen");
	target->dlsym = attach_image_symbol(libc, "dlsym");
	target->dlclose = attach_image_symbol(libc, "dlclose");
	target->dlerror = attach_image_symbol(libc, "dlerror");
	target->errno_location = attach_image_symbol(libc, "__errno_location");
	target->memfd_create = attach_image_symbol(libc, "memfd_create");
	target->close = attach_image_symbol(libc, "close");
	return target->dlopen && target->dlsym && target->dlclose && target->dlerror &&
	       target->errno_location && target->memfd_create && target->close;
}

int attach_check_libc(pid_t pid, const GPtrArray *maps, AttachTarget *target, GError **errp)
{
	const AttachMapping *mapping;
	guint i = 0;

	while ((mapping = attach_proc_next_file(maps, &i))) {
		g_auto(AttachImage) image = {0};

		if (!is_libc(mapping))
			continue;
		if (attach_image_open(pid, mapping->start, &image, NULL) == 0 &&
		    find_functions(&image, target))
			return 0;
		return attach_fail(errp, ATTACH_ERROR_LIBC, EOPNOTSUPP,
				   "the C library of process %d (%s) has no dlopen: it is older "
				   "than glibc 2.34",
				   (int)pid, mapping->path);
	}
	return attach_fail(errp, ATTACH_ERROR_LIBC, EOPNOTSUPP,
			   "process %d has no C library that is known", (int)pid);
}
