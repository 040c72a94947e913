/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets share: an input that is read from its front. It never fails: it ends. */
#ifndef LM_TESTS_FUZZ_H
#define LM_TESTS_FUZZ_H

#include <glib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

typedef struct Input {
	const guint8 *at;
	gsize left;
} Input;

static inline const guint8 *input_bytes(Input *input, gsize bytes)
{
	const guint8 *at = input->at;

	g_assert(bytes <= input->left);
	input->at += bytes;
	input->left -= bytes;
	return at;
}

static inline guint8 input_u8(Input *input)
{
	return input->left ? *input_bytes(input, 1) : 0;
}

static inline guint16 input_u16(Input *input)
{
	const guint8 low = input_u8(input);

	return low | input_u8(input) << 8;
}

/* Up to @most bytes in an allocation of just that size, so that a byte too far is noticed. */
static inline guint8 *input_copy(Input *input, gsize most, gsize *bytes)
{
	*bytes = MIN(most, input->left);
	return g_memdup2(input_bytes(input, *bytes), *bytes);
}

/* The rest as a string; it ends at its first NUL. */
static inline char *input_string(Input *input)
{
	const gsize bytes = input->left;

	return g_strndup((const char *)input_bytes(input, bytes), bytes);
}

/*
 * Where a target puts memory that an input may name, in front of it @bytes of zeros: so that a
 * corpus can hold an address.
 */
#define FUZZ_ADDRESS 0x200000000000ull
void *fuzz_map(gsize bytes);

#endif
