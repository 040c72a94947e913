/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry, trampoline of the other processors and interrupt stubs of payload.c.
 *
 * The trampoline is copied to TRAMPOLINE, below 1 MiB, where a processor that
 * got a start-up IPI begins in real mode; it uses absolute addresses only, so
 * it does not matter where it was linked.
 */
#define TRAMPOLINE	0x8000
#define STACK_SHIFT	13

	.section .multiboot, "a"
	.align	4
	.long	0x1badb002		/* magic */
	.long	0x00000003		/* page alignment, memory information */
	.long	-(0x1badb002 + 0x00000003)

	.section .note.GNU-stack, "", @progbits

	.text
	.code32
	.globl	_start
_start:
	cli
	movl	%ebx, %esi		/* the multiboot information */
	lgdt	gdt_pointer
	ljmp	$8, $1f
1:	call	load_data_segments
	movl	$stacks + (1 << STACK_SHIFT), %esp
	lidt	idt_pointer
	pushl	%esi
	call	payload_main
2:	hlt
	jmp	2b

load_data_segments:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	ret

/* Every other processor takes a number, and with it a stack above the first's. */
ap_start:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$1, %eax
	lock xaddl %eax, cpus_started
	leal	2(%eax), %ecx
	shll	$STACK_SHIFT, %ecx
	leal	stacks(%ecx), %esp
	lidt	idt_pointer
	pushl	%eax
	call	payload_ap_main
3:	hlt
	jmp	3b

	.globl	trampoline, trampoline_end
	.code16
trampoline:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	TRAMPOLINE + trampoline_gdt - trampoline
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $ap_start
	.align	4
trampoline_gdt:
	.word	gdt_end - gdt - 1
	.long	gdt
trampoline_end:
	.code32

/* Exceptions have one stub each, to tell which it was; they do not return. */
	.altmacro
	.macro	trap_stub number
trap_\number:
	pushl	$\number
	jmp	trap_common
	.endm
	.set	n, 0
	.rept	32
	trap_stub %n
	.set	n, n + 1
	.endr

trap_common:
	movl	%esp, %eax
	pushl	%eax
	call	payload_trap
4:	hlt
	jmp	4b

/* The timer only ends a hlt: all work is done outside of interrupts. */
	.globl	timer_stub
timer_stub:
	movl	$0, 0xfee000b0		/* end of interrupt */
	iretl

	.globl	spurious_stub
spurious_stub:
	iretl

	.macro	trap_address number
	.long	trap_\number
	.endm
	.section .rodata
	.globl	trap_stubs
	.align	4
trap_stubs:
	.set	n, 0
	.rept	32
	trap_address %n
	.set	n, n + 1
	.endr

	.align	8
gdt:	.quad	0
	.quad	0x00cf9a000000ffff	/* code, 4 GiB */
	.quad	0x00cf92000000ffff	/* data, 4 GiB */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
idt_pointer:
	.word	64 * 8 - 1
	.long	payload_idt
