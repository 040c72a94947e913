/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mapping.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"

/* linux/mempolicy.h */
#define POLICY_DEFAULT	  0
#define POLICY_OF_ADDRESS (1 << 1)
#define POLICY_NODES	  1024

/* Documentation/filesystems/proc.rst, VmFlags; and what madvise gives it. */
static const struct {
	char name[3];
	guint flag;
	int advice; /* 0: none */
} table[] = {
	{"sh", LM_MAPPING_SHARED, 0},
	{"ht", LM_MAPPING_HUGETLB, 0},
	{"io", LM_MAPPING_DEVICE, 0},
	{"pf", LM_MAPPING_DEVICE, 0},
	{"mm", LM_MAPPING_DEVICE, 0},
	{"lo", LM_MAPPING_LOCKED, 0},
	{"lf", LM_MAPPING_LOCK_ON_FAULT, 0},
	{"dd", LM_MAPPING_DONTDUMP, MADV_DONTDUMP},
	{"dc", LM_MAPPING_DONTFORK, MADV_DONTFORK},
	{"hg", LM_MAPPING_HUGEPAGE, MADV_HUGEPAGE},
	{"nh", LM_MAPPING_NOHUGEPAGE, MADV_NOHUGEPAGE},
	{"mg", LM_MAPPING_MERGEABLE, MADV_MERGEABLE},
	{"sr", LM_MAPPING_SEQUENTIAL, MADV_SEQUENTIAL},
	{"rr", LM_MAPPING_RANDOM, MADV_RANDOM},
};

/* --------------------------------------------------------------- reading */

/* "7f00-7f10 rw-p 00000000 00:00 0 [heap]": no other line of an entry looks like it. */
static gboolean parse_head(const char *line, LmMapping *mapping)
{
	unsigned long long start, end, offset, ino;
	char prot[5];

	if (sscanf(line, "%llx-%llx %4s %llx %*x:%*x %llu", &start, &end, prot, &offset, &ino) != 5)
		return FALSE;
	*mapping = (LmMapping){
		.start = start,
		.end = end,
		.prot = (prot[0] == 'r' ? PROT_READ : 0) | (prot[1] == 'w' ? PROT_WRITE : 0) |
			(prot[2] == 'x' ? PROT_EXEC : 0),
		.flags = (prot[3] == 's' ? LM_MAPPING_SHARED : 0) | (ino ? LM_MAPPING_FILE : 0),
		.ino = ino,
		.offset = offset,
	};
	return TRUE;
}

static guint parse_flags(const char *words)
{
	guint flags = 0;

	for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
		const char *found = strstr(words, table[i].name);

		if (found && found[-1] == ' ')
			flags |= table[i].flag;
	}
	return flags;
}

/* @last: what the last line of an entry begins with; "" if it has but one. */
static GArray *parse(FILE *file, const char *last, guint64 start, guint64 end)
{
	GArray *mappings = g_array_new(FALSE, FALSE, sizeof(LmMapping));
	LmMapping mapping = {0};
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, file) > 0) {
		if (parse_head(line, &mapping) && mapping.start >= end)
			break;
		if (!g_str_has_prefix(line, last))
			continue;
		if (*last)
			mapping.flags |= parse_flags(line + strlen(last));
		if (mapping.end > start)
			g_array_append_val(mappings, mapping);
	}
	free(line);
	return mappings;
}

static GArray *read_file(const char *path, const char *last, guint64 start, guint64 end,
			 GError **errp)
{
	FILE *file = fopen(path, "re");
	GArray *mappings;

	if (!file) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot open %s", path);
		return NULL;
	}
	mappings = parse(file, last, start, end);
	if (ferror(file)) {
		lm_fail_errno(errp, LM_ERROR_FAILED, errno, "cannot read %s", path);
		g_clear_pointer(&mappings, g_array_unref);
	}
	fclose(file);
	return mappings;
}

GArray *lm_mappings_read(guint64 start, guint64 end, GError **errp)
{
	return read_file("/proc/self/smaps", "VmFlags:", start, end, errp);
}

GArray *lm_mappings_list(guint64 start, guint64 end, GError **errp)
{
	return read_file("/proc/self/maps", "", start, end, errp);
}

const LmMapping *lm_mappings_at(const GArray *mappings, guint64 address)
{
	guint low = 0, high = mappings->len;

	while (low < high) {
		guint middle = low + (high - low) / 2;
		const LmMapping *mapping = &g_array_index(mappings, LmMapping, middle);

		if (address < mapping->start)
			high = middle;
		else if (address >= mapping->end)
			low = middle + 1;
		else
			return mapping;
	}
	return NULL;
}

/* ---------------------------------------------------------- carrying over */

static int advise(void *start, gsize bytes, int advice)
{
	return madvise(start, bytes, advice) < 0 ? -errno : 0;
}

/* libasan's munlock does nothing, as does its mlock; it leaves mlock2 alone. */
static int unlock(void *start, gsize bytes)
{
	return syscall(SYS_munlock, start, bytes) < 0 ? -errno : 0;
}

int lm_mapping_loosen(const LmMapping *mapping, void *start, gsize bytes)
{
	int ret = mapping->flags & LM_MAPPING_LOCKED ? unlock(start, bytes) : 0;

	if (ret == 0 && (mapping->flags & LM_MAPPING_MERGEABLE))
		ret = advise(start, bytes, MADV_UNMERGEABLE);
	return ret;
}

int lm_mapping_fasten(const LmMapping *mapping, void *start, gsize bytes)
{
	const gboolean on_fault = mapping->flags & LM_MAPPING_LOCK_ON_FAULT;
	int ret = 0;

	if (mapping->flags & LM_MAPPING_MERGEABLE)
		ret = advise(start, bytes, MADV_MERGEABLE);
	if (ret == 0 && (mapping->flags & LM_MAPPING_LOCKED) &&
	    mlock2(start, bytes, on_fault ? MLOCK_ONFAULT : 0) < 0)
		ret = -errno;
	return ret;
}

int lm_mapping_advise(const LmMapping *mapping, void *start, gsize bytes)
{
	for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
		int ret = 0;

		if (table[i].advice && (mapping->flags & table[i].flag))
			ret = advise(start, bytes, table[i].advice);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int lm_mapping_bind(const LmMapping *mapping, int fd, guint64 offset, gsize bytes)
{
	unsigned long nodes[POLICY_NODES / (8 * sizeof(unsigned long))] = {0};
	int mode = POLICY_DEFAULT;
	void *window;
	int ret = 0;

	/* A kernel without NUMA has no such call; one that forbids it has no policy to carry. */
	if (syscall(SYS_get_mempolicy, &mode, nodes, POLICY_NODES, mapping->start,
		    POLICY_OF_ADDRESS) < 0 ||
	    mode == POLICY_DEFAULT)
		return 0;
	window = lm_map(bytes, PROT_NONE, MAP_SHARED, fd, offset);
	if (!window)
		return -errno;
	if (syscall(SYS_mbind, window, bytes, mode, nodes, POLICY_NODES, 0) < 0)
		ret = -errno;
	munmap(window, bytes);
	return ret;
}

/* ---------------------------------------------------------------- mapping */

/* Nothing can be filled in where nothing may be accessed. */
static int unlock_and_open(void *start, gsize bytes, int prot)
{
	int ret = unlock(start, bytes);

	if (ret == 0 && prot != PROT_NONE && mprotect(start, bytes, prot) < 0)
		ret = -errno;
	return ret;
}

int lm_map_at(void *start, gsize bytes, int prot, int flags, int fd, guint64 offset)
{
	if (mmap(start, bytes, PROT_NONE, flags | MAP_FIXED, fd, offset) == MAP_FAILED)
		return -errno;
	return unlock_and_open(start, bytes, prot);
}

void *lm_map(gsize bytes, int prot, int flags, int fd, guint64 offset)
{
	void *start = mmap(NULL, bytes, PROT_NONE, flags, fd, offset);
	int ret;

	if (start == MAP_FAILED)
		return NULL;
	ret = unlock_and_open(start, bytes, prot);
	if (ret == 0)
		return start;
	munmap(start, bytes);
	errno = -ret;
	return NULL;
}
