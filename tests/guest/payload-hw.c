/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine under payload.c: serial port, clock, local APIC, processors.
 *
 * The time stamp counter is the clock; it is measured once with the PIT. The
 * local APIC's timer wakes each processor from hlt, so the 8259 stays masked.
 */
#include <stdarg.h>
#include <stdbool.h>
#include "payload.h"

enum {
	COM1 = 0x3f8,
	COM1_FIFO_BYTES = 16,
	LINE_BYTES = 160,

	FW_CFG_SELECTOR = 0x510,
	FW_CFG_DATA = 0x511,
	FW_CFG_NB_CPUS = 5,

	PIT_HZ = 1193182,
	CALIBRATION_MS = 20,

	TRAMPOLINE = 0x8000,
	VECTOR_TIMER = 0x30,
	VECTOR_SPURIOUS = 0x3f,
};

/* Registers of the local APIC, as offsets in bytes. */
enum {
	APIC_SPURIOUS = 0xf0,
	APIC_ICR_LOW = 0x300,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_LINT0 = 0x350,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};

#define APIC_BASE 0xfee00000u

/* To all processors but this one: INIT, and start-up at TRAMPOLINE. */
#define ICR_INIT    0x000c4500u
#define ICR_STARTUP (0x000c4600u | (TRAMPOLINE >> 12))

uint64_t payload_idt[64];
uint8_t stacks[MAX_CPUS * STACK_BYTES] __attribute__((aligned(16)));
volatile uint32_t cpus_started;

static uint32_t tsc_per_ms;
static uint32_t apic_ticks_per_ms;
static uint32_t serial_lock;

static void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static uint32_t apic_read(uint32_t reg)
{
	return *(volatile uint32_t *)(APIC_BASE + reg);
}

static void apic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(APIC_BASE + reg) = value;
}

void *memset(void *to, int value, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
	return to;
}

/* There is no libgcc: a 64-bit division is done in two steps. */
uint32_t div64(uint64_t value, uint32_t by, uint64_t *quotient)
{
	uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
	uint32_t high_quotient = high / by, rest = high % by;

	__asm__("divl %2" : "+a"(low), "+d"(rest) : "rm"(by));
	*quotient = (uint64_t)high_quotient << 32 | low;
	return rest;
}

void serial_init(void)
{
	outb(COM1 + 1, 0);    /* no interrupts */
	outb(COM1 + 3, 0x80); /* divisor */
	outb(COM1 + 0, 1);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 3); /* 8n1 */
	outb(COM1 + 2, 1); /* FIFO */
}

/*
 * A host that stops reading must not stop the memory test for good: after a
 * bounded wait the characters are written anyway, and may be lost.
 */
static void serial_write(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		uint32_t tries = 100000;

		while (i % COM1_FIFO_BYTES == 0 && !(inb(COM1 + 5) & 0x20) && --tries)
			__asm__ volatile("pause");
		outb(COM1, (uint8_t)text[i]);
	}
}

struct line {
	size_t used;
	char text[LINE_BYTES];
};

static void line_char(struct line *line, char c)
{
	if (line->used < LINE_BYTES)
		line->text[line->used++] = c;
}

static void line_decimal(struct line *line, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + div64(value, 10, &value));
	} while (value);
	while (n)
		line_char(line, digits[--n]);
}

static void line_hex(struct line *line, uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		line_char(line, "0123456789abcdef"[value >> shift & 15]);
}

static void line_argument(struct line *line, char format, va_list *args)
{
	switch (format) {
	case 's':
		for (const char *s = va_arg(*args, const char *); *s; s++)
			line_char(line, *s);
		break;
	case 'u':
		line_decimal(line, va_arg(*args, uint32_t));
		break;
	case 'U':
		line_decimal(line, va_arg(*args, uint64_t));
		break;
	case 'x':
		line_hex(line, va_arg(*args, uint32_t));
		break;
	}
}

void print_line(const char *format, ...)
{
	struct line line;
	va_list args;

	line.used = 0;
	va_start(args, format);
	for (const char *f = format; *f; f++) {
		if (*f == '%')
			line_argument(&line, *++f, &args);
		else
			line_char(&line, *f);
	}
	va_end(args);
	if (line.used == LINE_BYTES)
		line.used--;
	line_char(&line, '\n');

	while (__atomic_exchange_n(&serial_lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	serial_write(line.text, line.used);
	__atomic_store_n(&serial_lock, 0, __ATOMIC_RELEASE);
}

static void gate_set(uint32_t vector, uint32_t handler)
{
	payload_idt[vector] = (uint64_t)((handler & 0xffff0000u) | 0x8e00u) << 32 | 8u << 16 |
			      (handler & 0xffffu);
}

void traps_init(void)
{
	for (uint32_t i = 0; i < 32; i++)
		gate_set(i, trap_stubs[i]);
	gate_set(VECTOR_TIMER, (uint32_t)timer_stub);
	gate_set(VECTOR_SPURIOUS, (uint32_t)spurious_stub);
	outb(0x21, 0xff); /* both 8259 masked */
	outb(0xa1, 0xff);
}

uint64_t clock_now(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

uint32_t clock_ms_between(uint64_t since, uint64_t now)
{
	uint64_t ms;

	if (now <= since)
		return 0;
	div64(now - since, tsc_per_ms, &ms);
	return ms >> 32 ? UINT32_MAX : (uint32_t)ms;
}

/* Channel 2 counts down once; its output shows in bit 5 of port 0x61. */
static void pit_wait_begin(uint32_t ms)
{
	uint32_t count = PIT_HZ / 1000 * ms;

	outb(0x61, (uint8_t)((inb(0x61) & ~2) | 1));
	outb(0x43, 0xb0);
	outb(0x42, (uint8_t)count);
	outb(0x42, (uint8_t)(count >> 8));
}

static void pit_wait_end(void)
{
	while (!(inb(0x61) & 0x20))
		;
}

static void apic_enable(void)
{
	apic_write(APIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	apic_write(APIC_TIMER_DIVIDE, 3); /* by 16 */
}

void clock_init(void)
{
	uint64_t begin, quotient;
	uint32_t apic_left;

	apic_enable();
	apic_write(APIC_LVT_LINT0, 0x10000); /* nothing comes from the 8259 */
	apic_write(APIC_LVT_TIMER, 0x10000 | VECTOR_TIMER);
	pit_wait_begin(CALIBRATION_MS);
	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	begin = clock_now();
	pit_wait_end();
	apic_left = apic_read(APIC_TIMER_CURRENT);
	div64(clock_now() - begin, CALIBRATION_MS, &quotient);
	tsc_per_ms = quotient ? (uint32_t)quotient : 1;
	apic_ticks_per_ms = (UINT32_MAX - apic_left) / CALIBRATION_MS;
}

void timer_start(uint32_t tick_ms)
{
	apic_enable(); /* off until now on all processors but the first */
	apic_write(APIC_LVT_TIMER, 0x20000 | VECTOR_TIMER); /* periodic */
	apic_write(APIC_TIMER_INITIAL, apic_ticks_per_ms * tick_ms);
}

void cpu_rest(void)
{
	/* sti takes effect after hlt began: a tick between the two is not lost */
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static uint32_t cpus_present(void)
{
	uint32_t n;

	outw(FW_CFG_SELECTOR, FW_CFG_NB_CPUS);
	n = inb(FW_CFG_DATA);
	n |= (uint32_t)inb(FW_CFG_DATA) << 8;
	if (n < 1)
		n = 1;
	return n < MAX_CPUS ? n : MAX_CPUS;
}

static void ipi_send(uint32_t command, uint32_t wait_ms)
{
	apic_write(APIC_ICR_LOW, command);
	while (apic_read(APIC_ICR_LOW) & 0x1000)
		__asm__ volatile("pause");
	pit_wait_begin(wait_ms);
	pit_wait_end();
}

uint32_t cpus_start(void)
{
	uint32_t others = cpus_present() - 1;
	uint64_t begin;
	char *to = (char *)TRAMPOLINE;

	if (!others)
		return 1;
	for (const char *from = trampoline; from < trampoline_end; from++)
		*(volatile char *)to++ = *from;
	ipi_send(ICR_INIT, 10);
	ipi_send(ICR_STARTUP, 1);
	if (cpus_started < others)
		ipi_send(ICR_STARTUP, 1);
	begin = clock_now();
	while (cpus_started < others && clock_ms_between(begin, clock_now()) < 2000)
		__asm__ volatile("pause");
	return cpus_started + 1;
}
