/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Linux guest: a static program that is the whole of its user space.
 *
 * init.c          start, options, heartbeat, power off
 * guest-memory.c  memory under load
 * guest-disk.c    disk under load
 * guest-net.c     network under load
 * guest-power.c   the power button
 *
 * Each load is one thread; they share nothing but the counters below.
 */
#ifndef LM_TESTS_GUEST_GUEST_H
#define LM_TESTS_GUEST_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

struct guest_options {
	uint64_t memory_mib; /* 0: 60 % of what there is */
	uint64_t dirty_percent;
	uint64_t disk_mib;
	uint64_t net_s; /* after so long without an echo a connection is of no use */
	bool disk, fs, net, fast, acpi; /* fs: the disk is a file of virtiofs */
};

struct guest_counters {
	atomic_ullong pages_checked, errors;
	atomic_ullong stall_us; /* the longest that one page took, since the last beat */
	atomic_ullong disk_checked, disk_written;
	atomic_ullong disk_us; /* the longest that a read or write took, since the last beat */
	atomic_ullong net_trips, net_resets;
};

extern struct guest_options guest_options;
extern struct guest_counters guest_counters;
/* Set once; every load then finishes what it began and returns. */
extern atomic_bool guest_stopping;

/* One line on the console, at most 255 characters, written at once. */
void guest_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with "ERROR " before it, counted; only the first 100 are printed. */
void guest_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t guest_now_us(void);
/* Sleeps long enough after a burst that began at `since_us` to leave the processor to
 * others for `rest` times as long as the burst took; not at all with lm.fast=1. */
void guest_rest(uint64_t since_us, unsigned rest);

/* Takes and fills the memory; returns the number of its pages. */
uint64_t memory_init(void);
void *memory_thread(void *unused);

/* With fs: the file system is mounted here. */
#define GUEST_FS "/mnt"
/* Reads what the disk holds from an earlier run; false: there is no usable disk. */
bool disk_init(void);
void *disk_thread(void *unused);
/* After the thread: reads all back, and says what the disk should hold now. */
void disk_finish(char *text, size_t bytes);

bool net_init(void);
void *net_thread(void *unused);

/* -1: there is none, which is an error. */
int power_button_open(void);
/* Since the last time; reads all that came. */
bool power_button_pressed(int fd);

#endif
