/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The payload: a kernel of its own that watches its memory while the process
 * under it is replaced. guest.md says what it prints and which options it takes.
 *
 * payload.c       the memory test: pages, generations, heartbeat
 * payload-high.c  pages above 4 GiB
 * payload-hw.c    the machine: serial port, clock, local APIC, other processors
 * payload.S       entry and stubs
 */
#ifndef LM_TESTS_GUEST_PAYLOAD_H
#define LM_TESTS_GUEST_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS    64
#define STACK_BYTES 8192
#define PAGE_SHIFT  12

/* Multiboot 1, as far as it is used. */
struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower_kib, mem_upper_kib;
	uint32_t boot_device;
	uint32_t command_line;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_bytes, mmap_addr;
};

struct multiboot_mmap {
	uint32_t size; /* of what follows */
	uint64_t base, bytes;
	uint32_t type;
} __attribute__((packed));

/* payload.S */
extern const uint32_t trap_stubs[32];
extern const char trampoline[], trampoline_end[];
extern char payload_end[];
void timer_stub(void);
void spurious_stub(void);

/* payload-hw.c */
extern uint64_t payload_idt[64];
extern uint8_t stacks[MAX_CPUS * STACK_BYTES];
extern volatile uint32_t cpus_started; /* without the first */

void serial_init(void);
/* Prints one whole line; lines of several processors are never mixed.
 * Formats: %s, %u (uint32_t), %U (uint64_t), %x (uint32_t, 8 digits). */
void print_line(const char *format, ...);

void traps_init(void);
/* Measures the clocks with the PIT; interrupts stay off. Takes 20 ms. */
void clock_init(void);
uint64_t clock_now(void);
/* Milliseconds from `since` to `now`, at most 2^32 - 1; 0 when time went back. */
uint32_t clock_ms_between(uint64_t since, uint64_t now);
/* Makes this processor's timer end a hlt every `tick_ms`. */
void timer_start(uint32_t tick_ms);
/* Sleeps until the next interrupt. */
void cpu_rest(void);
/* Starts the other processors; returns how many there are, this one included. */
uint32_t cpus_start(void);
uint32_t div64(uint64_t value, uint32_t by, uint64_t *quotient);

/* payload.c: what page number @page holds in generation @generation, at @words. */
void page_fill(uint32_t *words, uint32_t page, uint32_t generation);
bool page_is_wrong(const uint32_t *words, uint32_t page, uint32_t generation, uint32_t *word,
		   uint32_t *want);
void payload_main(const struct multiboot_info *mbi);
void payload_ap_main(uint32_t ap);
void payload_trap(const uint32_t *frame);

/* payload-high.c: of the first processor only. Fills at most @mib; returns the pages. */
uint32_t high_init(const struct multiboot_info *mbi, uint32_t mib);
/* Verifies so many, the next in turn; returns how many were wrong. */
uint32_t high_verify(uint32_t pages);

/* The compiler emits calls to this for large assignments. */
void *memset(void *to, int value, size_t bytes);

#endif
