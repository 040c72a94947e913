/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A BIOS that never leaves real mode: for a KVM that runs nothing else.
 *
 * It fills the memory from 0x1000 to 0xa0000, generation by generation. Each page of
 * 4 KiB holds one 32-bit value, made from its segment and its generation; a page is
 * compared with its last value before it gets the next one. Few long string instructions
 * are used, because each instruction may cost a microsecond where KVM emulates.
 * After every STEP pages it looks whether the PIT's channel 2 ran out, 40 ms after the
 * last heartbeat, and prints the next. STEP pages take some 20 ms where KVM emulates.
 *
 *	0x0500  variables
 *	0x0f00  stack, downward
 *	0x1000  memory under test
 */
#define COM1		0x3f8
#define STACK		0x0f00
#define FIRST_SEGMENT	0x0100
#define END_SEGMENT	0xa000
#define PAGE_PARAGRAPHS	0x100		/* 4 KiB */
#define PAGE_DWORDS	1024
#define STEP		16		/* pages between two looks at the clock */
#define BEAT_COUNT	47727		/* 40 ms of the PIT */

#define GENERATION	0x0500
#define BEATS		0x0504
#define ERRORS		0x0508
#define ERROR_LINES	32

	.section .note.GNU-stack, "", @progbits
	.section .reset, "ax"
	.code16
	.globl	reset
reset:
	ljmp	$0xf000, $start

	.text
	.code16
start:
	cli
	cld
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$STACK, %sp
	xorl	%eax, %eax
	movl	%eax, GENERATION
	movl	%eax, BEATS
	movl	%eax, ERRORS
	call	serial_init
	call	timer_arm

	/* generation 0, without a comparison */
	movw	$FIRST_SEGMENT, %bx
1:	movw	%bx, %es
	call	value
	call	fill
	addw	$PAGE_PARAGRAPHS, %bx
	cmpw	$END_SEGMENT, %bx
	jb	1b
	movw	$ready_text, %si
	call	print
	call	newline

sweep:
	movw	$FIRST_SEGMENT, %bx
	movw	$STEP, %bp
2:	movw	%bx, %es
	call	value
	call	compare
	incl	GENERATION
	call	value
	decl	GENERATION
	call	fill
	decw	%bp
	jnz	3f
	call	beat_if_due
	movw	$STEP, %bp
3:	addw	$PAGE_PARAGRAPHS, %bx
	cmpw	$END_SEGMENT, %bx
	jb	2b
	incl	GENERATION
	jmp	sweep

/* eax = what a page with segment bx holds in this generation */
value:
	movl	GENERATION, %eax
	imull	$0x01000193, %eax
	shll	$16, %ebx
	xorl	%ebx, %eax
	shrl	$16, %ebx
	ret

/* eax to the whole page es */
fill:
	xorw	%di, %di
	movw	$PAGE_DWORDS, %cx
	rep stosl
	ret

/* counts one error when the page es does not hold eax all over */
compare:
	xorw	%di, %di
	movw	$PAGE_DWORDS, %cx
	repe scasl
	je	4f
	incl	ERRORS
	cmpl	$ERROR_LINES, ERRORS
	ja	4f
	movw	$error_text, %si
	call	print
	movzwl	%bx, %eax
	shrl	$8, %eax
	call	decimal
	movw	$offset_text, %si
	call	print
	movzwl	%di, %eax
	subl	$4, %eax
	call	decimal
	call	newline
4:	ret

/* channel 2 counts down once; its output shows in bit 5 of port 0x61 */
timer_arm:
	inb	$0x61, %al
	andb	$0xfd, %al
	orb	$0x01, %al
	outb	%al, $0x61
	movb	$0xb0, %al
	outb	%al, $0x43
	movb	$BEAT_COUNT & 0xff, %al
	outb	%al, $0x42
	movb	$BEAT_COUNT >> 8, %al
	outb	%al, $0x42
	ret

beat_if_due:
	inb	$0x61, %al
	testb	$0x20, %al
	jz	4b
	call	timer_arm
	incl	BEATS
	movw	$beat_text, %si
	call	print
	movl	BEATS, %eax
	call	decimal
	movw	$errors_text, %si
	call	print
	movl	ERRORS, %eax
	call	decimal
	/* fall through */
newline:
	movb	$'\n', %al
	/* fall through */
put:
	movb	%al, %ah
	movw	$COM1 + 5, %dx
	movw	$1000, %cx		/* then the character may be lost */
5:	inb	%dx, %al
	testb	$0x20, %al
	loopz	5b
	movb	%ah, %al
	movw	$COM1, %dx
	outb	%al, %dx
	ret

/* the text at cs:si, which ends with 0 */
print:
	movb	%cs:(%si), %al
	incw	%si
	testb	%al, %al
	jz	6f
	call	put
	jmp	print
6:	ret

/* eax in decimal */
decimal:
	pushl	%ebx
	movl	$10, %ebx
	xorw	%si, %si
7:	xorl	%edx, %edx
	divl	%ebx
	pushw	%dx
	incw	%si
	testl	%eax, %eax
	jnz	7b
8:	popw	%ax
	addb	$'0', %al
	call	put
	decw	%si
	jnz	8b
	popl	%ebx
	ret

serial_init:
	movw	$serial_table, %si
9:	movb	%cs:(%si), %dl
	testb	%dl, %dl
	jz	6b
	movb	$COM1 >> 8, %dh
	movb	%cs:1(%si), %al
	outb	%al, %dx
	addw	$2, %si
	jmp	9b

/* port (low byte) and value: no interrupts, divisor 1, 8n1, no FIFO */
serial_table:
	.byte	0xf9, 0, 0xfb, 0x80, 0xf8, 1, 0xf9, 0, 0xfb, 3, 0xfa, 0, 0

ready_text:
	.asciz	"rom ready"
beat_text:
	.asciz	"beat "
errors_text:
	.asciz	" errors "
error_text:
	.asciz	"ERROR page "
offset_text:
	.asciz	" offset "
