/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cmocka wants included before it. */
#ifndef LM_TOOL_UNIT_H
#define LM_TOOL_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <cmocka.h>

#define TEST(function) cmocka_unit_test(function)

#endif
