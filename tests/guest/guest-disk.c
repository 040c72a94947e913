/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disk under load. The first disk_mib of /dev/vda, or of a file of virtiofs, are written
 * again and again from the start to the end, past the page cache, some blocks at a time;
 * after each write some blocks elsewhere are read and compared with the generation whose
 * write was acknowledged: a write that was lost or went elsewhere shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/fs.h>
#include "disk-format.h"
#include "guest.h"

enum { BATCH_BLOCKS = 16, BATCH_BYTES = BATCH_BLOCKS * DISK_BLOCK_BYTES, BATCHES_PER_SYNC = 64 };

static int disk = -1;
static uint64_t block_count; /* a multiple of BATCH_BLOCKS */
static uint64_t *generations;
static uint64_t buffer[BATCH_BLOCKS * DISK_BLOCK_WORDS] __attribute__((aligned(4096)));

static bool batch_transfer(bool write, uint64_t first)
{
	off_t at = (off_t)(first * DISK_BLOCK_BYTES);
	const uint64_t since_us = guest_now_us();
	ssize_t n = write ? pwrite(disk, buffer, BATCH_BYTES, at)
			  : pread(disk, buffer, BATCH_BYTES, at);
	const uint64_t took_us = guest_now_us() - since_us;

	if (took_us > atomic_load(&guest_counters.disk_us))
		atomic_store(&guest_counters.disk_us, took_us);
	if (n == BATCH_BYTES)
		return true;
	guest_error("disk %s of block %llu: %s", write ? "write" : "read",
		    (unsigned long long)first, n < 0 ? strerror(errno) : "short");
	return false;
}

static void batch_write(uint64_t first)
{
	for (uint64_t i = 0; i < BATCH_BLOCKS; i++)
		disk_block_make(buffer + i * DISK_BLOCK_WORDS, first + i,
				generations[first + i] + 1);
	if (!batch_transfer(true, first))
		return;
	for (uint64_t i = 0; i < BATCH_BLOCKS; i++)
		generations[first + i]++;
	atomic_fetch_add(&guest_counters.disk_written, BATCH_BLOCKS);
}

static void block_verify(uint64_t block, const uint64_t *words)
{
	uint64_t generation = 0;

	if (disk_block_look(words, block, &generation) == DISK_BLOCK_BAD)
		guest_error("disk block %llu is bad: says block %llu generation %llu",
			    (unsigned long long)block, (unsigned long long)words[1],
			    (unsigned long long)words[2]);
	else if (generation != generations[block])
		guest_error("disk block %llu has generation %llu, should have %llu",
			    (unsigned long long)block, (unsigned long long)generation,
			    (unsigned long long)generations[block]);
	atomic_fetch_add(&guest_counters.disk_checked, 1);
}

static void batch_verify(uint64_t first)
{
	if (!batch_transfer(false, first))
		return;
	for (uint64_t i = 0; i < BATCH_BLOCKS; i++)
		block_verify(first + i, buffer + i * DISK_BLOCK_WORDS);
}

/* What an earlier run left is taken as it is; anything else is not overwritten. */
static bool contents_read(void)
{
	for (uint64_t first = 0; first < block_count; first += BATCH_BLOCKS) {
		if (!batch_transfer(false, first))
			return false;
		for (uint64_t i = 0; i < BATCH_BLOCKS; i++) {
			if (disk_block_look(buffer + i * DISK_BLOCK_WORDS, first + i,
					    &generations[first + i]) != DISK_BLOCK_BAD)
				continue;
			guest_error("disk block %llu holds something else",
				    (unsigned long long)(first + i));
			return false;
		}
	}
	return true;
}

static int disk_open(const char *path, uint64_t *bytes)
{
	const int flags = O_RDWR | O_DIRECT | O_CLOEXEC;

	disk = open(path, guest_options.fs ? flags | O_CREAT : flags, 0600);
	if (disk < 0 || !guest_options.fs)
		return disk < 0 ? -1 : ioctl(disk, BLKGETSIZE64, bytes);
	*bytes = guest_options.disk_mib << 20;
	return ftruncate(disk, (off_t)*bytes);
}

bool disk_init(void)
{
	const char *path = guest_options.fs ? GUEST_FS "/disk" : "/dev/vda";
	uint64_t bytes = 0;

	if (disk_open(path, &bytes) < 0) {
		guest_error("%s: %s", path, strerror(errno));
		return false;
	}
	if (bytes > guest_options.disk_mib << 20)
		bytes = guest_options.disk_mib << 20;
	block_count = bytes / BATCH_BYTES * BATCH_BLOCKS;
	generations = calloc(block_count + 1, sizeof(*generations));
	if (!block_count || !generations) {
		guest_error("%s is too small or too large", path);
		return false;
	}
	return contents_read();
}

void *disk_thread(void *unused)
{
	uint64_t next = 0, batches = 0, random = 88172645463325252ULL;

	while (!guest_stopping) {
		uint64_t since_us = guest_now_us();

		batch_write(next);
		next = next + BATCH_BLOCKS < block_count ? next + BATCH_BLOCKS : 0;
		random = disk_filler_next(random);
		batch_verify(random % (block_count / BATCH_BLOCKS) * BATCH_BLOCKS);
		if (++batches % BATCHES_PER_SYNC == 0 && fdatasync(disk) < 0)
			guest_error("disk flush: %s", strerror(errno));
		guest_rest(since_us, 1);
	}
	return NULL;
}

void disk_finish(char *text, size_t bytes)
{
	uint64_t valid = 0, most = 0, sum = 0;

	if (fsync(disk) < 0)
		guest_error("disk flush: %s", strerror(errno));
	for (uint64_t first = 0; first < block_count; first += BATCH_BLOCKS)
		batch_verify(first);
	for (uint64_t i = 0; i < block_count; i++) {
		valid += generations[i] > 0;
		sum += generations[i];
		if (generations[i] > most)
			most = generations[i];
	}
	snprintf(text, bytes, " disk %llu valid %llu maxgen %llu gensum %llu",
		 (unsigned long long)guest_counters.disk_checked, (unsigned long long)valid,
		 (unsigned long long)most, (unsigned long long)sum);
}
