/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the mappings of this process's memory have (/proc/self/smaps), and how a mapping that takes
 * the place of another gets the same: madvise flags, mlock, NUMA policy.
 */
#ifndef LM_LOCAL_MAPPING_H
#define LM_LOCAL_MAPPING_H

#include <migration/localhost.h>

typedef enum LmMappingFlags {
	LM_MAPPING_SHARED = 1 << 0,
	LM_MAPPING_FILE = 1 << 1,    /* not anonymous: pages may be a file's */
	LM_MAPPING_HUGETLB = 1 << 2, /* hugetlbfs; not transparent huge pages */
	LM_MAPPING_DEVICE = 1 << 3,
	LM_MAPPING_LOCKED = 1 << 4,	   /* mlock */
	LM_MAPPING_LOCK_ON_FAULT = 1 << 5, /* what is not there yet will be */
	/* madvise: */
	LM_MAPPING_DONTDUMP = 1 << 6,
	LM_MAPPING_DONTFORK = 1 << 7,
	LM_MAPPING_HUGEPAGE = 1 << 8,
	LM_MAPPING_NOHUGEPAGE = 1 << 9,
	LM_MAPPING_MERGEABLE = 1 << 10,
	LM_MAPPING_SEQUENTIAL = 1 << 11,
	LM_MAPPING_RANDOM = 1 << 12,
} LmMappingFlags;

typedef struct LmMapping {
	guint64 start, end; /* addresses */
	int prot;	    /* PROT_READ ... */
	guint flags;
	guint64 ino, offset; /* of the file; 0: none */
} LmMapping;

/*
 * The mappings that overlap [@start, @end), whole and in ascending order: a new array of
 * LmMapping, NULL on failure. The kernel walks the page tables of all that lies below @end.
 */
GArray *lm_mappings_read(guint64 start, guint64 end, GError **errp);
/* The same, at little cost, without the flags but for SHARED and FILE. */
GArray *lm_mappings_list(guint64 start, guint64 end, GError **errp);
/* The one that has @address; NULL if there is none. */
const LmMapping *lm_mappings_at(const GArray *mappings, guint64 address);

/*
 * The following return 0 or -errno, and take a range that lies in or took the place of a part of
 * @mapping.
 */

/* Undoes mlock and KSM, in whose way pages cannot be moved. */
int lm_mapping_loosen(const LmMapping *mapping, void *start, gsize bytes);
/* Does them again. KSM takes no shared memory: there it is left undone by the kernel. */
int lm_mapping_fasten(const LmMapping *mapping, void *start, gsize bytes);
/* Gives [@start, @start + @bytes) the madvise flags of @mapping. */
int lm_mapping_advise(const LmMapping *mapping, void *start, gsize bytes);
/*
 * Makes the NUMA policy of @mapping that of [@offset, @offset + @bytes) of the memfd @fd, for
 * whoever touches its pages first.
 */
int lm_mapping_bind(const LmMapping *mapping, int fd, guint64 offset, gsize bytes);

/*
 * mmap, of memory that is not locked and has no page yet even where mlockall(MCL_FUTURE) would
 * lock and fill it: anywhere (NULL and errno on failure), or in place of what is at @start
 * (-errno).
 */
void *lm_map(gsize bytes, int prot, int flags, int fd, guint64 offset);
int lm_map_at(void *start, gsize bytes, int prot, int flags, int fd, guint64 offset);

#endif
